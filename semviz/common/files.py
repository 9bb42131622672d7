"""Files that are written whole or not at all, digests and temporary folders."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from semviz.common.checks import as_path
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held

_locks: Any
try:
    import fcntl as _locks
except ImportError:  # Windows has no such locks; what killed processes leave there stays
    _locks = None

TEMPORARY_SUFFIX = ".semviz"  # so that no other program's file is taken for one of ours
_LONGEST_PREFIX = 200  # bytes of the target's name in a temporary one; file systems allow 255 in all
_PREFIX, _LOCK = "semviz-", ".semviz-lock"
_YOUNG = 60  # seconds in which a temporary file or folder may not have its lock yet, or no longer
_LOST = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # of fsync; the others say that a mount has none


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a temporary path in the same folder to write to; rename it to `path` unless an exception is raised.

    A new file gets the permissions that the process gives to its files (umask), one that is replaced keeps its own. A
    link stays a link: what it leads to is replaced.

    Raises:
        SemvizError: If the folder is missing or cannot be written to; an old file is then unchanged.
    """
    target = as_path("path", path)
    try:
        real = Path(os.path.realpath(target))
        if real.is_symlink():  # in a circle
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        # An interrupt could leave the temporary file behind, or report a failure after the rename.
        with interrupts_held():
            handle, name = _temporary_beside(real)
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            try:
                try:
                    yield name
                    with open(name, "r+b") as file:
                        flush(file.fileno())
                finally:
                    os.close(handle)
                with suppress(OSError):  # a mount without permissions
                    # Set for new files too: safetensors puts a private file in the place of the one that was made.
                    os.chmod(name, stat.S_IMODE(real.stat().st_mode) if real.exists() else mode)
                os.replace(name, real)
            except BaseException:
                with suppress(OSError):  # the first error is the one to report
                    os.unlink(name)
                raise
            _remove_abandoned_files(real.parent)
    except OSError as error:
        raise SemvizError(
            f"Cannot write {target}: {error.strerror or error}. Free some space there, or pass a path in a "
            "writable folder."
        ) from error


def _temporary_beside(target: Path) -> tuple[int, str]:
    """Create a file for one writer, locked for as long as its handle is open; return the handle and the path."""
    start = target.name.encode("utf-8", "surrogateescape")[:_LONGEST_PREFIX].decode("utf-8", "ignore")
    while True:
        name = target.parent / f".{start}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        try:
            # Not by mkstemp, whose files are private: the system applies umask and the folder's defaults to this one.
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        lock(handle)
        return handle, str(name)


def flush(handle: int) -> None:
    """Write an open file to the disk, where the mount can be told to."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in _LOST:
            raise


def lock(handle: int) -> bool:
    """Lock an open file without waiting; whether it could be."""
    if _locks is None:
        return False
    try:
        _locks.flock(handle, _locks.LOCK_EX | _locks.LOCK_NB)
    except OSError:  # somebody holds it, or the mount has no locks
        return False
    return True


def is_abandoned(path: str | Path) -> bool:
    """Whether nobody has held a file of ours for a while."""
    if time.time() - os.stat(path).st_mtime < _YOUNG:
        return False
    handle = os.open(path, os.O_RDWR)
    try:
        return lock(handle)
    finally:
        os.close(handle)


def _remove_abandoned_files(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(TEMPORARY_SUFFIX):
                # Another process may be writing there, and its file may be gone by now.
                with suppress(OSError):
                    if is_abandoned(entry.path):
                        os.unlink(entry.path)


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


class HeldFolder(tempfile.TemporaryDirectory[str]):
    """A temporary folder that the next process removes if this one is killed: nobody holds its lock any more."""

    def __init__(self, purpose: str) -> None:
        super().__init__(prefix=f"{_PREFIX}{purpose}-", ignore_cleanup_errors=True)
        self._handle = os.open(Path(self.name, _LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        lock(self._handle)

    def cleanup(self) -> None:
        """Remove the folder and what is in it."""
        with suppress(OSError):  # closed by an earlier call
            os.close(self._handle)
        super().cleanup()


def temporary_folder(purpose: str) -> HeldFolder:
    """Create a folder that is removed with the returned object.

    Raises:
        SemvizError: If there is no space, or no permission to create one.
    """
    try:
        _remove_abandoned_folders(tempfile.gettempdir())
        return HeldFolder(purpose)
    except OSError as error:
        raise SemvizError(
            f"Cannot create a temporary folder: {error.strerror or error}. Free some space there, or pass another "
            "folder in the environment variable TMPDIR."
        ) from error


@cache
def _remove_abandoned_folders(parent: str) -> None:
    """Remove what killed processes left: their states may take gigabytes. Once in a process."""
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            with suppress(OSError):  # other people's, or gone by now
                if entry.name.startswith(_PREFIX) and is_abandoned(Path(entry.path, _LOCK)):
                    shutil.rmtree(entry.path, ignore_errors=True)


def write_text_file(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file whole, or leave the old one unchanged.

    Raises:
        SemvizError: If the folder is missing or cannot be written to; an old file is then unchanged.
    """
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(path)
