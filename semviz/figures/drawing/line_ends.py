"""Labels at the right ends of lines, in a column of their own and apart from each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from semviz.figures.drawing import style
from semviz.figures.drawing.protocols import Floats

_LETTER = 6.9
"""Width of a letter of a label in pixels."""
_LINE = 17
"""Height of a label in pixels."""


def width(labels: Sequence[str]) -> int:
    """Return the right margin in pixels that labels at the ends of lines need."""
    return int(max(len(text) for text in labels) * _LETTER) + 46


def add_labels(
    figure: go.Figure,
    labels: Sequence[str],
    ends: Floats,
    colours: Sequence[str],
    *,
    span: Sequence[float],
    at: int,
    body: int,
) -> None:
    """Label each line at its right end; labels that would overlap are moved apart and joined to their lines.

    Args:
        figure: The figure.
        labels: Plain texts.
        ends: The lines' values at their right ends; NaN where there is none.
        colours: Of the lines.
        span: Range of the y axis.
        at: x coordinate of the ends.
        body: Height of the plot area in pixels.
    """
    pixel = body / (span[1] - span[0])
    spread = spread_out(np.nan_to_num(ends, nan=span[0]) * pixel, _LINE, low=span[0] * pixel, high=span[1] * pixel)
    for text, end, place, colour in zip(labels, ends, spread, colours, strict=False):
        figure.add_annotation(
            text=style.literal(text) if np.isfinite(end) else f"{style.literal(text)}: no value",
            x=at,
            y=float(end) if np.isfinite(end) else place / pixel,
            ax=26,
            ay=float(end * pixel - place) if np.isfinite(end) else 0,
            showarrow=True,
            arrowhead=0,
            arrowwidth=1.2,
            arrowcolor=colour,
            standoff=6,
            xanchor="left",
            align="left",
            font={"size": style.SIZE - 1, "color": style.LIGHT.ink},
        )


def spread_out(places: Floats, least: float, *, low: float, high: float) -> Floats:
    """Move places on a line apart until neighbours keep a distance, as little as needed, between two ends.

    Args:
        places: Wanted places, in any order.
        least: Distance to keep.
        low: Lower end of the line; ignored where there is not enough room.
        high: Upper end.

    Returns:
        The places, in the order of the input.
    """
    order = np.argsort(places, kind="stable")
    groups: list[list[float]] = []  # mean of the wanted places of a run of touching labels, and their number
    for place in places[order]:
        groups.append([float(place), 1])
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < least * (groups[-1][1] + groups[-2][1]) / 2:
            (a, n), (b, m) = groups[-2:]
            groups[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    spread = [centre + least * (i - (count - 1) / 2) for centre, count in groups for i in range(int(count))]
    moved = np.array(spread)
    for i in range(len(moved)):  # upwards: no label below the lower end
        moved[i] = max(moved[i], low + least / 2 if i == 0 else moved[i - 1] + least)
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], high - least / 2 if i == len(moved) - 1 else moved[i + 1] - least)
    result = np.empty_like(moved)
    result[order] = moved
    return result
