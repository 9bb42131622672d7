"""Range heatmap: what training each contiguous range of blocks scores, lowest against highest trained block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats, token_text
from semviz.common.checks import short_repr, whole_number
from semviz.common.errors import SemvizError
from semviz.common.scores import Score, score_named
from semviz.figures.drawing import style
from semviz.figures.drawing.curves import ticks
from semviz.figures.drawing.pareto_points import WEIGHTS
from semviz.figures.drawing.protocols import RunsLike

_ROW = 40
_LEAST, _MOST = 150, 480
_NARROW = 350
"""Width of the plot area in pixels on a page of 500: what is written into cells must fit there."""
_SIZES = (style.SIZE - 1, style.SIZE - 3)
_EDGE = 0.008
"""Share of the plot area that stays free at its edges, so that the frame of an outer cell is not cut."""
_BRIGHT = 0.45
"""Share of the colour scale above which black letters read better than white ones."""
_ON_BRIGHT, _ON_DARK = "rgba(0,0,0,0.9)", "rgba(255,255,255,0.95)"
"""Letters on cells; the cells' colours are the same in the dark theme, so these are not roles of a theme."""
_MARKED = 600
"""Largest number of cells without a run at which they get a cross; of more, only the grey is drawn."""


@dataclass(frozen=True)
class _Range:
    """One contiguous range of trained blocks and what it scores."""

    first: int
    last: int
    scope: str
    score: float
    low: float
    high: float
    trainable: float
    share: float
    seconds: float
    seeds: int


def range_heatmap(runs: RunsLike, *, method: str = WEIGHTS, n_blocks: int | None = None) -> go.Figure:
    """Draw the score of every contiguous range of trained blocks, lowest against highest trained block.

    Args:
        runs: What `semviz.sweep` returned for ranges of blocks, such as `Scope.ranges(model)`.
        method: Which method's runs are drawn.
        n_blocks: Number of blocks of the model, L; None takes the highest trained block.

    Returns:
        A plain Plotly figure. The diagonal is single blocks, the right edge the suffixes, the lower right corner full
        finetuning. Brighter is better; the best range is framed; ranges that were not run are grey with a cross.

    Raises:
        SemvizError: No contiguous range was run with this method, or a run trains blocks above ``n_blocks``.
    """
    ranges, n_duplicates = _read_ranges(runs, method)
    highest = max(r.last for r in ranges)
    blocks = highest if n_blocks is None else whole_number("n_blocks", n_blocks, minimum=1)
    if highest > blocks:
        raise SemvizError(f"n_blocks={blocks}, but block {highest} was trained. Pass the number of the model's blocks.")
    score = score_named(runs.score)
    best = min(ranges, key=lambda r: (-score.sign * r.score, r.trainable))
    body = min(max(_ROW * blocks, _LEAST), _MOST)
    gap = 1.5 if body / blocks >= 12 else 0
    figure = go.Figure()
    _add_cells(figure, ranges, blocks, score, body=body, gap=gap)
    _add_scores(figure, ranges, blocks, best, score)
    n_missing = _add_missing(figure, ranges, blocks, body=body, gap=gap)
    _frame_best(figure, best)
    numbers = [k + 1 for k in ticks(blocks - 1)] if blocks > 1 else [1]
    edge = _EDGE * blocks
    both: dict[str, Any] = {
        "range": [0.5 - edge, blocks + 0.5 + edge], "tickmode": "array", "tickvals": numbers,
        "ticktext": [str(b) for b in numbers], "showgrid": False, "showline": False, "ticks": "",
    }  # fmt: skip
    figure.update_layout(
        xaxis={**both, "title": {"text": "highest trained block"}},
        yaxis={**both, "title": {"text": "lowest trained block"}},
    )
    of_method = "" if method == WEIGHTS else f" ({style.name(method)})"
    return style.finish(
        figure,
        title=f"{score.title} after training each range of blocks{of_method}",
        notes=[
            f"{style.name(runs.model)} on {style.name(runs.task)}. A cell trains the blocks from its row’s to its "
            "column’s number. Diagonal: single blocks; right edge: all blocks above a boundary.",
            _best_note(best, runs, score),
            _overlap_note(best, ranges, score),
            f"Grey cells with a cross were not run ({n_missing} of {blocks * (blocks + 1) // 2})." if n_missing else "",
            f"Not shown: scopes of the same blocks with another norm or head ({n_duplicates})." if n_duplicates else "",
        ],
        body=body,
        left=62,
        right=96,
        bottom=56,
        above=8,
    )


