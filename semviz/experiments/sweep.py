"""`sweep()`: scopes × methods × seeds → `Runs`, each scope at its own learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.common.progress import Control, check_control, progress_bar
from semviz.common.provenance import Source, source_of
from semviz.common.scores import score_named
from semviz.experiments.run_store import Store
from semviz.experiments.runs import Runs
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.finetune import check_trainable, train_scope, zero_shot
from semviz.finetuning.recipe import Recipe, run_key
from semviz.finetuning.run import Run
from semviz.lm.model import check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.scopes.methods import METHODS
from semviz.scopes.scope import Scope, check_scope
from semviz.tasks.task import check_task

if TYPE_CHECKING:
    from semviz.gains.gain import Gain
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task


def sweep(
    model: LanguageModel,
    task: Task,
    scopes: Iterable[Scope] | None = None,
    *,
    methods: Sequence[str] = ("full",),
    seeds: Sequence[int] = (0,),
    lr: float | Literal["auto"] = "auto",
    epochs: float = 3,
    batch_size: int = 32,
    checkpointing: bool = False,
    keep_weights: bool = False,
    arguments: Mapping[str, Any] | None = None,
    gain: Gain | None = None,
    store: str | Path | None = None,
    control: Control | None = None,
    progress: bool = True,
) -> Runs:
    """Finetune several scopes under equal conditions: same rows, steps and data order, each at its own rate.

    With `lr="auto"` a scope's rate is chosen once, with the first seed, and kept for its other seeds.

    Args:
        model: A loaded model; it is not changed.
        task: Trains on `train`, chooses rates on `validation`, scores on `test`.
        scopes: Scopes to compare; every boundary 0…L−1 by default. What is listed twice is run once.
        methods: Such as `("full", "lora")`, as in `finetune`.
        seeds: One run per seed.
        lr: A rate for all, or `"auto"`.
        epochs: Passes over the training rows.
        batch_size: Rows per step.
        checkpointing: As in `finetune`.
        arguments: As in `finetune`.
        keep_weights: Keep trained weights, in the store if there is one, for `load_run` and `Run.trace`.
        gain: Its predicted benefit is shown next to the measured one, and its boundary is named `profile`.
        store: Folder in which every finished run is saved at once, so that a stopped sweep can be resumed.
        control: To watch the sweep from another thread, and to cancel it within one step.
        progress: Show progress bars.

    Returns:
        `Runs`.

    Raises:
        Cancelled: If asked to stop; finished runs are in the store.
        SemvizError: If a list is empty or not a list, the gain is of another model or task, or as in `finetune`.
    """
    # Everything is checked before the first run, so that no later run fails on it.
    check_model(model)
    check_task(task)
    scopes = Scope.suffixes(model) if scopes is None else checks.as_list("scopes", scopes, "a list of Scopes: [scope]")
    unique_scopes = list(dict.fromkeys(check_scope(f"scopes[{i}]", scope) for i, scope in enumerate(scopes)))
    methods = checks.as_list("methods", methods, f"a list such as [{checks.short_repr(methods)}]")
    methods = [checks.one_of(f"methods[{i}]", method, METHODS) for i, method in enumerate(methods)]
    methods = list(dict.fromkeys(methods))
    seeds = checks.as_list("seeds", seeds, "a list such as range(3)")
    seeds = [checks.whole_number(f"seeds[{i}]", seed, maximum=checks.MAX_SEED) for i, seed in enumerate(seeds)]
    seeds = list(dict.fromkeys(seeds))
    for name, values in (("scopes", unique_scopes), ("methods", methods), ("seeds", seeds)):
        if not values:
            raise SemvizError(f"{name} is empty; pass at least one.")
    arguments = {} if arguments is None else arguments
    recipe = Recipe(methods[0], lr, epochs, batch_size, seeds[0], checkpointing, arguments)
    return sweep_scopes(
        model,
        task,
        unique_scopes,
        recipe,
        methods=methods,
        seeds=seeds,
        keep_weights=keep_weights,
        gain=gain,
        store=store,
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
    control: Control | None = None,
    progress: bool = True,
) -> Runs:
    """Do what `sweep` does, with a checked recipe; methods and seeds are the recipe's own by default."""
    check_control(control)
    seeds = seeds or (recipe.seed,)
    recipes = [replace(recipe, method=method, seed=seeds[0]) for method in methods or (recipe.method,)]
    for scope in scopes:
        scope.modules(model)
    model_hash = model.hash  # once: it reads all weights
    if gain is not None:
        _check_gain(gain, model, task, model_hash)
    run_store = Store(store) if store is not None else None
    for scope in scopes:
        for first in recipes:
            # What is finished need not be able to train here, such as on an offloaded model.
            if run_store is None or not run_store.has(run_key(model, task, scope, first, model_hash=model_hash)):
                check_trainable(model, scope, first)
    control = control or Control()
    encoded_task = EncodedTask(model, task, control=control, progress=progress)
    encoded_task.announce(scope.boundary for scope in scopes)
    runs: list[Run] = []
    # Boundary by boundary, so that each frozen block runs once.
    plan = [(s, r) for s in sorted(scopes, key=lambda s: (s.boundary, s.blocks)) for r in recipes]
    with progress_bar(len(plan) * len(seeds), f"Sweep over {task.name}", unit="runs", show=progress) as bar:
        for scope, recipe in plan:
            for seed in seeds:
                recipe = replace(recipe, seed=seed)
                run = _find_in_store(run_store, run_key(model, task, scope, recipe, model_hash=model_hash))
                if run is not None:
                    run = run.named(model, task)
                else:
                    run = train_scope(
                        encoded_task, scope, recipe, keep_weights=keep_weights, control=control, progress=progress
                    )
                    if run_store and distributed.join()[0] == 0:
                        run = run_store.add(run)
                runs.append(run)
                recipe = replace(recipe, lr=run.lr)  # searched with the first seed only
                bar.update()
    untrained, held_out = zero_shot(encoded_task, "test"), zero_shot(encoded_task, "validation")
    before = score_named(task.score).of(untrained)
    return Runs(tuple(runs), zero_shot=before, gain=gain, untrained_rows=tuple(held_out.rows.tolist()))


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


def _find_in_store(store: Store | None, key: str) -> Run | None:
    """Find a finished run, if every process sees it, so that all of them train or none."""
    if store is None or not all(distributed.gather(store.has(key))):
        return None
    return store.find(key)
