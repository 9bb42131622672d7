"""Disks that are full: faked at one operation of `semviz.common.files`, by the limit of a file's size, or really."""

from __future__ import annotations

import builtins
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from semviz.common import files

BLOCK = 4096


class FakeDisk:
    """Stands for the modules that `semviz.common.files` writes with, and has no room at one operation.

    Attributes:
        done: Names of the operations so far, in their order.
    """

    def __init__(self, at: int = 0) -> None:
        self.at, self.done = at, []

    def strike(self, name: str) -> None:
        self.done.append(name)
        if len(self.done) == self.at:
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def inserted(self) -> Iterator[FakeDisk]:
        """Let `semviz.common.files` use this disk."""
        given = {name: vars(files).get(name) for name in ("os", "open")}
        files.os = _Module(self, os, ("open", "close", "fsync", "replace"))  # type: ignore[assignment]
        files.open = self.open  # type: ignore[attr-defined]
        try:
            yield self
        finally:
            for name, value in given.items():
                setattr(files, name, value) if value is not None else delattr(files, name)

    def open(self, *args: Any, **options: Any) -> Any:
        self.strike("open of a file")
        return _File(self, builtins.open(*args, **options))


class _Module:
    """A module some of whose functions may find no room."""

    def __init__(self, disk: FakeDisk, module: Any, names: tuple[str, ...]) -> None:
        self.__dict__.update(disk=disk, module=module, names=names)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.module, name)
        if name not in self.names:
            return found

        def call(*args: Any, **options: Any) -> Any:
            if name == "close":  # what could not be written is told, and the file is closed all the same
                found(*args, **options)
                return self.disk.strike(name)
            self.disk.strike(name)
            return found(*args, **options)

        return call


class _File:
    """A file that may find no room when it is written or closed."""

    def __init__(self, disk: FakeDisk, file: Any) -> None:
        self.disk, self.file = disk, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, text: Any) -> Any:
        self.disk.strike("write")
        return self.file.write(text)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()
        self.disk.strike("close of a file")


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes: the kernel refuses the write, whoever writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield  # Python ignores the signal that comes with it
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path | None]:
    """A disk of some megabytes of its own, or None where this user may mount none."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = False
    with suppress(OSError):
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, left: int) -> None:
    """Leave so many bytes of a disk free, in whole blocks."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    state = os.statvfs(disk)
    size = state.f_bavail * state.f_frsize - left // BLOCK * BLOCK
    with open(ballast, "wb") as file:
        if size > 0:
            os.posix_fallocate(file.fileno(), 0, size)
