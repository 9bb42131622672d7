"""`Job`: work in a thread of its own, that can be watched, waited for and cancelled."""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from semviz.common.errors import Cancelled
from semviz.common.progress import Control, Progress

State = Literal["running", "done", "cancelled", "failed"]
Result = TypeVar("Result")
_EVERY = 0.2  # seconds between two reports of progress: more would be seen by nobody, and cost training time


class Job(Generic[Result]):
    """One piece of work in a background thread.

    Attributes:
        label: What is being done, in words.
        state: `"running"`, `"done"`, `"cancelled"` or `"failed"`.
        progress: The last that the work has told; None before that.
        error: What ended it, if it failed.

    Example:
        >>> Job("Adding", lambda control: 1 + 1).start().result()
        2
    """

    def __init__(
        self,
        label: str,
        work: Callable[[Control], Result],
        *,
        on_step: Callable[[Progress], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_end: Callable[[Job[Result]], None] | None = None,
    ) -> None:
        """Prepare a job; `start` starts it.

        Args:
            label: What is being done.
            work: Called with a `Control` in the job's thread; it ends at `Cancelled` when asked to.
            on_step: Called in the job's thread at every step; it should be quick.
            on_progress: Called in the job's thread at most five times a second, and at the last step of each stage.
            on_end: Called in the job's thread when the work has ended, however it did; `wait` returns after it.
        """
        self.label = label
        self.state: State = "running"
        self.progress: Progress | None = None
        self.error: BaseException | None = None
        self._work, self._on_step, self._on_progress, self._on_end = work, on_step, on_progress, on_end
        self._control = Control(self._hear)
        self._told = -_EVERY
        self._value: list[Result] = []
        self._over = threading.Event()
        # Widgets find the kernel that they belong to through context variables (ipykernel 7).
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=f"semviz: {label}", daemon=True)

    def start(self) -> Job[Result]:
        """Start the thread."""
        self._thread.start()
        return self

    @property
    def running(self) -> bool:
        """Whether the thread is at work."""
        return not self._over.is_set()

    def cancel(self) -> None:
        """Ask the work to stop; it does within one step."""
        self._control.cancel()

    def wait(self, timeout: float | None = None) -> Job[Result]:
        """Wait until the work has ended; an interrupt of the wait cancels it.

        Args:
            timeout: Seconds to wait at most; None waits as long as it takes.

        Returns:
            The job itself; look at `state`.
        """
        try:
            self._over.wait(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        return self

    def result(self) -> Result:
        """Wait for what the work returns.

        Raises:
            BaseException: What ended the work.
        """
        self.wait()
        if self.error is not None:
            raise self.error
        return self._value[0]

    @property
    def value(self) -> Result | None:
        """What the work has returned; None before that."""
        return self._value[0] if self._value else None

    @property
    def traceback(self) -> str:
        """The error's traceback; empty if there is none."""
        return "".join(traceback.format_exception(self.error)) if self.error is not None else ""

    def _hear(self, progress: Progress) -> None:
        self.progress = progress
        if self._on_step is not None:
            self._on_step(progress)
        now = time.perf_counter()
        if self._on_progress is not None and (now - self._told >= _EVERY or progress.done >= progress.total):
            self._told = now
            self._on_progress(progress)

    def _run(self) -> None:
        try:
            self._value = [self._work(self._control)]
            self.state = "done"
        except Cancelled as error:
            self.state, self.error = "cancelled", error
        except BaseException as error:  # told to whoever looks at the job; a thread has nobody else to tell
            self.state, self.error = "failed", error
        try:
            if self._on_end is not None:
                self._on_end(self)
        finally:
            self._over.set()

    def __repr__(self) -> str:
        """One line: what, and how far."""
        return f"Job({self.label}: {self.state})"
