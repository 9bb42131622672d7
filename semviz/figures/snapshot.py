"""Snapshot: one static picture of a whole study, for saved notebooks.

It is composed of the other pictures, drawn smaller. All panels of the upper row share the axis of spaces, so that one
boundary line runs through them; the gain of a layer lies in the row of its output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from semviz.common.errors import SemvizError
from semviz.common.scores import score_named
from semviz.figures.drawing import boundary_marks, heatmap_cells, style
from semviz.figures.drawing.colours import colour_bar, colour_range, ends_at_guess
from semviz.figures.drawing.inputs import check_boundary, readout_note
from semviz.figures.drawing.pareto_points import is_far, points_of
from semviz.figures.drawing.protocols import DeviationsLike, GainLike, ProbesLike, RunsLike
from semviz.figures.gain import DEEP, frozen_and_trained, gain_axis_title, gain_bars
from semviz.figures.pareto import chart
from semviz.figures.samples import NO_POSITION, Order, draw_samples
from semviz.figures.tokens import NO_TARGET, draw_tokens, words_note

MAX_SAMPLES, MAX_TOKENS = 120, 24
_WIDTH = 880
"""Nominal width of the plot area in pixels."""
_LOWER, _BETWEEN = 262, 136
"""Heights of the lower row and of the space above it, in pixels."""
_ROW, _SHORTEST, _TALLEST = 13, 264, 440
"""Height of a space that can be read, and those of the upper row, in pixels."""
_GAP = 0.03
_TOKENS, _GAINS = 0.42, 0.19
"""Shares of the width that many tokens, and the gains, take."""
_NARROW = 16
"""Number of tokens below which their panel becomes narrower."""
_WORDS = 66
"""Width in pixels of the labels beside the boundary."""


def snapshot(
    trace: DeviationsLike,
    gain: GainLike,
    *,
    boundary: int,
    sample: int | None = None,
    metric: str | None = None,
    order: Order | None = None,
    runs: RunsLike | None = None,
    probes: ProbesLike | None = None,
) -> go.Figure:
    """Draw a study in one picture: a sample's tokens, all samples, the gains of the layers; below, what was measured.

    Args:
        trace: What `semviz.trace` returned, or a difference of two traces.
        gain: What `Trace.gain` returned.
        boundary: Number of frozen blocks, one line through the upper row.
        sample: Number of the sample on the left; None takes the first one. Of a sample traced
            at its answer only, just the answer is drawn.
        metric: Key of the metric of both heatmaps; None takes that of the gains if it was traced.
        order: Order of the samples, as in `sample_heatmap`.
        runs: Finished runs; their scores are the lower row.
        probes: Probes; the notes name the boundary that they choose.

    Returns:
        A plain Plotly figure that fits widths from 700 pixels on: of 8 blocks about 530 pixels high, or 930 with
        runs, of deep models up to 180 more. The tokens that the head ranks first stand in the cells where they fit, in
        samples of up to 11 tokens.

    Raises:
        SemvizError: The boundary, sample, metric or order does not exist, or gains and trace differ in depth.
    """
    checked = check_boundary(trace.n_blocks, boundary)
    if checked is None or gain.n_blocks != trace.n_blocks:
        raise SemvizError(
            f"A snapshot needs a boundary from 0 to {trace.n_blocks} and gains of {trace.n_blocks} blocks, not "
            f"boundary={boundary!r} and {gain.n_blocks} blocks. Pass boundary=trace.gain().boundary and trace.gain()."
        )
    metric = trace.check(gain.metric if metric is None and gain.metric in trace.metrics else metric)
    points = [] if runs is None else points_of(runs)
    # All spaces have a row, since the gains beside them are those of all layers.
    upper = min(max(_ROW * (trace.n_blocks + 1), _SHORTEST), _TALLEST)
    body = upper + (_BETWEEN + _LOWER) * bool(points)
    rows = [1 - upper / body, 1.0]
    figure = go.Figure()
    bars, notes = _add_heatmaps(figure, trace, metric, sample, order, rows, upper)
    _add_gains(figure, gain, checked, rows)
    boundary_marks.add_line_across_rows(figure, checked, trace.n_blocks)
    ends = {text[:1] for bar in bars for text in bar["ticktext"]}
    facts, span = trace.facts[metric], colour_range(trace, metric)
    at_guess = ends_at_guess(trace, metric, span[1])
    bar = colour_bar(facts, *span, above="≥" in ends, below="≤" in ends, at_guess=at_guess, body=upper, room=_WORDS)
    figure.data[0].update(showscale=True, colorbar={**bar, "y": 1, "yanchor": "top"})
    if ends & {"≥", "≤"}:
        note = heatmap_cells.clipped_note(*span, at_guess if "≥" in ends else None)
        notes.append(f"{note}. The narrow columns of samples have none.")
    if runs is not None and points:
        _add_scores(figure, runs, [0.0, _LOWER / body])
    return style.finish(
        figure,
        title=_title(trace, checked),
        notes=[*_notes(gain, checked, runs if points else None, probes), readout_note(trace), *notes],
        body=body,
        left=76,
        right=_WORDS + (96 if at_guess else 66),
        bottom=56 if points else 94,
        above=40,
    )


def _add_heatmaps(
    figure: go.Figure,
    trace: DeviationsLike,
    metric: str,
    sample: int | None,
    order: Order | None,
    rows: list[float],
    height: int,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Add one sample's tokens and all samples; return their colour bars, and what the notes must say of the cells."""
    options: dict[str, Any] = {"metric": metric, "boundary": None, "spaces": "all"}
    place = heatmap_cells.Place(int(_TOKENS * _WIDTH), height, has_options=False)
    tokens = draw_tokens(
        trace, sample=sample, start=None, words=None, place=place, most=MAX_TOKENS, require_all_tokens=False, **options
    )
    count = len(tokens.layout.xaxis.tickvals)
    has_words = tokens.data[0].texttemplate is not None
    # A word needs all the room that it was cut for, but a single column can be narrower.
    width = _TOKENS * (1 if has_words and count > 1 else min(max(count / _NARROW, 0.4), 1))
    across = [width + _GAP, 1 - _GAINS - _GAP]
    place = heatmap_cells.Place(int((across[1] - across[0]) * _WIDTH), height, has_options=False)
    samples = draw_samples(trace, order=order, limit=MAX_SAMPLES, place=place, **options)
    shown = len(samples.layout.meta["samples"])
    total = trace.positions["sample"][trace.counted].nunique()
    number = tokens.layout.meta["sample"]
    heads = (
        f"Sample {number}, by token" if count > 1 else f"Sample {number}",
        f"{shown:,} of {total:,} samples" if shown < total else f"{total:,} sample{'s' * (total > 1)}",
    )
    bars = []
    for part, head, x, domain in zip((tokens, samples), heads, ("x", "x2"), ([0, width], across), strict=True):
        bars.append(part.data[0].colorbar.to_plotly_json())
        _copy_into(figure, part, x=x, y="y", leave_out=heatmap_cells.CLIPPED if part is samples else ())
        axis = part.layout.xaxis.to_plotly_json()
        figure.update_layout({_layout_key(x): {**axis, "domain": domain, "anchor": "y"}})
        _add_heading(figure, head, domain[0], rows[1])
    # What the columns are stands above them, so only their order is left to say below.
    sorting = samples.layout.xaxis.title.text.partition(", ")[2] or "number in the data"
    font = {"size": style.SIZE - 1}
    figure.update_layout(
        xaxis={"title": {"text": ""}}, xaxis2={"title": {"text": sorting, "font": font, "standoff": 8}}
    )
    figure.update_layout(xaxis={"tickangle": -90 if count > 1 else 0, "tickfont": {"size": style.SIZE - 3}})
    # The labels stand beside the tokens, so their signs are those of the tokens.
    figure.update_layout(yaxis={**tokens.layout.yaxis.to_plotly_json(), "domain": rows, "anchor": "x"})
    is_missing = [any(cells.name == "missing" for cells in part.data) for part in (tokens, samples)]
    notes = [words_note(trace) if has_words else ""]
    reasons = {why: None for why, here in zip((NO_TARGET, NO_POSITION), is_missing, strict=True) if here}
    return bars, [*notes, *map(heatmap_cells.missing_note, reasons)]


