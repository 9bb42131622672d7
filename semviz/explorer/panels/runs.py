"""The Runs tab: the finished runs, what one of them changed, and files to download."""

from __future__ import annotations

import ipywidgets as widgets

from semviz.common import formats
from semviz.common.errors import SemvizError
from semviz.common.scores import score_named
from semviz.common.training_methods import short_title_of
from semviz.experiments.comparable_runs import frame_of
from semviz.explorer import markup
from semviz.explorer.bindings import Bindings
from semviz.explorer.code_export import code_of
from semviz.explorer.widgets.downloads import Downloads, Offer
from semviz.explorer.widgets.picture import Picture
from semviz.explorer.widgets.table import Column, Table
from semviz.finetuning.run import Run
from semviz.scopes.scope import EXPORTS
from semviz.study.study import Study
from semviz.study.view_state import Change

_PYTHON = "Python"


class RunsPanel:
    """The Runs tab. Controls: `table`, `inspect`, `export`, `shown`, `files`; picture: `change`."""

    def __init__(self, study: Study, wiring: Bindings) -> None:
        self.study = study
        self.table = Table(
            caption="Finished runs; choose one to restore its scope and settings.",
            placeholder="No run has finished yet. Press Finetune in the Finetune tab.",
            on_choose=lambda key: wiring.act(lambda: study.restore(key)),
        )
        self.inspect = widgets.Button(
            description="What did it change?", disabled=True, layout={"width": "180px"},
            tooltip="Trace the chosen run's model, and show how the deviation changed",
        )  # fmt: skip
        self.change = Picture(
            label="Change in deviation caused by the chosen run",
            placeholder="Choose a run and press “What did it change?”: blue samples came nearer to their targets.",
        )
        self.export = widgets.Dropdown(
            options=[(f"{_PYTHON}: this view", _PYTHON), *((f"config: {name}", name) for name in EXPORTS)],
            description="Reproduce with", layout={"width": "320px"}, style={"description_width": "initial"},
        )  # fmt: skip
        self.shown = widgets.ToggleButton(value=False, description="Show the code", layout={"width": "140px"})
        self.source = widgets.HTML()
        self.files = Downloads(
            [
                Offer("Runs as CSV", "semviz-runs.csv", "text/csv", self._csv),
                Offer("Report as HTML", "semviz-report.html", "text/html", self._report),
                Offer("This snippet", "semviz-snippet.txt", "text/plain", lambda: self._snippet().encode()),
            ]
        )
        choice = widgets.Box([self.export, self.shown])
        choice.add_class("controls")
        self.widget = widgets.VBox([self.table, self.inspect, self.change, choice, self.source, self.files])
        wiring.on_click(self.inspect, self._inspect)
        wiring.on_value(self.export, lambda _: self._show_source())
        wiring.on_value(self.shown, lambda _: self._show_source())

    def follow(self, change: Change) -> None:
        """Show the runs, the chosen one, and the code that reproduces the view."""
        study = self.study
        if change in ("task", "runs"):
            self._show_runs()
        if change in ("task", "runs", "settings", "difference"):
            self.table.chosen = study.chosen.key if study.chosen else ""
        if change in ("task", "difference"):
            difference = study.difference
            self.change.show(None if difference is None else difference.sample_heatmap(boundary=study.boundary))
        if change == "scope":
            self.change.move(study.boundary)
        self.inspect.disabled = study.busy or study.chosen is None
        if change not in ("progress", "job"):
            self._show_source()

    def _show_runs(self) -> None:
        heading = score_named(self.study.task.score).short_heading.capitalize()
        columns = [
            Column("scope", "Scope"),
            Column("method", "Method"),
            Column("score", heading, numeric=True, help="score on test rows"),
            Column("trainable", "Trained", numeric=True, help="parameters that trained"),
            Column("share", "Share", numeric=True, help="share of the model's parameters"),
            Column("seconds", "Seconds", numeric=True, help="training time, including the prefix pass"),
            Column("steps", "Steps", numeric=True),
            Column("lr", "Rate", numeric=True, help="learning rate"),
            Column("seed", "Seed", numeric=True),
        ]
        self.table.show(columns, [_row(run) for run in self.study.history.runs])

    def _inspect(self) -> None:
        if self.study.chosen is None:
            raise SemvizError("No run is chosen; click one in the table first.")
        self.study.inspect(self.study.chosen.key)

    def _snippet(self) -> str:
        name = self.export.value
        return code_of(self.study) if name == _PYTHON else self.study.scope.export(name)

    def _show_source(self) -> None:
        # Sent only while visible: every move of the slider would send it again.
        if not self.shown.value:
            self.source.value = ""
            return
        try:
            self.source.value = markup.code(self._snippet())
        except SemvizError as error:  # some trainers cannot express some scopes
            self.source.value = markup.paragraph(str(error))

    def _csv(self) -> bytes:
        runs = self.study.history.runs
        if not runs:
            raise SemvizError("There is no finished run to export; finetune first.")
        table = frame_of(runs)
        return table.to_csv(index=False).encode("utf-8", "backslashreplace")

    def _report(self) -> bytes:
        from semviz.report.page import report_page

        study, history = self.study, self.study.history
        if history.together is None:
            raise SemvizError("There is no finished run to report; finetune first.")
        page = report_page(
            trace=study.opening.traces["full"], gain=study.gain, runs=history.together, probes=history.probes
        )
        return page.encode("utf-8", "backslashreplace")


def _row(run: Run) -> dict[str, object]:
    share = run.trainable / run.scope.total
    sort_keys = {
        "score": run.value, "trainable": run.trainable, "share": share, "seconds": run.seconds, "steps": run.steps,
        "lr": run.lr, "seed": run.seed, "scope": run.scope.boundary,
    }  # fmt: skip
    return {
        "_id": run.key,
        "_sort": sort_keys,
        "scope": run.scope.label + (" (diverged)" if run.diverged else ""),
        "method": short_title_of(run.method),
        "score": score_named(run.score).number(run.value),
        "trainable": formats.si(run.trainable),
        "share": formats.percent(share),
        "seconds": formats.seconds(run.seconds),
        "steps": f"{run.steps:,}",
        "lr": formats.number(run.lr, digits=2),
        "seed": str(run.seed),
    }
