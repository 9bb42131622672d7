"""`Study`: a model on a task, examined and finetuned step by step, by the Explorer or by a program."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.files import temporary_folder
from semviz.common.live_curves import LiveCurves
from semviz.common.progress import Control, Progress
from semviz.common.training_methods import FULL
from semviz.experiments.probes import Probes
from semviz.experiments.probing import probe_recipe
from semviz.experiments.run_store import Store
from semviz.lm.model import check_model, load_model
from semviz.scopes.scope import Scope
from semviz.study.forecast import Forecast, forecast
from semviz.study.history import History, recipe_of, run_once
from semviz.study.job import Job
from semviz.study.opened_task import OpenedTask, Vocabulary, open_task
from semviz.study.settings import Settings
from semviz.study.view_state import Change, ViewState
from semviz.tasks.packaged import load_task
from semviz.tasks.task import Task, check_task
from semviz.traces.tracing import trace

if TYPE_CHECKING:
    from semviz.finetuning.run import Run
    from semviz.lm.model import LanguageModel
    from semviz.traces.difference import TraceDifference
    from semviz.traces.trace import Trace

Preset = Literal["full", "half", "last", "profile", "probes"]
T = TypeVar("T")


class Study(ViewState):
    """A model on a task: what is shown, which blocks would train, and what was measured.

    Observers are notified of every change, so a widget, a test and a script see the same study. Long work runs in a
    `Job`, one at a time.

    Besides the attributes of `ViewState`:

    Attributes:
        samples: The most samples of a task that are traced.
        store: Where finished runs are kept.
        history: Finished runs of this model on this task.
        job: The running job, or else the last one; None before the first.
        trials: The training curves that the job has reported.
        chosen: The run that was restored or inspected last; None before that.
        difference: The inspected run's trace minus that of the untrained model; None before `inspect`.

    Example:
        >>> import semviz as sv
        >>> study = sv.Study(sv.load_model(), sv.load_task("mood").subset(train=64, test=32), progress=False)
        >>> study.freeze(6)
        >>> study.scope.label
        'blocks 7–8 of 8'
    """

    def __init__(
        self,
        model: LanguageModel | None = None,
        task: Task | str = "mood",
        *,
        trace: Trace | None = None,
        samples: int | None = 1000,
        store: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> None:
        """Open a task.

        Args:
            model: A loaded model; the packaged demo LM by default.
            task: A task, or the name of a packaged one.
            trace: `semviz.trace(model, task)`, to save tracing again.
            samples: The most samples of a task to trace, drawn at random with a fixed seed; None traces all.
            store: Folder of finished runs; those of this model and task are shown at once. Without one, runs are kept
                in a temporary folder until the study is closed.
            progress: Show progress bars while opening.

        Raises:
            SemvizError: As in `semviz.trace`, `Trace.gain` and `semviz.estimate_costs`.
        """
        # Checked before the store is made, so that a refusal leaves no folder behind.
        model = load_model() if model is None else check_model(model)
        task = as_task(task)
        self.samples = samples if samples is None else checks.whole_number("samples", samples, minimum=1)
        self._folder = temporary_folder("runs") if store is None else None
        self.store = Store(self._folder.name if self._folder is not None else store or "")
        self.job: Job[Any] | None = None
        self.trials = LiveCurves()
        super().__init__(model, open_task(model, task, trace=trace, samples=self.samples, progress=progress))

    def _set_task(self, opening: OpenedTask) -> None:
        super()._set_task(opening)
        self.history = History(self.store, self.model, opening)
        self.chosen: Run | None = None
        self.difference: TraceDifference | None = None

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self.job is not None and self.job.state == "running"

    def prospect(self) -> Forecast:
        """Predict what finetuning the scope would cost and improve."""
        return forecast(
            self.opening,
            self.scope,
            self.recipe,
            steps=self.settings.steps,
            probes=self.history.probes,
            runs=self.history.comparable,
        )

    def advice(self) -> str:
        """Return the recommendation and its reason, from the probes if they were run, else from the profile."""
        probes = self.history.probes
        return self.gain.message if probes is None else probes.message

    def preset(self, name: Preset) -> None:
        """Freeze the blocks of a preset: `"full"`, `"half"`, `"last"`, `"profile"` or `"probes"`.

        Raises:
            SemvizError: If there is no such preset, or the probes were not run yet.
        """
        scopes = {"full": Scope.full(self.model), "half": Scope.half(self.model), "last": Scope.last(self.model)}
        boundaries = {preset: scope.boundary for preset, scope in scopes.items()} | {"profile": self.gain.boundary}
        if self.history.probes is not None:
            boundaries["probes"] = self.history.probes.boundary
        if not isinstance(name, str) or name not in boundaries:
            why = "run the probes first" if name == "probes" else f"pass one of {list(get_args(Preset))}"
            raise SemvizError(f"There is no preset {checks.short_repr(name)}; {why}.")
        self.freeze(boundaries[name])

    def restore(self, key: str) -> None:
        """Restore the scope and the settings of a finished run.

        Raises:
            SemvizError: If there is no such run, or its blocks are not all those above a boundary.
        """
        run = self.history.find(key)
        if not run.scope.is_suffix:
            raise SemvizError(
                f"{run.scope.label} are not all blocks above one boundary, so the slider cannot show them."
            )
        self.settings = Settings.of_recipe(recipe_of(run), rows=self.rows)
        self.chosen = run
        self.freeze(run.scope.boundary)
        self._notify("settings")

    # Long work.

    def finetune(self) -> Job[Run]:
        """Finetune the scope in the background with the current settings; a finished run is not repeated.

        Raises:
            SemvizError: If a job is running.
        """
        # Read here, so that moving the slider in the meantime changes nothing.
        opening, scope, recipe = self.opening, self.scope, self.recipe

        def work(control: Control) -> Run:
            opening.score(control)
            return run_once(opening.bench, scope, recipe, store=self.store, control=control)

        return self._start(f"Finetuning {scope.label}", work, self.history.add, "runs")

    def probe(self) -> Job[Probes]:
        """Run the probes in the background, two to four, with the steps, rate, batch size and seed of the settings.

        Raises:
            SemvizError: If a job is running.
        """
        opening, recipe = self.opening, replace(self.recipe, method=FULL)

        def work(control: Control) -> Probes:
            opening.score(control)
            return probe_recipe(
                self.model,
                opening.task,
                recipe,
                keep_weights=True,
                store=self.store.folder,
                control=control,
                progress=False,
            )

        def add_runs(probes: Probes) -> None:
            self.history.add(*probes.runs)

        return self._start("Probing", work, add_runs, "runs")

    def choose(self, task: Task | str) -> Job[OpenedTask]:
        """Open another task in the background.

        Raises:
            SemvizError: If a job is running, or there is no such packaged task.
        """
        next_task = as_task(task)

        def work(control: Control) -> OpenedTask:
            opening = open_task(self.model, next_task, samples=self.samples, control=control, progress=False)
            if self.store.keys():
                # Now, since stored runs are shown with these scores, and `_set_task` must not be cancelled half-way.
                opening.score(control)
            return opening

        return self._start(f"Opening {next_task.name}", work, self._set_task, "task")

    def compare_with(self, vocab: Vocabulary) -> Job[Trace | None]:
        """Compare states with the full vocabulary or only the label words; traces again if necessary.

        Raises:
            SemvizError: If a job is running, or the task has no labels.
        """
        if checks.one_of("vocab", vocab, get_args(Vocabulary)) == "labels" and not self.task.labels:
            raise SemvizError(f'Task {self.task.name!r} has no labels; pass "full".')
        opening, options = self.opening, {**self.opening.traces["full"].options, "vocab": vocab}

        def work(control: Control) -> Trace | None:
            if vocab in opening.traces:
                return None
            return trace(self.model, opening.task, **options, control=control, progress=False)

        def show_trace(new_trace: Trace | None) -> None:
            if new_trace is not None:
                opening.traces[vocab] = new_trace
            self._set_vocab(vocab)

        return self._start(f"Tracing {self.task.name}", work, show_trace, "view")

    def inspect(self, key: str) -> Job[TraceDifference]:
        """Trace a finished run in the background, to show where the deviation fell.

        Raises:
            SemvizError: If a job is running, there is no such run, or its weights were not kept.
        """
        run, before = self.history.find(key), self.opening.traces["full"]

        def work(control: Control) -> TraceDifference:
            return run.trace(self.model, self.task, **before.options, control=control, progress=False) - before

        def show_difference(difference: TraceDifference) -> None:
            self.chosen, self.difference = run, difference

        return self._start(f"Tracing {run.scope.label}", work, show_difference, "difference")

    def cancel(self) -> None:
        """Ask the running job to stop, within one step."""
        if self.job is not None:
            self.job.cancel()

    def close(self) -> None:
        """Cancel and wait for the job, drop the observers, and delete the temporary folder of runs."""
        self._observers.clear()
        self.cancel()
        if self.job is not None:
            self.job.wait()
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self, label: str, work: Callable[[Control], T], accept: Callable[[T], None], change: Change) -> Job[T]:
        """Start the job: `accept` takes its result, and observers are notified of `change`."""
        if self.job is not None and self.busy:
            raise SemvizError(f"{self.job.label} is still running; wait until it ends, or cancel it.")
        self.trials = LiveCurves()

        def work_and_accept(control: Control) -> T:
            result = work(control)
            accept(result)
            return result

        def end(job: Job[T]) -> None:
            if job.state == "done":
                self._notify(change)
            self._notify("job")

        def step(_: Progress) -> None:
            self._notify("progress")

        job = Job(label, work_and_accept, on_step=self.trials.record, on_progress=step, on_end=end)
        self.job = job
        try:
            self._notify("job")
        except BaseException:
            self.job = None  # otherwise it would count as running forever
            raise
        return job.start()

    def __repr__(self) -> str:
        """One line: model, task, scope, runs."""
        return f"Study({self.model.name} on {self.task.name}: {self.scope.label}; {len(self.history.runs)} runs)"


def as_task(task: Task | str) -> Task:
    """Return a task, or load a packaged one by its name.

    Raises:
        TaskError: If it is neither.
    """
    return load_task(task) if isinstance(task, str) else check_task(task)
