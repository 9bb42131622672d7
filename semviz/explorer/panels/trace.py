"""The Trace tab: the trace token by token and sample by sample, and the transitions of one position."""

from __future__ import annotations

from typing import cast

import ipywidgets as widgets
import numpy as np

from semviz.common import formats, token_text
from semviz.common.errors import SemvizError
from semviz.explorer import markup
from semviz.explorer.bindings import Bindings
from semviz.explorer.widgets.picture import Click, Picture
from semviz.figures.drawing import style
from semviz.figures.drawing.heatmap_cells import NOMINAL_WIDTH, Place
from semviz.figures.drawing.heatmap_rows import choose_spaces
from semviz.figures.samples import draw_samples
from semviz.figures.tokens import draw_tokens
from semviz.study.study import Study
from semviz.study.view_state import Change

_ORDERS = {
    "label": "by label", "correct": "by correctness", "deviation": "by deviation", "cluster": "by similarity",
    "index": "as in the data",
}  # fmt: skip
_VOCABULARIES = {"full": "full vocabulary", "labels": "label words only"}
_TOKENS_WIDTH, _SAMPLES_WIDTH = 320, 240  # pixels of the plot areas, which are side by side
_MOST_TOKENS = 40  # that fit beside the sample heatmap; a longer sample takes the full width


