"""Deviation profiles: the mean deviation of each space, one panel per metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from semviz import formats, tokens
from semviz.errors import SemvizError
from semviz.figures import style
from semviz.figures.inputs import Floats, TraceLike, check_boundary, check_metric, metric_facts

_COLUMNS = 3
_PANEL = 190
_BETWEEN = 74


def profile(trace: TraceLike, *, metrics: Sequence[str] | None = None, boundary: int | None = None) -> go.Figure:
    """Draw the mean deviation of every space, each metric in a panel with its own unit.

    Values of different metrics are not comparable, so each panel has its own axis; what can be compared is the shape:
    where a profile falls, the blocks move towards the target.

    Args:
        trace: What `semviz.trace` returned.
        metrics: Keys of traced metrics, in the order of the panels; None draws all.
        boundary: Number of frozen blocks to mark with a line, or None.

    Returns:
        A plain Plotly figure; the x axis counts spaces, 0 is the input of block 1.

    Raises:
        SemvizError: A metric was not traced, or the boundary does not exist.
    """
    if isinstance(metrics, str):
        raise SemvizError(f"metrics={metrics!r} is one text. Pass a list, such as metrics=[{metrics!r}].")
    keys = list(dict.fromkeys(check_metric(trace, key) for key in (trace.metrics if metrics is None else metrics)))
    if not keys:
        raise SemvizError("metrics is empty. Pass at least one traced metric, or None for all.")
    boundary = check_boundary(trace.n_blocks, boundary)
    columns = min(len(keys), _COLUMNS)
    rows = -(-len(keys) // columns)
    body = rows * _PANEL + (rows - 1) * _BETWEEN
    figure = go.Figure()
    for number, key in enumerate(keys):
        row, column = divmod(number, columns)
        _panel(figure, trace, key, number=number, domain=_domain(column, columns, row, body))
        is_lowest = number + columns >= len(keys)
        figure.update_layout({_axis("xaxis", number): {"title": {"text": "space"}} if is_lowest else {}})
        if boundary is not None:
            _boundary(figure, boundary, number)
    return style.finish(
        figure,
        title="Mean deviation of each space from the target" + (", metric by metric" if len(keys) > 1 else ""),
        notes=[
            "Where a line falls, the blocks move towards the target. Bands: 95 % bootstrap over samples."
            + (" Compare shapes: the units differ." if len(keys) > 1 else "")
            + ("" if boundary is None else f" Vertical line: boundary {boundary}, frozen to its left."),
            "The virtual deviation is the distance from the virtual path, and may rise." if "virtual" in keys else "",
            "An arrow gives the value of space 0 where it lies off the axis." if _arrows(figure) else "",
        ],
        body=body,
        left=60,
        right=24,
        bottom=52,
        above=28,
    )


def reach(curves: Sequence[Floats]) -> tuple[list[float], float | None]:
    """Choose the range of a y axis over spaces.

    Space 0 lives in another frame. Where it alone would flatten the other spaces to less than 40 % of the height, it is
    left off the axis.

    Args:
        curves: What is drawn over the spaces, each of shape (L+1,); NaN where there is nothing.

    Returns:
        The range, and the value of the first curve at space 0 if that is off the axis, else None.
    """
    stack = np.stack(curves)
    inner, whole = stack[:, 1:][np.isfinite(stack[:, 1:])], stack[np.isfinite(stack)]
    chosen, hidden = whole, None
    if inner.size and np.ptp(whole) > 2.5 * np.ptp(inner) > 0:
        chosen, hidden = inner, float(curves[0][0])
    if not chosen.size:
        return [0.0, 1.0], None
    low, high = float(chosen.min()), float(chosen.max())
    pad = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
    return [low - pad, high + pad], hidden


def off_axis(value: float, span: Sequence[float], *, row: str) -> dict[str, object]:
    """Return the annotation that says where space 0 is, at the edge it lies beyond."""
    is_above = value > span[1]
    return {
        "text": f"{'↑' if is_above else '↓'} {formats.number(value)}",
        "xref": f"x{row}",
        "yref": f"y{row} domain",
        "x": 0,
        "y": 1 if is_above else 0,
        "xanchor": "center",
        "yanchor": "top" if is_above else "bottom",
        "xshift": 5,
        "showarrow": False,
        "font": {"size": style.SIZE - 2, "color": style.LIGHT.muted},
    }


def ticks(n_blocks: int, *, room: int = 16) -> list[int]:
    """Choose which of the spaces 0…L get a label where only ``room`` labels fit; always the first and the last."""
    stride = next((s for s in (1, 2, 4, 5, 10, 20, 25, 50) if n_blocks / s <= room), max(n_blocks // room, 1))
    return [k for k in range(0, n_blocks, stride) if k == 0 or n_blocks - k >= stride] + [n_blocks]


def band(x: list[float], low: Floats, high: Floats, *, name: str) -> go.Scatter:
    """Return the area between two lines, where both are finite."""
    known = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    there = [x[i] for i in known]
    return go.Scatter(
        x=there + there[::-1],
        y=rounded(high[known]) + rounded(low[known])[::-1],
        fill="toself",
        fillcolor=style.LIGHT.band,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        name=name,
    )


def rounded(values: Floats) -> list[float | None]:
    """Round values for the browser to five digits; what is not finite becomes null."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values]


