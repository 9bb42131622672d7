"""The Gain tab, which explains the boundary: the gain of each layer, and what each boundary costs."""

from __future__ import annotations

import ipywidgets as widgets

from semviz.common import formats
from semviz.explorer.bindings import Bindings
from semviz.explorer.widgets.picture import Picture
from semviz.explorer.widgets.table import Column, Table
from semviz.study.study import Study
from semviz.study.view_state import Change


class GainPanel:
    """The Gain tab. Picture: `gain`; table: `prices`."""

    def __init__(self, study: Study, wiring: Bindings) -> None:
        self.study = study
        self.gain = Picture(label="Deviation of each space above, gain of each layer below")
        self.prices = Table(
            caption="What each boundary costs; choose a row to set the boundary.",
            on_choose=lambda key: wiring.act(lambda: study.freeze(int(key))),
        )
        self.widget = widgets.Box([self.gain, self.prices])
        self.widget.add_class("pair")

    def follow(self, change: Change) -> None:
        """Draw the gain and the costs, and move the boundary."""
        study = self.study
        if change == "task":
            self.gain.show(study.gain.figure(boundary=study.boundary))
        elif change == "scope":
            self.gain.move(study.boundary)
        if change in ("task", "settings", "runs"):
            self._show_costs()
        if change in ("task", "scope"):
            self.prices.chosen = str(study.boundary)

    def _show_costs(self) -> None:
        study, probes = self.study, self.study.history.probes
        rows = []
        for scope in study.opening.costs.scopes:
            k, cost = scope.boundary, study.opening.costs.of(
                scope, method=study.settings.method, modules=study.settings.modules, epochs=study.epochs
            )  # fmt: skip
            benefit = float(study.gain.benefit[k]) if study.gain.applies else float("nan")
            benefit = float(probes.benefit[k]) if probes is not None else benefit
            sort_keys = {
                "k": k, "trained": scope.trainable, "share": scope.share, "benefit": benefit,
                "compute": cost.share, "memory": cost.bytes,
            }  # fmt: skip
            texts = {
                "k": str(k), "trained": formats.si(scope.trainable), "share": formats.percent(scope.share),
                "benefit": formats.percent(benefit), "compute": formats.percent(cost.share),
                "memory": formats.size(cost.bytes),
            }  # fmt: skip
            rows.append({"_id": str(k), "_sort": sort_keys, **texts})
        source = "the probes" if probes is not None else "the profile"
        self.prices.show(
            [
                Column("k", "Frozen", numeric=True, help="number of frozen blocks"),
                Column("trained", "Trained", numeric=True, help="parameters that train"),
                Column("share", "Share", numeric=True, help="share of the model's parameters"),
                Column(
                    "benefit",
                    "Benefit",
                    numeric=True,
                    help=f"share of full finetuning's benefit, predicted by {source}",
                ),
                Column("compute", "Compute", numeric=True, help="share of full finetuning's compute"),
                Column("memory", "Memory", numeric=True, help="weights, gradients, optimizer, activations, cache"),
            ],
            rows,
        )
