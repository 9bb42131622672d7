"""Gain picture: the deviation profile with its law and prediction above, the gain of each layer below.

Deviations belong to spaces and gains to layers, so the bar of layer l stands between the spaces l - 1 and l, and the
boundary k is one vertical line across both rows: through space k above, between the layers k and k + 1 below.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats
from semviz.common.metric_facts import MetricFacts
from semviz.figures.drawing import boundary_marks, style
from semviz.figures.drawing.curves import band, off_axis, rounded, ticks, whiskers, y_range
from semviz.figures.drawing.inputs import check_boundary, with_unit
from semviz.figures.drawing.protocols import GainLike

_BODY = 470
_NEGATIVE = "negative gain"
STEADY = "how steady the choice is, not how good"
"""What the share of resamples that choose a boundary says, which readers take for more."""
DEEP = 24
"""Largest number of blocks at which whiskers have caps."""
_HATCH = {"size": 7, "solidity": 0.7}
_UPPER, _LOWER = [0.48, 1.0], [0.0, 0.33]


def gain(gain: GainLike, *, boundary: int | None = None) -> go.Figure:
    """Draw the profile, the gains of the layers, the boundary and the recommended one.

    Args:
        gain: What `Trace.gain` returned.
        boundary: Number of frozen blocks to mark; None takes the recommended one.

    Returns:
        A plain Plotly figure of two rows that share the x axis; the frozen side is grey. A star stands above the
        recommended boundary.

    Raises:
        SemvizError: The boundary does not exist.
    """
    boundary = check_boundary(gain.n_blocks, gain.boundary if boundary is None else boundary)
    assert boundary is not None
    facts = gain.facts
    figure = go.Figure()
    _add_boundary(figure, gain, boundary)
    _add_deviations(figure, gain, facts)
    _add_bars(figure, gain, boundary)
    _set_axes(figure, gain, facts)
    return style.finish(
        figure,
        title=f"{style.capitalized(facts.title)} of each space, gain of each layer",
        notes=_notes(gain),
        body=_BODY,
        left=84,
        right=24,
        bottom=54,
        above=62,
    )


def _add_deviations(figure: go.Figure, gain: GainLike, facts: MetricFacts) -> None:
    """Add the upper row: measured deviation, the law's line, the prediction."""
    spaces = [float(k) for k in range(gain.n_blocks + 1)]
    unit = style.literal(facts.unit)
    figure.add_trace(band(spaces, gain.deviation_low, gain.deviation_high, name="95 % band"))
    figure.add_scatter(
        x=list(range(gain.n_blocks + 1)),
        y=rounded(gain.deviation),
        customdata=[[formats.percent(float(s))] for s in gain.chosen_share],
        mode="lines+markers",
        line={"color": style.LIGHT.line, "width": 2.4},
        marker={"size": 7 if gain.n_blocks <= 24 else 4, "color": style.LIGHT.line},
        name="measured (band: 95 %)",
        hovertemplate=f"space %{{x}}: <b>%{{y:.3f}}</b> {unit}<br>chosen as the boundary in %{{customdata[0]}} of the "
        "resamples<extra></extra>",
    )
    if np.isfinite(gain.fitted).any():
        figure.add_scatter(
            x=list(range(gain.n_blocks + 1)),
            y=rounded(gain.fitted),
            mode="lines",
            line={"color": style.LIGHT.law, "width": 1.8, "dash": "dash"},
            name="fitted law",
            hovertemplate=f"the law at space %{{x}}: %{{y:.3f}} {unit}<extra></extra>",
        )
    if np.isfinite(gain.predicted).any():
        figure.add_scatter(
            x=list(range(gain.n_blocks + 1)),
            y=rounded(gain.predicted),
            mode="lines+markers",
            line={"color": style.LIGHT.predicted, "width": 1.8, "dash": "dot"},
            marker={"symbol": "diamond", "size": 7 if gain.n_blocks <= 24 else 4, "color": style.LIGHT.predicted},
            name="predicted after training",
            hovertemplate=f"boundary %{{x}}: <b>%{{y:.3f}}</b> {unit} predicted after training<extra></extra>",
        )


