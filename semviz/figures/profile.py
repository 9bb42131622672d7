"""Deviation profiles: the mean deviation of each space, one panel per metric."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats
from semviz.common.checks import as_list
from semviz.common.errors import SemvizError
from semviz.common.metric_facts import MetricFacts
from semviz.figures.drawing import boundary_marks, style
from semviz.figures.drawing.curves import axis, band, off_axis, rounded, ticks, y_range
from semviz.figures.drawing.guess_marks import add_guess
from semviz.figures.drawing.inputs import check_boundary, difference_of, models_of, readout_note
from semviz.figures.drawing.protocols import DeviationsLike, Floats, LawLike

_COLUMNS = 3
_PANEL = 190
_BETWEEN = 90
_LINE = 16
_HEADING = 19
"""Letters of a heading that fit above a panel which has others beside it, on a narrow page."""
_NO_LAW = "no law"
_NARROW = 480
"""Width of the plot area in pixels where a page is narrow."""


def profile(trace: DeviationsLike, *, metrics: Sequence[str] | None = None, boundary: int | None = None) -> go.Figure:
    """Draw the mean deviation of every space, each metric in a panel with its own unit.

    Values of different metrics are not comparable, so each panel has its own axis; what can be compared is the shape:
    where a profile falls, the blocks move towards the target. The law's line stands beside the profiles it applies to.

    Args:
        trace: What `semviz.trace` returned, or a difference of two traces.
        metrics: Keys of traced metrics, in the order of the panels; None draws all.
        boundary: Number of frozen blocks to mark with a line, or None.

    Returns:
        A plain Plotly figure; the x axis counts spaces, 0 is the input of block 1.

    Raises:
        SemvizError: A metric was not traced, or the boundary does not exist.
    """
    if isinstance(metrics, str):
        raise SemvizError(f"metrics={metrics!r} is one text. Pass a list, such as metrics=[{metrics!r}].")
    requested = trace.metrics if metrics is None else as_list("metrics", metrics, "a list of traced metrics")
    keys = list(dict.fromkeys(trace.check(key) for key in requested))
    if not keys:
        raise SemvizError("metrics is empty. Pass at least one traced metric, or None for all.")
    boundary = check_boundary(trace.n_blocks, boundary)
    columns = min(len(keys), _COLUMNS)
    rows = -(-len(keys) // columns)
    lines = max(len(_heading(trace.facts[key], columns)) for key in keys)
    between = _BETWEEN + _LINE * (lines - 1)
    body = rows * _PANEL + (rows - 1) * between
    figure = go.Figure()
    lawful = any(trace.facts[key].loss_like for key in keys)
    for number, key in enumerate(keys):
        row, column = divmod(number, columns)
        domain = _panel_domain(column, columns, row, body, between)
        heading = _heading(trace.facts[key], columns)
        _add_panel(figure, trace, key, number=number, domain=domain, heading=heading, lawful=lawful)
        is_lowest = number + columns >= len(keys)
        figure.update_layout({axis("xaxis", number): {"title": {"text": "space"}} if is_lowest else {}})
        if boundary is not None:
            boundary_marks.add_line_through_space(figure, boundary, number)
    figure.update_layout(meta={boundary_marks.BLOCKS: trace.n_blocks})
    return style.finish(
        figure,
        title=_title(trace, len(keys) > 1),
        notes=_notes(figure, trace, keys, boundary, lawful=lawful),
        body=body,
        left=60,
        right=24,
        bottom=52,
        above=(44 if lawful else 28) + _LINE * (lines - 1),
    )


def _title(trace: DeviationsLike, several: bool) -> str:
    difference = difference_of(trace)
    if difference is None:
        return "Mean deviation of each space" + (", metric by metric" if several else "")
    return f"Mean change of each space's deviation, {models_of(difference)}"


def _notes(
    figure: go.Figure, trace: DeviationsLike, keys: list[str], boundary: int | None, *, lawful: bool
) -> list[str]:
    """Say how to read the panels, and what is not in them."""
    difference = difference_of(trace)
    if difference is None:
        reading = "Where a line falls, blocks move towards the target. Bands: 95 % bootstrap over samples."
    else:
        reading = "Below 0: nearer to the target than before. Bands: 95 % bootstrap over paired samples."
    shapes = "Compare shapes: units differ." if len(keys) > 1 else ""
    cut = "" if boundary is None else boundary_marks.READING
    law = ""
    if lawful:
        law = "Dashed: the law’s line (SALF-style, our reading)."
    headings = [a.text for a in figure.layout.annotations]
    if any(text.startswith(_NO_LAW) for text in headings):
        law += " No law: flat, or more than 30 % of the movement (ν) leads away."
    virtual = "The virtual deviation is the distance from the virtual path, and may rise."
    return [
        f"{reading} {readout_note(trace)}".rstrip(),
        f"{shapes} {cut}".strip(),
        law,
        virtual if "virtual" in keys and difference is None else "",
        "An arrow gives the value of space 0 where it lies off the axis." if _has_arrow(headings) else "",
        "" if difference is None else difference.note,
    ]


def _add_panel(
    figure: go.Figure,
    trace: DeviationsLike,
    key: str,
    *,
    number: int,
    domain: tuple[list[float], list[float]],
    heading: list[str],
    lawful: bool,
) -> None:
    """Add one metric's line, band, axes and heading."""
    facts = trace.facts[key]
    frame = trace.profile_frame(key)
    spaces = [float(s) for s in frame["space"]]
    low, mean, high = (frame[c].to_numpy(dtype=float) for c in ("low", "mean", "high"))
    law = trace.law(key)
    curves = [mean, low, high] + ([law.line] if law is not None and law.applies else [])
    if facts.is_change:
        curves.append(np.zeros_like(mean))
    span, hidden = y_range(curves)
    anchors = {"xaxis": axis("x", number), "yaxis": axis("y", number)}
    unit, sign = style.literal(facts.unit), "+" if facts.is_change else ""
    figure.add_trace(band(spaces, low, high, name=f"{key} band").update(anchors))
    figure.add_scatter(
        x=[int(s) for s in spaces],
        y=rounded(mean),
        customdata=[[a, b] for a, b in zip(rounded(low), rounded(high), strict=True)],
        mode="lines+markers" if len(spaces) <= 26 else "lines",
        line={"color": style.LIGHT.line, "width": 2.2},
        marker={"size": 6, "color": style.LIGHT.line},
        hovertemplate=f"space %{{x}}<br><b>%{{y:{sign}.3f}}</b> {unit}<br>95 %: %{{customdata[0]:{sign}.3f}} to "
        f"%{{customdata[1]:{sign}.3f}}<extra></extra>",
        showlegend=False,
        name=key,
        **anchors,
    )
    if law is not None and law.applies:
        _add_law(figure, facts, law, number=number)
    shown = ticks(trace.n_blocks, room=9)
    across, down = domain
    figure.update_layout(
        {
            axis("xaxis", number): {
                "domain": across,
                "anchor": axis("y", number),
                "range": [-0.4, trace.n_blocks + 0.4],
                "tickmode": "array",
                "tickvals": shown,
                "ticktext": [str(k) for k in shown],
                "showgrid": False,
                "showline": True,
                **({"matches": "x"} if number else {}),
            },
            axis("yaxis", number): {
                "domain": down,
                "anchor": axis("x", number),
                "nticks": 6,
                "range": span,
                "ticks": "",
                **({"zeroline": True, "zerolinecolor": style.LIGHT.axis, "zerolinewidth": 1.5} if sign else {}),
                "title": {"text": style.literal(facts.unit), "standoff": 6, "font": {"size": style.SIZE - 1}},
            },
        }
    )
    _add_guess(figure, trace, facts, curves, span, width=(across[1] - across[0]) * _NARROW, number=number)
    if hidden is not None:
        figure.add_annotation(off_axis(hidden, span, row=str(number + 1) if number else ""))
    below = "" if law is None else _law_text(law) if law.applies else f"{_NO_LAW}: {_no_law_reason(law)}"
    for text, shift, font in (
        (f"<b>{'<br>'.join(map(style.literal, heading))}</b>", 24 if lawful else 8, {}),
        (below, 8, {"size": style.SIZE - 2, "color": style.LIGHT.muted}),
    ):
        figure.add_annotation(
            text=text,
            xref="paper",
            yref="paper",
            x=across[0],
            y=down[1],
            xanchor="left",
            yanchor="bottom",
            align="left",
            yshift=shift,
            showarrow=False,
            font=font,
        )