def _add_gains(figure: go.Figure, gain: GainLike, boundary: int, rows: list[float]) -> None:
    """Add the layers' gains, each in the row of its output."""
    domain = [1 - _GAINS, 1.0]
    for bar in gain_bars(gain, boundary, sideways=True):
        figure.add_trace(bar.update(xaxis="x3", yaxis="y"))
    title = {"text": gain_axis_title(gain).replace(" (", "<br>("), "font": {"size": style.SIZE - 1}}
    zero = {"zeroline": True, "zerolinecolor": style.LIGHT.axis, "zerolinewidth": 1.2}
    figure.update_layout(
        xaxis3={"domain": domain, "anchor": "y", "title": title, "nticks": 4, "tickangle": 0, "ticks": "", **zero}
    )
    skipped = [layer for layer, value in enumerate(gain.gains, start=1) if not math.isfinite(value)]
    for layer in skipped if gain.n_blocks <= DEEP else []:
        figure.add_annotation(
            text="skipped",
            xref="x3 domain",
            x=0.5,
            y=layer,
            showarrow=False,
            font={"size": style.SIZE - 3, "color": style.LIGHT.muted},
        )
    _add_heading(figure, "Gain of each layer", domain[0], rows[1])


def _add_scores(figure: go.Figure, runs: RunsLike, rows: list[float]) -> None:
    """Add the scores of the scopes that were run."""
    points, score = points_of(runs), score_named(runs.score)
    before = runs.zero_shot if runs.zero_shot is not None and math.isfinite(runs.zero_shot) else None
    is_off = before is not None and is_far(points, before)
    part, _ = chart(points, score, None if is_off else before, width=_WIDTH, height=_LOWER)
    _copy_into(figure, part, x="x4", y="y4")
    axes = {"xaxis4": part.layout.xaxis.to_plotly_json(), "yaxis4": part.layout.yaxis.to_plotly_json()}
    axes["xaxis4"] |= {"domain": [0, 1], "anchor": "y4"}
    axes["yaxis4"] |= {"domain": rows, "anchor": "x4"}
    figure.update_layout(axes)
    head = f"{score.title} after finetuning, 95 % intervals"
    if is_off and before is not None:
        head += f" (before: {score.text(before)})"
    _add_heading(figure, head, 0, rows[1])


