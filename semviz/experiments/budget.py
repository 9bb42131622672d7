"""A budget of time: how it is written, and what is left out so that finetunes fit into it.

What is left out first is what should change the answer least. The order is a judgement, which
`tests/bench/bench_plan.py order` puts to the test. Each step is taken only as far as needed:

1. Seeds after the first.
2. Scopes, down to four that are spread evenly: a law through a few measured ones predicts those between.
3. Validation and test rows beyond 200: they cost a pass for every training, and more rows narrow intervals slowly.
4. Epochs, down to one: every row is still read once.
5. Training rows, down to ten steps; validation and test rows only where they would be more than a third of these.
6. Scopes, down to the largest and the smallest.
7. The search for learning rates: every scope then trains at the rate that is usual for its depth.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from semviz.common import checks, formats
from semviz.common.errors import Cancelled, SemvizError
from semviz.common.progress import Control
from semviz.finetuning.recipe import Recipe

_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}
_PART = re.compile(r"(\d+(?:[.,]\d+)?)\s*([a-z]+)\s*")
_INSTEAD = 'seconds as a number, or a text such as "10 min", "90 s" or "1 h"'
SHARE = 0.8  # of a budget that is planned for: measured times differ from planned ones
FEWEST_STEPS = 10  # optimizer steps of a run; fewer are no evidence
FEWEST_SCORED = 30  # validation and test rows; fewer are no evidence
_ENOUGH_SCORED = 200
_SCORED_SHARE = 1 / 3  # of the training rows: scoring a row costs about a third of a training step on it
_ENOUGH_SCOPES = 4
_THINNER = 0.8  # factor from one try to the next


def as_seconds(budget: Any) -> float:
    """Return a budget in seconds.

    Raises:
        SemvizError: If it is neither a positive number nor a text such as `"10 min"`.
    """
    if isinstance(budget, str):
        text = budget.strip().lower()
        parts = _PART.findall(text)
        if not parts or _PART.sub("", text):
            raise SemvizError(f"{checks.named_repr('budget', budget)} is no time; pass {_INSTEAD}.")
        total = 0.0
        for number, unit in parts:
            if unit not in _UNITS:
                raise SemvizError(f"{checks.named_repr('budget', budget)}: {unit!r} is no unit; pass {_INSTEAD}.")
            if re.fullmatch(r"\d+,\d{3}", number):
                raise SemvizError(f"{checks.named_repr('budget', budget)}: {number!r} is unclear; pass {_INSTEAD}.")
            total += float(number.replace(",", ".")) * _UNITS[unit]
        budget = total
    return checks.positive("budget", budget, _INSTEAD)


@dataclass(frozen=True)
class Size:
    """How much a sweep does.

    Attributes:
        scopes: How many scopes are trained.
        seeds: How many seeds.
        epochs: Passes over the training rows.
        train, validation, test: Rows.
        searched: Whether learning rates are searched for.
    """

    scopes: int
    seeds: int
    epochs: float
    train: int
    validation: int
    test: int
    searched: bool

    def steps(self, batch_size: int) -> int:
        """Optimizer steps of one run, as Trainer counts."""
        return Recipe(epochs=self.epochs, batch_size=batch_size).steps(self.train)


def smaller(whole: Size, batch_size: int) -> Iterator[Size]:
    """Sizes from the whole one to the least that is useful, each a little less than the one before."""
    size = whole
    yield size
    if size.seeds > 1:
        yield (size := replace(size, seeds=1))
    while size.scopes > _ENOUGH_SCOPES:
        yield (size := replace(size, scopes=max(_ENOUGH_SCOPES, math.floor(size.scopes * _THINNER))))
    scored = replace(size, validation=min(size.validation, _ENOUGH_SCORED), test=min(size.test, _ENOUGH_SCORED))
    if scored != size:
        yield (size := scored)
    while size.epochs > 1 and replace(size, epochs=max(1, size.epochs - 1)).steps(batch_size) >= FEWEST_STEPS:
        yield (size := replace(size, epochs=max(1, size.epochs - 1)))
    while True:
        fewer = math.floor(size.train * _THINNER)
        most = max(FEWEST_SCORED, round(fewer * _SCORED_SHARE))
        thinned = replace(size, train=fewer, validation=min(size.validation, most), test=min(size.test, most))
        if thinned.steps(batch_size) < FEWEST_STEPS:
            break
        yield (size := thinned)
    while size.scopes > 2:
        yield (size := replace(size, scopes=size.scopes - 1))
    if size.searched:
        yield (size := replace(size, searched=False))
    least = replace(size, validation=min(size.validation, FEWEST_SCORED), test=min(size.test, FEWEST_SCORED))
    if least != size:
        yield least


def largest_that_fits(
    whole: Size, batch_size: int, seconds_of: Callable[[Size], float], *, budget: float, spent: float = 0.0
) -> Size:
    """Choose the largest size that is planned to take a share of the budget.

    Args:
        whole: What would be done without a budget.
        batch_size: Rows per step.
        seconds_of: What a size is planned to take.
        budget: Seconds in all.
        spent: Seconds of them that the measurement has taken.

    Raises:
        SemvizError: If not even the least that is useful fits; the message says how long that takes.
    """
    size = whole
    for size in smaller(whole, batch_size):
        if seconds_of(size) <= SHARE * (budget - spent):
            return size
    least = spent + seconds_of(size) / SHARE
    taken, before = formats.seconds(seconds_of(size)), formats.seconds(spent)
    raise SemvizError(
        f"Nothing useful fits into {formats.seconds(budget)}: {size.scopes} scopes at usual learning rates, "
        f"{size.steps(batch_size)} steps each and {size.test} test rows would take about {taken}, "
        f"after {before} for what comes before them; pass a budget of at least {math.ceil(least)} seconds, shorter "
        "texts or a smaller model."
    )


@dataclass(frozen=True)
class Deadline:
    """When something began, and when its budget is spent.

    Attributes:
        budget: Seconds in all; None where there is no limit.
        started: When it began, by `time.perf_counter`.
    """

    budget: float | None
    started: float

    @classmethod
    def start(cls, budget: float | None) -> Deadline:
        """Begin now."""
        return cls(budget, time.perf_counter())

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0; infinite without a limit."""
        return math.inf if self.budget is None else max(0.0, self.budget - self.spent)


class TimedControl(Control):
    """A control that also ends a job when a budget is spent, within one step."""

    def __init__(self, control: Control, clock: Deadline) -> None:
        super().__init__(control.tell)
        self._control, self._clock = control, clock

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop, or its time is up."""
        return self._control.cancelled or self.is_late

    @property
    def is_late(self) -> bool:
        """Whether the budget is spent."""
        return self._clock.left <= 0

    def check(self) -> None:
        """Raise `Cancelled` if the job was asked to stop, or its time is up."""
        self._control.check()
        if self.is_late:
            raise Cancelled(f"The budget of {formats.seconds(self._clock.budget)} is spent.")
