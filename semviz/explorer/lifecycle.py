"""What becomes of an Explorer when its cell runs again, or when the kernel is interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakValueDictionary


class Closable(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Stop what runs and take away what is shown."""
        ...


_LIVING: WeakValueDictionary[str, Any] = WeakValueDictionary()


def close_older() -> None:
    """Close the Explorer that the cell which runs now has made before.

    Its output is gone from the notebook, but its job and its widgets would go on living. Where cells are not known
    (a script, a terminal), nothing is closed.
    """
    cell = _cell()
    older = _LIVING.pop(cell, None) if cell is not None else None
    if older is not None:
        older.close()


def remember(app: Closable) -> None:
    """Keep an Explorer as the one of the cell that runs now."""
    cell = _cell()
    if cell is not None:
        _LIVING[cell] = app


def _shell() -> Any:
    """The running IPython shell of a kernel, or None."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    return shell if shell is not None and hasattr(shell, "kernel") else None


def _cell() -> str | None:
    """Id of the notebook cell that runs now."""
    shell = _shell()
    if shell is None:
        return None
    parent = shell.get_parent()
    found = parent.get("metadata", {}).get("cellId") or parent.get("metadata", {}).get("cell_id")
    return str(found) if found else None


class Interrupts:
    """Cancels a background job when a person interrupts the kernel, which by itself stops the running cell only.

    Between cells a kernel ignores the signal, so a handler takes its place while a job runs. A cell that is
    interrupted cancels the job too: who presses ■ wants everything to stop.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        """Make a handler.

        Args:
            cancel: What an interrupt calls.
        """
        self._cancel, self._shell = cancel, _shell()
        self._ignored: Any = None

    def watch(self) -> None:
        """Begin to listen; without a kernel nothing happens, since there the interrupt ends what waits for the job."""
        if self._shell is None:
            return
        self._shell.events.register("post_run_cell", self._after_cell)
        # Soon, not now: after this message the kernel puts back the handler that it had before it.
        self._shell.kernel.io_loop.add_callback(self._install)

    def rest(self) -> None:
        """Stop listening; may be called from the job's thread."""
        if self._shell is None:
            return
        if self._after_cell in self._shell.events.callbacks["post_run_cell"]:
            self._shell.events.unregister("post_run_cell", self._after_cell)
        self._shell.kernel.io_loop.add_callback(self._uninstall)

    def _install(self) -> None:
        if self._ignored is None and threading.current_thread() is threading.main_thread():
            self._ignored = signal.signal(signal.SIGINT, lambda *_: self._cancel())

    def _uninstall(self) -> None:
        if self._ignored is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._ignored)
            self._ignored = None

    def _after_cell(self, result: Any) -> None:
        if isinstance(getattr(result, "error_in_exec", None), KeyboardInterrupt):
            self._cancel()
