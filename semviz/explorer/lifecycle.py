"""What happens to an Explorer when its cell runs again, or when the kernel is interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakValueDictionary


class Closable(Protocol):
    """An object that can be closed."""

    def close(self) -> None:
        """Stop the job and remove the widget."""
        ...


_OPEN: WeakValueDictionary[str, Any] = WeakValueDictionary()


def close_older() -> None:
    """Close the Explorer that an earlier run of the current cell created.

    Its output is gone from the notebook, but its job and its widgets would stay alive. Without cells (in a script or a
    terminal), nothing is closed.
    """
    cell = _cell()
    older = _OPEN.pop(cell, None) if cell is not None else None
    if older is not None:
        older.close()


def remember(app: Closable) -> None:
    """Register an Explorer as that of the current cell."""
    cell = _cell()
    if cell is not None:
        _OPEN[cell] = app


def _shell() -> Any:
    """Return the kernel's IPython shell, or None outside a kernel."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    return shell if shell is not None and hasattr(shell, "kernel") else None


def _cell() -> str | None:
    """Return the id of the notebook cell that is running."""
    shell = _shell()
    if shell is None:
        return None
    metadata = shell.get_parent().get("metadata", {})
    cell_id = metadata.get("cellId") or metadata.get("cell_id")
    return str(cell_id) if cell_id else None


class Interrupts:
    """Cancels a background job when the user interrupts the kernel, which by itself stops only the running cell.

    Between cells a kernel ignores the signal, so a handler is installed while a job runs. Interrupting a cell cancels
    the job too: whoever presses ■ wants everything to stop.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        """Prepare a handler.

        Args:
            cancel: Called on an interrupt.
        """
        self._cancel, self._shell = cancel, _shell()
        self._previous_handler: Any = None

    def start(self) -> None:
        """Start listening; not needed without a kernel, where an interrupt ends whatever waits for the job."""
        if self._shell is None:
            return
        self._shell.events.register("post_run_cell", self._after_cell)
        # Not at once: after this message the kernel restores the handler that it had before.
        self._shell.kernel.io_loop.add_callback(self._install)

    def stop(self) -> None:
        """Stop listening; may be called from the job's thread."""
        if self._shell is None:
            return
        if self._after_cell in self._shell.events.callbacks["post_run_cell"]:
            self._shell.events.unregister("post_run_cell", self._after_cell)
        self._shell.kernel.io_loop.add_callback(self._uninstall)

    def _install(self) -> None:
        if self._previous_handler is None and threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, lambda *_: self._cancel())

    def _uninstall(self) -> None:
        if self._previous_handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._previous_handler)
            self._previous_handler = None

    def _after_cell(self, result: Any) -> None:
        if isinstance(getattr(result, "error_in_exec", None), KeyboardInterrupt):
            self._cancel()
