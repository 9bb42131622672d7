"""The marks that move in a picture, all in one module: the boundary, and the scope in the Pareto chart.

A mark is found by its name, and nothing else in a picture depends on where the boundary is: no title, note or range. So
`semviz.figures.drawing.updates` can move it in a picture that is already drawn. The functions here that end in ``_at``
say what a mark is like for a boundary; drawing and moving both call them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from semviz.common.errors import SemvizError
from semviz.figures.drawing import style
from semviz.figures.drawing.curves import axis
from semviz.figures.drawing.heatmap_rows import boundary_height

LINE = "boundary"
FROZEN, TRAINED = "frozen", "trained"
"""Names of the labels on the two sides; the shading of the frozen side has the first name too."""
STATES, PATH = "factual states", "factual transition"
"""Names of the transition map's markers, one per space, and of the part of the path through trained blocks."""
RECOMMENDED = "recommended"
SCOPE = "this scope"
READING = "The vertical line is the boundary: blocks left of it are frozen."
_SIDE_COLOURS = "colors"  # spelled so that `dark` finds them
BLOCKS = "blocks"
"""Key in a figure's ``layout.meta`` of the number of blocks, which every figure with a boundary has."""
SPACES = "spaces"
"""Key there of the spaces that a heatmap's rows show, from the bottom up."""


def add_line_across_rows(
    figure: go.Figure, boundary: int, n_blocks: int, *, shown: Sequence[int] | None = None, axes: str = ""
) -> None:
    """Draw the boundary across a heatmap: between the rows of frozen outputs and those of trained ones.

    Args:
        figure: The heatmap.
        boundary: k.
        n_blocks: L.
        shown: The spaces of the rows; None where row k shows space k.
        axes: Number of the y axis, empty for the first.
    """
    for width, colour in ((5, style.LIGHT.halo), (2.5, style.LIGHT.boundary)):
        line = {"width": width, "color": colour}
        place = line_at({"y0": 0, "y1": 0}, boundary, shown)
        figure.add_shape(type="line", xref="paper", x0=0, x1=1, yref=f"y{axes}", line=line, name=LINE, **place)
    for name, word, shift in ((TRAINED, "↑ trained", 9), (FROZEN, "↓ frozen", -9)):
        figure.add_annotation(
            text=word,
            xref="paper",
            x=1,
            xanchor="left",
            xshift=5,
            yref=f"y{axes}",
            yshift=shift,
            showarrow=False,
            font={"size": style.SIZE - 1, "color": style.LIGHT.boundary},
            name=name,
            **words_at({"name": name, "xref": "paper"}, boundary, n_blocks, shown),
        )


def add_line_through_space(figure: go.Figure, boundary: int, number: int = 0) -> None:
    """Draw the boundary through space k of a panel whose x axis counts spaces."""
    figure.add_shape(
        type="line",
        xref=axis("x", number),
        yref=axis("y", number) + " domain",
        y0=0,
        y1=1,
        line={"width": 2, "color": style.LIGHT.boundary},
        name=LINE,
        **line_at({"y0": 0, "y1": 1}, boundary),
    )


def shade_frozen_side(figure: go.Figure, boundary: int, number: int = 0) -> None:
    """Grey the frozen side of a panel whose x axis counts spaces."""
    figure.add_shape(
        type="rect", xref=axis("x", number), yref=axis("y", number) + " domain", x0=-0.4, x1=boundary, y0=0, y1=1,
        fillcolor=style.LIGHT.frozen, line={"width": 0}, layer="below", name=FROZEN,
    )  # fmt: skip


def label_sides(figure: go.Figure, boundary: int, n_blocks: int, *, height: float) -> None:
    """Write which side of the boundary is frozen, at a height of the plot area, where the x axis counts spaces."""
    for name, anchor, shift in ((FROZEN, "right", -7), (TRAINED, "left", 7)):
        figure.add_annotation(
            text=f"<b>{name}</b>",
            xref="x",
            yref="paper",
            y=height,
            yanchor="bottom",
            yshift=1,
            xanchor=anchor,
            xshift=shift,
            showarrow=False,
            font={"size": style.SIZE, "color": style.LIGHT.boundary},
            name=name,
            **words_at({"name": name, "xref": "x"}, boundary, n_blocks),
        )


def add_recommended_line(figure: go.Figure, boundary: int, number: int = 0) -> None:
    """Draw the thin line of the recommended boundary; the boundary's own line covers it where they are the same."""
    figure.add_shape(
        type="line", xref=axis("x", number), yref=axis("y", number) + " domain", x0=boundary, x1=boundary, y0=0, y1=1,
        line={"width": 1.5, "dash": "dot", "color": style.LIGHT.recommended}, name=RECOMMENDED,
    )  # fmt: skip


