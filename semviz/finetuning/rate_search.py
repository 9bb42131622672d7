"""The search for a scope's learning rate: short trials, then two neighbours side by side, the better to the end."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from semviz.common.scores import score_named
from semviz.finetuning.evaluation import SplitScores
from semviz.finetuning.learning_rates import (
    best_rate,
    best_two,
    duel_steps,
    first_guess,
    most_trials,
    next_rate,
    trial_steps,
    without_spoilt,
)
from semviz.finetuning.recipe import Recipe
from semviz.finetuning.scope_trainer import ScopeTrainer, Training


@dataclass(frozen=True, eq=False)
class RateSearch:
    """A whole training, and what was tried before it.

    Attributes:
        training: The training at the chosen rate.
        rates: Validation score of each rate after its trial; empty where the rate was given.
        trial_steps: Optimizer steps of a trial; 0 where the rate was given, or trials were whole trainings.
        seconds: Of all trainings, the chosen one included.
    """

    training: Training
    rates: dict[float, float]
    trial_steps: int
    seconds: float


def given_rate(trainer: ScopeTrainer, recipe: Recipe) -> RateSearch:
    """Train at the recipe's rate."""
    assert recipe.lr != "auto"
    training = trainer.train(recipe, recipe.lr)
    return RateSearch(training, {}, 0, training.outcome.seconds)


@contextmanager
def _what_exists_kept() -> Iterator[None]:
    """Take what exists out of garbage collection for the time being.

    accelerate collects garbage at the beginning and the end of every training, through all objects of the process: on a
    small model that takes as long as half a trial.
    """
    if gc.get_freeze_count():  # somebody else's
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@_what_exists_kept()
def search_rate(trainer: ScopeTrainer, recipe: Recipe) -> RateSearch:
    """Look for a rate that suits the scope, and train at it.

    The result is that of a training at this rate and of nothing else: trials are trainings of their own, and what
    pauses goes on as if it had not.
    """
    guess, steps = first_guess(trainer.encoded_task.model.anatomy.width, recipe.method), trainer.steps(recipe)
    short = trial_steps(steps)
    losses: dict[float, float] = {}  # infinite where a trial diverged, or spoilt the model
    found: dict[float, float] = {}
    rates: dict[float, float] = {}
    seconds, start, best = 0.0, math.inf, None
    rate: float | None = guess
    while rate is not None:
        trial = trainer.train(recipe, rate, steps=short)
        seconds += trial.outcome.seconds
        start = trial.outcome.first_loss
        found[rate], rates[rate] = trial.loss, abs(trial.signed_score)
        losses = without_spoilt(found, _guessing(trainer))
        if short == steps and (best is None or trial.rank > best.rank):
            best = trial
        rate = next_rate(guess, losses, start, most=most_trials(steps))
        del trial  # its weights, before the next one has its own
    rates = dict(sorted(rates.items()))
    if best is not None and not recipe.is_seen:
        return RateSearch(best, rates, 0, seconds)
    if best is not None:  # somebody watches the run: trials are none
        training = trainer.train(recipe, best.rate)
        return RateSearch(training, rates, 0, seconds + training.outcome.seconds)
    first, second = best_two(losses, start, trainer.scope.frozen_share)
    side_by_side = duel_steps(steps, len(losses)) if first != second else 0
    training, duel_seconds = _duel(trainer, recipe, first, second, steps=side_by_side)
    seconds += duel_seconds
    while training.outcome.stop_reason and min(losses) < training.rate:
        # What a short training bears, a whole one may not.
        losses = {rate: loss for rate, loss in losses.items() if rate < training.rate}
        training = trainer.train(recipe, best_rate(losses, start))
        seconds += training.outcome.seconds
    return RateSearch(training, rates, short, seconds)


def _guessing(trainer: ScopeTrainer) -> float:
    """Loss of a guess, nats: among the labels, or among all tokens where there are none."""
    labels = trainer.encoded_task.task.labels
    return math.log(len(labels) or trainer.encoded_task.model.anatomy.vocabulary)


def _duel(trainer: ScopeTrainer, recipe: Recipe, first: float, second: float, *, steps: int) -> tuple[Training, float]:
    """Train at two rates for some steps, and on at the one with the better validation score (or loss, if equal).

    Returns:
        The training that went on, and the seconds of both.
    """
    others: list[Training] = []
    score = score_named(trainer.encoded_task.task.score)

    def rank(scores: SplitScores) -> tuple[float, float]:
        return score.sign * score.of(scores), -scores.loss

    def meets(scores: SplitScores) -> bool:
        other = trainer.train(recipe, second, pause_at=steps, goes_on=lambda theirs: rank(theirs) > rank(scores))
        others.append(other)
        return other.dropped or bool(other.outcome.stop_reason)

    training = trainer.train(recipe, first, pause_at=steps, goes_on=meets if steps else None)
    seconds = sum(t.outcome.seconds for t in (training, *others))
    return (others[0] if training.dropped else training), seconds