def _panel(
    figure: go.Figure, trace: TraceLike, key: str, *, number: int, domain: tuple[list[float], list[float]]
) -> None:
    """Add one metric's line, band, axes and heading."""
    facts = metric_facts(key)
    frame = trace.profile_frame(key)
    spaces = [float(s) for s in frame["space"]]
    low, mean, high = (frame[c].to_numpy(dtype=float) for c in ("low", "mean", "high"))
    span, hidden = reach([mean, low, high])
    anchors = {"xaxis": _axis("x", number), "yaxis": _axis("y", number)}
    unit = tokens.html(facts.unit).replace("%{", "%&#123;")
    figure.add_trace(band(spaces, low, high, name=f"{key} band").update(anchors))
    figure.add_scatter(
        x=[int(s) for s in spaces],
        y=rounded(mean),
        customdata=[[a, b] for a, b in zip(rounded(low), rounded(high), strict=True)],
        mode="lines+markers" if len(spaces) <= 26 else "lines",
        line={"color": style.LIGHT.line, "width": 2.2},
        marker={"size": 6, "color": style.LIGHT.line},
        hovertemplate=f"space %{{x}}<br><b>%{{y:.3f}}</b> {unit}<br>95 %: %{{customdata[0]:.3f}} to "
        "%{customdata[1]:.3f}<extra></extra>",
        showlegend=False,
        name=key,
        **anchors,
    )
    shown = ticks(trace.n_blocks, room=9)
    across, down = domain
    figure.update_layout(
        {
            _axis("xaxis", number): {
                "domain": across,
                "anchor": _axis("y", number),
                "range": [-0.4, trace.n_blocks + 0.4],
                "tickmode": "array",
                "tickvals": shown,
                "ticktext": [str(k) for k in shown],
                "showgrid": False,
                "showline": True,
                **({"matches": "x"} if number else {}),
            },
            _axis("yaxis", number): {
                "domain": down,
                "anchor": _axis("x", number),
                "nticks": 6,
                "range": span,
                "ticks": "",
                "title": {"text": tokens.html(facts.unit), "standoff": 6, "font": {"size": style.SIZE - 1}},
            },
        }
    )
    if hidden is not None:
        figure.add_annotation(off_axis(hidden, span, row=str(number + 1) if number else ""))
    figure.add_annotation(
        text=f"<b>{tokens.html(facts.title)}</b>",
        xref="paper",
        yref="paper",
        x=across[0],
        y=down[1],
        xanchor="left",
        yanchor="bottom",
        yshift=8,
        showarrow=False,
    )


def _arrows(figure: go.Figure) -> bool:
    return any(a.text[0] in "↑↓" for a in figure.layout.annotations)


def _domain(column: int, columns: int, row: int, body: int) -> tuple[list[float], list[float]]:
    """Return a panel's place in the plot area, as shares of its width and height."""
    gap = 0.095 if columns > 1 else 0.0
    width = (1 - gap * (columns - 1)) / columns
    left = column * (width + gap)
    top = 1 - row * (_PANEL + _BETWEEN) / body
    return [left, min(left + width, 1.0)], [max(top - _PANEL / body, 0.0), top]


def _axis(base: str, number: int) -> str:
    """Name Plotly's axis of a panel: x, x2, x3 and so on."""
    return base if number == 0 else f"{base}{number + 1}"


def _boundary(figure: go.Figure, boundary: int, number: int) -> None:
    figure.add_shape(
        type="line",
        xref=_axis("x", number),
        yref=_axis("y", number) + " domain",
        x0=boundary,
        x1=boundary,
        y0=0,
        y1=1,
        line={"width": 2, "color": style.LIGHT.boundary},
        name="boundary",
    )
