"""Files that are there whole or not at all."""

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

_ENDING = ".semviz"  # of temporary names, so that no file of others is taken for one
_DAY = 86_400  # seconds without a write after which a temporary file is nobody's


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give a temporary name in the same folder to write to; rename it to `path` on leaving without an exception.

    Raises:
        SemvizError: If the folder is missing or cannot be written; the old file, if any, is then as it was.
    """
    target = as_path("path", path)
    try:
        # Held, since an interrupt would leave the temporary file, or call what was renamed just now a failure.
        with interrupts_held():
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=_ENDING)
            try:
                os.close(handle)
                yield name
                with open(name, "r+b") as file:
                    os.fsync(file.fileno())
                # mkstemp makes private files; these are meant to be read like any other.
                os.chmod(name, 0o644)
                os.replace(name, target)
            except BaseException:
                with suppress(OSError):  # what went wrong first is what should be told
                    os.unlink(name)
                raise
            _clear(target.parent)
    except OSError as error:
        raise SemvizError(
            f"Cannot write {target}: {error.strerror or error}. Make room there, or pass a path in a folder that can "
            "be written."
        ) from error


def digest_of(*parts: bytes | memoryview) -> str:
    """Return 32 hex digits that change with any byte."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the digest of a file, read in parts, since weights may be larger than the memory that is free."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while part := file.read(2**22):
            digest.update(part)
    return digest.hexdigest()


def temporary_folder(purpose: str) -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is removed with the object.

    Raises:
        SemvizError: If there is no room or no right to make one.
    """
    try:
        return tempfile.TemporaryDirectory(prefix=f"semviz-{purpose}-", ignore_cleanup_errors=True)
    except OSError as error:
        raise SemvizError(
            f"Cannot make a temporary folder: {error.strerror or error}. Make room there, or pass another place as the "
            "environment variable TMPDIR."
        ) from error


def _clear(folder: Path) -> None:
    """Remove what writes that were killed have left in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(_ENDING):
                # Another process may write there now, and have taken its file away meanwhile.
                with suppress(OSError):
                    if time.time() - entry.stat().st_mtime > _DAY:
                        os.unlink(entry.path)


def replace_file(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file whole, or leave what was there.

    Raises:
        SemvizError: If the folder is missing or cannot be written; the old file, if any, is then as it was.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(path)
