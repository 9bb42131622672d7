"""Benefit curve: the predicted share of full finetuning's improvement at every boundary, beside what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats, token_text
from semviz.common.checks import require_attributes
from semviz.common.errors import SemvizError
from semviz.common.provenance import source_of
from semviz.common.scores import score_named
from semviz.figures.drawing import boundary_marks, style
from semviz.figures.drawing.curves import band, rounded, ticks, whiskers
from semviz.figures.drawing.inputs import check_boundary
from semviz.figures.drawing.pareto_points import WEIGHTS
from semviz.figures.drawing.protocols import ProbesLike, RunsLike

_BODY = 380
_FLOOR, _CEILING = -1.0, 2.0
"""Shares beyond these only say that full finetuning improved almost nothing; they would flatten all others."""


@dataclass(frozen=True)
class _Measured:
    """The measured benefit of one suffix."""

    boundary: int
    name: str
    benefit: float
    low: float
    high: float
    seeds: int


def benefit_curve(probes: ProbesLike, runs: RunsLike | None = None, *, boundary: int | None = None) -> go.Figure:
    """Draw the predicted benefit of every boundary with its 95 % band, the probes, and what was measured.

    Args:
        probes: What `semviz.probe` returned.
        runs: Runs of the same model on the same task; the measured benefit of every suffix is drawn beside the
            prediction. Only runs that train the weights themselves (method ``"full"``) are drawn.
        boundary: Number of frozen blocks to mark with a line; None marks the recommended one.

    Returns:
        A plain Plotly figure; x counts frozen blocks from 0 (full finetuning) to L (none), y is the share of full
        finetuning's improvement. The vertical line is the boundary, the star and its dotted line the recommended one.

    Raises:
        SemvizError: The runs are of another model or task, or the boundary does not exist.
    """
    boundary = check_boundary(probes.n_blocks, boundary)
    measured = [] if runs is None else _measured_suffixes(probes, runs)
    figure = go.Figure()
    _add_prediction(figure, probes)
    _add_probes(figure, probes)
    _add_runs(figure, measured)
    span, off_axis = _vertical_range(probes, measured)
    _add_accepted_level(figure, probes)
    if math.isfinite(probes.benefit[probes.boundary]):
        _add_recommended(figure, probes)
        boundary = probes.boundary if boundary is None else boundary
    if boundary is not None:
        boundary_marks.add_line_through_space(figure, boundary)
    shown = ticks(probes.n_blocks)
    figure.update_layout(
        xaxis={
            "title": {"text": "boundary (number of frozen blocks)"}, "range": [-0.4, probes.n_blocks + 0.4],
            "tickmode": "array", "tickvals": shown, "ticktext": [str(k) for k in shown], "showgrid": False,
            "showline": True,
        },
        yaxis={
            "title": {"text": "share of full finetuning’s improvement"}, "range": span, "ticks": "",
            **share_ticks(span),
        },
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom", "xref": "paper"},
        meta={boundary_marks.BLOCKS: probes.n_blocks},
    )  # fmt: skip
    return style.finish(
        figure,
        title=f"Predicted {'and measured ' if measured else ''}benefit of every boundary",
        notes=[
            f"{style.name(probes.model)} on {style.name(probes.task)}. 100 %: as good as training all blocks; 0 %: as "
            "before finetuning. Whiskers: 95 % intervals"
            + (" (of measured runs: of the score alone)." if any(math.isfinite(m.low) for m in measured) else "."),
            "Probes are measured on validation rows, runs on test rows." if measured else "",
            style.sentences(probes.message),
            f"Off the axis: {off_axis}; the tables have them." if off_axis else "",
        ],
        body=_BODY,
        left=76,
        right=24,
        bottom=56,
        above=34,
    )


def _measured_suffixes(probes: ProbesLike, runs: RunsLike) -> list[_Measured]:
    """Read the suffixes that were run, with the intervals of their scores on the benefit's scale."""
    require_attributes("runs", runs, ("table", "model", "task"), "what sv.sweep() returns, or None")
    source, expected = source_of(runs), source_of(probes)
    source.check("runs", expected, "pass runs of the model and task that were probed")
    if not (source.model_hash and expected.model_hash):  # nothing but their names is known
        for what, ours, theirs in (("model", probes.model, runs.model), ("task", probes.task, runs.task)):
            if ours != theirs:
                raise SemvizError(
                    f"The probes are of the {what} {ours!r} and the runs of {theirs!r}. Pass runs of the same {what}."
                )
    table = runs.table()
    table = table[(table["method"] == WEIGHTS) & table["suffix"]]
    value, low, high = score_named(runs.score).columns
    full = table[table["boundary"] == 0]
    before = math.nan if runs.zero_shot is None else float(runs.zero_shot)
    gap = float(full[value].iloc[0]) - before if len(full) else math.nan
    suffixes = []
    for row in table.sort_values("boundary").to_dict("records"):
        ends = sorted((float(row[end]) - before) / gap if gap else math.nan for end in (low, high))
        suffixes.append(
            _Measured(
                boundary=int(row["boundary"]),
                name=str(row["name"]),
                benefit=float(row["benefit"]),
                low=ends[0],
                high=ends[1],
                seeds=int(row["runs"]),
            )
        )
    return [m for m in suffixes if math.isfinite(m.benefit)]


