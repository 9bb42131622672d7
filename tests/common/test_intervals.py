"""Intervals over seeds and rows against other people's formulas, and against the truth in simulation."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from scipy.stats import binomtest, t

from semviz.common.bootstrap import means_over_seeds_and_rows
from semviz.common.intervals import (
    BORROWED_SEEDS,
    ONE_SEED,
    SEEDS_AND_ROWS,
    difference_intervals,
    mean_intervals,
    spreads,
)


def right(count, rows):
    """One seed that answers so many rows correctly."""
    return (np.arange(rows) < count).astype(float)[None]


def answers(rng, *, share, seeds, rows, noise=0.0):
    """Right and wrong answers: half of a row's difficulty is the row's own, and every seed has its own true score."""
    shared, own = rng.random(rows), rng.random((seeds, rows))
    chance = np.clip(share + noise * rng.standard_normal((seeds, 1)), 0, 1)
    is_shared = rng.random(rows) < 0.5
    return (np.where(is_shared, shared, own) < chance).astype(float)


# One seed


@pytest.mark.parametrize(("count", "rows"), [(25, 50), (40, 50), (5, 50), (450, 500), (480, 500), (50, 50), (0, 20)])
def test_one_seeds_share_has_wilsons_interval(count, rows):
    (found,) = mean_intervals([right(count, rows)])
    wilson = binomtest(count, rows).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
    assert found.covers == ONE_SEED


@pytest.mark.parametrize("rows", [1, 2, 5, 50, 500])
@pytest.mark.parametrize("seeds", [1, 3])
def test_all_right_or_all_wrong_is_no_certainty(rows, seeds):
    (all_right,), (all_wrong,) = mean_intervals([np.ones((seeds, rows))]), mean_intervals([np.zeros((seeds, rows))])
    wilson = binomtest(rows, rows).proportion_ci(method="wilson")
    assert (all_right.low, all_right.high) == (pytest.approx(wilson.low), 1)
    assert (all_wrong.low, all_wrong.high) == (0, pytest.approx(1 - wilson.low))


@pytest.mark.parametrize(("count", "rows"), [(49, 50), (48, 50), (498, 500), (1, 50), (2, 500)])
def test_near_the_ends_the_interval_is_the_modified_one(count, rows):
    # Brown, Cai and DasGupta 2001: the exact limit of a Poisson count where few are wrong; Wilson's covers 91 % at .99.
    (found,), wilson = mean_intervals([right(count, rows)]), binomtest(count, rows).proportion_ci(method="wilson")
    inner = (found.low, found.high)
    assert found.low <= wilson.low + 1e-12
    assert found.high >= wilson.high - 1e-12
    assert inner != pytest.approx((wilson.low, wilson.high), abs=1e-6)
    assert 0 < found.low < found.high < 1


def test_one_seeds_mean_has_students_interval():
    losses = np.random.default_rng(0).gamma(2, 1, 40)
    (found,) = mean_intervals([losses[None]])
    oracle = t.interval(0.95, 39, loc=losses.mean(), scale=losses.std(ddof=1) / np.sqrt(40))
    assert (found.low, found.high) == pytest.approx(oracle)


# Several seeds


def test_seeds_that_differ_on_rows_that_do_not_have_students_interval():
    values = np.random.default_rng(1).standard_normal(5)
    (found,) = mean_intervals([np.repeat(values[:, None], 300, axis=1)])
    oracle = t.interval(0.95, 4, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(5))
    assert (found.low, found.high) == pytest.approx(oracle)
    assert found.covers == SEEDS_AND_ROWS


def test_seeds_and_rows_add_up():
    rng = np.random.default_rng(2)
    seeds, rows = 2 * rng.standard_normal((40, 1)), 10 * rng.standard_normal((1, 200))
    (found,) = mean_intervals([seeds + rows])
    wide = 2 * 1.96 * np.sqrt(seeds.var(ddof=1) / 40 + rows.var(ddof=1) / 200)
    assert found.high - found.low == pytest.approx(wide, rel=0.02)


def test_the_same_run_twice_is_no_more_rows():
    rows = (np.random.default_rng(3).random(100) < 0.8).astype(float)
    (once,), (thrice,) = mean_intervals([rows[None]]), mean_intervals([np.stack([rows] * 3)])
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.03)


def test_a_scope_of_one_seed_borrows_the_others_noise():
    rng = np.random.default_rng(4)
    lenders = [2 * rng.standard_normal((4, 1)) + rng.standard_normal((1, 100)) for _ in range(3)]
    lone = rng.standard_normal((1, 100))
    (alone,), (*_, helped) = mean_intervals([lone]), mean_intervals([*lenders, lone])
    assert (alone.covers, helped.covers) == (ONE_SEED, BORROWED_SEEDS)
    # Seeds differ by 2, so the mean of one is known to about t(4) · 2.
    assert helped.high - helped.low == pytest.approx(2 * t.ppf(0.975, 4) * 2, rel=0.4)
    assert alone.high - alone.low < 1


def test_noise_is_lent_in_proportion_to_the_rows_own():
    rng = np.random.default_rng(5)
    lender = 2 * rng.standard_normal((4, 1)) + rng.standard_normal((1, 100))
    lone = rng.standard_normal((1, 100))
    small, large = (spreads([lender, scale * lone])[1].seeds for scale in (1, 10))
    assert large == pytest.approx(100 * small)
    # Rows that do not vary say nothing of their unit, and other rows have another.
    assert spreads([lender, np.ones((1, 100))])[1].seeds == 0
    assert spreads([lender, lone[:, :50]])[1].covers == ONE_SEED


def test_intervals_of_what_is_not_finite_say_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bad in (np.nan, np.inf):
            lost, fine = mean_intervals([np.full((2, 20), bad), np.random.default_rng(6).random((2, 20))])
            assert np.isnan([lost.low, lost.high]).all()
            assert np.isfinite([fine.low, fine.high]).all()
        (single,) = mean_intervals([np.array([[1.5]])])
        assert np.isnan([single.low, single.high]).all()
        assert mean_intervals([]) == difference_intervals([]) == []


# Differences


def test_one_comparison_has_students_interval_and_eight_have_bonferronis():
    rng = np.random.default_rng(7)
    rows = rng.standard_normal(50)
    for n in (1, 8):
        found = difference_intervals([rows[None]] * n)[0]
        oracle = t.interval(1 - 0.05 / n, 49, loc=rows.mean(), scale=rows.std(ddof=1) / np.sqrt(50))
        assert (found.low, found.high) == pytest.approx(oracle)


def test_shares_that_never_differed_are_not_known_to_be_equal():
    (found,) = difference_intervals([np.zeros((3, 50))])
    assert (found.low, found.high) == pytest.approx((-1.96 * np.sqrt(2) / 50, 1.96 * np.sqrt(2) / 50), rel=0.03)
    (equal,) = difference_intervals([np.full((3, 50), 0.25)])  # losses that differ by the same everywhere
    assert (equal.low, equal.high) == (0.25, 0.25)


def test_differences_of_shares_stay_within_one():
    (found,) = difference_intervals([np.array([[1.0, 1.0, -1.0, 1.0]])])
    assert found.high == 1


# Draws


def test_draws_vary_as_far_as_the_spread_says():
    rng = np.random.default_rng(8)
    groups = [level + rng.standard_normal((6, 1)) + 3 * rng.standard_normal((1, 80)) for level in (0, 2)]
    drawn = means_over_seeds_and_rows(groups)
    assert drawn[0] == pytest.approx([group.mean() for group in groups])
    for column, spread in enumerate(spreads(groups)):
        # A t with 5 + 1.x degrees of freedom varies more than its scale.
        freedom = spread.seed_freedom
        wanted = spread.rows + spread.seeds * freedom / (freedom - 2)
        assert drawn[1:, column].var() == pytest.approx(wanted, rel=0.2)


def test_what_no_training_made_has_no_seed_noise():
    rng = np.random.default_rng(9)
    group = 5 * rng.standard_normal((4, 1)) + np.zeros((1, 30))
    drawn = means_over_seeds_and_rows([group], fixed=np.ones(30))
    assert (drawn[:, 0] == 1).all()
    assert np.ptp(drawn[:, 1]) > 1


def test_draws_are_the_same_every_time():
    groups = [np.random.default_rng(10).random((3, 40)), np.random.default_rng(11).random((3, 40))]
    assert (means_over_seeds_and_rows(groups) == means_over_seeds_and_rows(groups)).all()
    assert (means_over_seeds_and_rows(groups) != means_over_seeds_and_rows(groups, seed=1)).any()


# The truth in simulation; tests/bench/bench_coverage.py has the whole table.


@pytest.mark.parametrize(("seeds", "rows"), [(2, 50), (2, 500), (3, 500), (10, 50)])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_intervals_cover_the_true_score(seeds, rows, share):
    rng, covered = np.random.default_rng(12), []
    for _ in range(150):
        groups = [answers(rng, share=share, seeds=seeds, rows=rows, noise=min(0.02, (1 - share) / 5)) for _ in range(4)]
        covered += [found.low <= share <= found.high for found in mean_intervals(groups)]
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_scopes_are_seldom_told_apart(seeds):
    rng, false = np.random.default_rng(13), []
    for _ in range(150):
        groups = [answers(rng, share=0.8, seeds=seeds, rows=300, noise=0.02) for _ in range(9)]
        found = difference_intervals([group - groups[0] for group in groups[1:]])
        false.append(any(interval.low > 0 or interval.high < 0 for interval in found))
    assert np.mean(false) <= 0.07


def test_unequal_scopes_are_told_apart():
    rng, found = np.random.default_rng(14), []
    for _ in range(40):
        groups = [answers(rng, share=share, seeds=5, rows=500, noise=0.01) for share in (0.9, *([0.82] * 8))]
        found += [interval.high < 0 for interval in difference_intervals([group - groups[0] for group in groups[1:]])]
    assert np.mean(found) > 0.8


def test_many_intervals_take_no_time():
    rng = np.random.default_rng(15)
    groups = [answers(rng, share=0.9, seeds=3, rows=500) for _ in range(8)]
    start = time.perf_counter()
    mean_intervals(groups)
    assert time.perf_counter() - start < 0.1