def _copy_into(figure: go.Figure, part: go.Figure, *, x: str, y: str, leave_out: Sequence[str] = ()) -> None:
    """Copy the contents of another figure onto these axes, without its colour bars and the hover texts of cells."""
    for trace in part.data:
        if trace.name in leave_out:
            continue
        spec = trace.to_plotly_json()
        if spec["type"] == "heatmap":
            spec = {k: v for k, v in spec.items() if k not in ("customdata", "hovertemplate", "colorbar")}
            spec |= {"showscale": False, "hovertemplate": "<b>%{z:.3f}</b> at space %{y}<extra></extra>"}
            spec |= {"hoverinfo": "skip", "hovertemplate": ""} if trace.name == "missing" else {}
        figure.add_trace({**spec, "xaxis": x, "yaxis": y})
    shapes, texts = ([item.to_plotly_json() for item in part.layout[kind]] for kind in ("shapes", "annotations"))
    figure.layout.shapes += tuple(_on_axes(shape, x, y) for shape in shapes)
    # Annotations beside the colour bar are left out, as the colour bar is.
    annotations = (item for item in texts if (item.get("xref"), item.get("yref")) != ("paper", "paper"))
    figure.layout.annotations += tuple(_on_axes(item, x, y) for item in annotations)


def _on_axes(item: dict[str, Any], x: str, y: str) -> dict[str, Any]:
    """Move a shape or an annotation to other axes; "paper" becomes their domain."""
    xref = f"{x} domain" if item.get("xref") == "paper" else x
    yref = f"{y} domain" if item.get("yref") == "paper" else y
    return {**item, "xref": xref, "yref": yref}


def _layout_key(axis: str) -> str:
    return axis.replace("x", "xaxis")


def _add_heading(figure: go.Figure, text: str, x: float, y: float) -> None:
    figure.add_annotation(
        text=f"<b>{text}</b>",
        xref="paper",
        yref="paper",
        x=x,
        y=y,
        xanchor="left",
        yanchor="bottom",
        yshift=16,
        showarrow=False,
        font={"size": style.SIZE},
    )


def _title(trace: DeviationsLike, boundary: int) -> str:
    """Name model, task and scope."""
    last, meta = trace.n_blocks, trace.meta
    first = boundary + 1
    scope = f"blocks {first}–{last}" if first < last else f"block {last}" if first == last else "nothing"
    return f"{style.name(meta['model'])} on {style.name(meta['task'])}: train {scope} of {last}"


def _notes(gain: GainLike, boundary: int, runs: RunsLike | None, probes: ProbesLike | None) -> list[str]:
    """Say what the boundary does, which one each evidence chooses, and what the runs show."""
    choices = [f"The profile chooses {gain.boundary} (rule “{style.name(gain.rule)}”)"]
    choices += [f"the probes choose {probes.boundary}"] if probes is not None else []
    return [
        f"The line is boundary {boundary}: {frozen_and_trained(boundary, gain.n_blocks)}. {', '.join(choices)}.",
        style.sentences(runs.answer()) if runs is not None else "",
    ]
