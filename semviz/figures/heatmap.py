"""What the token and the sample heatmap share: cells, colour range, rows, marks and the boundary line.

The colour range belongs to a trace and a metric, not to a picture, so all pictures of one trace can be compared cell by
cell. In spaces 1…L it holds 98 % of the averaged positions and 90 % of the others, cut to the metric's own range; space
0, which lives in another frame, joins only where that costs less than a third of the colours. Cells outside the range
get the colour of its end and a small triangle (a row that is mostly outside gets one at its name). Cells without a
value are grey with a cross.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from semviz import formats, tokens
from semviz.figures import style
from semviz.figures.inputs import Floats, MetricFacts, TraceLike, metric_facts, with_unit

NOMINAL_WIDTH = 820
"""Width of a plot area in pixels that decides what fits; the real one follows the page."""
MAX_CELLS = 3_000
"""Cells with hover texts that a browser is sent at most: about 300 KB."""
MAX_MARKS = 600
HOVER_WIDTH = 16
"""Graphemes of a token in a hover."""
AVERAGED = ("answer", "next")
"""Roles of the positions that count: context and special positions are drawn, never averaged."""
_LABEL_ROOM = 66


@dataclass(frozen=True)
class Cells:
    """The cells of a heatmap.

    Attributes:
        values: (spaces, columns), row 0 the input of block 1; NaN where there is no value.
        heads: What the hover says of each column, already escaped.
        nearest: What it says of the nearest tokens of each cell, [column][space], escaped; None where they are unknown.
        missing: Why a cell has no value, for the hover.
    """

    values: Floats
    heads: list[str]
    nearest: list[list[str]] | None
    missing: str


def colour_range(trace: TraceLike, metric: str) -> tuple[float, float]:
    """Return the colour range of a metric in every picture of a trace (see the module's text)."""
    facts = metric_facts(metric)
    counted = trace.positions["role"].isin(AVERAGED).to_numpy()
    values = np.asarray(trace.values[metric], dtype=float)
    parts = (_percentiles(values[counted, 1:], 1), _percentiles(values[~counted, 1:], 5))
    ends = [end for part in parts if part for end in part]
    if not ends:
        return (0.0, 1.0)
    low, high = min(ends), max(ends)
    first = _percentiles(values[counted, 0], 1)
    if first and max(high, first[1]) - min(low, first[0]) <= 1.5 * (high - low):
        low, high = min(low, first[0]), max(high, first[1])
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    step = formats.nice_step(high - low, 20)
    low, high = np.floor(low / step + 1e-9) * step, np.ceil(high / step - 1e-9) * step
    low = low if facts.low is None else max(low, facts.low)
    high = high if facts.high is None else min(high, facts.high)
    return (round(float(low), 6), round(float(high), 6))


def draw(trace: TraceLike, metric: str, cells: Cells, *, boundary: int | None) -> tuple[go.Figure, int, int, list[str]]:
    """Draw cells, rows, colour bar, marks and the boundary.

    Returns:
        The figure without title and columns, the height of its plot area, its right margin, what its notes must say.
    """
    facts = metric_facts(metric)
    low, high = colour_range(trace, metric)
    rows, columns = cells.values.shape
    body = int(min(max(30 * rows, 170), 560))
    pixel = NOMINAL_WIDTH / columns
    gap = 1.5 if pixel >= 12 and body / rows >= 12 else 0
    gone = ~np.isfinite(cells.values)
    # Half a step of the printed precision: what reads as "equal to the end" is not called clipped.
    slack = (high - low) * 1e-3
    with np.errstate(invalid="ignore"):
        above, below = cells.values > high + slack, cells.values < low - slack
    room = 12 if boundary is None else _LABEL_ROOM
    figure = go.Figure()
    figure.add_heatmap(
        z=_rounded(cells.values),
        x=list(range(columns)),
        y=list(range(rows)),
        customdata=_hover(cells),
        hovertemplate=f"<b>%{{z:.3f}}</b> {_literal(facts.unit)} at space %{{y}}<br>{_lines(cells)}",
        hoverongaps=False,
        zmin=low,
        zmax=high,
        colorscale=style.MAGNITUDE,
        xgap=gap,
        ygap=gap,
        name=facts.key,
        colorbar=_colorbar(_bar_title(facts, body), low, high, bool(above.any()), bool(below.any()), body, room),
    )
    notes, marks = [], dict[int, str]()
    if gone.any():
        _missing(figure, cells, gone, gap, size=_mark_size(pixel))
        notes.append(f"Grey cells with a cross: {cells.missing}.")
    if above.any() or below.any():
        marks = _crowded(above, below, ~gone)
        lone = np.array([k not in marks for k in range(rows)])[:, None]
        _clipped(figure, above & lone, below & lone, size=_mark_size(pixel))
        notes.append(
            f"Triangles: beyond the colour range ({formats.number(low)} to {formats.number(high)}, the same in every "
            "picture of this trace); hover for the value."
        )
    figure.update_yaxes(title_text=_space_title(body), range=[-0.5, rows - 0.5], **_rows(rows, body, marks))
    figure.update_yaxes(showgrid=False, ticks="", showline=False)
    figure.update_xaxes(range=[-0.5, columns - 0.5], showgrid=False, showline=False)
    if boundary is not None:
        _line(figure, boundary, rows - 1)
    return figure, body, room + 66, notes


def _percentiles(values: Floats, tail: float) -> tuple[float, float] | None:
    """Return the values that cut ``tail`` percent from either end; None if there is no value."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)


def _rounded(values: Floats) -> list[list[float | None]]:
    """Round cells for the browser: lists of five digits are as small as binary and can be compared."""
    return [[float(f"{v:.5g}") if np.isfinite(v) else None for v in row] for row in values]


def _hover(cells: Cells) -> list[list[list[str]]]:
    """Return the texts of every cell, [space][column]."""
    rows = range(len(cells.values))
    if cells.nearest is None:
        return [[[head] for head in cells.heads] for _ in rows]
    return [[[h, near[space]] for h, near in zip(cells.heads, cells.nearest, strict=True)] for space in rows]


def _lines(cells: Cells) -> str:
    """Return the lines of a hover that `_hover` fills; tags stand here once, not in every cell."""
    return "%{customdata[0]}" + ("" if cells.nearest is None else "<br>nearest: %{customdata[1]}") + "<extra></extra>"


def nearest(trace: TraceLike, positions: Floats) -> list[list[str]] | None:
    """Write the three nearest tokens of positions in every space, [position][space]; None if they were not traced."""
    if trace.nearest is None:
        return None
    names = {i: short(text) for i, text in trace.vocabulary.items()}
    return [
        [", ".join(names.get(int(i), f"&lt;id {i}&gt;") for i in triple if i >= 0) for triple in spaces]
        for spaces in trace.nearest[positions]
    ]


def short(text: object) -> str:
    """Return a token or name as a hover shows it, escaped."""
    return tokens.html(tokens.show(str(text), width=HOVER_WIDTH))


def _literal(text: str) -> str:
    """Escape a text that becomes part of a hover template."""
    return tokens.html(text).replace("%{", "%&#123;")


def _space_title(body: int) -> str:
    return "space (row k = output of block k)" if body >= 230 else "space (output of block)"


def _bar_title(facts: MetricFacts, body: int) -> str:
    """Title the colour bar, on two lines where it would be longer than the bar."""
    parts = tokens.html(facts.title), tokens.html(f"({facts.unit})") if facts.unit else ""
    return (" " if 7 * len(with_unit(facts)) <= body else "<br>").join(part for part in parts if part)


def _mark_size(pixel: float) -> float:
    return float(np.clip(pixel * 0.4, 2.5, 7))


def _crowded(above: Floats, below: Floats, known: Floats) -> dict[int, str]:
    """Find rows of which half or more is clipped at one end: they are marked once, at their name."""
    count = np.maximum(known.sum(1), 1)
    return {
        int(k): sign
        for clipped, sign in ((above, "▴"), (below, "▾"))
        for k in np.flatnonzero(clipped.sum(1) / count >= 0.5)
    }


def _rows(rows: int, body: int, marks: dict[int, str]) -> dict[str, object]:
    """Choose the row labels: all of them where they fit, else every second, fifth, …; always the first and the last."""
    stride = next((s for s in (1, 2, 4, 5, 8, 10, 16, 20) if s * body / rows >= 15), max(rows // 10, 1))
    last = rows - 1
    shown = [k for k in range(0, rows, stride) if k == 0 or last - k >= stride or k == last]
    shown += [last] if last not in shown else []
    shown = sorted({*shown, *marks} if stride == 1 else shown)
    text = [f"{marks.get(k, '')} {'input 0' if k == 0 else k}".strip() for k in shown]
    return {"tickmode": "array", "tickvals": shown, "ticktext": text}


def _colorbar(title: str, low: float, high: float, above: bool, below: bool, body: int, room: int) -> dict[str, object]:
    """Describe the colour bar; its ends say where values were clipped."""
    span = high - low
    step = formats.nice_step(span, 5)
    ticks = [float(t) for t in np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step]
    text = {round(t, 9): formats.number(round(t, 9)) for t in ticks}
    for end, sign, clipped in ((low, "≤", below), (high, "≥", above)):
        if clipped:
            text = {t: label for t, label in text.items() if abs(t - end) > 0.07 * span}
            text[round(end, 9)] = f"{sign} {formats.number(end)}"
    return {
        "title": {"text": title, "side": "right", "font": {"size": style.SIZE - 1, "color": style.LIGHT.ink}},
        "tickmode": "array",
        "tickvals": sorted(text),
        "ticktext": [text[t] for t in sorted(text)],
        "tickfont": {"size": style.SIZE - 2, "color": style.LIGHT.muted},
        "thickness": 11,
        "len": body,
        "lenmode": "pixels",
        "x": 1,
        "xpad": room,
        "ypad": 0,
        "outlinewidth": 0,
        "ticks": "",
    }


def _missing(figure: go.Figure, cells: Cells, gone: Floats, gap: float, *, size: float) -> None:
    """Draw cells without a value as cells of their own, so that they answer to the pointer."""
    rows, columns = cells.values.shape
    grey = style.LIGHT.missing
    figure.add_heatmap(
        z=[[1 if cell else None for cell in row] for row in gone],
        x=list(range(columns)),
        y=list(range(rows)),
        customdata=[[c if g else None for c, g in zip(*r, strict=True)] for r in zip(_hover(cells), gone, strict=True)],
        hovertemplate=f"no value at space %{{y}}: {_literal(cells.missing)}<br>{_lines(cells)}",
        hoverongaps=False,
        colorscale=[[0, grey], [1, grey]],
        showscale=False,
        xgap=gap,
        ygap=gap,
        name="missing",
    )
    if gone.sum() <= MAX_MARKS:
        _marks(figure, gone, symbol="x-thin", size=size, colour=style.LIGHT.other, name="missing marks")


def _clipped(figure: go.Figure, above: Floats, below: Floats, *, size: float) -> None:
    """Mark cells whose colour is only the end of the range."""
    if above.sum() <= MAX_MARKS:
        _marks(figure, above, symbol="triangle-up", size=size, colour="rgba(0,0,0,0.5)", name="above the range")
    if below.sum() <= MAX_MARKS:
        pale = "rgba(255,255,255,0.55)"
        _marks(figure, below, symbol="triangle-down", size=size, colour=pale, name="below the range")


def _marks(figure: go.Figure, where: Floats, *, symbol: str, size: float, colour: str, name: str) -> None:
    rows, columns = np.nonzero(where)
    if not rows.size:
        return
    figure.add_scatter(
        x=columns.tolist(),
        y=rows.tolist(),
        mode="markers",
        marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 1, "color": colour}},
        hoverinfo="skip",
        showlegend=False,
        name=name,
    )


def _line(figure: go.Figure, boundary: int, n_blocks: int) -> None:
    """Draw the boundary between row k, the last frozen output, and row k + 1, the first trained one."""
    y = boundary + 0.5
    for width, colour in ((5, style.LIGHT.halo), (2.5, style.LIGHT.boundary)):
        figure.add_shape(
            type="line", xref="paper", x0=0, x1=1, y0=y, y1=y, line={"width": width, "color": colour}, name="boundary"
        )
    words = [("↑ trained", 9, boundary < n_blocks), ("↓ frozen", -9, boundary > 0)]
    for word, shift, drawn in words:
        if drawn:
            figure.add_annotation(
                text=word,
                xref="paper",
                x=1,
                xanchor="left",
                xshift=5,
                y=y,
                yshift=shift,
                showarrow=False,
                font={"size": style.SIZE - 1, "color": style.LIGHT.boundary},
            )
