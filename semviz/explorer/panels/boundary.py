"""Part 3 of the Explorer: the freeze threshold, the boundary, and what is known of the scope before it is trained."""

from __future__ import annotations

from functools import partial
from typing import get_args

import ipywidgets as widgets

from semviz.common import formats
from semviz.explorer import markup
from semviz.explorer.bindings import Wiring
from semviz.explorer.widgets.picture import Picture
from semviz.explorer.widgets.table import Column, Table
from semviz.study.study import Preset, Study
from semviz.study.view_state import Change

_PRESETS = {
    "full": ("Full", "Train all blocks"),
    "half": ("Half", "Freeze the lower half"),
    "last": ("Last block", "Train the last block only"),
    "profile": ("Profile", "The boundary that the trace suggests"),
    "probes": ("Probes", "The boundary that three measured runs suggest; press Probe first"),
}


class Scoping:
    """Controls: `threshold`, `boundary`, `presets`; shown above all tabs."""

    def __init__(self, study: Study, wiring: Wiring) -> None:
        self.study = study
        last = study.model.n_blocks - 1
        self.threshold = widgets.FloatSlider(
            min=0, max=1, step=0.01, description="Freeze threshold θ", readout_format=".2f",
            layout={"flex": "1 1 300px"}, style={"description_width": "128px"},
        )  # fmt: skip
        self.boundary = widgets.BoundedIntText(
            min=0, max=last, description=f"Frozen blocks (0–{last})",
            layout={"width": "220px"}, style={"description_width": "140px"},
        )  # fmt: skip
        self.presets = {
            name: widgets.Button(description=title, tooltip=help_, layout={"width": "auto"})
            for name, (title, help_) in _PRESETS.items()
        }
        self.panel, self.advice = widgets.HTML(), widgets.HTML()
        controls = widgets.Box([self.threshold, self.boundary, *self.presets.values()])
        controls.add_class("controls")
        self.widget = widgets.VBox([controls, self.panel, self.advice])
        self.widget.add_class("semviz-card")
        wiring.on_value(self.threshold, study.threshold)
        wiring.on_value(self.boundary, study.freeze)
        for name in get_args(Preset):
            wiring.on_click(self.presets[name], partial(study.preset, name))

    def follow(self, change: Change) -> None:
        """Show the scope and its prospect."""
        study = self.study
        if change in ("task", "scope"):
            self.threshold.value = round(study.theta, 2)
            self.boundary.value = study.boundary
        if change in ("task", "scope", "settings", "runs"):
            # Not every boundary can be reached with the threshold; where it stands is then only the nearest place.
            direct = study.gain.threshold(study.theta) != study.boundary
            note = "; this boundary has no threshold of its own" if direct else ""
            self.panel.value = markup.strip(study.scope, note=note) + markup.facts(study.prospect().facts())
        if change in ("task", "runs"):
            self.presets["probes"].disabled = study.history.probes is None
            self.advice.value = markup.paragraph(f"Recommended: {study.advice()}")


class Gains:
    """The tab that explains the boundary: picture `gain`, table `prices`."""

    def __init__(self, study: Study, wiring: Wiring) -> None:
        self.study = study
        self.gain = Picture(label="Deviation of each space above, gain of each layer below")
        self.prices = Table(
            caption="What each boundary costs; choose a row to freeze so many blocks.",
            on_choose=lambda key: wiring.act(lambda: study.freeze(int(key))),
        )
        pair = widgets.Box([self.gain, self.prices])
        pair.add_class("pair")
        self.widget = pair

    def follow(self, change: Change) -> None:
        """Draw the gain, and move its boundary."""
        study = self.study
        if change == "task":
            self.gain.show(study.gain.figure(boundary=study.boundary))
        elif change == "scope":
            self.gain.move(study.boundary)
        if change in ("task", "settings", "runs"):
            self._price()
        if change in ("task", "scope"):
            self.prices.chosen = str(study.boundary)

    def _price(self) -> None:
        study, probes = self.study, self.study.history.probes
        rows = []
        for scope in study.opening.costs.scopes:
            k, cost = scope.boundary, study.opening.costs.of(
                scope, method=study.settings.method, epochs=study.epochs
            )  # fmt: skip
            benefit = float(study.gain.benefit[k]) if study.gain.applies else float("nan")
            benefit = float(probes.benefit[k]) if probes is not None else benefit
            numbers = {
                "k": k, "trained": scope.trainable, "share": scope.share, "benefit": benefit,
                "compute": cost.share, "memory": cost.bytes,
            }  # fmt: skip
            texts = {
                "k": str(k), "trained": formats.si(scope.trainable), "share": formats.percent(scope.share),
                "benefit": formats.percent(benefit), "compute": formats.percent(cost.share),
                "memory": formats.size(cost.bytes),
            }  # fmt: skip
            rows.append({"_id": str(k), "_sort": numbers, **texts})
        source = "three probes" if probes is not None else "the profile"
        self.prices.show(
            [
                Column("k", "Frozen", numeric=True, help="number of frozen blocks"),
                Column("trained", "Trained", numeric=True, help="parameters that train"),
                Column("share", "Share", numeric=True, help="of the model's parameters"),
                Column("benefit", "Benefit", numeric=True, help=f"predicted by {source}, share of full finetuning's"),
                Column("compute", "Compute", numeric=True, help="share of full finetuning's"),
                Column("memory", "Memory", numeric=True, help="weights, gradients, optimizer, activations, cache"),
            ],
            rows,
        )