class TracePanel:
    """The Trace tab.

    Controls: `metric`, `vocab`, `order`, `start`; pictures: `tokens`, `samples`, `way`; table: `near`.
    """

    def __init__(self, study: Study, wiring: Bindings) -> None:
        self.study, self.wiring = study, wiring
        full_label = {"description_width": "initial"}
        self.metric = widgets.Dropdown(description="Metric", layout={"width": "240px"}, style=full_label)
        self.vocab = widgets.Dropdown(description="compared with", layout={"width": "250px"}, style=full_label)
        self.order = widgets.Dropdown(description="samples", layout={"width": "230px"}, style=full_label)
        self.tokens = Picture(label="Token heatmap: tokens across, spaces upwards", on_click=self._on_cell_click)
        self.tokens.add_class("broad")
        self._top_margin = 0
        self.samples = Picture(label="Sample heatmap: samples across, spaces upwards", on_click=self._on_sample_click)
        self.way = Picture(
            label="Transition map of one position",
            placeholder="This position has no target, so it has no transitions to draw; click another column.",
        )
        self.near = widgets.HTML()
        self.start = widgets.BoundedIntText(
            description="first token shown", layout={"width": "190px"}, style=full_label
        )
        row = widgets.Box([self.metric, self.vocab, self.order, self.start])
        row.add_class("controls")
        self.hint = widgets.HTML(
            markup.paragraph(
                "Click a column of the right heatmap to open its sample, and a cell of the left one to see its "
                "transitions and nearest tokens. With the keyboard: Tab to a heatmap, arrow keys to a cell, Enter.",
                quiet=True,
            )
        )
        pairs = [widgets.Box([self.tokens, self.samples]), widgets.Box([self.way, self.near])]
        for pair in pairs:
            pair.add_class("pair")
        self.widget = widgets.VBox([row, self.hint, *pairs])
        wiring.on_value(self.metric, lambda key: study.show(metric=key))
        wiring.on_value(self.order, lambda key: study.show(order=key))
        wiring.on_value(self.start, study.begin)
        wiring.on_value(self.vocab, study.compare_with)

    def follow(self, change: Change) -> None:
        """Draw what changed."""
        if change in ("task", "view"):
            self._update_controls()
            self._draw_samples()
        if change in ("task", "view", "sample"):
            self._draw_tokens()
        if change in ("task", "view", "sample", "cell"):
            self._draw_transitions()
        if change == "scope":
            for picture in (self.tokens, self.samples, self.way):
                picture.move(self.study.boundary)
        if change == "job":
            self.vocab.disabled = self.study.busy
            self.vocab.value = self.study.vocab

    def _update_controls(self) -> None:
        study, facts = self.study, self.study.trace.facts
        self.metric.options = [(f"{facts[key].title} ({facts[key].unit})", key) for key in study.trace.metrics]
        self.metric.value = study.metric
        vocabularies = ["full", *(["labels"] if study.task.labels else [])]
        self.vocab.options = [(_VOCABULARIES[key], key) for key in vocabularies]
        self.vocab.value = study.vocab
        self.order.options = [(_ORDERS[key], key) for key in study.orders]
        self.order.value = study.order or study.orders[0]

    @property
    def _rows(self) -> tuple[int, ...]:
        """The spaces of both heatmaps: the same wherever the boundary is, so that it is one line through both."""
        return choose_spaces(self.study.trace.n_blocks)

    def _draw_samples(self) -> None:
        study = self.study
        figure = draw_samples(
            study.trace,
            metric=study.metric,
            order=study.order,
            boundary=study.boundary,
            limit=200,
            spaces=self._rows,
            place=Place(_SAMPLES_WIDTH, has_options=False),
        )
        self._top_margin = int(figure.layout.margin.t)
        self.samples.show(figure)

    def _draw_tokens(self) -> None:
        study, sample = self.study, self.study.sample
        metric = sample.trace.check(study.metric)
        is_long = sample.tokens > _MOST_TOKENS
        figure = draw_tokens(
            sample.trace,
            sample=sample.number,
            metric=metric,
            boundary=study.boundary,
            start=study.start,
            spaces=self._rows,
            place=Place(NOMINAL_WIDTH if is_long else _TOKENS_WIDTH, has_options=False),
        )
        if sample.own:
            figure.update_layout(
                title_text=f"{sample.title}: {style.literal(sample.trace.facts[metric].title)} by token"
            )
        # Aligned with the other heatmap, so that the boundary is one line through both.
        self.tokens.show(style.align_top(figure, self._top_margin))
        (self.tokens.add_class if is_long else self.tokens.remove_class)("wide")
        shown = figure.layout.meta["positions"]
        self.start.layout.display = "" if len(shown) < sample.tokens else "none"
        self.start.max, self.start.value = sample.tokens - 1, shown[0]

    def _draw_transitions(self) -> None:
        """Draw the transitions of the clicked position, or of the answer, and list its nearest tokens."""
        study, sample = self.study, self.study.sample
        position, space = study.cell or (None, study.model.n_blocks)
        try:
            figure = sample.trace.transition_map(sample=sample.number, position=position, boundary=study.boundary)
        except SemvizError:
            figure = None  # the position has no target, as the placeholder says
        self.way.show(figure)
        self.near.value = self._nearest_tokens(position if figure is None else figure.layout.meta["position"], space)

    def _nearest_tokens(self, position: int | None, here: int) -> str:
        sample, trace = self.study.sample, self.study.sample.trace
        rows = trace.positions
        matches = np.flatnonzero((rows["sample"] == sample.number) & (rows["position"] == position))
        if not len(matches):
            return ""
        row, words = int(matches[0]), trace.vocabulary
        metric = trace.check(self.study.metric)
        table_rows = []
        for space in reversed(range(trace.n_blocks + 1)):
            near = [] if trace.nearest is None else [words[int(i)] for i in trace.nearest[row, space] if i >= 0]
            top_token = "" if trace.top1 is None else words[int(trace.top1[row, space])]
            table_rows.append((space, formats.number(float(trace.values[metric][row, space])), near, top_token))
        token, target = rows["token"].iloc[row], rows["target"].iloc[row]
        target_text = f", target “{token_text.short_label(target, width=16)}”" if target else ", no target"
        caption = f"Token {position} “{token_text.short_label(token, width=16)}”{target_text}; space {here} is marked"
        return markup.nearest(caption, table_rows, here)

    def _on_cell_click(self, click: Click) -> None:
        meta = self.tokens.figure["layout"]["meta"]
        column, row = round(float(cast(float, click.x))), round(float(cast(float, click.y)))
        self.wiring.act(lambda: self.study.point(meta["positions"][column], meta["spaces"][row]))

    def _on_sample_click(self, click: Click) -> None:
        numbers = self.samples.figure["layout"]["meta"]["samples"]
        self.wiring.act(lambda: self.study.open(numbers[round(float(cast(float, click.x)))]))
