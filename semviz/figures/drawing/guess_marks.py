"""The line at a blind guess in a picture of curves over spaces, and its label, where the curves leave room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from semviz.figures.drawing import style
from semviz.figures.drawing.curves import axis
from semviz.figures.drawing.protocols import Floats

_LETTER, _HEIGHT = 6.0, 15
"""Width of a letter and height of the label, in pixels."""
_CLEAR = 4
"""Pixels between the label and the curves' markers."""
_SIDES = (("left", 0.0, 4), ("right", 1.0, -4), ("center", 0.5, 0))
_STEPS = 60


def add_guess(
    figure: go.Figure,
    guess: float,
    *,
    text: str,
    curves: Sequence[Floats],
    span: Sequence[float],
    width: float,
    body: float,
    number: int = 0,
) -> None:
    """Draw the line at a blind guess and its label: left, right or in the middle, above or below, off the curves.

    Args:
        figure: The figure; the panel's x axis counts spaces.
        guess: Where the line is.
        text: The label, plain.
        curves: What else is drawn over the spaces, each of shape (L+1,).
        span: Range of the y axis.
        width: Width of the panel in pixels on a narrow page, where a label takes the largest part of it.
        body: Its height.
        number: Of the panel.
    """
    x, y = axis("x", number), axis("y", number)
    figure.add_shape(guess_line(guess, number))
    share = min((_LETTER * len(text) + 8) / width, 1.0)
    pixel = (span[1] - span[0]) / body
    places = [(side, is_above) for side in _SIDES for is_above in (True, False)]
    crossed = [_crossings(curves, guess, side, share, pixel, span, is_above=up) for (side, _, _), up in places]
    best = int(np.argmin(crossed))
    (side, at, shift), is_above = places[best]
    figure.add_annotation(
        text=style.literal(text),
        xref=f"{x} domain",
        yref=y,
        x=at,
        y=guess,
        xanchor=side,
        xshift=shift,
        yanchor="bottom" if is_above else "top",
        showarrow=False,
        font={"size": style.SIZE - 2, "color": style.LIGHT.muted},
        # On lines that it cannot avoid it is still to be read.
        **({"bgcolor": style.LIGHT.paper, "borderpad": 0} if crossed[best] else {}),
    )


def guess_line(guess: float, number: int = 0) -> dict[str, object]:
    """Describe the line at a blind guess in a panel."""
    return {
        "type": "line",
        "xref": f"{axis('x', number)} domain",
        "yref": axis("y", number),
        "x0": 0,
        "x1": 1,
        "y0": guess,
        "y1": guess,
        "line": {"width": 1.3, "dash": "dot", "color": style.LIGHT.other},
        "name": "blind guess",
    }


def _crossings(
    curves: Sequence[Floats], guess: float, side: str, share: float, pixel: float, span: Sequence[float], *,
    is_above: bool,
) -> float:  # fmt: skip
    """Count the places where curves run through a label; one that leaves the panel is the worst of all."""
    start = {"left": 0.0, "right": 1 - share, "center": (1 - share) / 2}[side]
    low, high = (guess, guess + _HEIGHT * pixel) if is_above else (guess - _HEIGHT * pixel, guess)
    if low < span[0] or high > span[1]:
        return np.inf
    count = 0
    for curve in curves:
        spaces = np.linspace(start, start + share, _STEPS) * (len(curve) - 1)
        values = np.interp(spaces, np.arange(len(curve)), np.asarray(curve, dtype=float))
        with np.errstate(invalid="ignore"):
            count += int(((values > low - _CLEAR * pixel) & (values < high + _CLEAR * pixel)).sum())
    return count
