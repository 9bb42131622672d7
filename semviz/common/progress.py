"""Progress that people and programs can watch, and a way to stop a job."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from semviz.common import checks
from semviz.common.errors import Cancelled

_SECONDS_A_LINE = 30.0
_LINE = "{desc}: {percentage:.0f} % of {total_fmt}{unit}, {remaining} left"


def progress_bar(total: int, label: str, *, unit: str, show: bool, delay: float = 0) -> Any:
    """Return a progress bar that disappears when it is done, and that shows after `delay` seconds.

    Where stderr is a log, what takes long writes a line each half minute instead.
    """
    options: dict[str, Any] = {"delay": delay}
    if _is_log():
        options = {"file": _Lines(), "bar_format": _LINE, "position": 0}
    return tqdm(total=total, desc=label, unit=f" {unit}", leave=False, disable=not (show and bars_shown()), **options)


class _Lines(io.TextIOBase):
    """Frames of a bar as lines of stderr, the first after half a minute, and one each half minute."""

    def __init__(self) -> None:
        self._written = time.monotonic()

    def write(self, text: str) -> int:
        frame = text.strip()
        if frame and time.monotonic() >= self._written + _SECONDS_A_LINE:
            self._written = time.monotonic()
            print(frame, file=sys.stderr, flush=True)
        return len(text)


def _is_log() -> bool:
    """Whether stderr is neither a terminal nor a notebook."""
    return "ipykernel" not in sys.modules and not (sys.stderr is not None and sys.stderr.isatty())


def say(message: str, *, show: bool) -> None:
    """Print a line on stderr, above the bars."""
    if show and bars_shown():
        tqdm.write(message, file=sys.stderr)


def bars_shown() -> bool:
    """Whether bars and lines beside them are wanted: TQDM_DISABLE switches both off."""
    # tqdm's own notebook bar ignores this variable, and bars would end up in the outputs of compared notebooks.
    return os.environ.get("TQDM_DISABLE", "0") in ("", "0")


@dataclass(frozen=True)
class Progress:
    """How far a job has come.

    Attributes:
        stage: What is being done, in words.
        done, total: Steps of this stage.
        loss: Training loss when it was last logged, in nats; None outside training.
        accuracy: Share of the targets of the training batches since the previous log that were ranked first.
        lr: Peak learning rate of the training run; None outside training.
    """

    stage: str
    done: int
    total: int
    loss: float | None = None
    accuracy: float | None = None
    lr: float | None = None


class Control:
    """A handle on a finetune, sweep or probe that runs in another thread: watch it, and stop it within one step.

    Example:
        >>> control = Control(lambda progress: None)
        >>> control.cancel()
        >>> control.cancelled
        True
    """

    def __init__(self, on_progress: Callable[[Progress], None] | None = None) -> None:
        """Create a handle.

        Args:
            on_progress: Called in the job's thread after every training step and every batch read; an
                exception in it ends the job.
        """
        self._on_progress, self._stop = on_progress, threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Ask the job to stop; it raises `Cancelled` in its own thread. Finished runs stay in the store."""
        self._stop.set()

    def tell(self, progress: Progress) -> None:
        """Tell the watcher how far the job has come."""
        if self._on_progress is not None:
            self._on_progress(progress)

    def check(self) -> None:
        """Raise `Cancelled` if the job was asked to stop.

        Raises:
            Cancelled: If the job was asked to stop.
        """
        if self._stop.is_set():
            raise Cancelled("Cancelled before the end; the model is as before, and finished runs are in the store.")


def check_control(control: Any) -> None:
    """Refuse anything but a `Control` or None.

    Raises:
        SemvizError: If it is something else.
    """
    checks.of_class("control", control, (Control, type(None)), "semviz.Control(), or None")
