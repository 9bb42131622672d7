"""What tables and figures need to know about a deviation metric, without the function that computes it."""

from __future__ import annotations

from dataclasses import dataclass, replace


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
    """

    key: str
    title: str
    unit: str
    low: float | None
    high: float | None
    loss_like: bool
    definition: str
    is_change: bool = False

    def change(self) -> MetricFacts:
        """Return the facts of this metric's difference between two traces."""
        definition = f"after − before of: {self.definition}"
        return replace(
            without_function(self), title=f"change of {self.title}", low=None, high=None, loss_like=False,
            definition=definition, is_change=True,
        )  # fmt: skip


def without_function(facts: MetricFacts) -> MetricFacts:
    """Return the facts alone, without the function of a registered metric."""
    return MetricFacts(**{name: getattr(facts, name) for name in MetricFacts.__dataclass_fields__})
