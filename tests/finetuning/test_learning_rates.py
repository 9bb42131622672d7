from __future__ import annotations

import math

import pytest

from semviz.finetuning.learning_rates import (
    BUDGET,
    FEWEST,
    MOST,
    TRIALS,
    best_rate,
    best_two,
    duel_steps,
    first_guess,
    most_trials,
    next_rate,
    trial_steps,
    without_spoilt,
)

START = 10.0


def search(loss, guess=1e-3, **options):
    """Which rates are tried under a function rate → validation loss, in order, with their losses."""
    tried = {}
    while (rate := next_rate(guess, tried, START, **options)) is not None:
        tried[rate] = loss(math.log10(rate))
    return tried


@pytest.mark.parametrize(
    ("optimum", "exponents"),
    [
        (-3, [-3, -2.5, -3.5]),
        (-2.5, [-3, -2.5, -2]),
        (-2, [-3, -2.5, -2, -1.5]),
        (-1.5, [-3, -2.5, -2, -1.5, -1]),
        (-1, [-3, -2.5, -2, -1.5, -1]),
        (-3.5, [-3, -2.5, -3.5, -4]),
        (-4, [-3, -2.5, -3.5, -4, -4.5]),
    ],
)
def test_it_climbs_to_the_optimum(optimum, exponents):
    tried = search(lambda x: 6 * abs(x - optimum) - 10)
    assert list(tried) == pytest.approx([10**x for x in exponents])
    assert best_rate(tried, START) == pytest.approx(10**optimum)


@pytest.mark.parametrize("most", [3, 4, 5])
def test_no_more_than_are_allowed(most):
    assert len(search(lambda x: -9 * x - 30, most=most)) == len(search(lambda x: 9 * x + 30, most=most)) == most


def test_equal_losses_end_the_trials_at_the_guess():
    tried = search(lambda _x: 1.0)
    assert len(tried) == FEWEST
    assert best_rate(tried, START) == 1e-3


def test_what_diverges_is_left_downwards():
    assert list(search(lambda _x: math.inf)) == pytest.approx([10**-x for x in (3, 3.5, 4, 4.5, 5)])
    tried = search(lambda x: math.inf if x > -4.2 else 1 + abs(x + 4.5))
    assert best_rate(tried, START) == pytest.approx(10**-4.5)
    assert best_rate({1.0: math.inf, 0.1: math.inf}, START) == 0.1
    tried = search(lambda x: math.inf if x > -2.7 else 1.0)
    assert best_rate(tried, START) == 1e-3


@pytest.mark.parametrize(
    ("optimum", "frozen", "other"),
    [
        (0, 0.0, 1),
        (0, 0.9, 1),
        (1, 0.0, 0),
        (1, 0.5, 0),
        (1, 0.6, 2),
        (2, 0.0, 1),
        (2, 0.6, 1),
        (3, 0.9, 2),
        (-1, 0.0, 0),
        (-2, 0.9, -1),
    ],
)
@pytest.mark.parametrize("guess", [1e-3, 2e-3, 2.22e-4, 3e-3])
def test_the_two_that_meet_are_neighbours(optimum, frozen, other, guess):
    tried = search(lambda x: 6 * abs(x - math.log10(guess) - optimum / 2) - 10, guess=guess)
    assert best_two(tried, START, frozen) == pytest.approx((guess * 10 ** (optimum / 2), guess * 10 ** (other / 2)))


@pytest.mark.parametrize("frozen", [0.0, 0.9])
def test_what_diverged_in_a_trial_is_no_neighbour_if_there_is_another(frozen):
    assert best_two({1.0: 0.3, 3.0: math.inf, 0.3: 0.5}, START, frozen) == (1.0, 0.3)
    assert best_two({1.0: math.inf, 0.3: 0.5, 0.1: 0.6}, START, frozen) == (0.3, 0.1)
    assert best_two({1.0: math.inf, 0.3: math.inf}, START, frozen) == (0.3, 0.3)
    assert best_two({1.0: 0.3}, START, frozen) == (1.0, 1.0)


SST2 = {2.2e-4: 0.485, 7e-4: 2.363, 7e-5: 0.429}  # SmolLM2, all blocks, two labels


@pytest.mark.parametrize(
    ("losses", "labels", "spoilt"),
    [
        (SST2, 2, {7e-4}),
        ({rate: SST2[rate] for rate in (2.2e-4, 7e-4)}, 2, {7e-4}),
        ({7e-4: SST2[7e-4]}, 2, set()),  # nothing to hold it against yet
        (SST2, 49_152, set()),  # not far above a guess among so many
        ({1e-3: 0.88, 3e-3: 1.61, 3e-4: 1.17}, 6, set()),  # where at 0, whose best rate is 3e-3
        ({2e-3: 2.32, 6e-3: 2.05, 6e-4: 4.01}, 6, set()),  # trec at 0: smaller rates have not begun to learn
        ({1.0: math.inf, 0.3: 1.0, 3.0: math.inf}, 2, {1.0, 3.0}),
    ],
)
def test_what_a_trial_spoilt_counts_as_diverged(losses, labels, spoilt):
    found = without_spoilt(losses, math.log(labels))
    assert list(found) == list(losses)
    assert found == {rate: math.inf if rate in spoilt else loss for rate, loss in losses.items()}


def test_no_rate_that_spoils_meets_the_best():
    assert best_two(SST2, 3.485, 0.0) == (2.2e-4, 7e-4)
    assert best_two(without_spoilt(SST2, math.log(2)), 3.485, 0.0) == (2.2e-4, 7e-5)


@pytest.mark.parametrize("steps", [*range(1, 200), 1000, 12_345])
def test_a_search_costs_no_more_than_its_budget(steps):
    short, most = trial_steps(steps), most_trials(steps)
    assert FEWEST <= most <= MOST
    if steps < 48:
        assert short == steps
    else:
        assert 8 <= short < steps
        for trials in range(FEWEST, most + 1):
            duel = duel_steps(steps, trials)
            assert trials * short <= TRIALS * steps
            assert trials * short + duel == BUDGET * steps
            assert short < steps / 2 <= duel < steps


def test_wider_models_start_lower_and_adapters_higher():
    assert first_guess(1024, "full") < first_guess(128, "full") < first_guess(128, "lora")
