"""Sample heatmap: every sample is a column, averaged over its positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import plotly.graph_objects as go
import regex

from semviz.common import checks, token_text
from semviz.common.errors import SemvizError
from semviz.figures.drawing import boundary_marks, cell_hovers, heatmap_cells, heatmap_rows, style
from semviz.figures.drawing.inputs import check_boundary, difference_of, models_of, readout_note
from semviz.figures.drawing.protocols import DeviationsLike, Floats

if TYPE_CHECKING:
    import pandas as pd

Order = Literal["label", "correct", "deviation", "cluster", "index"]
_ORDERS: tuple[Order, ...] = ("label", "correct", "deviation", "cluster", "index")
_SORTED = {"deviation": ", sorted by deviation", "cluster": ", similar ones side by side"}
_CHOICES = "'label', 'correct', 'deviation', 'cluster' or 'index'"
NO_POSITION = "this sample has no position with a target"
"""Why a cell has no value."""
_WRONG, _RIGHT = "wrong", "right"
_NARROW = 0.7
"""Width of a narrow page as a share of what a place says."""
_ROOMY = 500
"""Width in pixels from which groups are separated by wide gaps."""


def sample_heatmap(
    trace: DeviationsLike,
    *,
    metric: str | None = None,
    order: Order | None = None,
    boundary: int | None = None,
    limit: int = 200,
    spaces: heatmap_rows.Spaces | None = None,
) -> go.Figure:
    """Draw how far every sample is from its target, space by space.

    A program that opens a sample on a click finds the numbers of the columns' samples, from left to right, in
    `figure.layout.meta["samples"]`: the clicked point's `x` is an index into it; and its `y` into `["spaces"]`.

    Args:
        trace: What `semviz.trace` returned, or a difference of two traces.
        metric: Key of a traced metric; None takes the trace's default.
        order: Order of the columns: "label" groups samples of one label, each group from small to large mean deviation;
            "correct" puts those that the model gets wrong before those that it gets right, each part sorted so too;
            "deviation" sorts all samples so; "cluster" puts samples of similar profiles (spaces 1…L) side by side;
            "index" keeps the order of the data. None takes "label" where the samples have labels, else "deviation".
        boundary: Number of frozen blocks to mark with a line, or None.
        limit: Largest number of columns; of more samples an evenly spaced part is shown, and the figure says so.
        spaces: Which spaces have a row, as in `token_heatmap`.

    Returns:
        A plain Plotly figure: the lowest row is the input of block 1, the row named k the output of block k.

    Raises:
        SemvizError: The metric, order, boundary, limit or spaces are not valid for this trace.
    """
    return draw_samples(trace, metric=metric, order=order, boundary=boundary, limit=limit, spaces=spaces)


def draw_samples(
    trace: DeviationsLike,
    *,
    metric: str | None,
    order: Order | None,
    boundary: int | None,
    limit: int,
    spaces: heatmap_rows.Spaces | None = None,
    place: heatmap_cells.Place = heatmap_cells.ALONE,
) -> go.Figure:
    """Draw `sample_heatmap` for a place that may be smaller than a separate picture."""
    metric = trace.check(metric)
    boundary = check_boundary(trace.n_blocks, boundary)
    limit = checks.whole_number("limit", limit, minimum=1)
    shown = heatmap_rows.choose_spaces(trace.n_blocks, spaces, boundary=boundary)
    table, values = sample_means(trace, metric)
    order = _check_order(order, trace, table)
    columns = _column_order(table, values, order)
    total = len(columns)
    columns, hidden = _thin(columns, limit, len(shown), order, has_options=place.has_options)
    if order == "cluster":  # after thinning, so that the cost is bounded
        columns = columns[similarity_order(values[columns, 1:])]
    table, values = table.iloc[columns], values[columns]
    lines = _hover_lines(trace, metric, table, columns)
    cells = heatmap_cells.Cells(values.T, _hover_heads(table), lines, NO_POSITION, shown)
    figure, body, right, notes = heatmap_cells.draw(trace, metric, cells, boundary=boundary, place=place)
    if order in ("label", "correct"):
        bottom, crowded = _set_group_axis(figure, _group_names(table, order), order, place)
    else:
        bottom, crowded = _set_plain_axis(figure, table, order), ""
    several = "A sample is the mean of its positions." if (table["count"] > 1).any() else ""
    samples = [int(sample) for sample in table["sample"]]
    meta = {"samples": samples, boundary_marks.BLOCKS: trace.n_blocks, boundary_marks.SPACES: list(shown)}
    figure.update_layout(meta=meta)
    facts, difference = trace.facts[metric], difference_of(trace)
    versus, how, note = "space by space", "from small to large deviation", ""
    if difference is not None:
        versus, how, note = models_of(difference), "from nearer to farther", difference.note
    sorting = {
        "label": f"Columns are grouped by label, each group {how}.",
        "correct": f"Samples that the model {'' if difference is None else 'after '}gets wrong, then those that it gets"
        f" right, each part {how}.",
        "deviation": f"Columns run {how}.",
        "cluster": "Samples with similar profiles stand side by side (Ward's clustering on the spaces above 0).",
        "index": "",
    }[order]
    return style.finish(
        figure,
        title=f"{style.capitalized(facts.title)} of {total:,} samples, {versus}",
        notes=[
            " ".join(part for part in (sorting, several, crowded, readout_note(trace)) if part),
            *(hidden, *notes, note),
        ],
        body=body,
        left=84,
        right=right,
        bottom=bottom,
        above=16 if difference is not None else 0,
    )


def sample_means(trace: DeviationsLike, metric: str) -> tuple[pd.DataFrame, Floats]:
    """Average the counted positions of each sample.

    Returns:
        One row per sample (the columns of its first counted position, plus ``row``, its number in the trace's arrays,
        and ``count``), and the means, (samples, spaces), NaN where there is no finite value.
    """
    positions = trace.positions
    rows = np.flatnonzero(trace.counted)
    if not rows.size:
        raise SemvizError("This trace has no answer or next positions. Pass a task with targets to sv.trace(...).")
    counted = positions.iloc[rows].assign(row=rows)
    values = np.asarray(trace.values[metric], dtype=float)[rows]
    samples, first, inverse, count = np.unique(
        counted["sample"].to_numpy(), return_index=True, return_inverse=True, return_counts=True
    )
    is_finite = np.isfinite(values)
    sums, n_finite = np.zeros((len(samples), values.shape[1])), np.zeros((len(samples), values.shape[1]))
    np.add.at(sums, inverse, np.where(is_finite, values, 0.0))
    np.add.at(n_finite, inverse, is_finite)
    means = np.divide(sums, n_finite, out=np.full_like(sums, np.nan), where=n_finite > 0)
    return counted.iloc[first].assign(count=count), means


def _check_order(order: str | None, trace: DeviationsLike, table: pd.DataFrame) -> Order:
    labelled = bool(table["label"].notna().any())
    if order is None:
        return "label" if labelled else "deviation"
    if order == "label" and not labelled:
        raise SemvizError(
            "order='label' needs labels, and this task has none. Pass order='deviation', 'cluster' or 'index'."
        )
    kind = trace.meta.get("kind")
    is_text = kind != "classification" and (kind == "language modelling" or bool((table["count"] > 1).any()))
    if order == "correct" and (is_text or table["correct"].isna().all()):
        raise SemvizError(
            "order='correct' needs one answer per sample that is right or wrong, as classification tasks have. Pass "
            "order='deviation', 'cluster' or 'index'."
        )
    for valid_order in _ORDERS:
        if order == valid_order:
            return valid_order
    raise SemvizError(f"order={order!r} is not known. Pass {_CHOICES}.")


def _column_order(table: pd.DataFrame, values: Floats, order: Order) -> Floats:
    """Return the order of the columns as indices; clusters are formed later, from the samples that are drawn."""
    if order in ("index", "cluster"):
        return np.arange(len(table))
    body = values[:, 1:]
    is_finite = np.isfinite(body)
    level = np.where(is_finite, body, 0).sum(1) / np.maximum(is_finite.sum(1), 1)
    level[~is_finite.any(1)] = np.inf
    if order == "deviation":
        return np.argsort(level, kind="stable")
    names = _group_names(table, order)
    group_order = (_WRONG, _RIGHT) if order == "correct" else sorted(set(names), key=natural_sort_key)
    rank = {label: i for i, label in enumerate(group_order)}
    return np.lexsort((level, [rank[label] for label in names]))


def _group_names(table: pd.DataFrame, order: Order) -> Floats:
    """Name the group of each sample: its label, or whether the model gets it right."""
    if order == "label":
        return table["label"].astype(str).to_numpy()
    return np.where(table["correct"].fillna(False).to_numpy(dtype=bool), _RIGHT, _WRONG)


def similarity_order(profiles: Floats) -> Floats:
    """Order rows so that similar ones stand side by side, and those with gaps come last.

    Args:
        profiles: One row per sample, shape (n, L); takes n² time and memory.

    Returns:
        The rows' indices, from the end of the tree whose deviations are smaller.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    is_complete = np.isfinite(profiles).all(1)
    complete, incomplete = np.flatnonzero(is_complete), np.flatnonzero(~is_complete)
    if len(complete) > 2:
        complete = complete[leaves_list(linkage(profiles[complete], "ward", optimal_ordering=True))]
    half = len(complete) // 2
    if half and profiles[complete[:half]].mean() > profiles[complete[-half:]].mean():
        complete = complete[::-1]
    return np.concatenate([complete, incomplete])