def add_recommended_star(figure: go.Figure, boundary: int) -> None:
    """Put a star above the recommended boundary; it stands on the upper edge of the plot area."""
    figure.add_annotation(
        text="★",
        x=boundary,
        xref="x",
        y=1,
        yref="paper",
        yanchor="bottom",
        yshift=-3,
        showarrow=False,
        font={"size": style.SIZE + 2, "color": style.LIGHT.recommended},
        name=RECOMMENDED,
    )


def bar_colours(colour: str, layers: Sequence[int], boundary: int) -> tuple[list[str], dict[str, list[str]]]:
    """Return the colours of layers' bars, grey where they are frozen, and the trace's ``meta`` that keeps both colours.

    They are kept there so that the bars can change sides in the light and in the dark theme.
    """
    both = [style.LIGHT.other, colour]
    return _colours(both, layers, boundary), {_SIDE_COLOURS: both}


def _colours(both: Sequence[str], layers: Sequence[int], boundary: int) -> list[str]:
    return [both[layer > boundary] for layer in layers]


def add_scope_line(figure: go.Figure, trainable: float, *, logarithmic: bool) -> None:
    """Draw a thin dotted line at a scope's number of trainable parameters, with its label above the plot area."""
    place, words = scope_at(trainable, logarithmic=logarithmic)
    figure.add_shape(
        type="line", yref="paper", y0=0, y1=1, line={"width": 1.6, "dash": "dot", "color": style.LIGHT.boundary},
        name=SCOPE, **place,
    )  # fmt: skip
    figure.add_annotation(
        text=SCOPE,
        yref="paper",
        y=1,
        yanchor="bottom",
        showarrow=False,
        font={"size": style.SIZE - 1, "color": style.LIGHT.boundary},
        name=SCOPE,
        **words,
    )


def line_at(shape: Mapping[str, Any], boundary: int, shown: Sequence[int] | None = None) -> dict[str, Any]:
    """Place the line: between rows (of the spaces that are shown) where it is level, else through a space."""
    ends = ("y0", "y1") if shape["y0"] == shape["y1"] else ("x0", "x1")
    return dict.fromkeys(ends, boundary_height(boundary, shown) if ends[0] == "y0" else boundary)


def shape_at(shape: Mapping[str, Any], boundary: int, shown: Sequence[int] | None = None) -> dict[str, Any]:
    """Return what a shape is like for a boundary; empty where it does not depend on it."""
    name = shape.get("name")
    if name == LINE:
        return line_at(shape, boundary, shown)
    return {"x1": boundary} if name == FROZEN else {}


def words_at(
    annotation: Mapping[str, Any], boundary: int, n_blocks: int, shown: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return what an annotation is like for a boundary; a side without blocks has no label."""
    name = annotation.get("name")
    if name not in (FROZEN, TRAINED):
        return {}
    is_level = annotation["xref"] == "paper"
    place: dict[str, Any] = {"y": boundary_height(boundary, shown)} if is_level else {"x": boundary}
    return {**place, "opacity": float(boundary > 0 if name == FROZEN else boundary < n_blocks)}


def trace_at(trace: Mapping[str, Any], boundary: int, states: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a trace is like for a boundary; empty where it does not depend on it.

    Args:
        trace: Bars of layers (their numbers first in ``customdata``), or a part of a transition map.
        boundary: k.
        states: The transition map's markers, one per space; None in other pictures.
    """
    if trace.get("type") == "bar" and "meta" in trace:
        layers = [row[0] for row in trace["customdata"]]
        return {"marker.color": _colours(trace["meta"][_SIDE_COLOURS], layers, boundary)}
    if states is None or trace.get("name") not in (PATH, LINE):
        return {}
    part = slice(boundary, None if trace["name"] == PATH else boundary + 1)
    coordinates: dict[str, Any] = {"x": list(states["x"][part]), "y": list(states["y"][part])}
    return {**coordinates, "text": [ring_text(boundary)]} if "text" in trace else coordinates


def ring_text(boundary: int) -> str:
    """Return the number beside the ring of a transition map that does not number every space."""
    return f"<b>{boundary}</b>"


def scope_at(trainable: float, *, logarithmic: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a scope's line and label are like; a logarithmic axis has no place for 0.

    Raises:
        SemvizError: It is not a number of parameters.
    """
    is_number = isinstance(trainable, int | float | np.number) and not isinstance(trainable, bool)
    if not is_number or not math.isfinite(trainable) or trainable < 0:
        raise SemvizError(
            f"trainable={trainable!r} is not a number of parameters. Pass that of a scope, such as 850000."
        )
    value, is_visible = float(trainable), trainable > 0 or not logarithmic
    # Plotly places shapes by value on a logarithmic axis, and annotations by logarithm.
    place = (math.log10(value) if value > 0 else 0.0) if logarithmic else value
    return {"x0": value, "x1": value, "visible": is_visible}, {"x": place, "visible": is_visible}
