"""A budget: how it is written, what is left out first, and that what is left fits."""

from __future__ import annotations

import itertools

import pytest

from semviz.common.errors import SemvizError
from semviz.experiments.budget import FEWEST_SCORED, FEWEST_STEPS, SHARE, Size, as_seconds, largest_that_fits, smaller

WHOLE = Size(scopes=8, seeds=3, epochs=3, train=2000, validation=400, test=500, searched=True)


def cost(size: Size) -> float:
    """Seconds of a machine that takes 0.1 s for a training row and 0.02 s for one that is scored."""
    trainings = size.scopes * (size.seeds - 1 + (3.5 if size.searched else 1))
    return trainings * (0.1 * size.epochs * size.train + 0.02 * size.validation) + size.scopes * 0.02 * size.test


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90), (0.5, 0.5), ("10 min", 600), ("10m", 600), ("1 h", 3600), ("90s", 90), ("1h 30min", 5400),
        ("2 hours", 7200), ("1.5 min", 90), ("1,5 min", 90), (" 45 Seconds ", 45), ("5 mins", 300),
    ],
)  # fmt: skip
def test_times_as_people_write_them(written, seconds):
    assert as_seconds(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "", "soon", "10", "500 ms", "5 m 5 ms", "1,000 s", "10 parsecs", "min 10", "-5 min", "0 s", 0, -1, float("nan"),
        float("inf"), True, None, [60],
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_examples(written):
    with pytest.raises(SemvizError, match='"10 min"'):
        as_seconds(written)


@pytest.mark.parametrize("budget", [200, 500, 1000, 3000, 10_000, 1e6])
def test_what_is_chosen_fits_and_the_size_before_it_would_not(budget):
    sizes = list(smaller(WHOLE, 32))
    chosen = largest_that_fits(WHOLE, 32, cost, budget=budget)
    assert cost(chosen) <= SHARE * budget
    at = sizes.index(chosen)
    assert at == 0 or cost(sizes[at - 1]) > SHARE * budget
    assert cost(WHOLE) > SHARE * budget or chosen == WHOLE


def test_each_size_is_less_than_the_one_before_and_useful():
    sizes = list(smaller(WHOLE, 32))
    for before, size in itertools.pairwise(sizes):
        assert cost(size) < cost(before)
    for size in sizes:
        assert size.scopes >= 2
        assert size.steps(32) >= FEWEST_STEPS
        assert min(size.validation, size.test) >= FEWEST_SCORED


@pytest.mark.parametrize("train", [100, 300, 600, 2500, 50_000])
def test_scored_rows_are_left_out_only_where_training_rows_are_few(train):
    """Fewer than a third of these: they narrow intervals, and cost a pass each beside the training's three."""
    whole = Size(scopes=4, seeds=1, epochs=1, train=train, validation=200, test=200, searched=True)
    thinned = [size for size in smaller(whole, 8) if size.train < train and size.searched]
    assert thinned
    for size in thinned:
        assert size.validation == size.test == min(200, max(FEWEST_SCORED, round(size.train / 3)))


def test_the_order_of_what_is_left_out():
    """When a later part is touched, the earlier ones are as small as they get."""
    for size in smaller(WHOLE, 32):
        if size.scopes < WHOLE.scopes:
            assert size.seeds == 1
        if size.test < WHOLE.test:
            assert size.scopes <= 4
        if size.epochs < WHOLE.epochs:
            assert size.test <= 200
        if size.train < WHOLE.train:
            assert size.epochs == 1
        if size.scopes < 4:
            assert size.steps(32) < FEWEST_STEPS / 0.7
        if not size.searched:
            assert size.scopes == 2


@pytest.mark.parametrize("rows", [4, 31, 40, 100])
def test_few_rows_are_never_made_more(rows):
    whole = Size(scopes=3, seeds=1, epochs=3, train=rows, validation=rows, test=rows, searched=False)
    for size in smaller(whole, 8):
        assert size.train <= rows
        assert size.validation <= rows
        assert size.test <= rows


def test_a_budget_in_which_nothing_is_useful_names_the_least():
    with pytest.raises(SemvizError, match=r"Nothing useful fits into 10 s.*at least (\d+) seconds") as refused:
        largest_that_fits(WHOLE, 32, cost, budget=10, spent=3)
    least = int(str(refused.value).split("at least ")[1].split()[0])
    assert largest_that_fits(WHOLE, 32, cost, budget=least, spent=3).scopes == 2
    with pytest.raises(SemvizError):
        largest_that_fits(WHOLE, 32, cost, budget=0.98 * least, spent=3)
