"""The panel above all tabs: the freeze threshold, the boundary, and the forecast for the scope."""

from __future__ import annotations

from functools import partial
from typing import get_args

import ipywidgets as widgets

from semviz.explorer import markup
from semviz.explorer.bindings import Bindings
from semviz.study.study import Preset, Study
from semviz.study.view_state import Change

_PRESETS = {
    "full": ("Full", "Train all blocks"),
    "half": ("Half", "Freeze the lower half"),
    "last": ("Last block", "Train the last block only"),
    "profile": ("Profile", "The boundary that the trace suggests"),
    "probes": ("Probes", "The measured boundary that keeps enough with the most frozen blocks; press Probe first"),
}


class BoundaryPanel:
    """Controls: `threshold`, `boundary`, `presets`; shown above all tabs."""

    def __init__(self, study: Study, wiring: Bindings) -> None:
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
            name: widgets.Button(description=title, tooltip=tooltip, layout={"width": "auto"})
            for name, (title, tooltip) in _PRESETS.items()
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
        """Show the scope and its forecast."""
        study = self.study
        if change in ("task", "scope"):
            self.threshold.value = round(study.theta, 2)
            self.boundary.value = study.boundary
        if change in ("task", "scope", "settings", "runs"):
            # Not every boundary can be reached with the threshold; the slider then shows only the nearest threshold.
            unreachable = study.gain.threshold(study.theta) != study.boundary
            note = "; no threshold gives exactly this boundary" if unreachable else ""
            self.panel.value = markup.strip(study.scope, note=note) + markup.definition_list(study.prospect().facts())
        if change in ("task", "runs"):
            self.presets["probes"].disabled = study.history.probes is None
            evidence = "the profile alone" if study.history.probes is None else "the probes"
            self.advice.value = markup.paragraph(f"Recommended by {evidence}: {study.advice()}")
