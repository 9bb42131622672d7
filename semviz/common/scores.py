"""`Score`: what finetuning is judged by, accuracy or loss, with its name, unit, format and better direction."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from semviz.common import checks, formats

T = TypeVar("T")


class Scored(Protocol):
    """Anything with both scores: a run, or the scores of a split."""

    @property
    def accuracy(self) -> float:
        """Share of samples that are answered correctly."""
        ...

    @property
    def loss(self) -> float:
        """Nats per token."""
        ...


@dataclass(frozen=True)
class Score:
    """A kind of score.

    Attributes:
        name: Its name in tasks, runs and files, and its column in tables.
        columns: Columns of `Runs.table` with the value and the ends of its interval.
        axis_title: Title of an axis.
        unit: Unit in full, empty where values are written as percentages.
        short_unit: Unit after a value.
        difference_unit: Unit of differences, which are `scale` times those of values.
        sentence: The score in a sentence, with `{}` for the value.
        is_share: Whether values are shares of 1, written as percentages.
        scale: Factor from a value to the number that is written.
        digits: Decimals of the number that is written.
        higher_is_better: Which way is better.
        of_every_token: Whether all tokens of a text are scored, rather than its answer alone.
        axis_floor: Lowest value that an axis shows.
    """

    name: str
    columns: tuple[str, str, str]
    axis_title: str
    unit: str
    short_unit: str
    difference_unit: str
    sentence: str
    is_share: bool
    scale: float
    digits: int
    higher_is_better: bool
    of_every_token: bool
    axis_floor: float

    @property
    def title(self) -> str:
        """The name as the first word of a title."""
        return self.name.capitalize()

    @property
    def heading(self) -> str:
        """Name and unit of a column or a colour bar."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def short_heading(self) -> str:
        """Name and unit of a narrow column."""
        return f"{self.name} ({self.short_unit})" if self.short_unit else self.name

    @property
    def sign(self) -> float:
        """1, or −1 where lower is better: sign × value is larger for the better of two values."""
        return 1.0 if self.higher_is_better else -1.0

    def of(self, scored: Scored) -> float:
        """Return the value of this score."""
        return float(getattr(scored, self.name))

    def worst_first(self, low: T, high: T) -> tuple[T, T]:
        """Return what belongs to lower and to higher values, ordered from worse to better."""
        return (low, high) if self.higher_is_better else (high, low)

    def number(self, value: float) -> str:
        """Write a value: `97.2 %` or `1.234`; the loss of a run that diverged may be `nan` or `inf`."""
        return formats.percent(value, digits=self.digits) if self.is_share else f"{value:.{self.digits}f}"

    def text(self, value: float) -> str:
        """Write a value as `number` does, but a dash where it is not finite."""
        return self.number(value) if math.isfinite(value) else formats.MISSING

    def with_unit(self, value: float) -> str:
        """Write a value with its unit: `97.2 %` or `1.234 nats`."""
        return f"{self.number(value)} {self.short_unit}".rstrip()

    def in_words(self, value: float) -> str:
        """Write a value in a sentence: `97.2 % accuracy` or `a loss of 1.234 nats`."""
        return self.sentence.format(self.number(value))

    def with_interval(self, value: float, low: float, high: float) -> str:
        """Write a value with its interval, whose sides may differ: `97.2 % (95.4 % to 98.3 %)`."""
        if not (math.isfinite(low) and math.isfinite(high)):
            return self.text(value)
        return f"{self.number(value)} ({self.number(low)} to {self.number(high)})"

    def difference_text(self, difference: float) -> str:
        """Write a signed difference, given in `difference_unit`: `+1.5` points or `−0.012` nats."""
        text = f"{difference:+.{self.digits}f}"
        # A difference that rounds to 0 has no sign.
        return (text.lstrip("+-") if not float(text) else text).replace("-", "−")

    def tick_text(self, value: float, *, digits: int = 0) -> str:
        """Write a round value on an axis: `70 %` or `1.5`; `digits` are the decimals of a percentage."""
        return formats.percent(value, digits=digits) if self.is_share else formats.number(value)

    def tick_texts(self, values: Iterable[float]) -> list[str]:
        """Write the round values of an axis, all percentages with the same number of decimals."""
        values = list(values)
        digits = 0 if all(abs(100 * v - round(100 * v)) < 1e-6 for v in values) else 1
        return [self.tick_text(v, digits=digits) for v in values]


ACCURACY = Score(
    name="accuracy",
    columns=("accuracy", "low", "high"),
    axis_title="accuracy (share of samples)",
    unit="",
    short_unit="",
    difference_unit="points",
    sentence="{} accuracy",
    is_share=True,
    scale=100.0,
    digits=1,
    higher_is_better=True,
    of_every_token=False,
    axis_floor=0.0,
)
"""Share of test rows that are answered correctly."""

LOSS = Score(
    name="loss",
    columns=("loss", "loss_low", "loss_high"),
    axis_title="loss (nats per token)",
    unit="nats per token",
    short_unit="nats",
    difference_unit="nats",
    sentence="a loss of {} nats",
    is_share=False,
    scale=1.0,
    digits=3,
    higher_is_better=False,
    of_every_token=True,
    axis_floor=-math.inf,
)
"""Mean cross-entropy of the next token."""

_SCORES = {score.name: score for score in (ACCURACY, LOSS)}


def score_named(name: str) -> Score:
    """Return the score with this name in tasks, runs and files.

    Raises:
        SemvizError: If it is neither `"accuracy"` nor `"loss"`.
    """
    return _SCORES[checks.one_of("score", name, _SCORES)]
