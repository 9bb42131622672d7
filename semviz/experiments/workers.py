"""A sweep's runs as jobs of an executor: submitted, found again in the store, submitted anew where a worker died."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.common.progress import Control, Progress
from semviz.experiments.job import JOBS, Done, Job, lent, run_job
from semviz.finetuning.recipe import Recipe, run_key
from semviz.lm.origin import Origin, save_whole
from semviz.scopes.scope import Scope

if TYPE_CHECKING:
    from semviz.experiments.run_store import Store
    from semviz.finetuning.run import Run
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task

_ATTEMPTS = 3  # for each run, with workers that die
_POLL = 0.1  # seconds
_PATIENCE = 30.0  # seconds in which a file may come to be seen here, and for which stopped jobs are waited for
_MODELS = "models"
_EXECUTOR = "pass a concurrent.futures.Executor, such as Dask's client.get_executor(), and store="


def check_executor(executor: Any, *, store: object, budget: object) -> None:
    """Refuse an executor that cannot be used.

    Raises:
        SemvizError: If it is none, or is asked for without a store or with a budget.
    """
    if executor is None:
        return
    if hasattr(executor, "get_executor"):
        raise SemvizError("executor is a client of Dask; pass client.get_executor().")
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise SemvizError(f"{checks.named_repr('executor', executor)} is no executor; {_EXECUTOR}.")
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method(allow_none=False) == "fork":
        raise SemvizError(
            "The processes of this executor would be forked, and torch's threads do not survive that; pass "
            'ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")).'
        )
    if store is None:
        raise SemvizError("executor= needs a store, in which workers leave their runs; pass store=, a shared folder.")
    if budget is not None:
        raise SemvizError(
            "A budget is planned for this machine, not for an executor's; leave out budget= or executor=."
        )
    if distributed.is_distributed():
        raise SemvizError("This is one of several processes already; leave out executor=, or start a single process.")


@dataclass(eq=False)
class _Slot:
    """A scope and method with its seeds, of which the first finds the rate where it is searched for."""

    scope: Scope
    recipe: Recipe
    runs: dict[int, Run] = field(default_factory=dict)


@dataclass(eq=False)
class Workers:
    """What a sweep over an executor's workers knows.

    Attributes:
        executor: The caller's.
        model, task: What is trained.
        model_hash: The model's.
        store: Where runs are left.
        keep_weights: Whether with their weights.
        control: To watch and to cancel.
        bar: Progress bar, of runs.
    """

    executor: Any
    model: LanguageModel
    task: Task
    model_hash: str
    store: Store
    keep_weights: bool
    control: Control
    bar: Any
    _running: dict[Any, tuple[Job, _Slot, int]] = field(default_factory=dict)
    _lost: list[str] = field(default_factory=list)
    _signal: Path = Path()
    _origin: Origin | None = None

    def train(self, jobs: Sequence[tuple[Scope, Recipe]], seeds: Sequence[int]) -> list[Run]:
        """Have every scope trained with every seed; runs that are in the store are not submitted.

        Returns:
            The runs, in the order of the scopes and seeds.

        Raises:
            Cancelled: If asked to stop; jobs are told to.
            SemvizError: If a run is refused or fails, or workers died too often; what is finished is in the store.
        """
        slots = [_Slot(scope, recipe) for scope, recipe in jobs]
        total = len(slots) * len(seeds)
        self._signal = self.store.folder.absolute() / JOBS / f"sweep-{secrets.token_hex(8)}.running"
        try:
            self._signal.parent.mkdir(parents=True, exist_ok=True)
            self._signal.touch()
        except OSError as error:
            raise SemvizError(f"Cannot write into the store {self.store.folder}: {error}.") from error
        try:
            with lent(self.model, self.model_hash):
                try:
                    for slot in slots:
                        self._begin(slot, seeds, searched=slot.recipe.lr != "auto")
                    while self._running:
                        self.control.check()
                        self._collect(seeds)
                        done = sum(len(slot.runs) for slot in slots)
                        self.control.tell(Progress("Runs on workers", done, total))
                        time.sleep(_POLL)
                finally:
                    self._stop()
        finally:
            with suppress(OSError):  # a sweep beside this one has its own there
                self._signal.parent.rmdir()
        if self._lost:
            done = sum(len(slot.runs) for slot in slots)
            raise SemvizError(
                f"{total - done} of {total} runs were lost with their workers ({self._lost[0]}); the other {done} are "
                f"in {self.store.folder}. Sweep again with workers that live, with more memory perhaps, and only what "
                "is missing is run."
            )
        return [slot.runs[seed] for slot in slots for seed in seeds]

    def _begin(self, slot: _Slot, seeds: Sequence[int], *, searched: bool) -> None:
        """Submit what can be trained now: the first seed, and the others once the rate is known."""
        for seed in seeds if searched else seeds[:1]:
            if seed in slot.runs:
                continue
            recipe = replace(slot.recipe, seed=seed)
            key = run_key(self.model, self.task, slot.scope, recipe, model_hash=self.model_hash)
            found = self.store.find(key)
            if found is not None:
                self._finish(slot, seed, seeds, found.named(self.model, self.task))
            else:
                self._submit(self._job(slot.scope, recipe, key), slot, 1)

    def _job(self, scope: Scope, recipe: Recipe, key: str) -> Job:
        if self._origin is None:
            self._origin = self.model.origin or self._saved()
        return Job(
            origin=self._origin,
            model_name=self.model.name,
            model_hash=self.model_hash,
            weights_hash=self.model.weights_hash,
            task=self.task,
            scope=scope,
            recipe=recipe,
            key=key,
            store=str(self.store.folder.absolute()),
            keep_weights=self.keep_weights,
            signal=str(self._signal),
        )

    def _saved(self) -> Origin:
        """Save a model that is in memory only into the store, once."""
        folder = self.store.folder.absolute() / _MODELS / self.model_hash
        network = self.model.model
        save_whole(network, self.model.tokenizer, folder)
        layers = self.model.anatomy.block_names[0].rpartition(".")[0]
        text = list(self.model.general_text)
        return Origin({"source": str(folder), "dtype": network.dtype, "layers": layers, "general_text": text})

    def _submit(self, job: Job, slot: _Slot, attempt: int) -> None:
        try:
            self._running[self.executor.submit(run_job, job)] = job, slot, attempt
        except Exception as error:  # of a pool whose workers died, or that was shut down
            self._lost.append(_named(error))

    def _collect(self, seeds: Sequence[int]) -> None:
        """Take what is done, and submit what follows from it."""
        for future in [future for future in self._running if future.done()]:
            job, slot, attempt = self._running.pop(future)
            try:
                done = future.result()
            except (Exception, CancelledError) as error:
                if not _is_of_workers(error, self.executor):
                    raise SemvizError(
                        f"A job did not reach its worker ({_named(error)}); workers need the same semviz, and what is "
                        "in arguments= has to be picklable."
                    ) from error
                if attempt < _ATTEMPTS:
                    self._submit(job, slot, attempt + 1)
                else:
                    self._lost.append(_named(error))
                continue
            run = replace(self._read(job, done), origin=(self.model, self.task)).named(self.model, self.task)
            self._finish(slot, job.recipe.seed, seeds, run)

    def _finish(self, slot: _Slot, seed: int, seeds: Sequence[int], run: Run) -> None:
        slot.runs[seed] = run
        self.bar.update()
        if slot.recipe.lr == "auto":
            slot.recipe = replace(slot.recipe, lr=run.lr)
            self._begin(slot, seeds, searched=True)

    def _read(self, job: Job, done: Done) -> Run:
        """Read a run that a worker has written.

        Raises:
            SemvizError: If it has written none.
        """
        label = f"The run of {job.scope.label} on {done.host}"
        if done.outcome == "refused":
            raise SemvizError(done.message)
        if done.outcome == "failed":
            raise SemvizError(f"{label} failed ({done.message}); finished runs are in the store.") from RuntimeError(
                done.trace
            )
        began = time.monotonic()
        run = self.store.find(job.key) if done.outcome == "stored" else None
        while run is None:
            if done.outcome == "stopped" or time.monotonic() - began > _PATIENCE:
                raise SemvizError(
                    f"{label} and this process do not see the same files in {self.store.folder}; pass store= a folder "
                    "that all machines share under one path, and leave it there."
                )
            self.control.check()
            time.sleep(_POLL)
            run = self.store.find(job.key)
        return run

    def _stop(self) -> None:
        """Tell jobs to stop, and wait a while for those that run."""
        with suppress(OSError):
            self._signal.unlink()
        for future in self._running:
            future.cancel()
        began = time.monotonic()
        while any(not future.done() for future in self._running) and time.monotonic() - began < _PATIENCE:
            time.sleep(_POLL)


def _is_of_workers(error: BaseException, executor: Any) -> bool:
    """Whether an error says that a worker or its connection died: jobs return their own."""
    if isinstance(error, BrokenExecutor | CancelledError | ConnectionError | EOFError | TimeoutError):
        return True
    home = type(error).__module__.partition(".")[0]
    return home not in ("builtins", "concurrent") and home == type(executor).__module__.partition(".")[0]


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {checks.first_line(error)}".rstrip(": ")
