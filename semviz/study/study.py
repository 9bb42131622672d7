"""`Study`: a model on a task, looked at and finetuned step by step; the Explorer shows it, a program can drive it."""

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
from semviz.tasks.task import Task, check_task, load_task
from semviz.traces.tracing import trace

if TYPE_CHECKING:
    from semviz.finetuning.run import Run
    from semviz.lm.model import LanguageModel
    from semviz.traces.difference import TraceDifference
    from semviz.traces.trace import Trace

Preset = Literal["full", "half", "last", "profile", "probes"]
T = TypeVar("T")


class Study(ViewState):
    """A model on a task: what is looked at, which blocks would train, what was measured.

    Every change is told to the observers by one word, so a widget, a test and a script see the same study. Work that
    takes long runs in a `Job`, one at a time.

    Besides the attributes of `ViewState`:

    Attributes:
        samples: Samples that are traced of a task at most.
        store: Where finished runs are kept.
        history: Finished runs of this model on this task.
        job: The job that runs, or the last one; None before the first.
        trials: What the job has told.
        chosen: The run whose difference is shown.
        difference: Its trace minus the untrained one's.

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
            trace: `semviz.trace(model, task)`, if there is one; it is then not traced again.
            samples: Trace at most so many samples of a task, drawn at random with a fixed seed; None takes all.
            store: Folder of finished runs; those of this model and task are shown at once. Without one, runs are kept
                in a temporary folder until the study is closed.
            progress: Show progress bars while opening.

        Raises:
            SemvizError: As in `semviz.trace`, `Trace.gain` and `semviz.estimate_costs`.
        """
        # Before the store, of which nothing should be left if the rest is refused.
        model = load_model() if model is None else check_model(model)
        task = as_task(task)
        self.samples = samples if samples is None else checks.whole_number("samples", samples, minimum=1)
        self._folder = temporary_folder("runs") if store is None else None
        self.store = Store(self._folder.name if self._folder is not None else store or "")
        self.job: Job[Any] | None = None
        self.trials = LiveCurves()
        super().__init__(model, open_task(model, task, trace=trace, samples=self.samples, progress=progress))

    def _enter(self, opening: OpenedTask) -> None:
        super()._enter(opening)
        self.history = History(self.store, self.model, opening)
        self.chosen: Run | None = None
        self.difference: TraceDifference | None = None

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self.job is not None and self.job.state == "running"

    def prospect(self) -> Forecast:
        """What is known of the scope before it is trained."""
        return forecast(
            self.opening,
            self.scope,
            self.recipe,
            probes=self.history.probes,
            runs=self.history.comparable,
        )

    def advice(self) -> str:
        """The recommendation and why: of the probes where there are some, else of the profile."""
        probes = self.history.probes
        return self.gain.message if probes is None else probes.message

    def preset(self, name: Preset) -> None:
        """Freeze as a preset does: `"full"`, `"half"`, `"last"`, `"profile"` or `"probes"`.

        Raises:
            SemvizError: If there is no such preset, or no probe was run yet.
        """
        scopes = {"full": Scope.full(self.model), "half": Scope.half(self.model), "last": Scope.last(self.model)}
        known = {preset: scope.boundary for preset, scope in scopes.items()} | {"profile": self.gain.boundary}
        if self.history.probes is not None:
            known["probes"] = self.history.probes.boundary
        if not isinstance(name, str) or name not in known:
            why = "run the probes first" if name == "probes" else f"pass one of {list(get_args(Preset))}"
            raise SemvizError(f"There is no preset {checks.short_repr(name)}; {why}.")
        self.freeze(known[name])

    def restore(self, key: str) -> None:
        """Take up the scope and the settings of a finished run.

        Raises:
            SemvizError: If there is no such run, or its blocks are not all those above a boundary.
        """
        run = self.history.find(key)
        if not run.scope.is_suffix:
            raise SemvizError(f"{run.scope.label} are not all blocks above a boundary; the slider cannot show them.")
        self.settings = Settings.of_recipe(recipe_of(run), rows=self.rows)
        self.chosen = run
        self.freeze(run.scope.boundary)
        self._tell("settings")

    # Work that takes long.

    def finetune(self) -> Job[Run]:
        """Finetune the scope in the background, by the settings; a run that is finished already is not run again.

        Raises:
            SemvizError: If a job is running.
        """
        # Read here, so that moving the slider meanwhile changes nothing.
        opening, scope, recipe = self.opening, self.scope, self.recipe

        def do(control: Control) -> Run:
            opening.score(control)
            return run_once(opening.bench, scope, recipe, store=self.store, control=control)

        return self._start(f"Finetuning {scope.label}", do, self.history.add, "runs")

    def probe(self) -> Job[Probes]:
        """Run the three probes in the background, with the settings' steps, rate, rows a step and seed.

        Raises:
            SemvizError: If a job is running.
        """
        opening, recipe = self.opening, replace(self.recipe, method=FULL)

        def do(control: Control) -> Probes:
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

        def keep(found: Probes) -> None:
            self.history.add(*found.runs)

        return self._start("Probing three boundaries", do, keep, "runs")

    def choose(self, task: Task | str) -> Job[OpenedTask]:
        """Open another task in the background.

        Raises:
            SemvizError: If a job is running, or there is no such packaged task.
        """
        wanted = as_task(task)

        def do(control: Control) -> OpenedTask:
            opening = open_task(self.model, wanted, samples=self.samples, control=control, progress=False)
            if self.store.keys():
                opening.score(control)  # stored runs are shown with these, and entering must not be cancelled half-way
            return opening

        return self._start(f"Opening {wanted.name}", do, self._enter, "task")

    def compare_with(self, vocab: Vocabulary) -> Job[Trace | None]:
        """Compare states with the whole vocabulary or the label words only; traces again unless that was done.

        Raises:
            SemvizError: If a job is running, or the task has no labels.
        """
        if checks.one_of("vocab", vocab, get_args(Vocabulary)) == "labels" and not self.task.labels:
            raise SemvizError(f'Task {self.task.name!r} has no labels; pass "full".')
        opening, options = self.opening, {**self.opening.traces["full"].options, "vocab": vocab}

        def do(control: Control) -> Trace | None:
            if vocab in opening.traces:
                return None
            return trace(self.model, opening.task, **options, control=control, progress=False)

        def look(found: Trace | None) -> None:
            if found is not None:
                opening.traces[vocab] = found
            self._compare_with(vocab)

        return self._start(f"Tracing {self.task.name}", do, look, "view")

    def inspect(self, key: str) -> Job[TraceDifference]:
        """Trace a finished run in the background, to see where the deviation fell.

        Raises:
            SemvizError: If a job is running, there is no such run, or it kept no weights.
        """
        run, before = self.history.find(key), self.opening.traces["full"]

        def do(control: Control) -> TraceDifference:
            return run.trace(self.model, self.task, **before.options, control=control, progress=False) - before

        def keep(found: TraceDifference) -> None:
            self.chosen, self.difference = run, found

        return self._start(f"Tracing {run.scope.label}", do, keep, "difference")

    def cancel(self) -> None:
        """Ask the running job to stop, within one step."""
        if self.job is not None:
            self.job.cancel()

    def close(self) -> None:
        """Cancel what runs, wait for its end, and forget the observers and runs that are kept nowhere else."""
        self._observers.clear()
        self.cancel()
        if self.job is not None:
            self.job.wait()
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self, label: str, do: Callable[[Control], T], then: Callable[[T], None], change: Change) -> Job[T]:
        """Start the one job: `then` takes the result up, and `change` is told."""
        if self.job is not None and self.busy:
            raise SemvizError(f"{self.job.label} is still running; wait until it ends, or cancel it.")
        self.trials = LiveCurves()

        def work(control: Control) -> T:
            found = do(control)
            then(found)
            return found

        def end(job: Job[T]) -> None:
            if job.state == "done":
                self._tell(change)
            self._tell("job")

        def step(_: Progress) -> None:
            self._tell("progress")

        job = Job(label, work, on_step=self.trials.record, on_progress=step, on_end=end)
        self.job = job
        try:
            self._tell("job")
        except BaseException:
            self.job = None  # else it would count as running for ever
            raise
        return job.start()

    def __repr__(self) -> str:
        """One line: model, task, scope, runs."""
        return f"Study({self.model.name} on {self.task.name}: {self.scope.label}; {len(self.history.runs)} runs)"


def as_task(task: Task | str) -> Task:
    """A task, or a packaged one by its name.

    Raises:
        TaskError: If it is neither.
    """
    return load_task(task) if isinstance(task, str) else check_task(task)
