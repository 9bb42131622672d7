"""Which learning rates to try, and for how long: the best one differs between scopes, so each searches for its own.

A search costs at most `BUDGET` of a training beside the training itself: short trials find two neighbouring rates, and
what is left of the budget goes into training at both of them before one is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from semviz.scopes.methods import find_method

_WIDTH, _RATE = 128, 1e-3  # a rate that suits a width; the best rate falls about as 1/width
_STEP = math.sqrt(10)
FEWEST, MOST = 3, 5
_USUAL = 3.5  # trainings of a search where there is no room for trials: the mean of thirty on small tasks
BUDGET = 1.0
TRIALS = 0.5  # share of the steps that all trials may take
TRIAL = 0.08  # share of the steps of one
_FEWEST_STEPS = 8  # of a trial: fewer say nothing
_CLEARLY = 0.05  # share of the way down from the first loss
_SPOILT = 2.0  # how many times the loss of guessing, and of a smaller rate, spoils a model
_MANY = 0.5  # share of frozen blocks beyond which the best rate is usually two steps above the guess


def first_guess(width: int, method: str) -> float:
    """The rate to begin with, from the model's width and the method's own factor."""
    return _RATE * _WIDTH / width * find_method(method).rate_factor


def usual_rate(width: int, method: str, frozen: float) -> float:
    """The rate to train at where none is searched for: one step above the guess where most blocks are frozen.

    Over the curves of `tests/bench/measured.json` that is .35 decades from the best rate, and the guess alone .46.

    Args:
        width: As in `first_guess`.
        method: As in `first_guess`.
        frozen: Share of the blocks that are frozen.
    """
    return first_guess(width, method) * (_STEP if frozen > _MANY else 1.0)


def trial_steps(steps: int) -> int:
    """Return the optimizer steps of a trial, where a training has so many: all of them where it has few."""
    short = max(_FEWEST_STEPS, math.floor(TRIAL * steps))
    return short if FEWEST * short <= TRIALS * steps else steps


def duel_steps(steps: int, trials: int) -> int:
    """Return for how many steps the two best rates are trained side by side: as many as trials have left."""
    return math.floor(BUDGET * steps) - trials * trial_steps(steps)


def expected_trainings(lr: object, steps: int) -> float:
    """How many trainings of so many steps a scope is expected to take: one, or more where its rate is searched."""
    if lr != "auto":
        return 1.0
    return 1 + BUDGET if trial_steps(steps) < steps else _USUAL


def most_extra(steps: int) -> float:
    """The most that a search may cost beside a training of so many steps, in trainings."""
    return BUDGET if trial_steps(steps) < steps else MOST - 1


def without_spoilt(losses: Mapping[float, float], guessing: float) -> dict[float, float]:
    """Count rates as diverged that leave a model far worse than guessing, and than a smaller rate leaves it.

    What a trial has spoilt, a short training hardly mends. A loss that is as high at smaller rates has not fallen yet.

    Args:
        losses: Validation loss after the trial at each rate.
        guessing: Loss of guessing: ln of the number of candidates.

    Returns:
        The losses in the same order, infinite for those rates.
    """

    def is_spoilt(rate: float) -> bool:
        smaller = min((loss for other, loss in losses.items() if other < rate), default=math.inf)
        return losses[rate] > _SPOILT * max(guessing, smaller)

    return {rate: math.inf if is_spoilt(rate) else loss for rate, loss in losses.items()}


def best_rate(losses: Mapping[float, float], start: float) -> float:
    """The rate that is clearly the best, the first of those that are no worse.

    Args:
        losses: Validation loss after the trial at each rate, in the order of the trials; infinite where it diverged.
        start: Loss before training. A rate is clearly better if its loss has fallen by a twentieth more from there: on
            the plateau where all answers are given equally often, smaller differences say nothing.
    """
    best = next(iter(losses))
    for rate, loss in losses.items():
        diverged = math.isinf(loss) and math.isinf(losses[best])
        if loss < losses[best] - _CLEARLY * max(start - losses[best], 0) or (diverged and rate < best):
            best = rate
    return best


def best_two(losses: Mapping[float, float], start: float, frozen: float) -> tuple[float, float]:
    """The best rate of the trials, and its neighbour on the side where the best of whole trainings usually is.

    That is one step above the guess, or two where most blocks are frozen. Trials are too short to tell which of two
    neighbours is better in the end.

    Args:
        losses: As in `best_rate`; the guess is the first.
        start: Loss before training.
        frozen: Share of the blocks that are frozen.

    Returns:
        The two rates; the same one twice if no other was borne.
    """
    best, guess = best_rate(losses, start), next(iter(losses))
    usual = guess * (_STEP if frozen <= _MANY else _STEP**2)
    larger = [rate for rate in sorted(losses) if rate > best and math.isfinite(losses[rate])]
    smaller = [rate for rate in sorted(losses, reverse=True) if rate < best]
    is_below = best < usual and not math.isclose(best, usual)
    nearest = [*larger[:1], *smaller[:1]] if is_below else [*smaller[:1], *larger[:1]]
    return best, (nearest or [best])[0]


def most_trials(steps: int) -> int:
    """Return how many rates may be tried before a training of so many steps."""
    short = trial_steps(steps)
    return MOST if short == steps else min(MOST, math.floor(TRIALS * steps / short))


def next_rate(guess: float, losses: Mapping[float, float], start: float, *, most: int = MOST) -> float | None:
    """The next rate to try, or None when the trials are over.

    From the guess one step up, and on in that direction as long as it gets clearly better; otherwise down from the
    guess as long as that gets clearly better, or as everything diverges.

    Args:
        guess: The rate to begin with.
        losses: Validation loss of each rate so far, as in `best_rate`.
        start: Loss before training.
        most: How many rates may be tried.
    """
    if not losses:
        return guess
    if len(losses) >= most:
        return None
    lowest, best, highest = min(losses), best_rate(losses, start), max(losses)
    diverged = not math.isfinite(losses[best])
    if best == highest and not diverged:
        return highest * _STEP
    return lowest / _STEP if best == lowest or diverged else None
