"""`finetune()`: train one scope of a model on a task → a `Run`. The user's model is never touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.common.progress import Control, check_control
from semviz.finetuning.argument_checks import check_fit
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.evaluation import SplitScores, evaluate
from semviz.finetuning.kept_adapter import keep_adapter
from semviz.finetuning.memory_guard import check_memory
from semviz.finetuning.merge_check import merging_error
from semviz.finetuning.rate_search import given_rate, search_rate
from semviz.finetuning.recipe import Recipe, run_key
from semviz.finetuning.remarks import environment, remarks
from semviz.finetuning.run import Run
from semviz.finetuning.scope_trainer import ScopeTrainer
from semviz.finetuning.sharding import check_sharding
from semviz.finetuning.untrained_suffix import untrained_suffix
from semviz.lm.block_parts import check_parts
from semviz.lm.model import LanguageModel, check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.lm.trainable import check_floats
from semviz.scopes.scope import Scope, check_scope
from semviz.tasks.task import Task, check_task

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import TrainerCallback


@on_fitting_threads
@default_surroundings()
def finetune(
    model: LanguageModel,
    task: Task,
    scope: Scope | None = None,
    *,
    method: str | PeftConfig = "full",
    lr: float | Literal["auto"] = "auto",
    epochs: float = 3,
    batch_size: int = 32,
    seed: int = 0,
    cache: bool = True,
    checkpointing: bool = False,
    modules: str = "all",
    keep_weights: bool = True,
    arguments: Mapping[str, Any] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    control: Control | None = None,
    progress: bool = True,
    bench: EncodedTask | None = None,
) -> Run:
    """Train one scope through Hugging Face Trainer, from the cached states of the frozen prefix.

    Args:
        model: A loaded model; its weights, flags and mode stay as they are.
        task: Trains on `train`, chooses rates on `validation`, scores on `test`.
        scope: The blocks that train; all blocks by default.
        method: `"full"` trains the blocks' own weights, `"lora"` and `"ia3"` adapters on their linear layers (these
            need peft), `"lisa"` two of the blocks at a time, redrawn every twentieth of the steps, `"norm"` norms
            alone. Others may be registered: `semviz.common.training_methods`. A configuration of peft's, such as
            `LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], use_dora=True)`, puts its adapters on
            the blocks of the scope: its targets are matched by peft's rules against the names of their modules, and
            without targets these are all linear layers. It is not changed.
        lr: Learning rate, or `"auto"`: each scope gets its own, by short trials, then two trainings side by side, the
            worse of them dropped late. That takes at most as many steps again, and memory for a second training; below
            48 steps, several trainings.
        epochs: Passes over the training rows.
        batch_size: Rows per step, over all devices and accumulated batches. With several processes the last batch of an
            epoch is filled up with other rows.
        seed: Seed of data order, dropout, adapters and sampled blocks.
        cache: Run the frozen prefix once. The cache is checked on one batch; a model that cannot be resumed from one
            state is trained without it, and the run says so.
        checkpointing: Recompute the trained blocks' activations in the backward pass: less memory, more time.
        modules: Which part of each block trains, or gets adapters: `"attention"`, `"mlp"` (experts too) or `"all"`. The
            final norm and the head train as the scope says.
        keep_weights: Keep the trained weights in the run, for `Run.trace`, `Run.save_model` and others; adapters are
            kept both merged in (but for those beside quantised weights) and as they are.
        arguments: Further fields of transformers' `TrainingArguments`, such as `{"bf16": True, "report_to": "wandb",
            "gradient_accumulation_steps": 2}`; docs/arguments.md has them all. With `"output_dir"` and
            `"save_strategy"` a training that was killed goes on when it is started again. With several processes and
            `cache=False`, `{"fsdp": True}` shards what trains over them: weights, gradients and optimizer states.
        callbacks: Instances of transformers' `TrainerCallback`, such as `EarlyStoppingCallback`. They are part of the
            run's key.
        control: To watch the run from another thread, and to cancel it within one step.
        progress: Show progress bars.
        bench: The task, tokenized beforehand, so that runs share cached prefixes.

    Returns:
        A `Run`.

    Raises:
        Cancelled: If asked to stop; the model is as before.
        SemvizError: If an argument is out of range, or the run would not fit into what a JupyterHub (Binder) lets this
            session use; the message says what to pass.
    """
    check_model(model)
    check_task(task)
    scope = Scope.full(model) if scope is None else check_scope("scope", scope)
    check_control(control)
    checks.flag("cache", cache)
    control = control or Control()
    given = {} if arguments is None else arguments
    recipe = Recipe(method, lr, epochs, batch_size, seed, checkpointing, given, callbacks, modules)
    check_trainable(model, task, scope, recipe, cache=cache)
    checks.of_class("bench", bench, (EncodedTask, type(None)), "EncodedTask(model, task), or leave it out")
    encoded_task = bench or EncodedTask(model, task, cache=cache, control=control, progress=progress)
    if encoded_task.model is not model or encoded_task.task is not task:
        raise SemvizError("bench was made for another model or task; pass EncodedTask(model, task), or leave it out.")
    return train_scope(
        encoded_task, scope, recipe, cache=cache, keep_weights=keep_weights, control=control, progress=progress
    )


@on_fitting_threads
@default_surroundings()
def train_scope(
    encoded_task: EncodedTask,
    scope: Scope,
    recipe: Recipe,
    *,
    cache: bool = True,
    keep_weights: bool = True,
    control: Control,
    progress: bool,
) -> Run:
    """Do what `finetune` does, with a tokenized task and a checked recipe.

    Raises:
        Cancelled: If asked to stop; the model is as before.
        SemvizError: If the scope cannot be trained this way, or the run would not fit into what a JupyterHub
            (Binder) lets this session use.
    """
    model, task = encoded_task.model, encoded_task.task
    check_trainable(model, task, scope, recipe, cache=cache)
    model_hash = model.hash  # now: the user may edit the model while it trains
    encoded_task.refresh(model_hash)
    key = run_key(model, task, scope, recipe, model_hash=model_hash)
    check_memory(encoded_task, scope, recipe, cache=cache and not recipe.why_uncached)
    trainer = ScopeTrainer(encoded_task, scope, control, cache, progress, model_hash)
    search = search_rate(trainer, recipe) if recipe.lr == "auto" else given_rate(trainer, recipe)
    best = search.training
    suffix, outcome = best.suffix, best.outcome
    test_scores = evaluate(suffix, encoded_task, trainer.part("test", suffix), control=control)
    notes = [recipe.why_uncached or encoded_task.why_not_cached] if scope.boundary and cache else []
    notes += outcome.notes
    notes += remarks(model, scope, encoded_task.reading)
    if outcome.stop_reason:
        notes.append(f"{outcome.stop_reason} at lr {best.rate:g}, so training stopped; pass a smaller lr.")
    suffix = trainer.gathered(suffix, recipe)
    weights = suffix.weights(recipe.training_method) if keep_weights else {}
    if weights and recipe.training_method.merged is not None:
        part = trainer.part("test", suffix)
        error = merging_error(encoded_task, suffix, part, scope, weights, recipe=recipe)
        notes, weights = [*notes, error], {} if error else weights
        if weights and suffix.stays_unmerged:
            notes.append("Its adapters are kept unmerged, since a merge would round the quantised weights anew.")
    adapter = keep_adapter(suffix, model, scope) if weights else None
    prefix_cache = trainer.part("train", suffix).cache
    prefix_seconds = prefix_cache.seconds if prefix_cache else 0.0
    return Run(
        key=key,
        model_name=model.name,
        task=task.name,
        model_hash=model_hash,
        task_hash=task.lineage,
        arguments=recipe.argument_texts,
        score=task.score,
        scope=scope,
        method=recipe.method,
        peft_config=dict(getattr(recipe.method, "config", {})),
        parts=() if recipe.modules == "all" else (recipe.modules,),
        seed=recipe.seed,
        lr=best.rate,
        rates=search.rates,
        trial_steps=search.trial_steps,
        validation=abs(best.signed_score),
        validation_loss=best.loss,
        validation_rows=tuple(best.scores.rows.tolist()) if best.scores else (),
        epochs=recipe.epochs,
        steps=outcome.steps,
        batch_size=recipe.batch_size,
        accuracy=test_scores.accuracy,
        loss=test_scores.loss,
        f1=test_scores.f1,
        auroc=test_scores.auroc,
        rows=tuple(test_scores.rows.tolist()),
        trainable=sum(p.numel() for p in suffix.trainable_parameters if p.requires_grad),
        seconds=outcome.seconds + prefix_seconds,
        prefix_seconds=prefix_seconds,
        search_seconds=search.seconds - outcome.seconds,
        tokens_per_second=outcome.tokens / outcome.seconds,
        peak_bytes=outcome.peak_bytes,
        cached=prefix_cache is not None,
        curve=outcome.curve,
        note=" ".join(note for note in notes if note),
        environment=environment(model),
        weights=weights,
        adapter=adapter,
        origin=(model, task),
    )


def check_trainable(model: LanguageModel, task: Task, scope: Scope, recipe: Recipe, *, cache: bool = True) -> None:
    """Refuse a combination that cannot train; `cache` says whether a frozen prefix is to be cached.

    Raises:
        SemvizError: If the method or an argument of Trainer cannot be combined with this, the scope is for another
            model, or its weights cannot have gradients.
    """
    if recipe.arguments:
        check_fit(recipe.arguments, model, scope, task, cache=cache)
    method = recipe.training_method
    situations = {"processes": distributed.is_distributed(), "head": scope.head, "checkpointing": recipe.checkpointing}
    for situation, why in method.refuses.items():
        if situations[situation]:
            raise SemvizError(f'method="{method.key}" {why}')
    check_sharding(recipe.arguments, device=model.device.type)
    if any(p.is_meta for p in model.model.parameters()):
        raise SemvizError("The model is offloaded, so its blocks cannot train; load it whole, without device_map.")
    modules = scope.modules(model)
    if recipe.parts is not None:
        check_parts(model.anatomy, scope.blocks, recipe.parts, scope.label)
    if method.own_weights:
        check_floats(modules)


@on_fitting_threads
@default_surroundings()
def zero_shot(encoded_task: EncodedTask, split: str) -> SplitScores:
    """Score the model as it is."""
    encoded_task.refresh(encoded_task.model.hash)
    suffix = untrained_suffix(encoded_task.model, encoded_task)
    return evaluate(suffix, encoded_task, encoded_task.part(split, 0), control=encoded_task.control)
