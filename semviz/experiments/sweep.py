"""`sweep()`: scopes × methods × seeds → `Runs`, each scope at its own learning rate."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semviz.common import checks, distributed, formats
from semviz.common.errors import SemvizError
from semviz.common.progress import Control, bars_shown, check_control, progress_bar, say
from semviz.common.provenance import Source, source_of
from semviz.common.scores import score_named
from semviz.experiments.asked_sweep import AskedSweep, check_sweep
from semviz.experiments.budget import Deadline, as_seconds
from semviz.experiments.pace import Pace
from semviz.experiments.planning import WORTH_SAYING, measure, worth_saying
from semviz.experiments.run_store import Store
from semviz.experiments.runs import Runs
from semviz.experiments.workers import Workers, check_executor
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.finetune import check_trainable, train_scope, zero_shot
from semviz.finetuning.recipe import run_key
from semviz.finetuning.run import Run
from semviz.lm.model import check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.tasks.task import check_task

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from peft import PeftConfig
    from transformers import TrainerCallback

    from semviz.experiments.plan import Plan
    from semviz.finetuning.recipe import Recipe
    from semviz.gains.gain import Gain
    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope
    from semviz.tasks.task import Task


def sweep(
    model: LanguageModel,
    task: Task,
    scopes: Iterable[Scope] | None = None,
    *,
    methods: Sequence[str | PeftConfig] = ("full",),
    seeds: Sequence[int] = (0,),
    lr: float | Literal["auto"] = "auto",
    epochs: float = 3,
    batch_size: int = 32,
    checkpointing: bool = False,
    modules: str = "all",
    keep_weights: bool = False,
    arguments: Mapping[str, Any] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    gain: Gain | None = None,
    store: str | Path | None = None,
    budget: float | str | None = None,
    executor: Executor | None = None,
    control: Control | None = None,
    progress: bool = True,
) -> Runs:
    """Finetune several scopes under equal conditions: same rows, steps and data order, each at its own rate.

    With `lr="auto"` a scope's rate is chosen once, with the first seed, and kept for its other seeds.

    Args:
        model: A loaded model; it is not changed.
        task: Trains on `train`, chooses rates on `validation`, scores on `test`.
        scopes: Scopes to compare; every boundary 0…L−1 by default. What is listed twice is run once.
        methods: Such as `("full", "lora", LoraConfig(r=16))`, as in `finetune`.
        seeds: One run per seed.
        lr: A rate for all, or `"auto"`.
        epochs: Passes over the training rows.
        batch_size: Rows per step.
        checkpointing: As in `finetune`.
        modules: As in `finetune`.
        arguments: As in `finetune`.
        callbacks: As in `finetune`; each hears of all runs, one after the other.
        keep_weights: Keep trained weights, in the store if there is one, for `load_run` and `Run.trace`. Runs that were
            stored without them are trained again.
        gain: Its predicted benefit is shown next to the measured one, and its boundary is named `profile`.
        store: Folder in which every finished run is saved at once, so that a stopped sweep can be resumed.
        budget: Seconds, or a text such as `"10 min"`: what changes the answer least is left out until the rest fits, as
            `semviz.plan` says, and what does not fit after all is not begun.
        executor: Where the runs are trained, instead of one after the other here: a `concurrent.futures.Executor`, such
            as Dask's `client.get_executor()`, one of submitit or MPI, or a pool of processes that are spawned. Needs a
            `store` that all machines see under one path: a run is a job, which writes it there. Each process loads the
            model once, from where it was loaded here, and trains one run at a time; no run is trained by two processes.
            Jobs of workers that die are submitted again. Probes have no executor: each follows from those before it.
        control: To watch the sweep from another thread, and to cancel it within one step.
        progress: Show progress bars.

    Returns:
        `Runs`.

    Raises:
        Cancelled: If asked to stop; finished runs are in the store.
        SemvizError: If a list is empty or not a list, the gain is of another model or task, there is an executor and no
            store, workers died too often, or as in `finetune`.
    """
    # Everything is checked before the first run, so that no later run fails on it.
    check_model(model)
    check_task(task)
    asked = check_sweep(
        model,
        scopes,
        methods=methods,
        seeds=seeds,
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        checkpointing=checkpointing,
        modules=modules,
        arguments=arguments,
        callbacks=callbacks,
    )
    check_executor(executor, store=store, budget=budget)
    return sweep_scopes(
        model,
        task,
        asked.scopes,
        asked.recipe,
        methods=asked.methods,
        seeds=asked.seeds,
        keep_weights=keep_weights,
        gain=gain,
        store=store,
        clock=None if budget is None else Deadline.start(as_seconds(budget)),
        executor=executor,
        control=control,
        progress=progress,
    )


@on_fitting_threads
@default_surroundings()
def sweep_scopes(
    model: LanguageModel,
    task: Task,
    scopes: Sequence[Scope],
    recipe: Recipe,
    *,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    keep_weights: bool = False,
    gain: Gain | None = None,
    store: str | Path | None = None,
    clock: Deadline | None = None,
    plan: Plan | None = None,
    executor: Executor | None = None,
    control: Control | None = None,
    progress: bool = True,
    then: Callable[[Runs], Scope | None] | None = None,
    foreseen: Sequence[Scope] = (),
) -> Runs:
    """Do what `sweep` does, with a checked recipe; methods and seeds are the recipe's own by default.

    A `plan` that was made and said before is followed; otherwise one is made where there is a deadline, or where the
    sweep takes more than a minute.

    `then` is asked for one more scope after those listed, and after each that it named, until it returns None or time
    is out. It is given all runs so far and has to decide by them alone, so that a stopped sweep goes on as it would
    have. `foreseen` are the scopes that this makes at most, for plan and progress bar.
    """
    check_control(control)
    seeds = tuple(seeds) or (recipe.seed,)
    asked = AskedSweep(tuple(scopes), replace(recipe, seed=seeds[0]), tuple(methods) or (recipe.method,), seeds)
    model_hash = model.hash  # once: it reads all weights
    if gain is not None:
        _check_gain(gain, model, task, model_hash)
    run_store = Store(store, weights=keep_weights) if store is not None else None
    for scope in scopes:
        _check_trainable(model, task, asked.with_scopes([scope]), run_store, model_hash)
    control = control or Control()
    encoded_task = EncodedTask(model, task, control=control, progress=progress)
    is_own = plan is None
    if plan is None and executor is None:  # a plan is of this machine
        whole = asked.with_scopes([*scopes, *foreseen])
        plan = _plan_if_long(encoded_task, whole, clock=clock, store=run_store, control=control, progress=progress)
    if plan is not None:
        asked = plan.asked if then is None else plan.asked.with_scopes(s for s in plan.asked.scopes if s in scopes)
        if plan.task is not task:
            encoded_task = EncodedTask(model, plan.task, control=control, progress=progress)
    pace = Pace(plan, clock, control)
    encoded_task.announce(scope.boundary for scope in asked.scopes)
    runs: list[Run] = []

    def train(scope: Scope, recipe: Recipe, bar: Any) -> bool:
        """Train a scope with each seed, as far as there is time; whether there was for any."""
        before = len(runs)
        for seed in asked.seeds:
            recipe = replace(recipe, seed=seed)
            run = _find_in_store(run_store, run_key(model, encoded_task.task, scope, recipe, model_hash=model_hash))
            if run is not None:
                run = run.named(model, encoded_task.task)
            else:
                job = partial(train_scope, encoded_task, scope, recipe, keep_weights=keep_weights, progress=progress)
                run = pace.train(scope, recipe, job)
                if run is None:
                    continue
                if run_store and distributed.join()[0] == 0:
                    run = _stored(run_store, run)
            runs.append(run)
            recipe = replace(recipe, lr=run.lr)  # searched with the first seed only
            bar.update()
        return len(runs) > before

    # Boundary by boundary, so that each frozen block runs once.
    jobs = sorted(asked.trained, key=lambda job: (job[0].boundary, job[0].blocks))
    if clock is not None:  # the largest and the smallest first: time may run out for those between
        sizes = [scope.trainable for scope, _ in jobs]
        first = [sizes.index(max(sizes)), len(sizes) - 1 - sizes[::-1].index(min(sizes))]
        jobs = [jobs[i] for i in dict.fromkeys([*first, *range(len(jobs))])]
    total, label = len(jobs) * len(asked.seeds), f"Sweep over {task.name}"
    if then is not None:
        total, label = len(foreseen), f"{task.name}, at most {len(foreseen)}"
    with progress_bar(total, label, unit="runs", show=progress) as bar:
        if executor is not None and run_store is not None:
            workers = Workers(
                executor, model, task, model_hash, run_store, keep_weights=keep_weights, control=control, bar=bar
            )
            runs += workers.train(jobs, asked.seeds)
        else:
            for scope, recipe in jobs:
                train(scope, recipe, bar)
        untrained, held_out = zero_shot(encoded_task, "test"), zero_shot(encoded_task, "validation")
        before, untrained_rows = score_named(task.score).of(untrained), tuple(held_out.rows.tolist())

        def gathered() -> Runs:
            return Runs(tuple(runs), zero_shot=before, gain=gain, untrained_rows=untrained_rows, budget=pace.note)

        following = then(gathered()) if then is not None else None
        while following is not None:
            _check_trainable(model, encoded_task.task, asked.with_scopes([following]), run_store, model_hash)
            if not train(following, asked.with_scopes([following]).trained[0][1], bar):
                break
            following = then(gathered()) if then is not None else None
    if plan is not None and is_own and plan.seconds >= WORTH_SAYING:
        say(f"Planned {formats.seconds(plan.promised)}, took {formats.seconds(pace.took)}.", show=progress)
    return gathered()


def _check_trainable(model: LanguageModel, task: Task, asked: AskedSweep, store: Store | None, model_hash: str) -> None:
    """Refuse scopes that cannot train; what is finished need not be able to, such as on an offloaded model."""
    for scope, recipe in asked.trained:
        scope.modules(model)
        if store is None or not store.has(run_key(model, task, scope, recipe, model_hash=model_hash)):
            check_trainable(model, task, scope, recipe)


def _plan_if_long(
    encoded_task: EncodedTask,
    asked: AskedSweep,
    *,
    clock: Deadline | None,
    store: Store | None,
    control: Control,
    progress: bool,
) -> Plan | None:
    """Plan a sweep that has a deadline, or that takes more than a minute; say the plan of one that takes as long."""
    if clock is None and not (progress and bars_shown() and worth_saying(encoded_task, asked)):
        return None
    plan = measure(encoded_task, asked, control=control).fit(asked, clock=clock, store=store)
    if plan.seconds < WORTH_SAYING:
        return None if clock is None else plan
    say(plan.message, show=progress)
    return plan


def _check_gain(gain: Gain, model: LanguageModel, task: Task, model_hash: str) -> None:
    """Refuse a gain of another model or task: its benefit would be shown as if it were of this one."""
    instead = "pass trace(model, task).gain(), or None"
    blocks = getattr(gain, "n_blocks", None)
    if blocks != model.n_blocks:
        what = (
            checks.named_repr("gain", gain)
            if blocks is None
            else f"gain is of {blocks} blocks and the model has {model.n_blocks}"
        )
        raise SemvizError(f"{what}; pass what Trace.gain() returns for this model, or None.")
    source_of(gain).check("gain", Source(model.name, model_hash, task.name, task.lineage), instead)


def _stored(store: Store, run: Run) -> Run:
    """Write a run; one that cannot be written is not lost, and neither are those that come after it."""
    try:
        return store.add(run)
    except SemvizError as error:
        warnings.warn(f"{error} Until then this run is kept in memory only.", UserWarning, stacklevel=2)
        return run


def _find_in_store(store: Store | None, key: str) -> Run | None:
    """Find a finished run, if every process sees it, so that all of them train or none."""
    if store is None or not all(distributed.gather(store.has(key))):
        return None
    return store.find(key)
