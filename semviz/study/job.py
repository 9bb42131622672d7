"""`Job`: work in a background thread that can be watched, waited for and cancelled."""

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
_REPORT_SECONDS = 0.2  # between two progress reports: nobody would see more, and they would cost training time


class Job(Generic[Result]):
    """One piece of work in a background thread.

    Attributes:
        label: What is being done, in words.
        state: `"running"`, `"done"`, `"cancelled"` or `"failed"`.
        progress: The latest progress report; None before the first.
        error: The exception that ended it, if it failed or was cancelled.

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
        """Prepare a job; call `start` to run it.

        Args:
            label: What is being done.
            work: Called with a `Control` in the job's thread; it should raise `Cancelled` when asked to stop.
            on_step: Called in the job's thread after every step; it should be quick.
            on_progress: Called in the job's thread at most five times a second, and at the last step of each stage.
            on_end: Called in the job's thread when the work has ended in any way; `wait` returns after it.
        """
        self.label = label
        self.state: State = "running"
        self.progress: Progress | None = None
        self.error: BaseException | None = None
        self._work, self._on_step, self._on_progress, self._on_end = work, on_step, on_progress, on_end
        self._control = Control(self._report)
        self._last_report = -_REPORT_SECONDS
        self._value: list[Result] = []
        self._ended = threading.Event()
        # Widgets find the kernel that they belong to through context variables (ipykernel 7).
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=f"semviz: {label}", daemon=True)

    def start(self) -> Job[Result]:
        """Start the thread."""
        self._thread.start()
        return self

    @property
    def running(self) -> bool:
        """Whether the work has not ended yet."""
        return not self._ended.is_set()

    def cancel(self) -> None:
        """Ask the work to stop; it stops within one step."""
        self._control.cancel()

    def wait(self, timeout: float | None = None) -> Job[Result]:
        """Wait until the work has ended; interrupting the wait cancels the job.

        Args:
            timeout: The most seconds to wait; None waits as long as it takes.

        Returns:
            The job itself; look at `state`.
        """
        try:
            self._ended.wait(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        return self

    def result(self) -> Result:
        """Wait for the work to end and return its result.

        Raises:
            BaseException: The exception that ended the work.
        """
        self.wait()
        if self.error is not None:
            raise self.error
        return self._value[0]

    @property
    def value(self) -> Result | None:
        """What the work returned; None before that."""
        return self._value[0] if self._value else None

    @property
    def traceback(self) -> str:
        """The traceback of the error; empty if there is none."""
        return "".join(traceback.format_exception(self.error)) if self.error is not None else ""

    def _report(self, progress: Progress) -> None:
        self.progress = progress
        if self._on_step is not None:
            self._on_step(progress)
        now = time.perf_counter()
        if self._on_progress is not None and (
            now - self._last_report >= _REPORT_SECONDS or progress.done >= progress.total
        ):
            self._last_report = now
            self._on_progress(progress)

    def _run(self) -> None:
        try:
            self._value = [self._work(self._control)]
            self.state = "done"
        except Cancelled as error:
            self.state, self.error = "cancelled", error
        except BaseException as error:  # kept for whoever looks at the job: nothing above this thread could handle it
            self.state, self.error = "failed", error
        try:
            if self._on_end is not None:
                self._on_end(self)
        finally:
            self._ended.set()

    def __repr__(self) -> str:
        """One line: the label and the state."""
        return f"Job({self.label}: {self.state})"
