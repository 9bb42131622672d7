"""What the token and the sample heatmap share: cells, rows and marks.

Cells outside the colour range get the colour of its end and a small triangle (a row that is mostly outside gets one at
its name). Cells without a value are grey with a cross.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats
from semviz.common.metric_facts import Guess
from semviz.figures.drawing import boundary_marks, style
from semviz.figures.drawing.cell_hovers import Line
from semviz.figures.drawing.cell_words import add_words, letters_that_fit
from semviz.figures.drawing.colours import (
    BLIND,
    add_directions,
    colour_bar,
    colour_range,
    colour_scale,
    ends_at_guess,
    mark_colours,
)
from semviz.figures.drawing.heatmap_rows import height, labelled_rows, row_labels, thinning_note
from semviz.figures.drawing.protocols import DeviationsLike, Floats

NOMINAL_WIDTH = 820
"""Width of a plot area in pixels that decides what fits; the real one follows the page."""
MAX_CELLS = 3_000
"""Largest number of cells with hover texts sent to the browser: about 300 KB."""
MAX_MARKS = 600
_MARK_ROOM = 6
"""Least distance of marks in a row, in pixels."""
CLIPPED = ("above the range", "below the range")
"""Names of the marks on cells whose colour is only the end of the range."""
_LABEL_ROOM = 66


@dataclass(frozen=True)
class Cells:
    """The cells of a heatmap.

    Attributes:
        values: (spaces, columns), row 0 the input of block 1; NaN where there is no value.
        heads: What the hover says of each column, already escaped.
        lines: What else it says of each cell.
        missing: Why a cell has no value, for the hover.
        shown: The spaces that get a row, from the bottom up.
        words: What stands in the cells, [space][column], escaped; None leaves them empty.
    """

    values: Floats
    heads: list[str]
    lines: list[Line]
    missing: str
    shown: tuple[int, ...]
    words: list[list[str]] | None = None


@dataclass(frozen=True)
class Place:
    """Where a heatmap is drawn.

    Attributes:
        width: Width of its plot area in pixels, which decides what fits; the real one follows the page.
        body: Height of its plot area in pixels; None chooses it by the number of rows.
        has_options: Whether its reader called a function, so that the notes may say what to pass to see more.
    """

    width: int = NOMINAL_WIDTH
    body: int | None = None
    has_options: bool = True


ALONE = Place()


def draw(
    trace: DeviationsLike, metric: str, cells: Cells, *, boundary: int | None, place: Place = ALONE
) -> tuple[go.Figure, int, int, list[str]]:
    """Draw cells, rows, colour bar, marks and the boundary.

    Returns:
        The figure without title and columns, the height of its plot area, its right margin, what its notes must say.
    """
    facts, thinned = trace.facts[metric], thinning_note(trace.n_blocks, cells.shown, has_options=place.has_options)
    low, high = colour_range(trace, metric)
    at_guess = ends_at_guess(trace, metric, high)
    cells = _of_rows(cells, with_spaces=bool(thinned))
    rows, columns = cells.values.shape
    body = height(rows) if place.body is None else place.body
    pixel = place.width / columns
    gap = 1.5 if pixel >= 12 and body / rows >= 12 else 0
    is_missing = ~np.isfinite(cells.values)
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
        customdata=_hover_texts(cells),
        hovertemplate=f"<b>%{{z:{'+' if facts.is_change else ''}.3f}}</b> {style.literal(facts.unit)} "
        f"{_hover_template(cells)}",
        hoverongaps=False,
        zmin=low,
        zmax=high,
        colorscale=colour_scale(facts),
        xgap=gap,
        ygap=gap,
        name=facts.key,
        colorbar=colour_bar(
            facts, low, high, above=bool(above.any()), below=bool(below.any()), at_guess=at_guess, body=body, room=room
        ),
    )
    if cells.words is not None:
        add_words(figure, cells.words, letters_that_fit(pixel, body / rows), facts)
    notes, marks = [thinned], dict[int, str]()
    if facts.is_change:
        add_directions(figure, room=room)
    if is_missing.any():
        _add_missing(figure, cells, is_missing, gap, size=_mark_size(pixel))
        notes.append(missing_note(cells.missing))
    if above.any() or below.any():
        # Where not all rows have a label, the cells of the others have marks of their own.
        labelled = labelled_rows(rows, body)
        marks = {k: sign for k, sign in _clipped_rows(above, below, ~is_missing).items() if k in labelled}
        # In narrow columns marks side by side would be a line.
        apart = max(int(np.ceil(_MARK_ROOM / pixel)), 1)
        lone = np.array([k not in marks for k in range(rows)])[:, None]
        marked = [_sparse(clipped & lone, apart) for clipped in (above, below)]
        size = _mark_size(pixel)
        # In a corner where the middle has a word.
        corner = (0.0, 0.0) if cells.words is None else (0.5 - 5 / pixel, 0.5 - 5 * rows / body)
        _add_clipped_marks(
            figure, *marked, size=min(size, 4) if any(corner) else size, corner=corner,
            colours=mark_colours(facts),
        )  # fmt: skip
        notes.append(f"{clipped_note(low, high, at_guess if above.any() else None)}; hover for the value.")
    figure.update_yaxes(title_text=_space_title(body), range=[-0.5, rows - 0.5], **row_labels(cells.shown, body, marks))
    figure.update_yaxes(showgrid=False, ticks="", showline=False)
    figure.update_xaxes(range=[-0.5, columns - 0.5], showgrid=False, showline=False)
    if boundary is not None:
        boundary_marks.add_line_across_rows(figure, boundary, trace.n_blocks, shown=cells.shown)
    return figure, body, room + (96 if at_guess else 66), notes


def clipped_note(low: float, high: float, at_guess: Guess | None) -> str:
    """Say what triangles are, without a full stop; `at_guess` where some lie above a range that ends there."""
    what = f", {BLIND[at_guess]}" if at_guess else ""
    span = f"{formats.number(low)} to {formats.number(high)}"
    return f"Triangles: beyond the colour range ({span}{what}; the same in every picture of this trace)"


def missing_note(why: str) -> str:
    """Say why cells have no value."""
    return f"Grey cells with a cross: {why}."


def _of_rows(cells: Cells, *, with_spaces: bool) -> Cells:
    """Keep what the rows show; with the space of every cell where it is not the number of its row."""
    lines = [Line(line.name, [[texts[k] for k in cells.shown] for texts in line.texts]) for line in cells.lines]
    if with_spaces:
        lines.append(Line("", [[str(k) for k in cells.shown]] * len(cells.heads)))
    return replace(
        cells,
        values=cells.values[list(cells.shown)],
        lines=lines,
        words=None if cells.words is None else [cells.words[k] for k in cells.shown],
    )


def _rounded(values: Floats) -> list[list[float | None]]:
    """Round cells for the browser: lists of five digits are as small as binary and can be compared."""
    return [[float(f"{v:.5g}") if np.isfinite(v) else None for v in row] for row in values]


def _hover_texts(cells: Cells) -> list[list[list[str]]]:
    """Return the texts of every cell, [row][column]."""
    return [
        [[head, *(line.texts[column][row] for line in cells.lines)] for column, head in enumerate(cells.heads)]
        for row in range(len(cells.values))
    ]


def _hover_template(cells: Cells) -> str:
    """Return the template that `_hover_texts` fills; names and tags are here once, not in every cell."""
    fields = {line.name: f"%{{customdata[{i}]}}" for i, line in enumerate(cells.lines, start=1)}
    space = fields.pop("", "%{y}")
    lines = [f"<br>{name}: {field}" for name, field in fields.items()]
    return f"at space {space}<br>%{{customdata[0]}}{''.join(lines)}<extra></extra>"


def _space_title(body: int) -> str:
    return "space (row k = output of block k)" if body >= 230 else "space (output of block)"


def _mark_size(pixel: float) -> float:
    return float(np.clip(pixel * 0.4, 2.5, 7))


def _clipped_rows(above: Floats, below: Floats, has_value: Floats) -> dict[int, str]:
    """Find rows at least half of which is clipped at one end: they are marked once, at their label."""
    count = np.maximum(has_value.sum(1), 1)
    return {
        int(k): sign
        for clipped, sign in ((above, "▴"), (below, "▾"))
        for k in np.flatnonzero(clipped.sum(1) / count >= 0.5)
    }


def _sparse(marked: Floats, apart: int) -> Floats:
    """Keep the first mark of every run of neighbouring columns, and every so many columns another one."""
    kept = np.zeros_like(marked)
    for row, cells in enumerate(marked):
        columns = np.flatnonzero(cells)
        starts = np.flatnonzero(np.diff(columns, prepend=-2) > 1)
        for run in np.split(columns, starts[1:]):
            kept[row, run[::apart]] = True
    return kept


def _add_missing(figure: go.Figure, cells: Cells, is_missing: Floats, gap: float, *, size: float) -> None:
    """Draw cells without a value as separate cells, so that they have a hover."""
    rows, columns = cells.values.shape
    grey = style.LIGHT.missing
    figure.add_heatmap(
        z=[[1 if cell else None for cell in row] for row in is_missing],
        x=list(range(columns)),
        y=list(range(rows)),
        customdata=[
            [c if g else None for c, g in zip(*r, strict=True)]
            for r in zip(_hover_texts(cells), is_missing, strict=True)
        ],
        hovertemplate=f"no value ({style.literal(cells.missing)}) {_hover_template(cells)}",
        hoverongaps=False,
        colorscale=[[0, grey], [1, grey]],
        showscale=False,
        xgap=gap,
        ygap=gap,
        name="missing",
    )
    if is_missing.sum() <= MAX_MARKS:
        _add_marks(figure, is_missing, symbol="x-thin", size=size, colour=style.LIGHT.other, name="missing marks")


def _add_clipped_marks(
    figure: go.Figure, above: Floats, below: Floats, *, size: float, corner: tuple[float, float],
    colours: tuple[str, str],
) -> None:  # fmt: skip
    """Mark cells whose colour is only the end of the range."""
    for where, symbol, colour, name in (
        (above, "triangle-up", colours[0], CLIPPED[0]),
        (below, "triangle-down", colours[1], CLIPPED[1]),
    ):
        if where.sum() <= MAX_MARKS:
            _add_marks(figure, where, symbol=symbol, size=size, colour=colour, name=name, corner=corner)


def _add_marks(
    figure: go.Figure, where: Floats, *, symbol: str, size: float, colour: str, name: str,
    corner: tuple[float, float] = (0.0, 0.0),
) -> None:  # fmt: skip
    rows, columns = np.nonzero(where)
    if not rows.size:
        return
    figure.add_scatter(
        x=(columns + corner[0]).tolist(),
        y=(rows + corner[1]).tolist(),
        mode="markers",
        marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 1, "color": colour}},
        hoverinfo="skip",
        showlegend=False,
        name=name,
    )
