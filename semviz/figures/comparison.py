"""Comparison: paired differences of scopes from one reference, as a forest plot."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from semviz.common import token_text
from semviz.common.errors import SemvizError
from semviz.common.scores import Score, score_named
from semviz.figures.drawing import style
from semviz.figures.drawing.curves import rounded, whiskers
from semviz.figures.drawing.protocols import ComparisonLike

MAX_ROWS = 40
"""Largest number of rows drawn; the table has them all."""
_ROW = 32
_LETTER = 6.9
"""Width of a letter of a row's name in pixels."""
_NAME_WIDTH = 28
_VERDICTS = {
    "better": ("triangle-up", style.LIGHT.group1),
    "worse": ("triangle-down", style.LIGHT.group2),
    "undecided": ("circle-open", style.LIGHT.other),
}
"""Marker and colour of a verdict; colour-blind readers can tell blue, amber and grey apart, by brightness too."""


_ONE_SEED = "One seed: the whisker is over test rows alone; another seed may differ by more, so nothing is decided."


@dataclass(frozen=True)
class _Row:
    """One scope's difference from the reference, in the unit of the axis."""

    name: str
    scope: str
    method: str
    difference: float
    low: float
    high: float
    verdict: str
    seeds: int

    @property
    def kind(self) -> str:
        """The verdict without its reason: `undecided` of `undecided: one seed`."""
        return self.verdict.partition(":")[0]


def comparison(comparison: ComparisonLike) -> go.Figure:
    """Draw the paired difference of every scope from the reference, with its 95 % interval and its verdict.

    Args:
        comparison: Paired differences from one reference scope.

    Returns:
        A plain Plotly figure, one row per scope in the order of the table. Differences of accuracy are in points (of
        100), where right of the zero line is better; those of loss in nats, where left is better.

    Raises:
        SemvizError: There is no difference to draw.
    """
    score = score_named(comparison.score)
    rows = _read_rows(comparison, score)
    if not rows:
        raise SemvizError("This comparison has no scope besides its reference. Compare at least two scopes.")
    drawn = rows[:MAX_ROWS]
    body = max(_ROW * len(drawn), 2 * _ROW)
    figure = go.Figure()
    figure.add_shape(
        type="line", x0=0, x1=0, yref="paper", y0=0, y1=1, line={"width": 1.6, "color": style.LIGHT.law},
        name="reference",
    )  # fmt: skip
    for kind in _VERDICTS:
        _add_markers(figure, drawn, kind, score)
    for place, row in enumerate(drawn):
        _add_verdict(figure, place, row, score)
    _add_directions(figure, score)
    names = [style.name(row.name, width=_NAME_WIDTH) for row in drawn]
    reference = style.name(comparison.reference, width=_NAME_WIDTH)
    figure.update_layout(
        xaxis={
            "title": {"text": f"difference of {score.name} ({score.difference_unit})"},
            "range": _horizontal_range(drawn), "nticks": 7, "showline": True,
        },
        yaxis={
            "range": [len(drawn) - 0.5, -0.5], "tickmode": "array", "tickvals": list(range(len(drawn))),
            "ticktext": [style.literal(name) for name in names], "ticks": "", "showgrid": False,
            "tickfont": {"size": style.SIZE - 1, "color": style.LIGHT.ink},
        },
    )  # fmt: skip
    return style.finish(
        figure,
        title=f"{score.title} against {reference}, pair by pair",
        notes=[
            f"{style.name(comparison.model)} on {style.name(comparison.task)}. Zero line: {reference}. Whiskers: 95 % "
            "intervals of the paired differences, wide enough to hold all at once. Undecided: the interval holds 0.",
            _ONE_SEED if any(row.seeds == 1 and "seed" in row.verdict for row in drawn) else "",
            f"The first {MAX_ROWS} of {len(rows)} scopes are drawn; the table has all." if len(rows) > MAX_ROWS else "",
        ],
        body=body,
        left=int(max(len(name) for name in names) * _LETTER) + 20,
        right=124,
        bottom=54,
        above=26,
    )