def _add_prediction(figure: go.Figure, probes: ProbesLike) -> None:
    boundaries = [float(k) for k in range(probes.n_blocks + 1)]
    area = band(boundaries, probes.low, probes.high, name="95 % band", colour=style.LIGHT.predicted)
    figure.add_trace(area.update(opacity=0.16))
    figure.add_scatter(
        x=list(range(probes.n_blocks + 1)),
        y=rounded(probes.benefit),
        customdata=[
            [formats.percent(float(v)), _interval_text(float(a), float(b))]
            for v, a, b in zip(probes.benefit, probes.low, probes.high, strict=True)
        ],
        mode="lines+markers" if probes.n_blocks <= 26 else "lines",
        line={"color": style.LIGHT.predicted, "width": 2.2},
        marker={"size": 5, "color": style.LIGHT.predicted},
        hovertemplate="boundary %{x}: <b>%{customdata[0]}</b> predicted<br>95 %: %{customdata[1]}<extra></extra>",
        name="predicted (band: 95 %)",
    )


def _add_probes(figure: go.Figure, probes: ProbesLike) -> None:
    frame = probes.points
    value, low, high = (frame[c].to_numpy(dtype=float) for c in ("benefit", "low", "high"))
    figure.add_scatter(
        x=[int(k) for k in frame["boundary"]],
        y=rounded(value),
        error_y=whiskers(value, low, high, colour=style.LIGHT.law),
        customdata=[
            [formats.percent(float(v)), _interval_text(float(a), float(b))]
            for v, a, b in zip(value, low, high, strict=True)
        ],
        mode="markers",
        marker={
            "symbol": "square", "size": 11, "color": style.LIGHT.law,
            "line": {"width": 1.5, "color": style.LIGHT.paper},
        },
        hovertemplate="boundary %{x}: <b>%{customdata[0]}</b> in the probe<br>95 %: %{customdata[1]}<extra></extra>",
        name="probe runs",
    )  # fmt: skip


def _add_runs(figure: go.Figure, measured: list[_Measured]) -> None:
    if not measured:
        return
    value, low, high = (np.array([getattr(m, name) for m in measured]) for name in ("benefit", "low", "high"))
    figure.add_scatter(
        x=[m.boundary for m in measured],
        y=rounded(value),
        error_y=whiskers(value, low, high, colour=style.LIGHT.whisker),
        customdata=[
            [
                formats.percent(m.benefit),
                _interval_text(m.low, m.high),
                token_text.html_label(style.name(m.name)),
                f"{m.seeds} runs" if m.seeds > 1 else "1 run",
            ]
            for m in measured
        ],
        mode="markers",
        marker={"symbol": "diamond-open", "size": 11, "color": style.LIGHT.line, "line": {"width": 2}},
        hovertemplate="boundary %{x} (%{customdata[2]}): <b>%{customdata[0]}</b> measured, %{customdata[3]}"
        "<br>95 %: %{customdata[1]}<extra></extra>",
        name="measured runs",
    )


