"""`LiveCurves`: the live curves of a job that trains, one for each learning rate that is tried."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from semviz.common.progress import Progress


@dataclass
class LiveCurve:
    """One training, while it runs.

    Attributes:
        label: What trains, in words.
        rate: Peak learning rate.
        steps: Optimizer steps of the points so far, rising.
        losses: Training loss there in nats; not finite where it diverged.
        accuracies: Share of the targets of the training batches that were ranked first; None where it is not known.
        total: Steps that it will take.
    """

    label: str
    rate: float
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float | None] = field(default_factory=list)
    total: int = 0


class LiveCurves:
    """What a job has told so far.

    Attributes:
        trials: Its trainings, the newest last.
        stage: What it does now, in words; empty before it has told anything.
        done, total: Steps of this stage.
    """

    def __init__(self) -> None:
        self.trials: list[LiveCurve] = []
        self.stage, self.done, self.total = "", 0, 0
        self._since, self._from = 0.0, 0

    def hear(self, progress: Progress) -> None:
        """Take note of a step; called at every one, so it does little."""
        rate = self.trials[-1].rate if self.trials else None
        is_new = progress.stage != self.stage or progress.done < self.done or progress.lr not in (None, rate)
        if is_new:
            self._since, self._from = time.perf_counter(), progress.done
        self.stage, self.done, self.total = progress.stage, progress.done, progress.total
        if progress.lr is None:
            return
        if is_new:
            self.trials.append(LiveCurve(progress.stage, progress.lr, total=progress.total))
        trial = self.trials[-1]
        if progress.loss is not None and (not trial.losses or trial.losses[-1] != progress.loss):
            trial.steps.append(progress.done)
            trial.losses.append(progress.loss)
            trial.accuracies.append(progress.accuracy)

    @property
    def seconds_left(self) -> float:
        """Expected time to the end of this stage at the pace so far; NaN before there is one."""
        moved = self.done - self._from
        if moved < 1:
            return float("nan")
        return (time.perf_counter() - self._since) / moved * (self.total - self.done)