def _heading(facts: MetricFacts, columns: int) -> list[str]:
    """Return the lines of a panel's heading."""
    return textwrap.wrap(facts.title, _HEADING) if columns > 1 else [facts.title]


def _add_law(figure: go.Figure, facts: MetricFacts, law: LawLike, *, number: int) -> None:
    """Add the law's line to a panel."""
    figure.add_scatter(
        x=list(range(len(law.line))),
        y=rounded(law.line),
        mode="lines",
        line={"color": style.LIGHT.law, "width": 1.6, "dash": "dash"},
        hovertemplate=f"the law at space %{{x}}: %{{y:.3f}} {style.literal(facts.unit)}"
        f"<br>{_law_text(law)}<extra></extra>",
        showlegend=False,
        name=f"law of {facts.key}",
        xaxis=axis("x", number),
        yaxis=axis("y", number),
    )


def _add_guess(
    figure: go.Figure,
    trace: DeviationsLike,
    facts: MetricFacts,
    curves: list[Floats],
    span: list[float],
    *,
    width: float,
    number: int,
) -> None:
    """Draw the line of a blind guess, where it is on the axis."""
    guess = facts.blind_guess(trace.meta.get("candidates"))
    if guess is None or not span[0] < guess < span[1]:
        return
    text = ("right angle" if facts.guess == "right angle" else "blind guess") + f" {formats.number(guess)}"
    add_guess(figure, guess, text=text, curves=curves, span=span, width=width, body=_PANEL, number=number)


def _law_text(law: LawLike) -> str:
    return f"law: β = {formats.number(law.beta, digits=2)}, R² = {formats.number(law.r2, digits=2)}"


def _no_law_reason(law: LawLike) -> str:
    return "flat" if law.flat else f"ν = {formats.number(law.nonmonotone, digits=2)}"


def _has_arrow(texts: list[str]) -> bool:
    return any(text[:1] in ("↑", "↓") for text in texts)


def _panel_domain(column: int, columns: int, row: int, body: int, between: int) -> tuple[list[float], list[float]]:
    """Return a panel's place in the plot area, as shares of its width and height."""
    gap = 0.095 if columns > 1 else 0.0
    width = (1 - gap * (columns - 1)) / columns
    left = column * (width + gap)
    top = 1 - row * (_PANEL + between) / body
    return [left, min(left + width, 1.0)], [max(top - _PANEL / body, 0.0), top]
