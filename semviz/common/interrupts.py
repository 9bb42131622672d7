"""Interrupts (Ctrl-C, a notebook's ■) that are held back while something is half done.

Python raises `KeyboardInterrupt` between any two instructions of the main thread: also after a hook is registered and
before its handle is stored, or in the middle of a `finally`. Cleanup would then be skipped, so code that changes
something temporarily holds interrupts, and its loops raise a waiting one after each step.
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
    """Hold an interrupt until `raise_waiting_interrupt` or the end of the `with` block; a second one is not held.

    Outside the main thread, which alone is interrupted, and where other code handles the signal, nothing changes.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _WAITING.clear()
    signal.signal(signal.SIGINT, _hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise_waiting_interrupt()


def interrupt_is_waiting() -> bool:
    """Tell whether an interrupt of this thread is held."""
    return _WAITING.is_set() and threading.current_thread() is threading.main_thread()


def raise_waiting_interrupt() -> None:
    """Raise the interrupt that is held, if there is one.

    Raises:
        KeyboardInterrupt: If an interrupt is held.
    """
    if interrupt_is_waiting():
        _WAITING.clear()
        raise KeyboardInterrupt


def _hold(number: int, frame: Any) -> None:
    if _WAITING.is_set():
        signal.default_int_handler(number, frame)
    _WAITING.set()
