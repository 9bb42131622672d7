"""Pareto chart: what each scope scores against how many parameters it trains."""

from __future__ import annotations

import math
from itertools import pairwise

import plotly.graph_objects as go

from semviz.common import formats, token_text
from semviz.common.errors import SemvizError
from semviz.common.scores import Score, score_named
from semviz.common.training_methods import mark_of
from semviz.figures.drawing import boundary_marks, labels, style
from semviz.figures.drawing.pareto_points import (
    Axes,
    Point,
    axes_of,
    front_corners,
    is_far,
    points_of,
    ticks_x,
    ticks_y,
)
from semviz.figures.drawing.protocols import RunsLike

_BODY = 400
_WIDTH = 860
# Where the score before finetuning is far off, the axis is broken: the scopes keep most of the height.
_MAIN, _STRIP = 0.83, 0.11
# Symbol, colour and size by name. First match wins: a boundary may carry several names.
_LOOKS = (
    ("profile", "star", style.LIGHT.recommended, 15),
    ("full", "square", style.LIGHT.full, 11),
    ("half", "diamond", style.LIGHT.half, 12),
    ("last", "triangle-up", style.LIGHT.last, 12),
)
_OTHER = ("other", "circle", style.LIGHT.other, 10)


def pareto(runs: RunsLike, *, trainable: float | None = None) -> go.Figure:
    """Draw the score of every scope against its trainable parameters.

    Args:
        runs: What `semviz.sweep` returned.
        trainable: Number of trainable parameters to mark with a dotted line, such as that of a scope under
            consideration.

    Returns:
        A plain Plotly figure: one marker per scope and method with its 95 % interval, the Pareto front as a step line,
        the score before finetuning as a dashed line. Where that score is far from all others, the axis is broken.

    Raises:
        SemvizError: There is no run to draw, or ``trainable`` is not a number of parameters.
    """
    points = points_of(runs)
    if not points:
        raise SemvizError("There is no finished run to draw. Pass the result of sv.sweep(...) with at least one run.")
    score = score_named(runs.score)
    before = runs.zero_shot if runs.zero_shot is not None and math.isfinite(runs.zero_shot) else None
    broken = before is not None and is_far(points, before)
    shared = None if broken else before
    figure, axes = chart(points, score, shared, width=_WIDTH, height=_MAIN * _BODY if broken else _BODY)
    if before is not None and broken:
        _break_axis(figure, before, axes)
        _add_zero_shot_line(figure, before, axes, row="y2")
    if trainable is not None:
        boundary_marks.add_scope_line(figure, trainable, logarithmic=axes.logarithmic)
    seeds = max(p.seeds for p in points)
    return style.finish(
        figure,
        title=f"{score.title} after finetuning, against trained parameters",
        notes=[
            f"{style.name(runs.model)} on {style.name(runs.task)}. Whiskers: 95 % intervals"
            + (f", {seeds} runs each." if seeds > 1 else " over test rows: with one seed, others may differ by more.")
            + " The step line joins the scopes that no smaller scope beats.",
            "The vertical axis is broken at the score before finetuning, which is far off." if broken else "",
        ],
        body=_BODY,
        left=72,
        right=28,
        bottom=56,
        above=8 if trainable is None else 18,
    )


def chart(
    points: list[Point], score: Score, before: float | None, *, width: float, height: float
) -> tuple[go.Figure, Axes]:
    """Draw the points with their names, the front, and the score before finetuning if it is given.

    Returns:
        The figure without a title and its axes.
    """
    axes = axes_of(points, score, extra=before, width=width, height=height)
    figure = go.Figure()
    _add_front(figure, points, axes)
    for point in points:
        _add_marker(figure, point, axes)
    _add_names(figure, points, axes, before)
    _set_axes(figure, axes)
    if before is not None:
        _add_zero_shot_line(figure, before, axes, row="y")
    return figure, axes


def _set_axes(figure: go.Figure, axes: Axes) -> None:
    figure.update_layout(
        xaxis={
            "title": {"text": "trainable parameters" + (" (logarithmic)" if axes.logarithmic else "")},
            "type": "log" if axes.logarithmic else "linear",
            "range": list(axes.x),
            "showline": True,
            **ticks_x(axes),
        },
        yaxis={
            "title": {"text": axes.score.axis_title},
            "range": list(axes.y),
            "ticks": "",
            **ticks_y(axes),
        },
    )


def _add_front(figure: go.Figure, points: list[Point], axes: Axes) -> None:
    corners = front_corners(points, axes.score)
    figure.add_scatter(
        x=[x for x, _ in corners],
        y=[round(y, 5) for _, y in corners],
        mode="lines",
        line={"shape": "hv", "width": 2, "color": style.LIGHT.axis},
        hoverinfo="skip",
        showlegend=False,
        name="Pareto front",
    )


def _look(point: Point) -> tuple[str, str, str, int]:
    """Choose symbol and colour by the scope's names."""
    return next((look for look in _LOOKS if look[0] in point.names), _OTHER)