def _read_ranges(runs: RunsLike, method: str) -> tuple[list[_Range], int]:
    """Read the ranges from the runs' table, one for each pair of blocks, and count the rows left out as duplicates."""
    table = runs.table()
    of_method = table[table["method"] == (method if isinstance(method, str) else "")]
    if len(table) and not len(of_method):
        methods = ", ".join(repr(str(m)) for m in table["method"].unique())
        raise SemvizError(
            f"No run has the method {short_repr(method)}. Pass the method of these runs, one of: {methods}."
        )
    value, low, high = score_named(runs.score).columns
    ranges: dict[tuple[int, int], _Range] = {}
    rows = of_method[of_method["first"].notna() & of_method["last"].notna()]
    rows = rows[np.isfinite(rows[value].to_numpy(dtype=float))] if len(rows) else rows
    for row in rows.to_dict("records"):
        block_range = _Range(
            first=int(row["first"]),
            last=int(row["last"]),
            scope=str(row["scope"]),
            score=float(row[value]),
            low=float(row[low]),
            high=float(row[high]),
            trainable=float(row["trainable"]),
            share=float(row["share"]),
            seconds=float(row["seconds"]),
            seeds=int(row["runs"]),
        )
        ranges.setdefault((block_range.first, block_range.last), block_range)
    if not ranges:
        raise SemvizError(
            f"No contiguous range of blocks was run with the method {method!r}. Pass the runs of "
            "sv.sweep(model, task, sv.Scope.ranges(model)), or draw any scopes with runs.pareto()."
        )
    return list(ranges.values()), len(rows) - len(ranges)


def _add_cells(figure: go.Figure, ranges: list[_Range], blocks: int, score: Score, *, body: int, gap: float) -> None:
    """Draw the ranges that were run."""
    z: list[list[float | None]] = [[None] * blocks for _ in range(blocks)]
    hover: list[list[list[str] | None]] = [[None] * blocks for _ in range(blocks)]
    for r in ranges:
        row, column = r.first - 1, r.last - 1
        z[row][column] = float(f"{r.score:.5g}")
        hover[row][column] = _hover_texts(r, score)
    low, high = _score_range(ranges)
    figure.add_heatmap(
        z=z,
        customdata=hover,
        hovertemplate=f"<b>%{{customdata[0]}}</b><br>{score.name} <b>%{{customdata[1]}}</b>"
        "<br>95 %: %{customdata[2]}<br>%{customdata[3]} parameters (%{customdata[4]})"
        "<br>training took %{customdata[5]}%{customdata[6]}<extra></extra>",
        zmin=low,
        zmax=high,
        colorscale=style.MAGNITUDE,
        reversescale=not score.higher_is_better,
        colorbar=_colour_bar(low, high, score, body=body),
        name="score",
        **_cell_grid(blocks, gap),
    )


def _cell_grid(blocks: int, gap: float) -> dict[str, Any]:
    """Place the cells: blocks count from 1 on both axes."""
    numbers = list(range(1, blocks + 1))
    return {"x": numbers, "y": numbers, "xgap": gap, "ygap": gap, "hoverongaps": False}


def _add_scores(figure: go.Figure, ranges: list[_Range], blocks: int, best: _Range, score: Score) -> None:
    """Write the scores into the cells, where they fit."""
    low, high = _score_range(ranges)
    digits = score.digits if score.is_share else 2 if high - low >= 0.05 else 3
    # The colour bar says that accuracies are percentages; cells are too narrow for the sign.
    texts = [f"{score.scale * r.score:.{digits}f}" for r in ranges]
    letters = max(len(text) for text in texts)
    size = next((size for size in _SIZES if 0.6 * size * letters + 3 <= _NARROW / blocks), None)
    if size is None:
        return
    places = [(r.score - low) / (high - low) for r in ranges]
    figure.add_scatter(
        x=[r.last for r in ranges],
        y=[r.first for r in ranges],
        mode="text",
        text=[f"<b>{text}</b>" if r is best else text for r, text in zip(ranges, texts, strict=True)],
        textfont={
            "size": size,
            "color": [_ON_BRIGHT if (p if score.higher_is_better else 1 - p) > _BRIGHT else _ON_DARK for p in places],
        },
        hoverinfo="skip",
        showlegend=False,
        name="scores",
    )


