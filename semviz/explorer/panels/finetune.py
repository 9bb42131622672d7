"""The Finetune tab: finetune in the background, watch the training curves, and compare the finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import ipywidgets as widgets

from semviz.common.errors import SemvizError
from semviz.common.live_curves import LiveCurve, LiveCurves
from semviz.explorer.bindings import Bindings
from semviz.explorer.widgets.picture import Picture
from semviz.figures.benefit import benefit_curve
from semviz.figures.drawing import style
from semviz.figures.drawing.updates import moved_pareto
from semviz.figures.live import extended, live_curves
from semviz.figures.pareto import pareto
from semviz.finetuning.run import Run
from semviz.scopes.methods import METHODS
from semviz.study.study import Study
from semviz.study.view_state import Change


class FinetunePanel:
    """The Finetune tab.

    Controls: `steps`, `lr`, `method`, `seed`, `batch_size`, `run`, `probe`, `cancel`. Pictures: `live`, `pareto`,
    `benefit`.
    """

    def __init__(self, study: Study, wiring: Bindings) -> None:
        self.study = study

        def number_field(title: str, low: int, high: int) -> widgets.BoundedIntText:
            return widgets.BoundedIntText(
                min=low, max=high, description=title, layout={"width": "150px"},
                style={"description_width": "initial"},
            )  # fmt: skip

        self.steps = number_field("Steps", 1, 10**6)
        self.batch_size = number_field("Rows a step", 1, 4096)
        self.seed = number_field("Seed", 0, 10**6)
        self.lr = widgets.Text(
            value="auto", description="Learning rate", continuous_update=False, placeholder="auto, or a number",
            layout={"width": "190px"}, style={"description_width": "initial"},
        )  # fmt: skip
        self.method = widgets.Dropdown(
            options=[(method.title, method.key) for method in METHODS.values()], description="Method",
            layout={"width": "170px"}, style={"description_width": "initial"},
        )  # fmt: skip
        self.run = widgets.Button(description="Finetune", button_style="primary", layout={"width": "110px"})
        self.probe = widgets.Button(
            description="Probe",
            tooltip="A few short runs that measure how many blocks can be frozen",
            layout={"width": "90px"},
        )
        self.cancel = widgets.Button(description="Cancel", disabled=True, layout={"width": "90px"})
        self.bar = widgets.FloatProgress(
            min=0, max=1, description="Progress", layout={"flex": "1 1 200px"}, style={"description_width": "initial"}
        )
        self.live = Picture(
            label="Training loss and accuracy, step by step",
            placeholder="The curves of loss and accuracy appear here while a finetune runs.",
        )
        self.pareto = Picture(
            label="Score against trainable parameters",
            placeholder="Each finished finetune becomes a point here: its score against its trainable parameters.",
        )
        self.benefit = Picture(
            label="Predicted benefit of every boundary",
            placeholder="Press Probe: a few short runs, all blocks and the last block first, measure how many "
            "blocks can be frozen, and predict the other boundaries with an interval.",
        )
        self._drawn_curves: LiveCurves | None = None
        settings = widgets.Box([self.steps, self.lr, self.method, self.batch_size, self.seed])
        buttons = widgets.Box([self.run, self.probe, self.cancel, self.bar])
        charts = widgets.Box([self.pareto, self.benefit])
        settings.add_class("controls")
        buttons.add_class("controls")
        charts.add_class("pair")
        self.widget = widgets.VBox([settings, buttons, self.live, charts])
        wiring.on_value(self.steps, lambda value: study.set(steps=value))
        wiring.on_value(self.method, lambda value: study.set(method=value))
        wiring.on_value(self.seed, lambda value: study.set(seed=value))
        wiring.on_value(self.batch_size, lambda value: study.set(batch_size=value))
        wiring.on_value(self.lr, lambda text: study.set(lr=_parse_rate(text)))
        wiring.on_click(self.run, study.finetune)
        wiring.on_click(self.probe, study.probe)
        wiring.on_click(self.cancel, study.cancel)

    def follow(self, change: Change) -> None:
        """Show the settings, the job and the runs."""
        study = self.study
        if change in ("task", "settings"):
            settings = study.settings
            if settings.method not in [key for _, key in self.method.options]:  # a configuration, set in code
                self.method.options = [*self.method.options, (settings.method, settings.method)]
            self.steps.value, self.seed.value = settings.steps, settings.seed
            self.batch_size.value, self.method.value = settings.batch_size, settings.method
            self.lr.value = "auto" if settings.lr == "auto" else f"{settings.lr:g}"
        if change in ("task", "runs"):
            self._draw_runs()
        if change == "scope":
            if self.pareto.figure:
                self.pareto.mark(moved_pareto(self.pareto.figure, study.scope.trainable))
            self.benefit.move(study.boundary)
        if change == "job":
            self._show_job()
        if change == "progress":
            self._show_progress()

    def _draw_runs(self) -> None:
        study, history = self.study, self.study.history
        runs, probes = history.together, history.probes
        chart = None if runs is None else pareto(runs, trainable=study.scope.trainable)
        curve = None if probes is None else benefit_curve(probes, runs=runs, boundary=study.boundary)
        if chart is not None and curve is not None:
            top_margin = max(chart.layout.margin.t, curve.layout.margin.t)
            chart, curve = style.align_top(chart, top_margin), style.align_top(curve, top_margin)
        self.pareto.show(chart)
        self.benefit.show(curve)

    def _show_job(self) -> None:
        busy = self.study.busy
        # Sent even if unchanged, so that a click on Cancel shows an effect while a cell keeps the kernel busy.
        self.cancel.disabled = True
        self.cancel.disabled = not busy
        self.bar.value = 0
        self.bar.bar_style = "" if busy or self.study.job is None else _BAR_STYLES[self.study.job.state]
        if not busy and self.study.job is not None and self.study.job.state == "done":
            self.bar.value = 1
        self._show_progress()

    def _show_progress(self) -> None:
        trials, job = self.study.trials, self.study.job
        if trials.total and self.study.busy:
            self.bar.value = trials.done / trials.total
        run = job.value if job is not None and isinstance(job.value, Run) else None
        if run is not None:
            # The chosen rate is highlighted, not the one that was tried last.
            self._drawn_curves = None
            self._draw_curves([*(t for t in trials.trials if t.rate != run.lr), _finished_curve(run)])
        elif trials.trials:
            self._draw_curves(trials.trials)

    def _draw_curves(self, trials: Sequence[LiveCurve]) -> None:
        # Another job may have similar curves, but it has different axes.
        is_same_job, self._drawn_curves = self._drawn_curves is self.study.trials, self.study.trials
        overlay = extended(self.live.figure, trials) if is_same_job and self.live.figure else None
        if overlay is None:
            self.live.show(live_curves(trials, steps=trials[-1].total))
        else:
            self.live.mark(overlay)


_BAR_STYLES = {"done": "success", "cancelled": "warning", "failed": "danger"}


def _finished_curve(run: Run) -> LiveCurve:
    """Return the curve of a finished run."""
    curve = run.curve
    accuracies = curve["accuracy"] if "accuracy" in curve else [None] * len(curve)
    steps, losses = curve["step"].tolist(), curve["loss"].tolist()
    return LiveCurve(f"Finetuning {run.scope.label}", run.lr, steps, losses, list(accuracies), run.steps)


def _parse_rate(text: str) -> float | Literal["auto"]:
    if text.strip().lower() in ("auto", ""):
        return "auto"
    try:
        return float(text)
    except ValueError as error:
        raise SemvizError(f'Learning rate {text!r} is not a number; type one such as 1e-3, or "auto".') from error