def gain_bars(gain: GainLike, boundary: int, *, sideways: bool = False) -> list[go.Bar]:
    """Return one bar per layer, grey where it is frozen; negative gains are hatched and in another colour.

    Args:
        gain: The gains.
        boundary: Number of frozen blocks.
        sideways: False puts the bar of layer l upright between the spaces l - 1 and l; True lays it in row l.
    """
    bars = []
    caps = 3 if gain.n_blocks <= DEEP else 0
    parts = (("gain", gain.gains >= 0, style.LIGHT.line, ""), (_NEGATIVE, gain.gains < 0, style.LIGHT.negative, "/"))
    along, up = ("y", "x") if sideways else ("x", "y")
    for name, chosen, colour, shape in parts:
        layers = np.flatnonzero(chosen)
        values, low, high = (a[layers] for a in (gain.gains, gain.gains_low, gain.gains_high))
        colours, meta = boundary_marks.bar_colours(colour, [int(i) + 1 for i in layers], boundary)
        bar = go.Bar(
            customdata=[
                [int(i) + 1, formats.number(float(a)), formats.number(float(b))]
                for i, a, b in zip(layers, low, high, strict=True)
            ],
            width=0.64,
            marker={"color": colours, "line": {"width": 0}, "pattern": {"shape": shape, **_HATCH}},
            meta=meta,
            name=name,
            orientation="h" if sideways else "v",
            showlegend=False,
            hovertemplate=f"layer %{{customdata[0]}}: gain <b>%{{{up}:.3g}}</b><br>95 %: %{{customdata[1]}} to "
            "%{customdata[2]}<extra></extra>",
        )
        bar[along] = [float(i) + (1 if sideways else 0.5) for i in layers]
        bar[up] = rounded(values)
        bar[f"error_{up}"] = {**whiskers(values, low, high, colour=style.LIGHT.law, thickness=1.2), "width": caps}
        bars += [bar] if layers.size else []
    return bars


def gain_axis_title(gain: GainLike) -> str:
    """Return the title of an axis of gains, escaped."""
    unit = gain.facts.unit if abs(gain.beta + 1) < 1e-9 else f"law scale, β = {formats.number(gain.beta, digits=2)}"
    return style.literal(f"gain ({unit})")


def _add_bars(figure: go.Figure, gain: GainLike, boundary: int) -> None:
    """Add the lower row."""
    for bar in gain_bars(gain, boundary):
        figure.add_trace(bar.update(xaxis="x2", yaxis="y2"))
        if bar.name == _NEGATIVE:
            # A legend shows the colour of a trace's first bar, which may be frozen.
            figure.add_bar(
                x=[None],
                y=[None],
                marker={"color": style.LIGHT.negative, "line": {"width": 0}, "pattern": {"shape": "/", **_HATCH}},
                name=f"{_NEGATIVE}: moves away",
                xaxis="x2",
                yaxis="y2",
            )
    for layer in np.flatnonzero(~np.isfinite(gain.gains)):
        figure.add_annotation(
            text="skipped",
            x=float(layer) + 0.5,
            y=0,
            xref="x2",
            yref="y2",
            yanchor="bottom",
            textangle=-90,
            yshift=4,
            showarrow=False,
            font={"size": style.SIZE - 2, "color": style.LIGHT.muted},
        )


def _add_boundary(figure: go.Figure, gain: GainLike, boundary: int) -> None:
    """Grey the frozen side and draw the boundary, and the recommended one, across both rows."""
    for number in (0, 1):
        boundary_marks.shade_frozen_side(figure, boundary, number)
        boundary_marks.add_recommended_line(figure, gain.boundary, number)
        boundary_marks.add_line_through_space(figure, boundary, number)
    boundary_marks.add_recommended_star(figure, gain.boundary)
    boundary_marks.label_sides(figure, boundary, gain.n_blocks, height=_LOWER[1])


