"""What a verdict rests on: how many rows and steps, and a caution where they are few."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from semviz.finetuning.run import Run

_FEW_ROWS = 30
_FEW_STEPS = 10


@dataclass(frozen=True)
class Evidence:
    """What an answer rests on.

    Attributes:
        test_rows, validation_rows: How many there are; 0 where they do not count or are not known.
        steps: Optimizer steps of a run.
        searched: Whether learning rates were searched for.
    """

    test_rows: int
    validation_rows: int
    steps: int
    searched: bool = False

    @classmethod
    def of(cls, runs: Iterable[Run]) -> Evidence:
        """The least of what the runs that did not diverge rest on."""
        listed = list(runs)
        trained = [run for run in listed if not run.diverged] or listed
        return cls(
            test_rows=min(len(run.rows) for run in trained),
            validation_rows=min(len(run.validation_rows) for run in trained),
            steps=min(run.steps for run in trained),
            searched=any(run.search_seconds > 0 for run in trained),
        )

    @property
    def caution(self) -> str:
        """A sentence that says what there is too little of; empty where there is enough."""
        counts = (
            (self.test_rows, _FEW_ROWS, "test row"),
            (self.validation_rows, _FEW_ROWS, "validation row"),
            (self.steps, _FEW_STEPS, "optimizer step"),
        )
        few = [f"{n} {what}{'s' if n != 1 else ''}" for n, enough, what in counts if 0 < n < enough]
        if not few:
            return ""
        listed = few[0] if len(few) == 1 else f"{', '.join(few[:-1])} and {few[-1]}"
        return f"A trial, not evidence: only {listed}."