def _read_rows(comparison: ComparisonLike, score: Score) -> list[_Row]:
    """Read the table; accuracies become points."""
    rows = [
        _Row(
            name=str(row["name"]),
            scope=str(row["scope"]),
            method=str(row["method"]),
            difference=score.scale * float(row["difference"]),
            low=score.scale * float(row["low"]),
            high=score.scale * float(row["high"]),
            verdict=str(row["verdict"]),
            seeds=int(row["seeds"]),
        )
        for row in comparison.frame().to_dict("records")
    ]
    unknown = next((row.verdict for row in rows if row.kind not in _VERDICTS), None)
    if unknown is not None:
        raise SemvizError(f"{unknown!r} is not a verdict. Pass one of {', '.join(map(repr, _VERDICTS))}.")
    return rows


def _add_markers(figure: go.Figure, rows: list[_Row], kind: str, score: Score) -> None:
    """Add the differences of one kind of verdict."""
    places = [i for i, row in enumerate(rows) if row.kind == kind and math.isfinite(row.difference)]
    if not places:
        return
    symbol, colour = _VERDICTS[kind]
    value, low, high = (np.array([getattr(rows[i], name) for i in places]) for name in ("difference", "low", "high"))
    figure.add_scatter(
        x=rounded(value),
        y=places,
        error_x=whiskers(value, low, high, colour=colour, thickness=1.8),
        mode="markers",
        marker={"symbol": symbol, "size": 11, "color": colour, "line": {"width": 2 if "open" in symbol else 0}},
        customdata=[_hover_texts(rows[i], score) for i in places],
        hovertemplate="<b>%{customdata[0]}</b>: %{customdata[1]}, %{customdata[2]}<br><b>%{customdata[3]}</b>, "
        "%{customdata[6]}<br>95 %: %{customdata[4]}<br>%{customdata[5]}<extra></extra>",
        showlegend=False,
        name=kind,
    )


def _hover_texts(row: _Row, score: Score) -> list[str]:
    has_interval = math.isfinite(row.low) and math.isfinite(row.high)
    ends = f"{score.difference_text(row.low)} to {score.difference_text(row.high)} {score.difference_unit}"
    return [
        token_text.html_label(style.name(row.name)),
        token_text.html_label(style.name(row.scope)),
        token_text.html_label(style.name(row.method)),
        f"{score.difference_text(row.difference)} {score.difference_unit}",
        ends if has_interval else "no interval",
        f"{row.seeds} seeds" if row.seeds != 1 else "1 seed",
        row.verdict,
    ]


def _add_verdict(figure: go.Figure, place: int, row: _Row, score: Score) -> None:
    """Write a row's difference and verdict at its right end."""
    has_value = math.isfinite(row.difference)
    is_muted = row.kind == "undecided" or not has_value
    kind, _, why = row.verdict.partition(": ")
    # The reason has no room beside a number.
    text = f"{score.difference_text(row.difference)} <b>{why or kind}</b>" if has_value else why or "no value"
    figure.add_annotation(
        text=text,
        xref="paper",
        x=1,
        xanchor="left",
        xshift=8,
        y=place,
        showarrow=False,
        font={"size": style.SIZE - 1, "color": style.LIGHT.muted if is_muted else style.LIGHT.ink},
    )


def _add_directions(figure: go.Figure, score: Score) -> None:
    """Say above the zero line which side is better."""
    sides = score.worst_first("worse", "better")
    words = (f"← {sides[0]}", "right", -7), (f"{sides[1]} →", "left", 7)
    for text, anchor, shift in words:
        figure.add_annotation(
            text=text,
            x=0,
            yref="paper",
            y=1,
            xanchor=anchor,
            yanchor="bottom",
            xshift=shift,
            yshift=2,
            showarrow=False,
            font={"size": style.SIZE - 1, "color": style.LIGHT.muted},
        )


def _horizontal_range(rows: list[_Row]) -> list[float]:
    """Return a range that holds zero and all intervals, with room for the words on either side of zero."""
    ends = [v for row in rows for v in (row.difference, row.low, row.high) if math.isfinite(v)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    pad = 0.07 * (high - low) or 1.0
    least = 0.25 * (high - low + 2 * pad)
    return [round(min(low - pad, -least), 6), round(max(high + pad, least), 6)]
