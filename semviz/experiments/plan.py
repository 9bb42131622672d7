"""`Plan`: what finetunes will do before they begin: on which rows, for how long, in how much memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from semviz.common import formats

if TYPE_CHECKING:
    from semviz.experiments.asked_sweep import AskedSweep
    from semviz.scopes.scope import Scope
    from semviz.tasks.task import Task


@dataclass(frozen=True)
class PlanStep:
    """One step of a plan.

    Attributes:
        what: The step in words.
        rows: Rows that it reads, each as often as the step needs.
        seconds: How long it is expected to take; 0 if it is done.
        bytes: Memory that it needs, the model's weights included.
        done: Whether it need not run: a finished run in the store.
        scope, method, seed: Of a finetune.
    """

    what: str
    rows: int
    seconds: float
    bytes: int
    done: bool = False
    scope: Scope | None = field(default=None, repr=False)
    method: str = ""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Plan:
    """What will run, how long it will take, how much memory it needs, and on which rows.

    Attributes:
        model: Name of the model.
        steps: The steps in order.
        task: The task with the rows that will be used; a subset where a budget asks for it.
        asked: What will train, and how.
        budget: Seconds that may be spent; None without a budget.
        cuts: What is left out to fit the budget, in words: `200 of 600 training rows`.
        spent: Seconds that had passed since the beginning when the plan was made.
        said: Seconds in all that were said before, where a plan was made anew meanwhile.
    """

    model: str
    steps: tuple[PlanStep, ...]
    task: Task = field(repr=False)
    asked: AskedSweep = field(repr=False)
    budget: float | None = None
    cuts: tuple[str, ...] = ()
    spent: float = 0.0
    said: float | None = None

    @property
    def seconds(self) -> float:
        """How long all steps are expected to take that are not done."""
        return float(sum(step.seconds for step in self.steps))

    @property
    def promised(self) -> float:
        """Seconds from the beginning to the end, as they were said first."""
        return self.spent + self.seconds if self.said is None else self.said

    @property
    def bytes(self) -> int:
        """The most memory that a step needs, the model's weights included."""
        return max(step.bytes for step in self.steps)

    @property
    def fit(self) -> str:
        """What is left out to fit the budget, as a clause; empty if nothing is."""
        if self.budget is None:
            return ""
        limit = formats.seconds(self.budget)
        return f"to fit {limit}: {', '.join(self.cuts)}" if self.cuts else f"all of it fits {limit}"

    @property
    def message(self) -> str:
        """The plan in a few sentences."""
        runs = [step for step in self.steps if step.scope is not None]
        done = sum(step.done for step in runs)
        finetunes = f"{len(runs)} finetune{'s' if len(runs) != 1 else ''}"
        stored = f" ({done} of them finished in the store)" if done else ""
        rows = {name: len(self.task.splits[name]) for name in ("train", "validation", "test")}
        epochs = "1 epoch" if self.asked.recipe.epochs == 1 else f"{self.asked.recipe.epochs:g} epochs"
        cuts = f" {self.fit[0].upper()}{self.fit[1:]}." if self.fit else ""
        return (
            f"Plan for {self.task.name}: {finetunes}{stored}, each {epochs} over {rows['train']:,} training rows, "
            f"scored on {rows['validation']:,} validation and {rows['test']:,} test rows: about "
            f"{formats.seconds(self.seconds)} and {formats.size(self.bytes)} of memory.{cuts}"
        )

    def seconds_of(self, scope: Scope, method: str = "full", seed: int = 0) -> float:
        """Seconds of one run; where it is not in the plan, those of the smallest planned run that trains as much."""
        runs = [step for step in self.steps if step.scope is not None]
        for step in runs:
            if (step.scope, step.method, step.seed) == (scope, method, seed):
                return step.seconds
        larger = [(step.scope.trainable, step.seconds) for step in runs if step.scope is not None]
        return min((pair for pair in larger if pair[0] >= scope.trainable), default=max(larger))[1]

    def note(self, took: float, *, skipped: Sequence[str] = ()) -> str:
        """Say under which budget an answer was found, planned beside measured; empty without a budget.

        Args:
            took: Seconds that it took since the budget began.
            skipped: Scopes that were not trained to the end, since time ran out.
        """
        if self.budget is None:
            return ""
        left_out = f"; not done, for lack of time: {', '.join(skipped)}" if skipped else ""
        return (
            f"Found under a budget of {formats.seconds(self.budget)} ({', '.join(self.cuts) or 'nothing was left out'}"
            f"{left_out}); planned {formats.seconds(self.promised)}, took {formats.seconds(took)}."
        )

    def beginning(self, *steps: PlanStep) -> Plan:
        """The plan with more steps before its own."""
        return replace(self, steps=(*steps, *self.steps))

    def frame(self) -> pd.DataFrame:
        """One row per step: what, rows, seconds, bytes, done."""
        columns = ("what", "rows", "seconds", "bytes", "done")
        return pd.DataFrame([{name: getattr(step, name) for name in columns} for step in self.steps])

    def __repr__(self) -> str:
        """One line: task, finetunes, seconds, bytes, and what a budget leaves out."""
        fit = f"; {self.fit}" if self.fit else ""
        runs = sum(step.scope is not None for step in self.steps)
        return (
            f"Plan({self.model} on {self.task.name}: {runs} finetunes, about {formats.seconds(self.seconds)}, "
            f"{formats.size(self.bytes)}{fit})"
        )

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(self.message, self.frame().round(1))
