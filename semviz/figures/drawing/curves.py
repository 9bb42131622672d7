"""What pictures of curves over spaces share: ranges, ticks, bands, whiskers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats
from semviz.figures.drawing import style
from semviz.figures.drawing.protocols import Floats


def y_range(curves: Sequence[Floats]) -> tuple[list[float], float | None]:
    """Choose the range of a y axis over spaces.

    Space 0 lives in another frame, so the axis holds spaces 1…L; space 0 is on it only where it lies among them.

    Args:
        curves: What is drawn over the spaces, each of shape (L+1,); NaN where there is nothing.

    Returns:
        The range, and the value of the first curve at space 0 if that is off the axis, else None.
    """
    stack = np.stack(curves)
    inner = stack[:, 1:][np.isfinite(stack[:, 1:])]
    if not inner.size:
        return [0.0, 1.0], None
    low, high = float(inner.min()), float(inner.max())
    pad = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
    first = float(curves[0][0])
    is_off = np.isfinite(first) and not low - pad <= first <= high + pad
    return [low - pad, high + pad], first if is_off else None


def off_axis(value: float, span: Sequence[float], *, row: str) -> dict[str, object]:
    """Return the annotation that says where space 0 is, at the edge it lies beyond."""
    is_above = value > span[1]
    return {
        "text": f"{'↑' if is_above else '↓'} {formats.number(value)}",
        "xref": f"x{row} domain",
        "yref": f"y{row} domain",
        "x": 0,
        "y": 1 if is_above else 0,
        "xanchor": "left",  # space 0 is at the left end, and the axis has its numbers beyond it
        "yanchor": "top" if is_above else "bottom",
        "xshift": 1,
        "showarrow": False,
        "font": {"size": style.SIZE - 2, "color": style.LIGHT.muted},
        "bgcolor": style.LIGHT.paper,  # the line to space 0 runs behind it
        "borderpad": 0,
    }


def ticks(n_blocks: int, *, room: int = 16) -> list[int]:
    """Choose which of the spaces 0…L get a label where only ``room`` labels fit; always the first and the last."""
    stride = next((s for s in (1, 2, 4, 5, 10, 20, 25, 50) if n_blocks / s <= room), max(n_blocks // room, 1))
    return [k for k in range(0, n_blocks, stride) if k == 0 or n_blocks - k >= stride] + [n_blocks]


def spaces_axis(n_blocks: int) -> dict[str, object]:
    """Describe the x axis of a picture of one panel over the spaces 0…L."""
    shown = ticks(n_blocks, room=20)
    return {
        "range": [-0.25, n_blocks + 0.15],
        "tickmode": "array",
        "tickvals": shown,
        "ticktext": [str(k) for k in shown],
        "title": {"text": "space"},
        "showgrid": False,
    }


def band(x: list[float], low: Floats, high: Floats, *, name: str, colour: str = style.LIGHT.band) -> go.Scatter:
    """Return the area between two lines, where both are finite."""
    finite = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    x_finite = [x[i] for i in finite]
    return go.Scatter(
        x=x_finite + x_finite[::-1],
        y=rounded(high[finite]) + rounded(low[finite])[::-1],
        fill="toself",
        fillcolor=colour,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        name=name,
    )


def rounded(values: Floats) -> list[float | None]:
    """Round values for the browser to five digits; what is not finite becomes null."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values]


def axis(base: str, number: int) -> str:
    """Name Plotly's axis of a panel: x, x2, x3 and so on."""
    return base if number == 0 else f"{base}{number + 1}"


def whiskers(value: Floats, low: Floats, high: Floats, *, colour: str, thickness: float = 1.3) -> dict[str, object]:
    """Return the error bars of intervals around values; hidden where there is no interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": rounded(np.maximum(high - value, 0)),
        "arrayminus": rounded(np.maximum(value - low, 0)),
        "color": colour,
        "thickness": thickness,
        "width": 4,
        "visible": bool(np.isfinite(low).any() and np.isfinite(high).any()),
    }
