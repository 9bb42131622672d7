"""What a whole report takes: the trace's share, measured on a few rows, beside the plan of its sweep."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from semviz.common import formats
from semviz.experiments.plan import Plan, PlanStep
from semviz.experiments.planning import WORTH_SAYING, Estimate, measure, worth_saying
from semviz.experiments.run_store import Store
from semviz.finetuning.encoded_task import EncodedTask
from semviz.lm.raw_storage import mean_weight_bytes
from semviz.scopes.scope import Scope
from semviz.traces.calibration import default_calibration
from semviz.traces.tracing import DETAILED, trace

if TYPE_CHECKING:
    from semviz.experiments.asked_sweep import AskedSweep
    from semviz.experiments.budget import Deadline
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task

_FEW, _SOME, _MANY = 4, 12, 128  # rows that are traced to measure what a row costs
_SLOW = 0.3  # seconds for a few rows from which on some more are enough
_SHARE = 0.15  # of a budget, for the trace: the profile explains, and the finetunes decide
_FEWEST = 32  # traced rows


@dataclass(frozen=True)
class TraceTimes:
    """What tracing a task's rows takes.

    Attributes:
        rows: Training rows.
        calibration: Seconds that the calibration took.
        start: Seconds of a trace before its first row.
        row: Seconds of one row.
        detail: Seconds more for a row that keeps every position.
    """

    rows: int
    calibration: float
    start: float
    row: float
    detail: float

    def seconds(self, samples: int) -> float:
        """How long a trace of so many rows takes."""
        return self.start + samples * self.row + min(samples, DETAILED) * self.detail

    def samples(self, clock: Deadline) -> int:
        """How many rows to trace."""
        if clock.budget is None or not self.row:
            return self.rows
        fitting = (_SHARE * clock.budget - self.start - DETAILED * self.detail) / self.row
        return min(self.rows, max(_FEWEST, int(fitting)))

    def step(self, samples: int, size: int) -> PlanStep:
        """The trace as a step of a plan.

        Args:
            samples: Rows that are traced.
            size: Bytes of the model's weights.
        """
        of = f" of {formats.number(self.rows, digits=6)}" if samples < self.rows else ""
        return PlanStep(f"trace {samples:,}{of} training rows", samples, self.seconds(samples), size)


@dataclass(frozen=True, eq=False)
class ReportPlan:
    """The plan of a whole report.

    Attributes:
        plan: The plan that is said: loading, calibration, trace, and a sweep with one scope more than is known yet.
        samples: Rows to trace.
        estimate: What was measured.
    """

    plan: Plan
    samples: int
    estimate: Estimate

    def of_sweep(self, asked: AskedSweep, *, clock: Deadline, store: str | Path | None) -> Plan:
        """The plan of the sweep, once its scopes are known, for the time that is left.

        Raises:
            SemvizError: If nothing useful fits into what is left.
        """
        return replace(self.estimate.fit(asked, clock=clock, store=_open(store)), said=self.plan.promised)


def plan_report(
    model: LanguageModel,
    task: Task,
    asked: AskedSweep,
    *,
    clock: Deadline,
    store: str | Path | None,
    samples: int | None = None,
) -> ReportPlan | None:
    """Plan a report; None where it takes less than a minute and has no budget.

    Args:
        model: The loaded model.
        task: The task.
        asked: The sweep but for the scope that the profile will choose (taken to be three quarters up).
        clock: When the report began, and its budget.
        store: Folder of finished runs.
        samples: The most rows to trace; all by default.

    Raises:
        SemvizError: If nothing useful fits into the budget.
    """
    encoded_task = EncodedTask(model, task, progress=False)
    if clock.budget is None and not worth_saying(encoded_task, asked):
        return None
    times = time_tracing(model, task, progress=True)
    estimate = measure(encoded_task, asked)
    samples = min(times.samples(clock), times.rows if samples is None else samples)
    before = times.seconds(samples)
    upper = Scope.above(model, 3 * model.n_blocks // 4)
    later = replace(clock, started=clock.started - before)  # as if the trace were done
    sweep = estimate.fit(asked.with_scopes([*asked.scopes, upper]), clock=later, store=_open(store))
    size = int(model.parts.total * mean_weight_bytes(model.model, model.parts.total))
    plan = replace(
        sweep.beginning(
            PlanStep("load the model", 0, 0.0, size, done=True),
            PlanStep("calibrate it on general text, and time a few steps", 0, 0.0, size, done=True),
            times.step(samples, size),
        ),
        spent=sweep.spent - before,
    )
    return ReportPlan(plan, samples, estimate) if clock.budget or plan.promised >= WORTH_SAYING else None


def time_tracing(model: LanguageModel, task: Task, *, progress: bool) -> TraceTimes:
    """Calibrate the model, which traces need anyway, and time traces of a few rows, with and without detail."""
    started = time.perf_counter()
    default_calibration(model, progress=progress)
    calibrated = time.perf_counter()
    rows = len(task.splits["train"])
    few = min(_FEW, rows)

    def seconds(samples: int, detail: int) -> float:
        begun = time.perf_counter()
        trace(model, task, samples=samples, detail=detail, progress=False)
        return time.perf_counter() - begun

    seconds(few, 0)  # the first is slower
    of_few = seconds(few, 0)
    more = min(rows, _SOME if of_few > _SLOW else _MANY)
    row = max(0.0, seconds(more, 0) - of_few) / (more - few) if more > few else of_few / few
    detail = max(0.0, seconds(few, few) - of_few) / few
    return TraceTimes(rows, calibrated - started, max(0.0, of_few - few * row), row, detail)


def _open(store: str | Path | None) -> Store | None:
    return None if store is None else Store(store)
