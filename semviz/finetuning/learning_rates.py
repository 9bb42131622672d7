"""Which learning rates to try: the best one rises as fewer blocks train, so each scope searches for its own."""

from __future__ import annotations

import math

from semviz.scopes.methods import find_method

_WIDTH, _RATE = 128, 1e-3  # a rate that suits a width; the best rate falls about as 1/width
_STEP = math.sqrt(10)
FEWEST, _MOST = 3, 5
_USUAL = 3.5  # trainings of a search: the mean of thirty on the demo tasks, trec and sst2


def first_guess(width: int, method: str) -> float:
    """A rate in the middle of the grid, from the model's width and the method's own factor."""
    return _RATE * _WIDTH / width * find_method(method).rate_factor


def expected_trainings(lr: object) -> float:
    """How many trainings a scope is expected to take: one at a given rate, more where the rate is searched."""
    return _USUAL if lr == "auto" else 1.0


def next_rate(guess: float, scores: dict[float, float]) -> float | None:
    """The next rate to try, or None when the search is over.

    Three rates around the guess, then further beyond an edge as long as the edge is better than all others.

    Args:
        guess: The middle of the grid.
        scores: Validation score of each rate so far, higher is better.
    """
    for rate in (guess, guess * _STEP, guess / _STEP):
        if rate not in scores:
            return rate
    second, best = sorted(scores, key=lambda rate: scores[rate])[-2:]
    if len(scores) >= _MOST or scores[best] == scores[second]:
        return None
    if best == max(scores):
        return best * _STEP
    return best / _STEP if best == min(scores) else None
