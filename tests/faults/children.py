"""Child processes that are killed at chosen moments. For Linux and macOS."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 60  # seconds that a child may take


def fork(work: Callable[[], None], *, log: Path) -> int:
    """Run something in a child process that writes to the log and never returns; it has loaded what this one has."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1), os.dup2(file, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def wait(child: int, *, kill_after: float | None = None) -> int:
    """Wait for a child, killing it after some seconds if asked to; its exit code, negative for a signal."""
    started, killed = time.perf_counter(), False
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        waited = time.perf_counter() - started
        if kill_after is not None and waited >= kill_after and not killed:
            os.kill(child, signal.SIGKILL)
            killed = True
        if waited > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise SystemExit(f"A child hung for {PATIENCE} s.")
        time.sleep(0.001)


TEMPORARY = "a temporary file is created"


def on_operations(folder: Path, act: Callable[[int, str], Any]) -> None:
    """Before every file operation of Python's in a folder, call `act(how many so far, event)`."""
    begin, seen = os.fspath(folder), [0]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if any(isinstance(arg, str | os.PathLike) and os.fspath(arg).startswith(begin) for arg in args):
            seen[0] += 1
            act(seen[0], TEMPORARY if event == "open" and args[2] & os.O_EXCL else event)

    sys.addaudithook(hook)


def limit_the_size(folder: Path, file: int, size: int) -> None:
    """From a temporary file on (1 is the first), let the kernel end this process when a file outgrows some bytes."""
    begun = [0]

    def act(_number: int, event: str) -> None:
        if event == TEMPORARY:
            begun[0] += 1
            if begun[0] == file:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    # Python ignores this signal; the write would then fail with an exception, which could be cleaned up after.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    on_operations(folder, act)
