"""`LiveCurves`: the training curves of a running job, one trial for each learning rate."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from semviz.common.progress import Progress


@dataclass
class LiveCurve:
    """The curve of one trial while it trains.

    Attributes:
        label: What is being trained, in words.
        rate: Peak learning rate.
        steps: Optimizer steps of the points so far, in rising order.
        losses: Training loss at these steps in nats; not finite where training diverged.
        accuracies: Share of the targets of the training batches that were ranked first; None where it is unknown.
        total: Number of steps that the trial will take.
    """

    label: str
    rate: float
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float | None] = field(default_factory=list)
    total: int = 0


class LiveCurves:
    """The progress that a job has reported so far.

    Attributes:
        trials: The curves of its trials, the newest last.
        stage: What it is doing now, in words; empty before its first report.
        done, total: Steps of this stage.
    """

    def __init__(self) -> None:
        self.trials: list[LiveCurve] = []
        self.stage, self.done, self.total = "", 0, 0
        self._stage_began, self._first_done = 0.0, 0

    def record(self, progress: Progress) -> None:
        """Record one step; called at every step, so it does little."""
        rate = self.trials[-1].rate if self.trials else None
        is_new = progress.stage != self.stage or progress.done < self.done or progress.lr not in (None, rate)
        if is_new:
            self._stage_began, self._first_done = time.perf_counter(), progress.done
        self.stage, self.done, self.total = progress.stage, progress.done, progress.total
        if progress.lr is None:
            return
        if is_new:
            self.trials.append(self._paused(progress) or LiveCurve(progress.stage, progress.lr, total=progress.total))
        trial = self.trials[-1]
        if progress.loss is not None and (not trial.losses or trial.losses[-1] != progress.loss):
            trial.steps.append(progress.done)
            trial.losses.append(progress.loss)
            trial.accuracies.append(progress.accuracy)

    def _paused(self, progress: Progress) -> LiveCurve | None:
        """Take out the trial that goes on here: while a rate was searched for, another one trained in between."""
        for i, trial in enumerate(self.trials):
            same = (trial.label, trial.rate, trial.total) == (progress.stage, progress.lr, progress.total)
            if same and trial.steps and 0 <= progress.done - trial.steps[-1] <= 1 + max(1, trial.total // 50):
                return self.trials.pop(i)
        return None

    @property
    def seconds_left(self) -> float:
        """Expected time to the end of this stage at the pace so far; NaN before its first step."""
        steps = self.done - self._first_done
        if steps < 1:
            return float("nan")
        return (time.perf_counter() - self._stage_began) / steps * (self.total - self.done)
