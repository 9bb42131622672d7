"""Which learning rates to try, and for how long: the best one differs between scopes, so each searches for its own."""

from __future__ import annotations

import math
from collections.abc import Mapping

from semviz.scopes.methods import find_method

_WIDTH, _RATE = 128, 1e-3  # a rate that suits a width; the best rate falls about as 1/width
_STEP = math.sqrt(10)
FEWEST, MOST = 3, 5
TRIAL = 0.12  # steps of a trial, as a share of those of a whole training: five trials cost 0.6 of one
_LEAST_STEPS = 8  # a trial of fewer steps says nothing


def first_guess(width: int, method: str) -> float:
    """The rate to begin with, from the model's width and the method's own factor."""
    return _RATE * _WIDTH / width * find_method(method).rate_factor


def trial_steps(steps: int) -> int:
    """Return the optimizer steps of a trial, where a whole training has so many."""
    return min(steps, max(_LEAST_STEPS, math.floor(TRIAL * steps)))


def best_rate(scores: Mapping[float, tuple[float, ...]]) -> float:
    """The rate of the highest score; between equal ones the one that was tried first."""
    return max(scores, key=lambda rate: scores[rate])


def next_rate(guess: float, scores: Mapping[float, tuple[float, ...]]) -> float | None:
    """The next rate to try, or None when the search is over.

    From the guess one step up; on in that direction as long as it gets better, and otherwise down from the guess as long
    as that gets better.

    Args:
        guess: The rate to begin with.
        scores: Score of each rate so far, higher is better; tuples, whose later parts decide between equal ones.
    """
    if not scores:
        return guess
    if len(scores) >= MOST:
        return None
    lowest, best, highest = min(scores), best_rate(scores), max(scores)
    diverged = scores[best][0] == -math.inf
    if best == highest and not diverged:
        return highest * _STEP
    return lowest / _STEP if best == lowest or diverged else None
