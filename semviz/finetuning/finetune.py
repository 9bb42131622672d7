"""`finetune()`: train one scope of a model on a task → a `Run`. The user's model is never touched."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.common.progress import Control, check_control
from semviz.common.scores import Score, score_named
from semviz.finetuning.cache_check import why_not_cacheable
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.evaluation import SplitScores, evaluate
from semviz.finetuning.learning_rates import first_guess, next_rate
from semviz.finetuning.memory_guard import check_memory
from semviz.finetuning.prefix_cache import SplitWithStates
from semviz.finetuning.recipe import Recipe, run_key
from semviz.finetuning.run import Run
from semviz.finetuning.suffix_model import Suffix
from semviz.finetuning.training import TrainingOutcome, fit
from semviz.lm.model import LanguageModel, check_model
from semviz.lm.trainable import check_floats
from semviz.scopes.methods import METHODS
from semviz.scopes.scope import Scope, check_scope
from semviz.tasks.task import Task, check_task
from semviz.version import __version__


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
            need peft), `"lisa"` two of the blocks at a time, drawn anew every twentieth of the steps. Others may be
            registered: `semviz.common.training_methods`.
        lr: Learning rate, or `"auto"`: each scope gets its own, from a small grid, by the validation score.
        epochs: Passes over the training rows.
        batch_size: Rows a step, over all devices and accumulated batches. With several processes the last batch of an
            epoch is filled up with other rows.
        seed: Seed of data order, dropout, adapters and sampled blocks.
        cache: Run the frozen prefix once. The cache is proven on one batch; a model that cannot be resumed from one
            state is trained without it, and the run says so.
        checkpointing: Recompute the trained blocks' activations in the backward pass: less memory, more time.
        keep_weights: Keep the trained weights in the run, for `load_run` and `Run.trace`; adapters are merged in.
        arguments: Further fields of transformers' `TrainingArguments`, such as `{"bf16": True, "report_to": "wandb",
            "gradient_accumulation_steps": 2}`.
        control: To watch the run from another thread, and to cancel it within one step.
        progress: Show progress bars.
        bench: The task's splits as tokenized before, to share prefixes between runs.

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
    if bench is None:
        bench = EncodedTask(model, task, cache=cache, control=control, progress=progress)
    elif bench.model is not model or bench.task is not task:
        raise SemvizError("bench was made for another model or task; pass EncodedTask(model, task), or leave it out.")
    return train_scope(bench, scope, recipe, cache=cache, keep_weights=keep_weights, control=control, progress=progress)


def train_scope(
    bench: EncodedTask,
    scope: Scope,
    recipe: Recipe,
    *,
    cache: bool = True,
    keep_weights: bool = True,
    control: Control,
    progress: bool,
) -> Run:
    """Do what `finetune` does, on a task that is tokenized and by a recipe that is checked.

    Raises:
        Cancelled: If asked to stop; the model is as before.
        SemvizError: If the scope cannot train so, or the run would not fit into what a JupyterHub (Binder) lets this
            session use.
    """
    model, task = bench.model, bench.task
    check_trainable(model, scope, recipe)
    check_memory(bench, scope, recipe, cache=cache)
    job = _Job(bench, scope, control, cache, progress)
    guess = first_guess(model.anatomy.width, recipe.method) if recipe.lr == "auto" else recipe.lr
    rate: float | None = guess
    search, tried = 0.0, {}
    best: _Trial | None = None
    while rate is not None:
        trial = job.run(recipe, rate)
        search += trial.trained.seconds
        tried[rate] = trial.worth
        if best is None or (trial.worth, -trial.loss) > (best.worth, -best.loss):
            best = trial
        rate = next_rate(guess, tried) if recipe.lr == "auto" else None
    assert best is not None  # there is always one trial
    suffix, trained = best.suffix, best.trained
    tested = evaluate(suffix, bench, job.part("test", suffix), control=control)
    notes = [bench.refused] if scope.boundary and cache else []
    if trained.stopped:
        notes.append(f"{trained.stopped} at lr {best.rate:g}, so training stopped; pass a smaller lr.")
    cached = job.part("train", suffix).cache
    before = cached.seconds if cached else 0.0
    return Run(
        key=run_key(model, task, scope, recipe),
        model=model.name,
        task=task.name,
        score=task.score,
        scope=scope,
        method=recipe.method,
        seed=recipe.seed,
        lr=best.rate,
        rates={r: abs(worth) for r, worth in sorted(tried.items())} if recipe.lr == "auto" else {},
        validation=abs(best.worth),
        validation_loss=best.loss,
        validation_rows=tuple(best.scores.rows.tolist()) if best.scores else (),
        epochs=recipe.epochs,
        steps=trained.steps,
        batch_size=recipe.batch_size,
        accuracy=tested.accuracy,
        loss=tested.loss,
        f1=tested.f1,
        auroc=tested.auroc,
        rows=tuple(tested.rows.tolist()),
        trainable=sum(p.numel() for p in suffix.trainable_parameters if p.requires_grad),
        seconds=trained.seconds + before,
        prefix_seconds=before,
        search_seconds=search - trained.seconds,
        tokens_per_second=trained.tokens / trained.seconds,
        peak_bytes=trained.peak_bytes,
        cached=cached is not None,
        curve=trained.curve,
        note=" ".join(note for note in notes if note),
        environment=environment(model),
        weights=suffix.weights(METHODS[recipe.method]) if keep_weights else {},
        origin=(model, task),
    )


def check_trainable(model: LanguageModel, scope: Scope, recipe: Recipe) -> None:
    """Refuse what cannot train.

    Raises:
        SemvizError: If the method refuses to be combined with this, the scope is not of this model, or its weights
            cannot have gradients.
    """
    method = METHODS[recipe.method]
    now = {"processes": distributed.is_distributed(), "head": scope.head, "checkpointing": recipe.checkpointing}
    for situation, why in method.refuses.items():
        if now[situation]:
            raise SemvizError(f'method="{method.key}" {why}')
    if any(p.is_meta for p in model.model.parameters()):
        raise SemvizError("The model is offloaded, so its blocks cannot train; load it whole, without device_map.")
    modules = scope.modules(model)
    if method.own_weights:
        check_floats(modules)


def environment(model: LanguageModel) -> dict[str, str]:
    """Versions and device, as a stored run names them."""
    import transformers

    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine()
    return {
        "semviz": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "device": f"{model.device.type} ({device}, {torch.get_num_threads()} threads)",
        "dtype": str(model.model.dtype).removeprefix("torch."),
    }


def zero_shot(bench: EncodedTask, split: str) -> SplitScores:
    """Scores of the model as it is."""
    suffix = Suffix(bench.model, Scope.last(bench.model), cached=False, own_weights=False)
    return evaluate(suffix, bench, bench.part(split, 0), control=bench.control)


@dataclass(frozen=True, eq=False)
class _Trial:
    """One training run at one rate, and its validation scores; None if it diverged."""

    rate: float
    suffix: Suffix
    trained: TrainingOutcome
    scores: SplitScores | None
    score: Score

    @property
    def worth(self) -> float:
        """Validation score, higher is better."""
        return -math.inf if self.scores is None else self.score.sign * self.score.of(self.scores)

    @property
    def loss(self) -> float:
        """Validation loss."""
        return math.inf if self.scores is None else self.scores.loss


@dataclass(frozen=True, eq=False)
class _Job:
    """What the trials of one run share."""

    bench: EncodedTask
    scope: Scope
    control: Control
    cache: bool
    progress: bool

    def run(self, recipe: Recipe, rate: float) -> _Trial:
        """Build the suffix, prove its cache, train it at a rate, score it on validation rows."""
        recipe = replace(recipe, lr=rate)
        bench, scope, control = self.bench, self.scope, self.control
        part = bench.part("train", scope.boundary if self.cache else 0)
        suffix = self._suffix(recipe, cached=part.cache is not None)
        if part.cache is not None:
            why = why_not_cacheable(bench, suffix, part)
            if why:
                bench.refuse(why)
                part, suffix = bench.part("train", scope.boundary), self._suffix(recipe, cached=False)
        suffix.prepare(METHODS[recipe.method], seed=recipe.seed)
        label = f"Finetuning {scope.label}"
        trained = fit(suffix, bench, part, recipe, label=label, control=control, progress=self.progress)
        scores = None
        if not trained.stopped:
            scores = evaluate(suffix, bench, self.part("validation", suffix), control=control)
        return _Trial(rate, suffix, trained, scores, score_named(bench.task.score))

    def part(self, split: str, suffix: Suffix) -> SplitWithStates:
        """A split as this suffix reads it."""
        return self.bench.part(split, self.scope.boundary if suffix.cached else 0)

    def _suffix(self, recipe: Recipe, *, cached: bool) -> Suffix:
        return Suffix(self.bench.model, self.scope, cached=cached, own_weights=METHODS[recipe.method].own_weights)
