"""What a table or a figure must say about a deviation metric; nothing here computes."""

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
        loss_like: Whether it falls towards 0 as a state nears its target; only these enter the scaling law.
        definition: One line for hover texts and reports.
        is_change: Whether it is the difference of two traces, so that 0 is its middle.
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
        """The facts of this metric's difference between two traces."""
        definition = f"after − before of: {self.definition}"
        return replace(
            without_function(self), title=f"change of {self.title}", low=None, high=None, loss_like=False,
            definition=definition, is_change=True,
        )  # fmt: skip


def without_function(facts: MetricFacts) -> MetricFacts:
    """The facts alone, without the function of a registered metric."""
    return MetricFacts(**{name: getattr(facts, name) for name in MetricFacts.__dataclass_fields__})
