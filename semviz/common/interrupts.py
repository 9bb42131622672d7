"""Interrupts (Ctrl-C, a notebook's ■) that wait while something is half done.

Python raises `KeyboardInterrupt` between any two instructions of the main thread: also after a hook is set and before
it is noted, or in the middle of a `finally`. What such a place has to put back would stay as it is, so blocks that
change something for a while hold interrupts, and loops in them pass them on where a step is done.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WAITING = threading.Event()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let an interrupt wait for `pass_on`, or for the end of the `with` block; a second one does not wait.

    Outside the main thread, which alone is interrupted, and where somebody else handles the signal, nothing changes.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _WAITING.clear()
    signal.signal(signal.SIGINT, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise_waiting_interrupt()


def waiting() -> bool:
    """Whether an interrupt of this thread waits."""
    return _WAITING.is_set() and threading.current_thread() is threading.main_thread()


def raise_waiting_interrupt() -> None:
    """Let an interrupt that waits through.

    Raises:
        KeyboardInterrupt: If there is one.
    """
    if waiting():
        _WAITING.clear()
        raise KeyboardInterrupt


def _note(number: int, frame: Any) -> None:
    if _WAITING.is_set():
        signal.default_int_handler(number, frame)
    _WAITING.set()
