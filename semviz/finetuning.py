"""`finetune()`: train one scope of a model on a task → a `Run`. The user's model is never touched."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from dataclasses import dataclass
from typing import Literal

import torch

from semviz.errors import SemvizError
from semviz.evaluation import Scores, evaluate
from semviz.models import LanguageModel
from semviz.prefix import Part, Workbench, cache_error
from semviz.rates import first_guess, next_rate
from semviz.run import Run
from semviz.scopes import Scope
from semviz.suffix import Suffix, add_lora, private_copy, trained_weights
from semviz.tasks import Task
from semviz.training import Recipe, Trained, fit
from semviz.version import __version__

METHODS = ("full", "lora")
_CACHE_TOLERANCE = {torch.float32: 1e-4}
_CACHE_TOLERANCE_HALF = 5e-2


def finetune(
    model: LanguageModel,
    task: Task,
    scope: Scope | None = None,
    *,
    method: Literal["full", "lora"] = "full",
    lr: float | Literal["auto"] = "auto",
    epochs: float = 3,
    batch_size: int = 32,
    seed: int = 0,
    cache: bool = True,
    keep_weights: bool = True,
    progress: bool = True,
    bench: Workbench | None = None,
) -> Run:
    """Train one scope through Hugging Face Trainer, from the cached states of the frozen prefix.

    Args:
        model: A loaded model; its weights, flags and mode stay as they are.
        task: Trains on `train`, chooses rates on `validation`, scores on `test`.
        scope: The blocks that train; all blocks by default.
        method: `"full"` trains the blocks' own weights, `"lora"` adapters on their linear layers (needs peft).
        lr: Learning rate, or `"auto"`: each scope gets its own, from a small grid, by the validation score.
        epochs: Passes over the training rows.
        batch_size: Rows a step.
        seed: Seed of data order, dropout and adapters.
        cache: Run the frozen prefix once. The cache is proven on one batch; a model that cannot be resumed from one
            state is trained without it, and the run says so.
        keep_weights: Keep the trained weights in the run, for `load_run`.
        progress: Show progress bars.
        bench: The task's splits as tokenized before, to share prefixes between runs.

    Returns:
        A `Run`.

    Raises:
        SemvizError: If an argument is out of range; the message says what to pass.
    """
    scope = scope or Scope.full(model)
    _check(model, method, lr, epochs, batch_size)
    bench = bench or Workbench(model, task, cache=cache, progress=progress)
    guess = first_guess(model.anatomy.width, method) if lr == "auto" else lr
    rate: float | None = guess
    search, tried = 0.0, {}
    best: _Trial | None = None
    while rate is not None:
        trial = _try(model, task, scope, method, Recipe(rate, epochs, batch_size, seed), bench, progress)
        search += trial.trained.seconds
        tried[rate] = trial.worth
        if best is None or (trial.worth, -trial.loss) > (best.worth, -best.loss):
            best = trial
        rate = next_rate(guess, tried) if lr == "auto" else None
    assert best is not None  # there is always one trial
    suffix, trained, note = best.suffix, best.trained, best.note
    tested = evaluate(suffix, bench, _part(bench, "test", suffix, scope))
    if trained.diverged:
        note = f"{note} The loss was not finite at lr {best.rate:g}, so training stopped; pass a smaller lr.".strip()
    cached = _part(bench, "train", suffix, scope).cache
    before = cached.seconds if cached else 0.0
    return Run(
        key=run_key(model, task, scope, method, lr, epochs, batch_size, seed),
        model=model.name,
        task=task.name,
        score=task.score,
        scope=scope,
        method=method,
        seed=seed,
        lr=best.rate,
        rates={r: abs(worth) for r, worth in sorted(tried.items())} if lr == "auto" else {},
        validation=abs(best.worth),
        epochs=epochs,
        steps=trained.steps,
        batch_size=batch_size,
        accuracy=tested.accuracy,
        loss=tested.loss,
        f1=tested.f1,
        auroc=tested.auroc,
        rows=tuple(tested.rows.tolist()),
        trainable=sum(p.numel() for p in suffix.parameters() if p.requires_grad),
        seconds=trained.seconds + before,
        prefix_seconds=before,
        search_seconds=search - trained.seconds,
        tokens_per_second=trained.tokens / trained.seconds,
        peak_bytes=trained.peak_bytes,
        cached=cached is not None,
        curve=trained.curve,
        note=note,
        environment=environment(model),
        weights=trained_weights(suffix, model, scope) if keep_weights and method == "full" else {},
    )


def load_run(model: LanguageModel, run: Run) -> LanguageModel:
    """The finetuned model of a run: a copy of the model with the run's weights; frozen ones are shared.

    Raises:
        SemvizError: If the run kept no weights.
    """
    if not run.weights:
        raise SemvizError("The run kept no weights; pass keep_weights=True and method='full' to finetune.")
    made = private_copy(model, run.scope.modules(model), to_train=False)
    parameters = dict(made.named_parameters())
    with torch.no_grad():
        for name, value in run.weights.items():
            parameters[name].copy_(value)
    name = f"{model.name}, {run.scope.label} trained on {run.task}"
    return model.replaced(made, name=name)


def run_key(
    model: LanguageModel,
    task: Task,
    scope: Scope,
    method: str,
    lr: float | str,
    epochs: float,
    batch_size: int,
    seed: int,
) -> str:
    """Sixteen hex digits of all that decides a run's result."""
    decides = [__version__, model.hash, task.hash, scope.blocks, method, lr, epochs, batch_size, seed]
    return hashlib.blake2b(json.dumps(decides).encode(), digest_size=8).hexdigest()


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


