"""What a study knows about a task before any finetuning: traces, gain, costs and the untrained scores."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held
from semviz.common.progress import Control
from semviz.common.provenance import Source
from semviz.common.scores import score_named
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.suffix_model import Suffix
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.scopes.costs import Costs, price_scopes
from semviz.scopes.scope import Scope
from semviz.traces.tracing import trace as trace_task

if TYPE_CHECKING:
    from semviz.finetuning.evaluation import SplitScores
    from semviz.gains.gain import Gain
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task
    from semviz.traces.trace import Trace

Vocabulary = Literal["full", "labels"]
_TIMED_ROWS = 8  # rows of the batch that is timed


@dataclass(frozen=True, eq=False)
class OpenedTask:
    """A task with all that is computed before finetuning.

    Attributes:
        task: The task.
        traces: Traces of its training rows, by the vocabulary of the semantic basis; `"full"` is always there.
        gain: Gain of the trace over the full vocabulary.
        costs: Costs of every boundary.
        bench: The tokenized task, with cached prefixes.
        unit_seconds: Seconds of the forward pass per block and token, measured on one batch.
    """

    task: Task
    traces: dict[Vocabulary, Trace]
    gain: Gain
    costs: Costs
    bench: EncodedTask
    unit_seconds: float

    # Computed on demand: pictures need no scores, so they should not wait for a pass over all rows or for Trainer.

    @cached_property
    def test(self) -> SplitScores:
        """Scores of the untrained model on test rows."""
        from semviz.finetuning.finetune import zero_shot

        return zero_shot(self.bench, "test")

    @cached_property
    def validation(self) -> SplitScores:
        """Scores of the untrained model on validation rows."""
        from semviz.finetuning.finetune import zero_shot

        return zero_shot(self.bench, "validation")

    def score(self, control: Control) -> None:
        """Compute the scores now, so that a finished run does not have to wait for them.

        Raises:
            Cancelled: If asked to stop.
        """
        self.bench.control, self.bench.progress = control, False
        _ = self.test, self.validation

    @property
    def untrained(self) -> float:
        """Score of the untrained model on test rows, accuracy or loss."""
        return score_named(self.task.score).of(self.test)


@on_fitting_threads
@default_surroundings()
def open_task(
    model: LanguageModel,
    task: Task,
    *,
    trace: Trace | None = None,
    samples: int | None = None,
    control: Control | None = None,
    progress: bool = True,
) -> OpenedTask:
    """Trace a task, estimate its gain, and compute the costs of its scopes.

    Args:
        model: A loaded model, already checked.
        task: A task, already checked.
        trace: A trace of this task over the full vocabulary, to save tracing it again.
        samples: How many samples to trace, drawn at random with a fixed seed; all by default.
        control: Reports progress, and can cancel.
        progress: Show progress bars.

    Raises:
        Cancelled: If asked to stop.
        SemvizError: If the trace is of another model or task, or as in `semviz.trace`, `Trace.gain` and `finetune`.
    """
    control = control or Control()
    if trace is None:
        trace = trace_task(model, task, samples=samples, control=control, progress=progress)
    else:
        _check(trace, model, task)
    gain = trace.gain()
    bench = EncodedTask(model, task, control=control, progress=progress)
    costs = price_scopes(model, bench.part("train", 0).encoded)
    control.check()
    return OpenedTask(task, {"full": trace}, gain, costs, bench, _unit_seconds(bench, costs))


def _unit_seconds(bench: EncodedTask, costs: Costs) -> float:
    """Time a small forward pass, after one to warm up."""
    suffix = Suffix(bench.model, Scope.last(bench.model), cached=False, own_weights=False)
    part = bench.part("train", 0)
    batch = bench.collator(part)(list(range(min(_TIMED_ROWS, len(part)))))
    batch = {key: value.to(bench.model.device) for key, value in batch.items()}
    seconds = 0.0
    with interrupts_held(), torch.no_grad():
        for _ in range(2):
            started = time.perf_counter()
            float(suffix(**batch)["loss"])
            seconds = time.perf_counter() - started
    return seconds / batch["input_ids"].numel() / (bench.model.n_blocks + costs.head)


def _check(trace: Trace, model: LanguageModel, task: Task) -> None:
    """Refuse a trace of another model or task, whose pictures would not match the runs."""
    from semviz.traces.trace import Trace

    checks.of_class("trace", trace, Trace, "sv.trace(model, task), or leave it out")
    instead = "pass sv.trace(model, task), or leave it out"
    study = Source(model.name, model.hash, task.name, task.lineage)
    trace.source.check("trace", study, instead, same_rows=True)
    for key, expected in {"kind": task.kind, "vocab": "full"}.items():
        if trace.meta[key] != expected:
            raise SemvizError(f"trace has {key} {trace.meta[key]!r}, but this study needs {expected!r}; {instead}.")
