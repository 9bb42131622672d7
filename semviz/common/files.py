"""Files that are written whole or not at all, digests and temporary folders."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semviz.common.checks import as_path
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held

_TEMPORARY_SUFFIX = ".semviz"  # so that no other program's file is taken for one of ours
_ABANDONED_AFTER = 86_400  # seconds since the last write to a temporary file


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a temporary path in the same folder to write to; rename it to `path` unless an exception is raised.

    Raises:
        SemvizError: If the folder is missing or cannot be written to; an old file is then unchanged.
    """
    target = as_path("path", path)
    try:
        # An interrupt could leave the temporary file behind, or report a failure after the rename.
        with interrupts_held():
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=_TEMPORARY_SUFFIX)
            try:
                os.close(handle)
                yield name
                with open(name, "r+b") as file:
                    os.fsync(file.fileno())
                # mkstemp makes private files; these are meant to be read like any other.
                os.chmod(name, 0o644)
                os.replace(name, target)
            except BaseException:
                with suppress(OSError):  # the first error is the one to report
                    os.unlink(name)
                raise
            _remove_abandoned(target.parent)
    except OSError as error:
        raise SemvizError(
            f"Cannot write {target}: {error.strerror or error}. Free some space there, or pass a path in a "
            "writable folder."
        ) from error


def digest_of(*parts: bytes | memoryview) -> str:
    """Return a digest of all bytes, as 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the digest of a file, read in chunks, since weights may be larger than free memory."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(2**22):
            digest.update(chunk)
    return digest.hexdigest()


def temporary_folder(purpose: str) -> tempfile.TemporaryDirectory[str]:
    """Create a folder that is removed with the returned object.

    Raises:
        SemvizError: If there is no space, or no permission to create one.
    """
    try:
        return tempfile.TemporaryDirectory(prefix=f"semviz-{purpose}-", ignore_cleanup_errors=True)
    except OSError as error:
        raise SemvizError(
            f"Cannot create a temporary folder: {error.strerror or error}. Free some space there, or pass another "
            "folder in the environment variable TMPDIR."
        ) from error


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(_TEMPORARY_SUFFIX):
                # Another process may be writing there, and its file may be gone by now.
                with suppress(OSError):
                    if time.time() - entry.stat().st_mtime > _ABANDONED_AFTER:
                        os.unlink(entry.path)


def write_text_file(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file whole, or leave the old one unchanged.

    Raises:
        SemvizError: If the folder is missing or cannot be written to; an old file is then unchanged.
    """
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(path)
