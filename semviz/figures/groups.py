"""Group profile: the mean deviation of each space, one line per group of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats
from semviz.figures.drawing import boundary_marks, line_ends, style
from semviz.figures.drawing.curves import band, off_axis, rounded, spaces_axis, y_range
from semviz.figures.drawing.inputs import check_boundary, with_unit
from semviz.figures.drawing.protocols import GroupsLike

if TYPE_CHECKING:
    import pandas as pd

MAX_GROUPS = len(style.GROUPS)
"""Number of lines that a reader can tell apart; of more groups, the largest are drawn."""
_BODY = 400
_NAME_WIDTH = 20


def group_profile(groups: GroupsLike, *, metric: str | None = None, boundary: int | None = None) -> go.Figure:
    """Draw the mean deviation of every space for each group, with 95 % bands.

    Args:
        groups: What `Trace.by` returned.
        metric: Key of a traced metric; None takes the trace's default.
        boundary: Number of frozen blocks to mark with a line, or None.

    Returns:
        A plain Plotly figure of one panel; the largest eight groups are drawn, and the figure names the others.

    Raises:
        SemvizError: The metric was not traced, or the boundary does not exist.
    """
    first = next(iter(groups.values()))
    metric, blocks = first.check(metric), first.n_blocks
    boundary = check_boundary(blocks, boundary)
    facts = first.facts[metric]
    drawn, others = list(groups)[:MAX_GROUPS], list(groups)[MAX_GROUPS:]
    profiles = {name: groups[name].profile_frame(metric) for name in drawn}
    span, _ = y_range([profiles[name][c].to_numpy() for c in ("mean", "low", "high") for name in drawn])
    starts = [float(profiles[name]["mean"].iloc[0]) for name in drawn]
    hidden = [value for value in starts if not span[0] <= value <= span[1] and np.isfinite(value)]
    figure = go.Figure()
    for name, look in zip(drawn, style.GROUPS, strict=False):
        _add_band(figure, name, profiles[name], look[0])
    for name, look in zip(drawn, style.GROUPS, strict=False):
        _add_line(figure, name, profiles[name], look, samples=groups[name].meta["samples"], unit=facts.unit)
    labels = [f"{style.name(name, width=_NAME_WIDTH)} ({groups[name].meta['samples']:,})" for name in drawn]
    ends = np.array([profiles[name]["mean"].iloc[-1] for name in drawn], dtype=float)
    line_ends.add_labels(figure, labels, ends, [look[0] for look in style.GROUPS], span=span, at=blocks, body=_BODY)
    if boundary is not None:
        boundary_marks.add_line_through_space(figure, boundary)
    figure.update_layout(
        xaxis=spaces_axis(blocks),
        yaxis={"range": span, "nticks": 7, "ticks": "", "title": {"text": style.literal(with_unit(facts))}},
        meta={boundary_marks.BLOCKS: blocks},
    )  # fmt: skip
    if hidden:
        figure.add_annotation(_off_axis_annotation(hidden, span))
    return style.finish(
        figure,
        title=f"{style.capitalized(facts.title)} of each space, by {style.name(groups.column)}",
        notes=_notes(others, boundary, is_cut=bool(hidden)),
        body=_BODY,
        left=64,
        right=line_ends.width(labels),
        bottom=52,
        above=8,
    )


def _add_band(figure: go.Figure, name: str, frame: pd.DataFrame, colour: str) -> None:
    spaces = [float(k) for k in frame["space"]]
    area = band(
        spaces, frame["low"].to_numpy(), frame["high"].to_numpy(), name=f"{_escaped_name(name)} band", colour=colour
    )
    figure.add_trace(area.update(opacity=0.13))


def _add_line(
    figure: go.Figure, name: str, frame: pd.DataFrame, look: tuple[str, str, str], *, samples: int, unit: str
) -> None:
    colour, symbol, dash = look
    low, high = (rounded(frame[c].to_numpy()) for c in ("low", "high"))
    figure.add_scatter(
        x=[int(k) for k in frame["space"]],
        y=rounded(frame["mean"].to_numpy()),
        customdata=[[a, b] for a, b in zip(low, high, strict=True)],
        mode="lines+markers",
        line={"color": colour, "width": 2, "dash": dash},
        marker={"symbol": symbol, "size": 8 if len(frame) <= 26 else 5, "color": colour},
        hovertemplate=f"<b>{_escaped_name(name)}</b> ({samples:,} samples), space %{{x}}<br><b>%{{y:.3f}}</b> "
        f"{style.literal(unit)}<br>95 %: %{{customdata[0]:.3f}} to %{{customdata[1]:.3f}}<extra></extra>",
        showlegend=False,
        name=_escaped_name(name),
    )


def _off_axis_annotation(hidden: list[float], span: list[float]) -> dict[str, object]:
    """Say where the groups' space 0 lies: from the smallest to the largest of the means that are off the axis."""
    low, high = min(hidden), max(hidden)
    annotation = off_axis(low, span, row="")
    if formats.number(low) != formats.number(high):
        annotation["text"] = f"{annotation['text']} to {formats.number(high)}"
    return annotation


def _notes(others: list[str], boundary: int | None, *, is_cut: bool) -> list[str]:
    cut = "" if boundary is None else f" {boundary_marks.READING}"
    names = ", ".join(style.name(name, width=_NAME_WIDTH) for name in others[:6])
    more = f" and {len(others) - 6} more" if len(others) > 6 else ""
    total = len(others) + MAX_GROUPS
    return [
        f"Numbers of samples in brackets. Bands: 95 % bootstrap over samples.{cut}",
        f"The {MAX_GROUPS} largest of {total} groups are drawn; not drawn: {names}{more}." if others else "",
        "An arrow gives the value of space 0, which lies off the axis." if is_cut else "",
    ]


def _escaped_name(name: str) -> str:
    return style.literal(style.name(name, width=_NAME_WIDTH))