def _add_marker(figure: go.Figure, point: Point, axes: Axes) -> None:
    _, symbol, colour, size = _look(point)
    # Methods differ without colour too: their symbols are hollow, have a dot, or are others.
    mark = mark_of(point.method)
    symbol = (mark.symbol or symbol) + mark.fill
    colour = style.role(mark.colour) if mark.colour else colour
    low, high = (point.low, point.high) if point.has_interval else (point.score, point.score)
    score, *ends = (axes.score.text(v) for v in (point.score, low, high))
    facts = [
        token_text.html_label(style.name(point.name)),
        token_text.html_label(style.name(point.scope)),
        score + (f"<br>95 %: {ends[0]} to {ends[1]}" if point.has_interval else ""),
        f"{formats.si(point.trainable)} parameters ({formats.percent(point.share)})",
        formats.seconds(point.seconds),
    ]
    figure.add_scatter(
        x=[point.trainable],
        y=[round(point.score, 5)],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [round(max(high - point.score, 0), 5)],
            "arrayminus": [round(max(point.score - low, 0), 5)],
            "color": style.LIGHT.whisker,
            "thickness": 1.3,
            "width": 4,
            "visible": point.has_interval,
        },
        mode="markers",
        marker={
            "symbol": symbol,
            "size": size,
            "color": colour,
            "line": {"width": 1.5, "color": colour if "open" in mark.fill else style.LIGHT.paper},
        },
        customdata=[facts],
        hovertemplate="<b>%{customdata[0]}</b>: %{customdata[1]}<br>%{customdata[2]}<br>%{customdata[3]}<br>"
        "training took %{customdata[4]}<extra></extra>",
        showlegend=False,
        name=facts[0],
    )


def _break_axis(figure: go.Figure, before: float, axes: Axes) -> None:
    """Give the score before finetuning its own strip, below or above the scopes."""
    below = before < axes.y[0]
    strip, main = ([0, _STRIP], [1 - _MAIN, 1]) if below else ([1 - _STRIP, 1], [0, _MAIN])
    figure.update_layout(
        yaxis={"domain": main},
        yaxis2={
            "domain": strip,
            "range": [before - 1, before + 1],
            "tickmode": "array",
            "tickvals": [before],
            "ticktext": [axes.score.tick_text(before)],
            "showgrid": False,
            "ticks": "",
        },
        xaxis={"anchor": "y2" if below else "y"},
    )
    # An axis that no trace uses is not drawn.
    figure.add_scatter(x=[None], y=[None], yaxis="y2", showlegend=False, hoverinfo="skip", name="before finetuning")
    figure.add_annotation(
        text="≈",
        xref="paper",
        yref="paper",
        x=0,
        y=(strip[1] + main[0]) / 2 if below else (main[1] + strip[0]) / 2,
        xanchor="right",
        xshift=-6,
        showarrow=False,
        font={"size": style.SIZE + 5, "color": style.LIGHT.muted},
    )


def _add_zero_shot_line(figure: go.Figure, before: float, axes: Axes, *, row: str) -> None:
    """Draw the score before finetuning as a dashed line."""
    figure.add_shape(
        type="line",
        xref="paper",
        yref=row,
        x0=0,
        x1=1,
        y0=before,
        y1=before,
        line={"width": 1.6, "dash": "dash", "color": style.LIGHT.muted},
        name="before finetuning",
    )
    figure.add_annotation(
        text=f"before finetuning: {axes.score.text(before)}",
        xref="paper",
        x=1,
        xanchor="right",
        yref=row,
        y=before,
        yanchor="bottom",
        showarrow=False,
        font={"size": style.SIZE - 1, "color": style.LIGHT.muted},
    )


def _add_names(figure: go.Figure, points: list[Point], axes: Axes, before: float | None) -> None:
    """Write each scope's name next to its point."""
    texts = [style.name(p.name, width=32) for p in points]
    where = [axes.pixel(p.trainable, p.score) for p in points]
    sizes = [(len(text) * 7.0 + 4, 17.0) for text in texts]
    area = labels.Box(0, 0, axes.width, axes.height)
    offsets = labels.place(where, sizes, _obstacles(points, axes, before), area)
    for point, text, offset, size in zip(points, texts, offsets, sizes, strict=True):
        look = _look(point)
        figure.add_annotation(
            text=token_text.html_label(text) if look is _OTHER else f"<b>{token_text.html_label(text)}</b>",
            x=axes.at_x(point.trainable),
            y=point.score,
            **labels.attach(offset, size, colour=style.LIGHT.axis),
            font={"size": style.SIZE - 1, "color": style.LIGHT.muted if look is _OTHER else look[2]},
        )


def _obstacles(points: list[Point], axes: Axes, before: float | None) -> list[labels.Box]:
    """List what the names must not cover: whiskers, the front, the score before finetuning with its label."""
    boxes = []
    for point in points:
        if point.has_interval:
            (x, low), (_, high) = axes.pixel(point.trainable, point.low), axes.pixel(point.trainable, point.high)
            boxes.append(labels.Box(x - 5, low, x + 5, high))
    corners = [axes.pixel(x, y) for x, y in front_corners(points, axes.score)]
    for (x0, y0), (x1, y1) in pairwise(corners):
        boxes += [labels.Box(x0, y0 - 3, x1, y0 + 3), labels.Box(x1 - 3, min(y0, y1), x1 + 3, max(y0, y1))]
    if before is not None:
        _, y = axes.pixel(points[0].trainable, before)
        boxes += [labels.Box(0, y - 3, axes.width, y + 3), labels.Box(axes.width - 170, y, axes.width, y + 20)]
    return boxes