def zero_shot(bench: Workbench) -> Scores:
    """Test scores of the model as it is."""
    suffix = Suffix(bench.model, Scope.last(bench.model), cached=False)
    return evaluate(suffix, bench, Part(bench.part("test", 0).encoded))


@dataclass(frozen=True, eq=False)
class _Trial:
    """One training run at one rate, and its validation score (higher is better, −∞ if it diverged) and loss."""

    rate: float
    suffix: Suffix
    trained: Trained
    worth: float
    loss: float
    note: str


def _try(
    model: LanguageModel,
    task: Task,
    scope: Scope,
    method: str,
    recipe: Recipe,
    bench: Workbench,
    progress: bool,
) -> _Trial:
    """Build the suffix, prove its cache, train it, score it on validation rows."""
    part, note = bench.part("train", scope.boundary), ""
    suffix = Suffix(model, scope, cached=part.cache is not None)
    if part.cache is not None:
        error = cache_error(model, suffix, bench.collator(part)(list(range(min(4, len(part))))))
        if not error <= _CACHE_TOLERANCE.get(model.model.dtype, _CACHE_TOLERANCE_HALF):
            note = f"The cached prefix changes the logits by {error:.1g} of their size, so it was not used."
            part, suffix = Part(part.encoded), Suffix(model, scope, cached=False)
    if method == "lora":
        add_lora(suffix, seed=recipe.seed)
    label = f"Finetuning {scope.label}, lr {recipe.lr:.2g}, seed {recipe.seed}"
    trained = fit(suffix, bench, part, recipe, label=label, progress=progress)
    if trained.diverged:
        return _Trial(recipe.lr, suffix, trained, -math.inf, math.inf, note)
    scores = evaluate(suffix, bench, _part(bench, "validation", suffix, scope))
    worth = scores.accuracy if task.score == "accuracy" else -scores.loss
    return _Trial(recipe.lr, suffix, trained, worth, scores.loss, note)


def _part(bench: Workbench, split: str, suffix: Suffix, scope: Scope) -> Part:
    return bench.part(split, scope.boundary if suffix.cached else 0)


def _check(model: LanguageModel, method: str, lr: float | str, epochs: float, batch_size: int) -> None:
    """Refuse what cannot train."""
    if method not in METHODS:
        raise SemvizError(f"method={method!r} is unknown; pass one of {list(METHODS)}.")
    if lr != "auto" and not (isinstance(lr, int | float) and math.isfinite(lr) and lr > 0):
        raise SemvizError(f'lr={lr!r}; pass a positive number such as 1e-3, or "auto".')
    if not (math.isfinite(epochs) and epochs > 0):
        raise SemvizError(f"epochs={epochs}; pass a positive number.")
    if batch_size < 1:
        raise SemvizError(f"batch_size={batch_size}; pass at least 1.")
    if any(p.is_meta for p in model.model.parameters()):
        raise SemvizError("The model is offloaded, so its blocks cannot train; load it whole, without device_map.")
    if not model.model.dtype.is_floating_point:
        raise SemvizError(
            f"The model's weights are {model.model.dtype}; load it in a floating-point dtype to finetune."
        )
