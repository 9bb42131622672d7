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
_CONTROLS: tuple[Change, ...] = ("settings", "job")  # with these, parts set the controls that an action may refuse


class Explorer:
    """A model and a task as a widget: trace, gain, threshold, finetunes and their runs.

    It only views a `Study`, which does the work and can be driven without it. Its controls are attributes, so a script
    or a test can do what a person does: `app.boundary.value = 4; app.run.click(); app.job.wait()`.

    Attributes:
        study: The study.
        widget: The ipywidgets box that is shown.
        data, scoping, look, gains, tuning, keeping: The parts, with their controls.
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
        """Open a task and build the widget; arguments as in `Study`.

        Args:
            model: A loaded model; the packaged demo LM by default.
            task: A task, or the name of a packaged one.
            trace: `semviz.trace(model, task)`, if there is one.
            samples: Trace at most so many samples; None takes all.
            store: Folder of finished runs.
            study: A study that is open already, to be shown; the other arguments are then left out.
            progress: Show progress bars while opening.

        Raises:
            SemvizError: As in `Study`.
        """
        # An older Explorer of the same cell goes first, so that its job does not slow this one's trace.
        lifecycle.close_older()
        # First, so that the browser unpacks and runs plotly.js while the study opens.
        page = Page()
        self._owned = study is None
        try:
            of_class("study", study, (Study, type(None)), "a Study, or None to open one")
            self.study = study or Study(model, task, trace=trace, samples=samples, store=store, progress=progress)
        except BaseException:
            _close(page)
            raise
        self.wiring = Bindings(self._wrong)
        self.status = widgets.HTML()
        self.data = TaskPanel(self.study, self.wiring)
        self.scoping = BoundaryPanel(self.study, self.wiring)
        self.look = TracePanel(self.study, self.wiring)
        self.gains = GainPanel(self.study, self.wiring)
        self.tuning = FinetunePanel(self.study, self.wiring)
        self.keeping = RunsPanel(self.study, self.wiring)
        self._parts = (self.data, self.scoping, self.look, self.gains, self.tuning, self.keeping)
        tabs = (self.look, self.gains, self.tuning, self.keeping)
        self.tabs = widgets.Tab(children=[tab.widget for tab in tabs], titles=_TABS)
        self.widget = widgets.VBox([page, self.data.widget, self.scoping.widget, self.status, self.tabs])
        self.widget.add_class("semviz")
        self.status.add_class("semviz-says")
        self._interrupts = lifecycle.Interrupts(self.study.cancel)
        self._forget = self.study.observe(self._follow)
        self._closed = False
        self._problem: tuple[str, str] | None = None
        for change in ("task", "job"):
            self._follow(change)
        page.early = False  # a page that is loaded again starts everything at once
        lifecycle.remember(self)

    def _follow(self, change: Change) -> None:
        """Let every part show what changed; called in the notebook's thread or the job's."""
        with self.wiring.following():
            if self._closed:
                return
            # Progress comes five times a second, and must not take the words of a refusal away at once.
            mended = change != "progress" and self._problem is not None
            self._problem = None if mended else self._problem
            if change == "job":
                (self._interrupts.watch if self.study.busy else self._interrupts.rest)()
            for part in self._parts:
                part.follow(change)
            if mended or change in ("task", "job", "progress"):
                self._narrate()

    def _narrate(self) -> None:
        said, going = messages.told(self.study)
        if self._problem is not None:
            text, folded = self._problem
            self.status.value = markup.status(text, going=going, wrong=True, traceback=folded)
            return
        job, trouble = self.study.job, " ".join(self.study.history.problems)
        error = job.error if job is not None and job.state == "failed" else None
        folded = job.traceback if job is not None and error is not None and not _is_told(error) else ""
        said += f" In the store: {trouble}" if trouble else ""
        self.status.value = markup.status(said, going=going, wrong=error is not None, traceback=folded)

    def _wrong(self, error: BaseException) -> None:
        """Say what an action raised."""
        folded = "" if _is_told(error) else "".join(traceback.format_exception(error))
        with self.wiring.following():
            for part in self._parts:
                for change in _CONTROLS:
                    part.follow(change)  # a control that was refused goes back
            self._problem = (messages.explain(error, self.study), folded)
            self._narrate()

    @property
    def boundary(self) -> widgets.BoundedIntText:
        """The stepper of the boundary."""
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
        """The job that runs, or the last one; None before the first."""
        return self.study.job

    def snapshot(self) -> Figure:
        """Draw what is shown now as one static figure, for saved notebooks, slides and nbviewer."""
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
        """Cancel what runs, wait for its end, and take the widget away; finished runs stay in the store.

        A study that was passed stays open, and its job goes on.
        """
        with self.wiring.lock:
            if self._closed:
                return
            self._closed = True
        # Without the lock, which the job may need to come to its end.
        self._forget()
        self._interrupts.rest()
        if self._owned:
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


def _is_told(error: BaseException) -> bool:
    """Whether an error says in words what to do, so that a traceback would only be in the way."""
    return isinstance(error, SemvizError)


def _close(root: widgets.Widget) -> None:
    """Close a widget with all that is in it; closing a box alone leaves its children alive in kernel and page."""
    for child in getattr(root, "children", ()):
        _close(child)
    own = [getattr(root, name, None) for name in ("layout", "style")]
    for part in (*own, root):
        if isinstance(part, widgets.Widget):
            part.close()
