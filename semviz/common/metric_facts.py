"""What tables and figures need to know about a deviation metric, without the function that computes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

Guess = Literal["uniform", "middle rank", "right angle"]
"""What knowing nothing looks like to a metric: see `MetricFacts.guess`."""


@dataclass(frozen=True)
class MetricFacts:
    """Name, unit and range of a deviation metric.

    Attributes:
        key: Name in `trace(metrics=…)` and `trace.values`.
        title: Name in figures.
        unit: Unit on axes and colour bars.
        low: Smallest possible value, None if unbounded.
        high: Largest possible value, None if unbounded.
        loss_like: Whether it falls towards 0 as a state nears its target; only such metrics enter the scaling law.
        definition: One line for hover texts and reports.
        is_change: Whether it is the difference of two traces, so that scales are centred at 0.
        guess: How a state that knows nothing scores, so that colours end there: "uniform" is as likely as every other
            candidate (ln C nats), "middle rank" ranked in the middle of them, "right angle" at 90° to the target; None
            where that means nothing.
    """

    key: str
    title: str
    unit: str
    low: float | None
    high: float | None
    loss_like: bool
    definition: str
    is_change: bool = False
    guess: Guess | None = None

    def blind_guess(self, candidates: int | None) -> float | None:
        """Return the value of a state that knows nothing of its target.

        Args:
            candidates: Number of tokens or label words that the target is compared with, None if that is not known.

        Returns:
            The value, None where there is none.
        """
        if self.guess == "right angle":
            return 1.0
        if self.guess is None or candidates is None or candidates < 2:
            return None
        return math.log(candidates) if self.guess == "uniform" else math.log1p(candidates / 2) / math.log1p(candidates)

    def change(self) -> MetricFacts:
        """Return the facts of this metric's difference between two traces."""
        definition = f"after − before of: {self.definition}"
        return replace(
            without_function(self), title=f"change of {self.title}", low=None, high=None, loss_like=False,
            definition=definition, is_change=True, guess=None,
        )  # fmt: skip


def without_function(facts: MetricFacts) -> MetricFacts:
    """Return the facts alone, without the function of a registered metric."""
    return MetricFacts(**{name: getattr(facts, name) for name in MetricFacts.__dataclass_fields__})
