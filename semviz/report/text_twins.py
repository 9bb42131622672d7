"""The text twin of each picture: a small table with the same facts, for readers who cannot or will not see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semviz.common import formats
from semviz.common.scores import score_named
from semviz.figures.drawing import style
from semviz.figures.drawing.cell_hovers import token_lines
from semviz.figures.drawing.inputs import with_unit
from semviz.figures.drawing.pareto_points import pareto_front, points_of
from semviz.figures.drawing.protocols import Floats, GainLike, ProbesLike, RunsLike
from semviz.figures.drawing.transition_plane import route_of
from semviz.figures.labels import label_lines
from semviz.figures.samples import natural_sort_key, sample_means
from semviz.figures.tokens import sample_rows
from semviz.traces.deviations import Deviations
from semviz.traces.trace import Trace

MAX_ROWS = 60


@dataclass(frozen=True)
class Twin:
    """A table of plain texts; nothing in it is escaped.

    Attributes:
        caption: What the table holds, with the unit.
        columns: Column heads.
        rows: Cells, one list per row.
    """

    caption: str
    columns: list[str]
    rows: list[list[str]]


def tokens_twin(trace: Deviations, *, sample: int, metric: str | None = None) -> Twin:
    """Return the values behind a token heatmap: one row per token, one column per space."""
    metric = trace.check(metric)
    index, rows = sample_rows(trace, sample)
    values = np.asarray(trace.values[metric], dtype=float)[index]
    cells = [
        [str(row.position), style.name(row.token, width=24), style.name(row.target, width=24), *_numbers(line)]
        for row, line in zip(rows.itertuples(), values, strict=True)
    ]
    caption = f"{with_unit(trace.facts[metric])} of sample {sample}, one column per space"
    return _shortened(caption, ["position", "token", "target", *_spaces(trace)], cells, "tokens")


def transition_twin(trace: Trace, *, sample: int, position: int | None = None) -> Twin:
    """Return the numbers behind a transition map: one row per space."""
    route = route_of(trace, sample, position)
    columns = ["space", "cosine with the target", "across", "virtual: cosine", "virtual: across", "in the plane"]
    cells = [
        [str(space), *_numbers(np.r_[fact, twin]), formats.percent(float(share))]
        for space, (fact, twin, share) in enumerate(zip(route.factual, route.virtual, route.shown, strict=True))
    ]
    for line in token_lines(trace, np.array([route.row]), escape=False):
        columns.append(line.name)
        cells = [[*row, text] for row, text in zip(cells, line.texts[0], strict=True)]
    token, target = style.name(route.token, width=24), style.name(route.target, width=24)
    caption = f"path of “{token}” towards “{target}” (sample {sample}, token {route.position})"
    return Twin(caption, columns, cells)


def samples_twin(trace: Deviations, *, metric: str | None = None) -> Twin:
    """Return the means behind a sample heatmap: one row per label, one column per space."""
    metric = trace.check(metric)
    table, values = sample_means(trace, metric)
    labels = np.array([str(v) if v is not None and v == v else "all samples" for v in table["label"]], dtype=object)
    cells = []
    for label in sorted(set(labels), key=natural_sort_key):
        group = values[labels == label]
        is_finite = np.isfinite(group)
        means = np.where(is_finite, group, 0).sum(0) / np.where(is_finite.any(0), is_finite.sum(0), np.nan)
        cells.append([style.name(label, width=24), f"{len(group):,}", *_numbers(means)])
    caption = f"{with_unit(trace.facts[metric])}, mean by label, one column per space"
    return _shortened(caption, ["label", "samples", *_spaces(trace)], cells, "labels")


def labels_twin(trace: Trace, *, sample: int | None = None) -> Twin:
    """Return the probabilities behind a label profile: one row per space, one column per line."""
    found = label_lines(trace, sample)
    lines = [*found.lines, *([found.summary] if found.summary is not None else [])]
    cells = [
        [str(space), *(formats.number(float(line.values[space])) for line in lines)]
        for space in range(trace.n_blocks + 1)
    ]
    what = "label, mean over its own samples" if sample is None else f"label in sample {sample}"
    caption = f"probability of each {what}; a blind guess has {formats.number(found.chance)}"
    return Twin(caption, ["space", *(style.name(line.name, width=24) for line in lines)], cells)


def profile_twin(trace: Deviations) -> Twin:
    """Return the means behind the profiles: one row per space, one column per metric."""
    frames = {key: trace.profile_frame(key) for key in trace.metrics}
    cells = [
        [
            str(space),
            *(
                f"{formats.number(f['mean'].iloc[space])} "
                f"({formats.number(f['low'].iloc[space])} to {formats.number(f['high'].iloc[space])})"
                for f in frames.values()
            ),
        ]
        for space in range(trace.n_blocks + 1)
    ]
    columns = ["space", *(with_unit(trace.facts[key]) for key in frames)]
    return Twin("mean deviation of each space with its 95 % interval", columns, cells)


def gain_twin(gain: GainLike) -> Twin:
    """Return the numbers behind the gain picture: one row per space and the layer that leads to it."""
    cells = []
    for k in range(gain.n_blocks + 1):
        layer = formats.MISSING if k == 0 else _gain_text(gain, k)
        side = formats.MISSING if k == 0 else "frozen" if k <= gain.boundary else "trained"
        numbers = [formats.number(float(a[k])) for a in (gain.deviation, gain.fitted, gain.predicted)]
        cells.append([str(k), numbers[0], layer, side, *numbers[1:], formats.percent(float(gain.chosen_share[k]))])
    unit = with_unit(gain.facts)
    columns = ["space or layer", unit, "gain of the layer", "side", "fitted law", "predicted", "chosen as boundary"]
    return Twin(f"profile and gains, boundary {gain.boundary}", columns, cells)


def pareto_twin(runs: RunsLike) -> Twin:
    """Return the points of the Pareto chart, from few to many parameters."""
    points = points_of(runs)
    score = score_named(runs.score)
    best = {id(p) for p in pareto_front(points, score)}
    cells = [
        [
            style.name(p.name),
            formats.si(p.trainable),
            score.text(p.score),
            f"{score.text(p.low)} to {score.text(p.high)}",
            "yes" if id(p) in best else "no",
        ]
        for p in points
    ]
    columns = ["scope", "trainable parameters", score.heading, "95 % interval"]
    return Twin("score of each scope", [*columns, "on the Pareto front"], cells)


def benefit_twin(probes: ProbesLike) -> Twin:
    """Return the predicted benefit of every boundary, with the measured probes."""
    measured = dict(zip(probes.points["boundary"], probes.points["benefit"], strict=True))
    cells = [
        [
            str(k),
            formats.percent(float(probes.benefit[k])),
            f"{formats.percent(float(probes.low[k]))} to {formats.percent(float(probes.high[k]))}",
            formats.percent(measured.get(k)),
        ]
        for k in range(probes.n_blocks + 1)
    ]
    return Twin("share of full finetuning’s benefit", ["frozen blocks", "predicted", "95 % interval", "probe"], cells)


def _gain_text(gain: GainLike, layer: int) -> str:
    value, low, high = (float(a[layer - 1]) for a in (gain.gains, gain.gains_low, gain.gains_high))
    if not np.isfinite(value):
        return "skipped"
    return f"{formats.number(value)} ({formats.number(low)} to {formats.number(high)})"


def _spaces(trace: Deviations) -> list[str]:
    return [str(k) for k in range(trace.n_blocks + 1)]


def _numbers(values: Floats) -> list[str]:
    return [formats.number(float(v)) for v in values]


def _shortened(caption: str, columns: list[str], rows: list[list[str]], what: str) -> Twin:
    """Keep a table short, and say what is left out."""
    if len(rows) > MAX_ROWS:
        caption += f"; the first {MAX_ROWS} of {len(rows):,} {what}"
    return Twin(caption, columns, rows[:MAX_ROWS])
