"""Folders that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semviz.common import formats
from semviz.common.checks import as_path
from semviz.common.errors import SemvizError
from semviz.common.files import TEMPORARY_SUFFIX, flush, is_abandoned, lock
from semviz.common.interrupts import interrupts_held

_LOCK, _NEW = ".semviz-lock", ".semviz-new"
_LONGEST_START = 200  # bytes of the target's name in a temporary one; file systems allow 255 in all


def check_place(folder: Path) -> None:
    """Refuse a place where no folder can be made.

    Raises:
        SemvizError: If it is the root of a disk, a file, or below a file.
    """
    real = Path(os.path.realpath(folder))
    if real == real.parent:
        raise SemvizError(f"{folder} is a whole disk; pass the name of a folder on it.")
    for place in (real, *real.parents):
        if os.path.exists(place):  # not Path.exists, which raises where one may not look
            if not os.path.isdir(place):
                below = "" if place == real else f", so {folder} cannot be below it"
                raise SemvizError(f"{place} is a file{below}; pass the name of a folder.")
            return


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, needed: int = 0) -> Iterator[Path]:
    """Yield an empty folder beside `path` to write to; it takes the place of `path` unless an exception is raised.

    What was at `path` is then gone: the caller has made sure that it may. A link stays a link: what it leads to is
    replaced. What a killed process leaves is cleared by the next write of the same folder.

    Args:
        path: The folder, which need not be there, nor its parents.
        needed: Bytes that will be written.

    Raises:
        SemvizError: If there is not enough space for so many bytes, or it cannot be written to; what was there is then
            unchanged.
    """
    target = Path(os.path.realpath(as_path("folder", path)))
    check_place(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(target)
        free = shutil.disk_usage(target.parent).free
        if needed > free:
            raise SemvizError(
                f"Cannot write {path}: it takes {formats.si(needed)}B, and {formats.si(free)}B are free in "
                f"{target.parent}. Free some space there, or pass a folder on another disk."
            )
        beside, handle = _make_beside(target)
        try:
            (beside / _NEW).mkdir()
            yield beside / _NEW
            _flush_files(beside / _NEW)
            with interrupts_held():
                _swap(target, beside)
        finally:
            os.close(handle)
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise SemvizError(
            f"Cannot write {path}: {error.strerror or error}. Free some space there, or pass a folder in a place that "
            "can be written."
        ) from error


def _make_beside(target: Path) -> tuple[Path, int]:
    """Make a folder for one writer, whose lock is held for as long as the handle is open."""
    start = target.name.encode("utf-8", "surrogateescape")[:_LONGEST_START].decode("utf-8", "ignore")
    beside = target.parent / f".{start}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    beside.mkdir()
    handle = os.open(beside / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    lock(handle)
    return beside, handle


def _swap(target: Path, beside: Path) -> None:
    """Put the new folder in the place of the old one, or leave the old one there."""
    old = beside / target.name
    if not target.is_dir():
        os.rename(beside / _NEW, target)
        return
    with suppress(OSError):  # a mount without permissions
        os.chmod(beside / _NEW, stat.S_IMODE(target.stat().st_mode))
    os.rename(target, old)
    try:
        os.rename(beside / _NEW, target)
    except OSError:
        os.rename(old, target)
        raise


def _clear_abandoned(target: Path) -> None:
    """Remove what killed processes left of this folder, and put back what one of them had just taken away."""
    for beside in target.parent.glob(f".*{TEMPORARY_SUFFIX}"):
        with suppress(OSError):  # other people's, or gone by now
            if beside.is_dir() and is_abandoned(beside / _LOCK):
                for old in beside.iterdir():
                    if old.name not in (_LOCK, _NEW) and not (target.parent / old.name).exists():
                        os.rename(old, target.parent / old.name)
                shutil.rmtree(beside, ignore_errors=True)


def _flush_files(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with open(file, "r+b") as opened:
                flush(opened.fileno())
