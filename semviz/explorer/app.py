"""`Explorer`: the whole study as one widget, with a slider and a Finetune button."""

from __future__ import annotations

import os
import traceback
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from semviz.common.checks import of_class
from semviz.common.errors import SemvizError
from semviz.explorer import lifecycle, markup, messages
from semviz.explorer.bindings import Bindings
from semviz.explorer.panels.boundary import BoundaryPanel
from semviz.explorer.panels.finetune import FinetunePanel
from semviz.explorer.panels.gain import GainPanel
from semviz.explorer.panels.runs import RunsPanel
from semviz.explorer.panels.task import TaskPanel
from semviz.explorer.panels.trace import TracePanel
from semviz.explorer.widgets.page import Page
from semviz.study.study import Study
from semviz.study.view_state import Change

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from semviz.lm.model import LanguageModel
    from semviz.study.job import Job
    from semviz.tasks.task import Task
    from semviz.traces.trace import Trace

_TABS = ("Trace", "Gain", "Finetune", "Runs")
_CONTROLS: tuple[Change, ...] = ("settings", "job")  # the changes that make panels reset controls after a refusal


class Explorer:
    """A model and a task as a widget: trace, gain, threshold, finetunes and their runs.

    It only displays a `Study`, which does the work and can be used without it. Its controls are attributes, so a script
    or a test can do what a user does: `app.boundary.value = 4; app.run.click(); app.job.wait()`.

    Attributes:
        study: The study.
        widget: The ipywidgets box that is displayed.
        data, scoping, look, gains, tuning, keeping: The panels, with their controls.
        tabs: The tab widget.
        status: The status line.

    Example:
        >>> import semviz as sv
        >>> task = sv.load_task("mood").subset(train=64, test=32)
        >>> app = sv.Explorer(sv.load_model(), task, progress=False)
        >>> app.boundary.value = 4
        >>> app.study.scope.label
        'blocks 5–8 of 8'
        >>> app.close()
    """

    def __init__(
        self,
        model: LanguageModel | None = None,
        task: Task | str = "mood",
        *,
        trace: Trace | None = None,
        samples: int | None = 1000,
        store: str | os.PathLike[str] | None = None,
        study: Study | None = None,
        progress: bool = True,
    ) -> None:
        """Open a task and build the widget; the arguments are those of `Study`.

        Args:
            model: A loaded model; the packaged demo LM by default.
            task: A task, or the name of a packaged one.
            trace: `semviz.trace(model, task)`, to save tracing again.
            samples: The most samples to trace; None traces all.
            store: Folder of finished runs.
            study: An open study to display; the other arguments are then ignored.
            progress: Show progress bars while opening.

        Raises:
            SemvizError: As in `Study`.
        """
        # An older Explorer of the same cell is closed first, so that its job does not slow down this one's trace.
        lifecycle.close_older()
        # Made first, so that the browser unpacks and runs plotly.js while the study opens.
        page = Page()
        self._owns_study = study is None
        try:
            of_class("study", study, (Study, type(None)), "a Study, or None to open one")
            self.study = study or Study(model, task, trace=trace, samples=samples, store=store, progress=progress)
        except BaseException:
            _close(page)
            raise
        self.wiring = Bindings(self._show_problem)
        self.status = widgets.HTML()
        self.data = TaskPanel(self.study, self.wiring)
        self.scoping = BoundaryPanel(self.study, self.wiring)
        self.look = TracePanel(self.study, self.wiring)
        self.gains = GainPanel(self.study, self.wiring)
        self.tuning = FinetunePanel(self.study, self.wiring)
        self.keeping = RunsPanel(self.study, self.wiring)
        self._panels = (self.data, self.scoping, self.look, self.gains, self.tuning, self.keeping)
        tabs = (self.look, self.gains, self.tuning, self.keeping)
        self.tabs = widgets.Tab(children=[tab.widget for tab in tabs], titles=_TABS)
        self.widget = widgets.VBox([page, self.data.widget, self.scoping.widget, self.status, self.tabs])
        self.widget.add_class("semviz")
        self.status.add_class("semviz-says")
        self._interrupts = lifecycle.Interrupts(self.study.cancel)
        self._stop_observing = self.study.observe(self._follow)
        self._closed = False
        self._problem: tuple[str, str] | None = None
        for change in ("task", "job"):
            self._follow(change)
        page.early = False  # when the page is reloaded, everything starts at once
        lifecycle.remember(self)

    def _follow(self, change: Change) -> None:
        """Let every panel show what changed; called in the notebook's thread or the job's."""
        with self.wiring.following():
            if self._closed:
                return
            # Progress comes five times a second, and must not erase an error message at once.
            clears_problem = change != "progress" and self._problem is not None
            self._problem = None if clears_problem else self._problem
            if change == "job":
                (self._interrupts.start if self.study.busy else self._interrupts.stop)()
            for panel in self._panels:
                panel.follow(change)
            if clears_problem or change in ("task", "job", "progress"):
                self._update_status()

    def _update_status(self) -> None:
        summary, progress = messages.status_parts(self.study)
        if self._problem is not None:
            message, details = self._problem
            self.status.value = markup.status(message, progress=progress, is_problem=True, traceback=details)
            return
        job, store_problems = self.study.job, " ".join(self.study.history.problems)
        error = job.error if job is not None and job.state == "failed" else None
        details = job.traceback if job is not None and error is not None and _needs_traceback(error) else ""
        summary += f" In the store: {store_problems}" if store_problems else ""
        self.status.value = markup.status(summary, progress=progress, is_problem=error is not None, traceback=details)

    def _show_problem(self, error: BaseException) -> None:
        """Show what an action raised in the status line."""
        details = "".join(traceback.format_exception(error)) if _needs_traceback(error) else ""
        with self.wiring.following():
            for panel in self._panels:
                for change in _CONTROLS:
                    panel.follow(change)  # a control whose value was refused goes back
            self._problem = (messages.explain(error, self.study), details)
            self._update_status()

    @property
    def boundary(self) -> widgets.BoundedIntText:
        """The number field of the boundary."""
        return self.scoping.boundary

    @property
    def threshold(self) -> widgets.FloatSlider:
        """The slider of the freeze threshold θ."""
        return self.scoping.threshold

    @property
    def run(self) -> widgets.Button:
        """The Finetune button."""
        return self.tuning.run

    @property
    def probe(self) -> widgets.Button:
        """The Probe button."""
        return self.tuning.probe

    @property
    def cancel(self) -> widgets.Button:
        """The Cancel button."""
        return self.tuning.cancel

    @property
    def job(self) -> Job[Any] | None:
        """The running job, or else the last one; None before the first."""
        return self.study.job

    def snapshot(self) -> Figure:
        """Draw the current view as one static figure, for saved notebooks, slides and nbviewer."""
        from semviz.figures.snapshot import snapshot

        study, sample = self.study, self.study.sample
        return snapshot(
            study.trace,
            study.gain,
            boundary=study.boundary,
            sample=None if sample.own else sample.number,
            metric=study.metric,
            order=study.order,
            runs=study.history.together,
            probes=study.history.probes,
        )

    def close(self) -> None:
        """Cancel and wait for the job, and remove the widget; finished runs stay in the store.

        A study that was passed in stays open, and its job continues.
        """
        with self.wiring.lock:
            if self._closed:
                return
            self._closed = True
        # Without the lock, which the job may need in order to end.
        self._stop_observing()
        self._interrupts.stop()
        if self._owns_study:
            self.study.close()
        _close(self.widget)

    def __repr__(self) -> str:
        """One line: model, task, scope, runs."""
        study = self.study
        count = len(study.history.runs)
        runs = "no run" if not count else f"{count} run{'s' if count > 1 else ''}"
        return f"Explorer({study.model.name} on {study.task.name}: {study.scope.label}; {runs})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The widget while the kernel lives; a table for saved notebooks; one line of text everywhere else."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        line = escape(repr(self))
        table = "" if self.study.history.together is None else self.study.history.together.table().round(3).to_html()
        hint = "The widget lives as long as its kernel; <code>explorer.snapshot()</code> is a picture that stays."
        html = f"<p>{line}</p>{table}<p>{hint}</p>"
        return {
            "text/plain": repr(self),
            "text/html": html,
            "application/vnd.jupyter.widget-view+json": view,
        }


def _needs_traceback(error: BaseException) -> bool:
    """Whether a traceback would help: our own errors already say what to do."""
    return not isinstance(error, SemvizError)


def _close(root: widgets.Widget) -> None:
    """Close a widget and its children, which would otherwise stay alive in the kernel and on the page."""
    for child in getattr(root, "children", ()):
        _close(child)
    for widget in (getattr(root, "layout", None), getattr(root, "style", None), root):
        if isinstance(widget, widgets.Widget):
            widget.close()