def _hover_texts(r: _Range, score: Score) -> list[str]:
    ends = [score.text(v) for v in (r.low, r.high)]
    return [
        token_text.html_label(style.name(r.scope)),
        score.with_unit(r.score),
        " to ".join(ends) if formats.MISSING not in ends else "no interval",
        formats.si(r.trainable),
        formats.percent(r.share),
        formats.seconds(r.seconds),
        f" ({r.seeds} runs each)" if r.seeds > 1 else "",
    ]


def _score_range(ranges: list[_Range]) -> tuple[float, float]:
    """Return the scores at the two ends of the colours."""
    low, high = min(r.score for r in ranges), max(r.score for r in ranges)
    return (low, high) if high - low >= 1e-6 else (low - 0.005, high + 0.005)


def _colour_bar(low: float, high: float, score: Score, *, body: int) -> dict[str, object]:
    """Describe the colour bar."""
    step = formats.nice_step(high - low, 6)
    values = [round(i * step, 9) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return {
        "title": {
            "text": score.heading, "side": "right",
            "font": {"size": style.SIZE - 1, "color": style.LIGHT.ink},
        },
        "tickmode": "array", "tickvals": values, "ticktext": score.tick_texts(values),
        "tickfont": {"size": style.SIZE - 2, "color": style.LIGHT.muted},
        "thickness": 11, "len": body, "lenmode": "pixels", "x": 1, "xpad": 12, "ypad": 0,
        "outlinewidth": 0, "ticks": "",
    }  # fmt: skip


def _add_missing(figure: go.Figure, ranges: list[_Range], blocks: int, *, body: int, gap: float) -> int:
    """Draw the ranges that were not run as separate cells, and return their number."""
    measured = {(r.first, r.last) for r in ranges}
    missing = [(a, b) for a in range(1, blocks + 1) for b in range(a, blocks + 1) if (a, b) not in measured]
    if not missing:
        return 0
    z: list[list[int | None]] = [[None] * blocks for _ in range(blocks)]
    hover = [[""] * blocks for _ in range(blocks)]
    for a, b in missing:
        z[a - 1][b - 1] = 1
        hover[a - 1][b - 1] = f"block {a}" if a == b else f"blocks {a}–{b}"
    grey = style.LIGHT.missing
    figure.add_heatmap(
        z=z,
        customdata=hover,
        hovertemplate="%{customdata}: not run<extra></extra>",
        colorscale=[[0, grey], [1, grey]],
        showscale=False,
        name="not run",
        **_cell_grid(blocks, gap),
    )
    if len(missing) <= _MARKED:
        figure.add_scatter(
            x=[b for _, b in missing],
            y=[a for a, _ in missing],
            mode="markers",
            marker={
                "symbol": "x-thin", "size": float(np.clip(0.2 * body / blocks, 2.5, 7)), "color": style.LIGHT.other,
                "line": {"width": 1, "color": style.LIGHT.other},
            },
            hoverinfo="skip",
            showlegend=False,
            name="not run marks",
        )  # fmt: skip
    return len(missing)


def _frame_best(figure: go.Figure, best: _Range) -> None:
    """Frame the best cell: dark on a light halo, so that it shows on every colour."""
    for width, colour in ((6, style.LIGHT.halo), (2.5, style.LIGHT.ink)):
        figure.add_shape(
            type="rect", x0=best.last - 0.5, x1=best.last + 0.5, y0=best.first - 0.5, y1=best.first + 0.5,
            line={"width": width, "color": colour}, name="best",
        )  # fmt: skip


def _best_note(best: _Range, runs: RunsLike, score: Score) -> str:
    """Name the best range, and where the model started."""
    text = f"Framed: the best, {style.name(best.scope)}, {score.with_unit(best.score)}."
    before = runs.zero_shot
    if before is None or not math.isfinite(before):
        return text
    return f"{text} Before finetuning: {score.with_unit(before)}."


def _overlap_note(best: _Range, ranges: list[_Range], score: Score) -> str:
    """Say how many ranges are not clearly worse than the best: the best of many scores is partly luck."""
    others = [r for r in ranges if r is not best and math.isfinite(r.low) and math.isfinite(r.high)]
    if not others or not (math.isfinite(best.low) and math.isfinite(best.high)):
        return ""
    worst_of_best, _ = score.worst_first(best.low, best.high)
    best_of_others = [score.worst_first(r.low, r.high)[1] for r in others]
    count = sum(score.sign * end >= score.sign * worst_of_best for end in best_of_others)
    return f"The 95 % intervals of {count} of the {len(others)} other ranges overlap with the best one’s."
