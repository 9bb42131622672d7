"""`finetune()`: train one scope of a model on a task → a `Run`. The user's model is never touched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.common.progress import Control, check_control
from semviz.common.scores import Score, score_named
from semviz.finetuning.cache_check import why_not_cacheable
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.evaluation import SplitScores, evaluate
from semviz.finetuning.learning_rates import first_guess, next_rate
from semviz.finetuning.memory_guard import check_memory
from semviz.finetuning.merge_check import merging_error
from semviz.finetuning.prefix_cache import SplitWithStates
from semviz.finetuning.recipe import Recipe, run_key
from semviz.finetuning.remarks import environment, remarks
from semviz.finetuning.run import Run
from semviz.finetuning.suffix_model import Suffix
from semviz.finetuning.trainer_state import trainers_turn
from semviz.finetuning.training import TrainingOutcome, fit
from semviz.lm.model import LanguageModel, check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.lm.trainable import check_floats
from semviz.scopes.methods import METHODS
from semviz.scopes.scope import Scope, check_scope
from semviz.tasks.task import Task, check_task


@on_fitting_threads
@default_surroundings()
def finetune(
    model: LanguageModel,
    task: Task,
    scope: Scope | None = None,
    *,
    method: str = "full",
    lr: float | Literal["auto"] = "auto",
    epochs: float = 3,
    batch_size: int = 32,
    seed: int = 0,
    cache: bool = True,
    checkpointing: bool = False,
    keep_weights: bool = True,
    arguments: Mapping[str, Any] | None = None,
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
            need peft), `"lisa"` two of the blocks at a time, redrawn every twentieth of the steps. Others may be
            registered: `semviz.common.training_methods`.
        lr: Learning rate, or `"auto"`: each scope gets its own, from a small grid, by the validation score.
        epochs: Passes over the training rows.
        batch_size: Rows per step, over all devices and accumulated batches. With several processes the last batch of an
            epoch is filled up with other rows.
        seed: Seed of data order, dropout, adapters and sampled blocks.
        cache: Run the frozen prefix once. The cache is checked on one batch; a model that cannot be resumed from one
            state is trained without it, and the run says so.
        checkpointing: Recompute the trained blocks' activations in the backward pass: less memory, more time.
        keep_weights: Keep the trained weights in the run, for `load_run` and `Run.trace`; adapters are merged in.
        arguments: Further fields of transformers' `TrainingArguments`, such as `{"bf16": True, "report_to": "wandb",
            "gradient_accumulation_steps": 2}`.
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
    recipe = Recipe(method, lr, epochs, batch_size, seed, checkpointing, {} if arguments is None else arguments)
    check_trainable(model, scope, recipe)
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
    check_trainable(model, scope, recipe)
    model_hash = model.hash  # now: the user may edit the model while it trains
    encoded_task.refresh(model_hash)
    key = run_key(model, task, scope, recipe, model_hash=model_hash)
    check_memory(encoded_task, scope, recipe, cache=cache)
    job = _Job(encoded_task, scope, control, cache, progress)
    guess = first_guess(model.anatomy.width, recipe.method) if recipe.lr == "auto" else recipe.lr
    rate: float | None = guess
    all_seconds, scores = 0.0, {}
    best: _Trial | None = None
    while rate is not None:
        with trainers_turn(control):
            trial = job.run(recipe, rate)
        all_seconds += trial.outcome.seconds
        scores[rate] = trial.signed_score
        if best is None or (trial.signed_score, -trial.loss) > (best.signed_score, -best.loss):
            best = trial
        rate = next_rate(guess, scores) if recipe.lr == "auto" else None
    assert best is not None  # there is always one trial
    suffix, outcome = best.suffix, best.outcome
    test_scores = evaluate(suffix, encoded_task, job.part("test", suffix), control=control)
    notes = [encoded_task.why_not_cached] if scope.boundary and cache else []
    notes += remarks(model, scope, encoded_task.reading)
    if outcome.stop_reason:
        notes.append(f"{outcome.stop_reason} at lr {best.rate:g}, so training stopped; pass a smaller lr.")
    weights = suffix.weights(METHODS[recipe.method]) if keep_weights else {}
    if weights and METHODS[recipe.method].merged is not None:
        error = merging_error(encoded_task, suffix, job.part("test", suffix), scope, weights)
        notes, weights = [*notes, error], {} if error else weights
    prefix_cache = job.part("train", suffix).cache
    prefix_seconds = prefix_cache.seconds if prefix_cache else 0.0
    return Run(
        key=key,
        model=model.name,
        task=task.name,
        model_hash=model_hash,
        task_hash=task.lineage,
        arguments=recipe.argument_texts,
        score=task.score,
        scope=scope,
        method=recipe.method,
        seed=recipe.seed,
        lr=best.rate,
        rates={r: abs(score) for r, score in sorted(scores.items())} if recipe.lr == "auto" else {},
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
        search_seconds=all_seconds - outcome.seconds,
        tokens_per_second=outcome.tokens / outcome.seconds,
        peak_bytes=outcome.peak_bytes,
        cached=prefix_cache is not None,
        curve=outcome.curve,
        note=" ".join(note for note in notes if note),
        environment=environment(model),
        weights=weights,
        origin=(model, task),
    )


def check_trainable(model: LanguageModel, scope: Scope, recipe: Recipe) -> None:
    """Refuse a combination that cannot train.

    Raises:
        SemvizError: If the method cannot be combined with this, the scope is for another model, or its weights
            cannot have gradients.
    """
    method = METHODS[recipe.method]
    situations = {"processes": distributed.is_distributed(), "head": scope.head, "checkpointing": recipe.checkpointing}
    for situation, why in method.refuses.items():
        if situations[situation]:
            raise SemvizError(f'method="{method.key}" {why}')
    if any(p.is_meta for p in model.model.parameters()):
        raise SemvizError("The model is offloaded, so its blocks cannot train; load it whole, without device_map.")
    modules = scope.modules(model)
    if method.own_weights:
        check_floats(modules)


@on_fitting_threads
@default_surroundings()
def zero_shot(encoded_task: EncodedTask, split: str) -> SplitScores:
    """Score the model as it is."""
    encoded_task.refresh(encoded_task.model.hash)
    suffix = Suffix(
        encoded_task.model,
        Scope.last(encoded_task.model),
        cached=False,
        own_weights=False,
        reading=encoded_task.reading,
        probe=encoded_task.probe(),
    )
    return evaluate(suffix, encoded_task, encoded_task.part(split, 0), control=encoded_task.control)


@dataclass(frozen=True, eq=False)
class _Trial:
    """One training run at one rate, and its validation scores; None if it diverged."""

    rate: float
    suffix: Suffix
    outcome: TrainingOutcome
    scores: SplitScores | None
    score: Score

    @property
    def signed_score(self) -> float:
        """Validation score, with the sign that makes higher better."""
        return -math.inf if self.scores is None else self.score.sign * self.score.of(self.scores)

    @property
    def loss(self) -> float:
        """Validation loss."""
        return math.inf if self.scores is None else self.scores.loss


@dataclass(frozen=True, eq=False)
class _Job:
    """What the trials of one run share."""

    encoded_task: EncodedTask
    scope: Scope
    control: Control
    cache: bool
    progress: bool

    def run(self, recipe: Recipe, rate: float) -> _Trial:
        """Build the suffix, check its cache, train it at a rate, score it on validation rows."""
        recipe = replace(recipe, lr=rate)
        encoded_task, scope, control = self.encoded_task, self.scope, self.control
        part = encoded_task.part("train", scope.boundary if self.cache else 0)
        suffix = self._suffix(recipe, cached=part.cache is not None)
        if part.cache is not None:
            why = why_not_cacheable(encoded_task, suffix, part)
            if why:
                encoded_task.stop_caching(why)
                part, suffix = encoded_task.part("train", scope.boundary), self._suffix(recipe, cached=False)
        suffix.prepare(METHODS[recipe.method], seed=recipe.seed)
        label = f"Finetuning {scope.label}"
        outcome = fit(suffix, encoded_task, part, recipe, label=label, control=control, progress=self.progress)
        scores = None
        if not outcome.stop_reason:
            scores = evaluate(suffix, encoded_task, self.part("validation", suffix), control=control)
        return _Trial(rate, suffix, outcome, scores, score_named(encoded_task.task.score))

    def part(self, split: str, suffix: Suffix) -> SplitWithStates:
        """A split as this suffix reads it."""
        return self.encoded_task.part(split, self.scope.boundary if suffix.cached else 0)

    def _suffix(self, recipe: Recipe, *, cached: bool) -> Suffix:
        return Suffix(
            self.encoded_task.model,
            self.scope,
            cached=cached,
            own_weights=METHODS[recipe.method].own_weights,
            reading=self.encoded_task.reading,
            probe=self.encoded_task.probe(),
        )
