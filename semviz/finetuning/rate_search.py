"""The search for a scope's learning rate: short trainings at several rates, then a whole one at the best of them."""

from __future__ import annotations

from dataclasses import dataclass

from semviz.finetuning.learning_rates import best_rate, first_guess, next_rate, trial_steps
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


def search_rate(trainer: ScopeTrainer, recipe: Recipe) -> RateSearch:
    """Try rates in short trainings, each with a warm-up and a decay of its own, and train at the best one.

    The whole training begins anew, so that it is the same as one at a given rate. Where a training is so short that
    trials would be as long, the trials are whole trainings, and the best of them is the result.
    """
    guess, all_steps = first_guess(trainer.encoded_task.model.anatomy.width, recipe.method), trainer.steps(recipe)
    steps = trial_steps(all_steps)
    scores: dict[float, tuple[float, float]] = {}
    rates: dict[float, float] = {}
    seconds, best = 0.0, None
    rate: float | None = guess
    while rate is not None:
        trial = trainer.train(recipe, rate, steps=steps)
        seconds += trial.outcome.seconds
        scores[rate], rates[rate] = (trial.signed_score, -trial.loss), abs(trial.signed_score)
        if steps == all_steps and best_rate(scores) == rate:
            best = trial
        rate = next_rate(guess, scores)
        del trial  # its weights, before the next one has its own
    rates = dict(sorted(rates.items()))
    if best is not None:
        return RateSearch(best, rates, 0, seconds)
    while True:
        rate = best_rate(scores)
        training = trainer.train(recipe, rate)
        seconds += training.outcome.seconds
        # What a short training bears, a whole one may not: then the best of the smaller rates.
        scores = {smaller: score for smaller, score in scores.items() if smaller < rate}
        if not training.outcome.stop_reason or not scores:
            return RateSearch(training, rates, steps, seconds)
