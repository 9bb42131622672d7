"""`Pace`: how a sweep keeps to its plan; with a budget, what would not be done in time is left out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from semviz.common.errors import Cancelled
from semviz.common.progress import Control
from semviz.experiments.budget import Deadline, TimedControl

if TYPE_CHECKING:
    from semviz.experiments.plan import Plan
    from semviz.finetuning.recipe import Recipe
    from semviz.finetuning.run import Run
    from semviz.scopes.scope import Scope

_ALWAYS = 2  # runs: the one that others are compared with, and one more


class Pace:
    """Trains what there is time for.

    Attributes:
        skipped: Labels of the scopes for which there was none.
    """

    def __init__(self, plan: Plan | None, clock: Deadline | None, control: Control) -> None:
        """Begin.

        Args:
            plan: What each run is planned to take.
            clock: When the budget is spent; None without one.
            control: The caller's.
        """
        self.skipped: list[str] = []
        self._plan, self._clock, self._control = plan, clock, control
        self._started = time.perf_counter()
        self._trained = 0
        self._spent = self._foreseen = 0.0

    def train(self, scope: Scope, recipe: Recipe, run: Callable[..., Run]) -> Run | None:
        """Train a scope if there is time, for as long as there is.

        Args:
            scope: The scope.
            recipe: How it is trained.
            run: Trains it, and stops when the `control=` that it is given says so.

        Returns:
            The run; None where time ran out.

        Raises:
            Cancelled: If the caller asked to stop.
        """
        seconds = 0.0 if self._plan is None else self._plan.seconds_of(scope, recipe.method, recipe.seed)
        stop = self._control
        if self._clock is not None and self._trained >= _ALWAYS:
            stop = TimedControl(self._control, self._clock)
            slower = max(1.0, self._spent / self._foreseen) if self._foreseen else 1.0
            afterwards = 0.0 if self._plan is None else self._plan.steps[-1].seconds  # scores before finetuning
            if (seconds + afterwards) * slower > self._clock.left:
                self.skipped.append(scope.label)
                return None
        began = time.perf_counter()
        try:
            done = run(control=stop)
        except Cancelled:
            if self._control.cancelled or stop is self._control:
                raise
            self.skipped.append(scope.label)
            return None
        self._trained += 1
        self._spent, self._foreseen = self._spent + time.perf_counter() - began, self._foreseen + seconds
        return done

    @property
    def took(self) -> float:
        """Seconds since it began, or since the budget did."""
        return time.perf_counter() - self._started if self._clock is None else self._clock.spent

    @property
    def note(self) -> str:
        """Under which budget the runs were made; empty without one."""
        return "" if self._plan is None else self._plan.note(self.took, skipped=self.skipped)
