"""Who trains which run: a file for each key, so that no two processes that share a store train the same run.

The holder touches its file. One whose process has died is free at once on the same machine, and from another after a
while without a touch, as the waiting process' own clock has it: clocks of machines differ.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil

_BEAT = 10.0  # seconds between touches
_EXPIRES = 120.0  # seconds without a touch after which a holder on another machine counts as dead
_POLL = 0.2


@contextmanager
def claimed(folder: Path, key: str, *, is_done: Callable[[], bool], check: Callable[[], None]) -> Iterator[bool]:
    """Wait until this process alone may train a run, or until it is trained; yield whether it is left to train.

    Args:
        folder: Where claims lie.
        key: The run's key.
        is_done: Whether the run is in the store.
        check: Called while waiting; may raise to give up.
    """
    watched = _Watched()
    while not is_done():
        path = _next_claim(folder, key, watched)
        if path is None or not _take(path):
            check()
            time.sleep(_POLL)
            continue
        stop = threading.Event()
        threading.Thread(target=_keep_alive, args=(path, stop), daemon=True).start()
        try:
            yield not is_done()  # it may have been finished just before it was claimed
        finally:
            stop.set()
            for claim in _claims(folder, key):
                if _number(claim) <= _number(path):
                    claim.unlink(missing_ok=True)
        return
    yield False


class _Watched:
    """Which claim is waited for, when it was last touched, and since when by this process' clock."""

    def __init__(self) -> None:
        self._seen: tuple[Path, int] | None = None
        self._since = 0.0

    def is_silent(self, path: Path) -> bool:
        """Whether a claim has not been touched for long."""
        seen = path, path.stat().st_mtime_ns
        if seen != self._seen:
            self._seen, self._since = seen, time.monotonic()
        return time.monotonic() - self._since > _EXPIRES


def _claims(folder: Path, key: str) -> list[Path]:
    return sorted(folder.glob(f"{key}.*.claim"), key=_number)


def _number(path: Path) -> int:
    return int(path.name.split(".")[1])


def _next_claim(folder: Path, key: str, watched: _Watched) -> Path | None:
    """Return the file that claims the key, numbered above that of a dead holder; None while somebody holds it.

    A dead holder's file is not removed first: two processes that do so could remove each other's.
    """
    claims = _claims(folder, key)
    if not claims:
        return folder / f"{key}.0.claim"
    last = claims[-1]
    try:
        if not _has_died(last) and not watched.is_silent(last):
            return None
    except FileNotFoundError:  # given back meanwhile
        return None
    return folder / f"{key}.{_number(last) + 1}.claim"


def _take(path: Path) -> bool:
    """Create a claim; whether nobody was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with open(handle, "w", encoding="utf-8") as file:
        json.dump({"place": _place(), "pid": os.getpid(), "born": psutil.Process().create_time()}, file)
    return True


def _has_died(path: Path) -> bool:
    """Whether the holder was a process of this machine, and is no more; False where that cannot be known."""
    try:
        holder = json.loads(path.read_bytes())
        if holder["place"] != _place():
            return False
        return abs(psutil.Process(holder["pid"]).create_time() - holder["born"]) > 1
    except psutil.NoSuchProcess:
        return True
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):  # half written
        return False


@cache
def _place() -> str:
    """The machine since it was started, and the namespace in which process ids count: containers have their own."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _keep_alive(path: Path, stop: threading.Event) -> None:
    while not stop.wait(_BEAT):
        with suppress(OSError):  # of the mount: the next one may work
            os.utime(path)
