"""The numbers behind the Pareto chart: points, the front, and axes with round ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from semviz.common import formats
from semviz.common.scores import Score, score_named
from semviz.common.training_methods import FULL
from semviz.figures.drawing.protocols import RunsLike

WEIGHTS = FULL
"""The method that trains the weights themselves; it comes first."""


@dataclass(frozen=True)
class Point:
    """One scope and method: what it trains and what it scores."""

    name: str
    """The scope's names, and the method unless it is the first of these runs."""
    short_name: str
    """The scope's names without the method."""
    names: tuple[str, ...]
    """Each of the scope's names."""
    scope: str
    method: str
    trainable: float
    share: float
    score: float
    low: float
    high: float
    seconds: float
    seeds: int

    @property
    def has_interval(self) -> bool:
        """Whether there were enough runs or samples for an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Axes:
    """The ranges of the chart, and where its values lie in pixels.

    Attributes:
        x: Trainable parameters from, to; their logarithms if ``logarithmic``.
        y: Score from, to.
        width: Nominal width of the plot area in pixels.
        height: Height of the plot area in pixels.
        logarithmic: Whether the horizontal axis is.
        score: What the vertical axis shows.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: float
    height: float
    logarithmic: bool
    score: Score

    def at_x(self, trainable: float) -> float:
        """Return where Plotly puts a number of parameters: its logarithm on a logarithmic axis."""
        return math.log10(trainable) if self.logarithmic else trainable

    def pixel(self, trainable: float, score: float) -> tuple[float, float]:
        """Return a place in pixels from the lower left corner."""
        across = (self.at_x(trainable) - self.x[0]) / (self.x[1] - self.x[0])
        up = (score - self.y[0]) / (self.y[1] - self.y[0])
        return across * self.width, up * self.height


def points_of(runs: RunsLike) -> list[Point]:
    """Read the points from the runs' table, from few to many parameters; unfinished rows are left out."""
    value, low, high = score_named(runs.score).columns
    rows = [
        Point(
            name=name.text,
            short_name=name.without_method,
            names=name.names,
            scope=str(row["scope"]),
            method=str(row["method"]),
            trainable=float(row["trainable"]),
            share=float(row["share"]),
            score=float(row[value]),
            low=float(row.get(low, math.nan)),
            high=float(row.get(high, math.nan)),
            seconds=float(row.get("seconds", math.nan)),
            seeds=int(row.get("runs", 1)),
        )
        for row, name in zip(runs.table().to_dict("records"), runs.scope_names(), strict=True)
    ]
    points = [p for p in rows if math.isfinite(p.score) and p.trainable > 0]
    methods = sorted({p.method for p in points}, key=lambda method: (method != WEIGHTS, method))
    # The first method is not named.
    points = [replace(p, name=p.short_name) if p.method == methods[0] else p for p in points]
    return sorted(points, key=lambda p: (p.trainable, p.name))


def pareto_front(points: list[Point], score: Score) -> list[Point]:
    """Return the points that no point with as few or fewer parameters equals or beats, from few to many parameters."""
    best, on_front = -math.inf, []
    for point in sorted(points, key=lambda p: (p.trainable, -score.sign * p.score)):
        if score.sign * point.score > best:
            best = score.sign * point.score
            on_front.append(point)
    return on_front


def front_corners(points: list[Point], score: Score) -> list[tuple[float, float]]:
    """Return the front as the corners of a step line; its last score holds to the largest scope."""
    corners = [(p.trainable, p.score) for p in pareto_front(points, score)]
    end = max(p.trainable for p in points)
    return corners + ([(end, corners[-1][1])] if corners[-1][0] < end else [])


def is_far(points: list[Point], value: float) -> bool:
    """Tell whether a score would squeeze all scopes into a small part of the axis."""
    ends = _ends(points)
    return max(min(ends) - value, value - max(ends)) > 1.5 * (max(ends) - min(ends))


def axes_of(points: list[Point], score: Score, *, extra: float | None, width: float, height: float) -> Axes:
    """Choose ranges that hold all points with their intervals, and one more score if there is one."""
    few, many = min(p.trainable for p in points), max(p.trainable for p in points)
    logarithmic = many > 30 * few
    if logarithmic:
        pad = 0.08 * math.log10(many / few)
        x = (math.log10(few) - pad, math.log10(many) + pad)
    else:
        x = (0.0, many * 1.08)
    ends = _ends(points) + ([] if extra is None else [extra])
    pad = 0.08 * (max(ends) - min(ends)) or 0.05
    return Axes(x, (max(min(ends) - pad, score.axis_floor), max(ends) + pad), width, height, logarithmic, score)


def ticks_x(axes: Axes) -> dict[str, object]:
    """Return ticks with short labels: 0, 500 k, 1 M."""
    low, high = axes.x
    if axes.logarithmic:
        factors = (1, 2, 5) if high - low < 3 else (1,)
        values = [m * 10.0**d for d in range(math.floor(low), math.ceil(high) + 1) for m in factors]
        values = [v for v in values if low <= math.log10(v) <= high]
    else:
        step = formats.nice_step(high - low, 7)
        values = [i * step for i in range(int(high / step) + 1)]
    return {"tickmode": "array", "tickvals": values, "ticktext": [formats.si(v) for v in values]}


def ticks_y(axes: Axes) -> dict[str, object]:
    """Return ticks at round scores, written as all other scores are."""
    low, high = axes.y
    step = formats.nice_step(high - low, 6)
    values = [round(i * step, 9) for i in range(math.ceil(low / step - 1e-9), int(high / step + 1e-9) + 1)]
    return {"tickmode": "array", "tickvals": values, "ticktext": axes.score.tick_texts(values)}


def _ends(points: list[Point]) -> list[float]:
    return [v for p in points for v in (p.score, p.low, p.high) if math.isfinite(v)]
