"""A folder for what can be computed again, with a limit on its size: what was used longest ago goes first.

The folder is that of the operating system for caches. The environment variable `SEMVIZ_CACHE` names another one, or
none where it is empty; `SEMVIZ_CACHE_GB` sets the limit.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import platformdirs

from semviz.common.errors import SemvizError

_FOLDER, _LIMIT = "SEMVIZ_CACHE", "SEMVIZ_CACHE_GB"
_DEFAULT_GB = 4.0
SUFFIX = ".semviz.safetensors"  # no other program's files have it


def cache_folder() -> Path | None:
    """The folder, which need not exist yet; None where it is switched off."""
    named = os.environ.get(_FOLDER)
    if named is None:
        return Path(platformdirs.user_cache_dir("semviz"))
    return Path(named).expanduser() if named.strip() else None


def limit() -> int:
    """The most bytes that the folder may hold.

    Raises:
        SemvizError: If the environment variable is not a number of gigabytes.
    """
    setting = os.environ.get(_LIMIT, "")
    try:
        gigabytes = float(setting) if setting.strip() else _DEFAULT_GB
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < float("inf"):
        raise SemvizError(f"{_LIMIT}={setting} is not a number of gigabytes; set it to one such as 2.")
    return int(gigabytes * 1e9)


def entries() -> list[Path]:
    """Files of semviz in the folder, those used last first."""
    folder = cache_folder()
    if folder is None or not folder.is_dir():
        return []
    files = []
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(OSError):  # another process may have removed it
            files.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(files, reverse=True)]


def touch(path: Path) -> None:
    """Note that a file was used now."""
    with suppress(OSError):  # a folder that cannot be written to can still be read
        os.utime(path)


def shrink(most: int | None = None) -> int:
    """Remove what does not fit beside the files that were used later; return how many files went."""
    most, held, gone = limit() if most is None else most, 0, 0
    for path in entries():
        with suppress(OSError):
            size = path.stat().st_size
            if held + size > most:
                path.unlink()
                gone += 1
            else:
                held += size
    return gone
