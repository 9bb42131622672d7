"""How long a training step takes, measured by the code that trains: a few steps on a batch of the user's own rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from semviz.common.interrupts import interrupts_held
from semviz.common.progress import Control, Progress
from semviz.finetuning.learning_rates import first_guess
from semviz.finetuning.prefix_cache import PrefixCache, SplitWithStates, run_prefix
from semviz.finetuning.suffix_model import Suffix
from semviz.finetuning.trainer_arguments import result_only
from semviz.finetuning.trainer_state import trainers_turn
from semviz.finetuning.training import fit

if TYPE_CHECKING:
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.recipe import Recipe
    from semviz.scopes.scope import Scope

_SECONDS = 0.5  # of steps, for each scope that is timed
_FEWEST, _MOST = 2, 12  # steps; the first, in which memory is allocated, does not count
_BACKWARD = 3.0  # a step against its forward pass, to choose how many steps there is time for


@dataclass(frozen=True)
class StepTime:
    """What training one scope takes.

    Attributes:
        scope, method: What trains, and how.
        step: Seconds of one step.
        setup: Seconds before the first step: the copy, its check, Trainer, and memory that is allocated.
        token: Seconds of scoring, for one token.
    """

    scope: Scope
    method: str
    step: float
    setup: float
    token: float


@dataclass(frozen=True)
class StepTimes:
    """What was measured to plan finetunes on one task.

    Attributes:
        scopes: The scopes that were timed.
        prefix_token: Seconds of one frozen block, for one token; 0 where none was frozen.
    """

    scopes: tuple[StepTime, ...]
    prefix_token: float


@interrupts_held()
def time_steps(encoded_task: EncodedTask, asked: Sequence[tuple[Scope, Recipe]], *, control: Control) -> StepTimes:
    """Train a few steps of each scope on one batch and time them.

    The batch has rows of all lengths, so that it is padded about as those that Trainer draws.

    Args:
        encoded_task: The task; nothing is kept in it.
        asked: Scopes and how they would be trained.
        control: To stop the measurement.

    Raises:
        Cancelled: If asked to stop.
    """
    model, whole = encoded_task.model, encoded_task.part("train", 0).encoded
    encoded = whole.take(_spread(whole.ids.lengths, asked[0][1].batch_size))
    boundaries = sorted({scope.boundary for scope, _ in asked} - {0})
    caches: dict[int, PrefixCache] = {}
    if boundaries and not encoded_task.why_not_cached:
        caches = run_prefix(model, encoded, boundaries, control=control, progress=False)
    timed = []
    for scope, recipe in asked:
        part = SplitWithStates(encoded, None if recipe.why_uncached else caches.get(scope.boundary))
        with trainers_turn(control):
            timed.append(_time_scope(encoded_task, part, scope, recipe, control))
    prefix = sum(cache.seconds for cache in caches.values()) / (encoded.tokens * max(boundaries, default=1))
    return StepTimes(tuple(timed), prefix)


def _time_scope(
    encoded_task: EncodedTask, part: SplitWithStates, scope: Scope, recipe: Recipe, control: Control
) -> StepTime:
    """Train a few steps of one scope."""
    model, method = encoded_task.model, recipe.training_method
    began = time.perf_counter()
    suffix = Suffix(
        model,
        scope,
        cached=part.cache is not None,
        own_weights=method.own_weights,
        parts=recipe.parts,
        reading=encoded_task.reading,
        probe=encoded_task.probe(),
    )
    suffix.prepare(method, seed=recipe.seed)
    suffix.to(model.device).eval()
    copied = time.perf_counter() - began
    rows = list(range(len(part)))
    batch = {key: value.to(model.device) for key, value in encoded_task.collator(part)(rows).items()}
    began = time.perf_counter()
    with torch.no_grad():
        float(suffix(**batch)["loss"])
    forward = time.perf_counter() - began
    steps = int(np.clip(_SECONDS / (_BACKWARD * forward), _FEWEST, _MOST))
    # One batch an epoch.
    rate = first_guess(model.anatomy.width, recipe.method) if recipe.lr == "auto" else recipe.lr
    # A timed step is no experiment that anybody should see.
    timed = replace(recipe, lr=rate, epochs=steps, arguments=result_only(recipe.arguments), callbacks=())
    ends: list[float] = []

    def on_progress(_: Progress) -> None:
        control.check()
        ends.append(time.perf_counter())

    outcome = fit(suffix, encoded_task, part, timed, label="Timing", control=Control(on_progress), progress=False)
    step = float(np.diff(ends).mean()) if len(ends) > 1 else outcome.seconds / max(1, outcome.steps)
    # The copy is checked against the model: one more forward pass.
    setup = copied + forward + max(0.0, outcome.seconds - step * outcome.steps)
    return StepTime(scope, recipe.method, step, setup, forward / batch["input_ids"].numel())


def _spread(lengths: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Rows of all lengths, shortest to longest."""
    order = np.argsort(lengths, kind="stable")
    count = min(count, len(order))
    return order[((np.arange(count) + 0.5) * len(order) / count).astype(int)]