def _interval_text(low: float, high: float) -> str:
    """Write an interval of shares as percentages."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"{formats.percent(low)} to {formats.percent(high)}"


def _vertical_range(probes: ProbesLike, measured: list[_Measured]) -> tuple[list[float], str]:
    """Choose the vertical range, and say what lies off it.

    The values decide; an interval is shown whole where it extends the range by at most half.
    """
    points = probes.points
    values = np.concatenate(
        [probes.benefit, points["benefit"].to_numpy(dtype=float), [m.benefit for m in measured], [0.0, 1.0]]
    )
    ends = np.concatenate(
        [
            probes.low, probes.high, points["low"].to_numpy(dtype=float), points["high"].to_numpy(dtype=float),
            [end for m in measured for end in (m.low, m.high)],
        ]
    )  # fmt: skip
    values, ends = values[np.isfinite(values)], ends[np.isfinite(ends)]
    inside = values[(values >= _FLOOR) & (values <= _CEILING)]
    low, high = float(inside.min()), float(inside.max())
    room = 0.5 * (high - low)
    low = max(min([low, *ends]), low - room)
    high = min(max([high, *ends]), high + room)
    pad = 0.05 * (high - low)
    count, cut = len(values) - len(inside), int(((ends < low) | (ends > high)).sum())
    words = ((count, "value", "values"), (cut, "end of an interval", "ends of intervals"))
    return [low - pad, high + pad], ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in words if n)


def share_ticks(span: list[float], *, room: int = 7) -> dict[str, Any]:
    """Return at most about ``room`` ticks at round shares, as percentages."""
    step = formats.nice_step(span[1] - span[0], room)
    values = [round(i * step, 9) for i in range(math.ceil(span[0] / step), math.floor(span[1] / step) + 1)]
    return {"tickmode": "array", "tickvals": values, "ticktext": [formats.percent(v) for v in values]}


def _add_accepted_level(figure: go.Figure, probes: ProbesLike) -> None:
    """Draw the smallest accepted benefit, 1 − ε."""
    level = 1 - probes.epsilon
    figure.add_shape(
        type="line", xref="paper", x0=0, x1=1, y0=level, y1=level,
        line={"width": 1.6, "dash": "dash", "color": style.LIGHT.muted}, name="enough",
    )  # fmt: skip
    figure.add_annotation(
        text=f"enough: {formats.percent(level)} (1 − ε)",
        xref="paper",
        # At its right end, where the curve has come down.
        x=1,
        xanchor="right",
        y=level,
        yanchor="bottom",
        showarrow=False,
        font={"size": style.SIZE - 1, "color": style.LIGHT.muted},
        yshift=3,
        # Where the curve comes down late it runs behind it.
        bgcolor=style.LIGHT.paper,
        borderpad=0,
    )


def _add_recommended(figure: go.Figure, probes: ProbesLike) -> None:
    """Draw the recommended boundary, with its label on the side where the curve is higher."""
    boundary_marks.add_recommended_line(figure, probes.boundary)
    on_left = probes.boundary > probes.n_blocks / 2
    figure.add_annotation(
        text=f"<b>★ the probes’ choice: {probes.boundary}</b>",
        x=probes.boundary,
        xanchor="right" if on_left else "left",
        xshift=-6 if on_left else 6,
        yref="paper",
        y=0,
        yanchor="bottom",
        yshift=4,
        showarrow=False,
        font={"size": style.SIZE - 1, "color": style.LIGHT.recommended},
        name=boundary_marks.RECOMMENDED,
    )