def _set_axes(figure: go.Figure, gain: GainLike, facts: MetricFacts) -> None:
    """Lay out two rows: spaces on the upper x axis, layers between them on the lower one."""
    shown = ticks(gain.n_blocks, room=24)
    limits, hidden = _upper_range(gain)
    if hidden is not None:
        figure.add_annotation(off_axis(hidden, limits, row=""))
    blocks = [k for k in shown if k > 0]
    span = [-0.4, gain.n_blocks + 0.4]
    figure.update_layout(
        xaxis={
            "domain": [0, 1], "anchor": "y", "range": span, "tickmode": "array", "tickvals": shown,
            "ticktext": [str(k) for k in shown], "title": {"text": "space", "standoff": 4}, "showgrid": False,
        },
        xaxis2={
            "domain": [0, 1], "anchor": "y2", "range": span, "matches": "x", "tickmode": "array",
            "tickvals": [b - 0.5 for b in blocks], "ticktext": [str(b) for b in blocks],
            "title": {"text": "layer (block)"}, "showgrid": False, "ticks": "",
        },
        yaxis={
            "domain": _UPPER, "title": {"text": style.literal(with_unit(facts))}, "ticks": "", "nticks": 6,
            "range": limits,
        },
        yaxis2={
            "domain": _LOWER, "anchor": "x2", "title": {"text": gain_axis_title(gain)}, "ticks": "",
            "nticks": 5, "zeroline": True, "zerolinecolor": style.LIGHT.axis, "zerolinewidth": 1.2,
        },
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.035, "yanchor": "bottom", "xref": "paper"},
        bargap=0.3,
        meta={boundary_marks.BLOCKS: gain.n_blocks},
    )  # fmt: skip


def _upper_range(gain: GainLike) -> tuple[list[float], float | None]:
    """Choose the upper row's range from what was measured: a prediction far above must not flatten the profile."""
    span, hidden = y_range([gain.deviation, gain.deviation_low, gain.deviation_high])
    room = span[1] - span[0]
    others = np.concatenate([gain.fitted[1:], gain.predicted[1:]])
    others = others[np.isfinite(others)]
    if others.size:
        low, high = float(others.min()) - 0.05 * room, float(others.max()) + 0.05 * room
        span = [max(min(span[0], low), span[0] - 1.2 * room), min(max(span[1], high), span[1] + 0.4 * room)]
    return span, hidden


def _notes(gain: GainLike) -> list[str]:
    """Say what was chosen, how surely, and where the law does not apply."""
    k, last = gain.boundary, gain.n_blocks
    share = formats.percent(float(gain.chosen_share[k]))
    rule = f"★ The profile’s choice: boundary {k} (rule “{style.name(gain.rule)}”)"
    notes = [f"{rule}: {frozen_and_trained(k, last)}.", f"{share} of resamples of the rows choose it: {STEADY}."]
    if np.isfinite(gain.fitted).any():
        law = f"Law: β = {formats.number(gain.beta, digits=2)}, R² = {formats.number(gain.r2, digits=2)}."
    else:
        why = "the profile is flat" if gain.flat else f"ν = {formats.number(gain.nonmonotone, digits=2)}"
        law = f"The law does not apply here ({why})."
    span, hidden = _upper_range(gain)
    if hidden is not None:
        notes.append("An arrow gives the value of space 0, which lies off the axis.")
    if ((gain.predicted > span[1]) | (gain.predicted < span[0]))[1 if hidden is not None else 0 :].any():
        notes.append("Predictions off the axis are not drawn; the table has them.")
    if gain.gains.size and not np.isfinite(gain.gains[0]):
        law += " Layer 1 is skipped: its input, the embeddings, lives in another frame."
    return [*notes, law]


def frozen_and_trained(boundary: int, n_blocks: int) -> str:
    """Say which blocks a boundary freezes and which it trains."""
    frozen, trained = _blocks_with_verb(1, boundary), _blocks_with_verb(boundary + 1, n_blocks)
    return ", ".join([f"{frozen} frozen"] * (boundary > 0) + [f"{trained} trained"] * (boundary < n_blocks))


def _blocks_with_verb(first: int, last: int) -> str:
    """Name a range of blocks, followed by its verb."""
    return f"block {first} is" if first == last else f"blocks {first}–{last} are"
