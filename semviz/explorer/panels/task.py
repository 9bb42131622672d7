"""The first panel of the Explorer: the choice of the task, and a text field for the user's own text."""

from __future__ import annotations

import math

import ipywidgets as widgets

from semviz.common import formats
from semviz.demo.tasks import SPECS
from semviz.explorer import markup
from semviz.explorer.bindings import Bindings
from semviz.study.study import Study
from semviz.study.view_state import Change
from semviz.tasks.task import Task
from semviz.traces.deviations import POOR_FIDELITY

NEXT = "next tokens"


class TaskPanel:
    """Controls: `task`, `text`, `label`, `read`."""

    def __init__(self, study: Study, wiring: Bindings) -> None:
        self.study = study
        self._tasks: dict[str, Task | str] = {**{name: name for name in SPECS}, study.task.name: study.task}
        self.header = widgets.HTML()
        self.task = widgets.Dropdown(
            options=list(self._tasks), value=study.task.name, description="Task",
            layout={"width": "220px"}, style={"description_width": "40px"},
        )  # fmt: skip
        self.text = widgets.Text(
            description="Your own text", placeholder="type a sentence and press Enter", continuous_update=False,
            layout={"flex": "1 1 260px"}, style={"description_width": "96px"},
        )  # fmt: skip
        self.label = widgets.Dropdown(
            description="read for", layout={"width": "190px"}, style={"description_width": "56px"}
        )
        self.read = widgets.Button(description="Read", tooltip="Trace this text now", layout={"width": "80px"})
        row = widgets.Box([self.task, self.text, self.label, self.read])
        row.add_class("controls")
        self.widget = widgets.VBox([self.header, row])
        wiring.on_value(self.task, self._choose_task)
        wiring.on_click(self.read, self._read_text)
        # On Enter in the text field; also when the field loses focus, where an empty text means nothing.
        wiring.on_value(self.text, lambda text: self._read_text() if text.strip() else None)

    def follow(self, change: Change) -> None:
        """Show the task that is open."""
        study = self.study
        if change == "job":
            self.task.disabled = study.busy
            self.task.value = study.task.name
        if change != "task":
            return
        meta = study.opening.traces["full"].meta
        accuracy = study.opening.traces["full"].accuracy
        right = "of the answers right before finetuning" if study.task.labels else "of next tokens right"
        warning = ", low: trust the lens more than the angles" if meta["fidelity"] < POOR_FIDELITY else ""
        facts = [
            f"{study.model.n_blocks} blocks, {study.scope.total / 1e6:.2f} M parameters",
            f"{study.task.kind}, {study.rows:,} training rows",
            # A trace does not know it where label words are scored whole.
            *([] if math.isnan(accuracy) else [f"{formats.percent(accuracy)} {right}"]),
            f"traced {meta['samples']:,} samples, fidelity {meta['fidelity']:.2f}{warning}",
        ]
        self.header.value = markup.header(study.model.name, study.task.name, facts)
        if self._tasks.get(study.task.name) is not study.task and study.task.name not in SPECS:
            self._tasks[study.task.name] = study.task
        self.task.options = list(self._tasks)
        self.task.value = study.task.name
        # The value of "next tokens" is not a label, whatever the task's labels are called.
        self.label.options = [*((label, label) for label in study.task.labels), (NEXT, "")]
        self.label.value = self.label.options[0][1]

    def _choose_task(self, name: str) -> None:
        if name != self.study.task.name:
            self.study.choose(self._tasks[name])

    def _read_text(self) -> None:
        self.study.read(self.text.value, self.label.value or None)