def natural_sort_key(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts ``grade 2`` before ``grade 10``."""
    parts = regex.split(r"([0-9]+)", text)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _thin(columns: Floats, limit: int, rows: int, order: Order, *, has_options: bool) -> tuple[Floats, str]:
    """Keep an evenly spaced part of too many columns, and say so."""
    room = max(heatmap_cells.MAX_CELLS // rows, 1)
    most = min(limit, room)
    total = len(columns)
    if total <= most:
        return columns, ""
    drawn = columns[np.unique(np.linspace(0, total - 1, most).round().astype(int))]
    if limit < room:
        hint = f"; pass limit={min(total, room)} to see {'all' if total <= room else 'more'}" if has_options else ""
    else:
        hint = "; a picture holds no more cells"
    where = "the data" if order == "cluster" else "this order"
    return drawn, f"{len(drawn):,} of {total:,} samples are shown, evenly spaced in {where}{hint}."


def _hover_heads(table: pd.DataFrame) -> list[str]:
    """Write sample, label and what the model says of every column for the hover."""
    heads = []
    for row in table.to_dict("records"):
        text = f"sample {row['sample']}"
        if isinstance(row["label"], str):
            text += f" · {cell_hovers.hover_text(row['label'])}"
        if row["count"] > 1:
            text += f" · {row['count']} positions"
        else:
            text += f" · {cell_hovers.hover_text(row['token'])} → target {cell_hovers.hover_text(row['target'])}"
            text += f", model: {cell_hovers.hover_text(row['predicted'])}"
        heads.append(text)
    return heads


def _hover_lines(trace: DeviationsLike, metric: str, table: pd.DataFrame, columns: Floats) -> list[cell_hovers.Line]:
    """Write the further lines of the hover; a mean of several positions has no nearest tokens."""
    lines, difference = [], difference_of(trace)
    if difference is not None:
        before, after = (sample_means(t, metric)[1][columns] for t in (difference.before, difference.after))
        lines.append(cell_hovers.change_line(difference.after.facts[metric].title, before, after))
    if (table["count"] > 1).any():
        return lines
    return [*lines, *cell_hovers.token_lines(trace, table["row"].to_numpy())]


def _set_group_axis(figure: go.Figure, labels: Floats, order: Order, place: heatmap_cells.Place) -> tuple[int, str]:
    """Name the groups below the columns and part them; return the bottom margin and what the notes must say."""
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    ends = np.r_[starts[1:], len(labels)]
    pixel = place.width / len(labels)
    names = [style.name(labels[s], width=18) for s in starts]
    wide = [(e - s) * pixel for s, e in zip(starts, ends, strict=True)]
    turned = any(7 * len(text) + 8 > _NARROW * width for text, width in zip(names, wide, strict=True))
    shown = [i for i, width in enumerate(wide) if not turned or width >= 15]
    figure.update_xaxes(
        title_text=f"samples, by label ({len(starts)} labels)"
        if order == "label"
        else "samples, by what the model says",
        tickmode="array",
        tickvals=[float(starts[i] + ends[i] - 1) / 2 for i in shown],
        ticktext=[
            f"{token_text.html_label(names[i])}{' ' if turned else '<br>'}({ends[i] - starts[i]})" for i in shown
        ],
        tickangle=-45 if turned else 0,
        ticks="",
    )
    line = {"color": style.LIGHT.paper, "width": 3 if place.width >= _ROOMY else 1.5}
    look = {"type": "line", "xref": "x", "yref": "paper", "y0": -0.03, "y1": 1, "line": line, "name": "label"}
    # All at once: Plotly checks every shape again for each one that is added.
    figure.layout.shapes += tuple({**look, "x0": start - 0.5, "x1": start - 0.5} for start in starts[1:].tolist())
    longest = max(len(text) for text in names) + 5
    bottom = int(longest * 7 * 0.71) + 52 if turned else 78
    return bottom, "" if len(shown) == len(starts) else "Hover for the labels of narrow groups."


def _set_plain_axis(figure: go.Figure, table: pd.DataFrame, order: Order) -> int:
    """Number the columns by their sample; return the bottom margin."""
    count = len(table)
    stride = max(-(-count // 10), 1)
    shown = list(range(0, count, stride))
    figure.update_xaxes(
        title_text="sample (its number in the data)" + _SORTED.get(order, ""),
        tickmode="array",
        tickvals=shown,
        ticktext=[str(table["sample"].iloc[i]) for i in shown],
        tickangle=0,
    )
    return 60
