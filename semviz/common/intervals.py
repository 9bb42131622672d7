"""Intervals of mean scores over training seeds and test rows.

What a 95 % interval is to cover is the expected score: the mean over all training seeds, and over the population that
the test rows were drawn from. The model is y = μ + a(seed) + b(row) + e(seed, row), with variances of its own for each
part, so the mean of S seeds on the same n rows has the variance σa²/S + σb²/n + σe²/(S·n). These are estimated by the
mean squares of the two-way table, and t quantiles with Satterthwaite's degrees of freedom allow for few seeds.

Scopes of one model and task share what a seed does in size, though not in direction, so the seed noise of the other
scopes counts as up to `_BORROWED` more seeds. With one seed, and no other scope that has several, nothing is known of
seeds: such an interval is over test rows of this one training, and says so.

Rows of ones and zeros get Wilson's interval with as many independent rows as would have that variance: it never is
a point, not even where all rows are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri, stdtrit

Array = NDArray[np.float64]

LEVEL = 0.95
SEEDS_AND_ROWS = "seeds and rows"
BORROWED_SEEDS = "rows, and seeds as in other scopes"
ONE_SEED = "rows, one seed"
ASSUMED_SEEDS = "rows, and seeds as usual"
"""What an interval is over."""

_BORROWED = 4.0  # seeds that the other scopes' noise counts for at most; more would drown a scope that is noisier
_ADDED = 0.35  # rows; found by simulation: fewer cover too seldom at few wrong answers, more too often
_SHARED = 0.25  # correlation of two scopes' estimates of it: of squares of numbers that correlate by a half


@dataclass(frozen=True)
class Interval:
    """An interval of a mean.

    Attributes:
        low, high: Its ends; NaN where rows say nothing of it.
        covers: `SEEDS_AND_ROWS`, `BORROWED_SEEDS`, `ASSUMED_SEEDS` or `ONE_SEED`.
    """

    low: float
    high: float
    covers: str


@dataclass(frozen=True)
class Spread:
    """How far a mean over seeds and rows may be from what it estimates.

    Attributes:
        mean: The mean.
        rows: Its variance over rows, with these seeds.
        seeds: What seeds add to that.
        freedom: Degrees of freedom of the two together.
        seed_freedom: Those of `seeds`; 0 where nothing is known of seeds.
        covers: As in `Interval`.
    """

    mean: float
    rows: float
    seeds: float
    freedom: float
    seed_freedom: float
    covers: str


@dataclass(frozen=True)
class _Squares:
    """Mean squares of one table of seeds and rows; those between seeds and of the rest are NaN for one seed."""

    n_seeds: int
    n_rows: int
    row_freedom: float
    mean: float
    between_seeds: float
    between_rows: float
    rest: float
    within: float  # variance of the rows of one seed: the unit in which scopes' seed noise compares


def spreads(groups: Sequence[Array], *, usual: float = 0.0, is_far: bool = False) -> list[Spread]:
    """Estimate the spread of each group's mean, with the help of the other groups.

    Args:
        groups: For each group the scores by seed and row, shape (its seeds, n).
        usual: Standard deviation between seeds to assume where nothing is known of it, in those of one seed's rows.
        is_far: Whether quantiles far out will be asked for, as for many comparisons: the degrees of freedom then also
            allow for seed noise where none was seen.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        squares = [_mean_squares(np.asarray(group, dtype=float)) for group in groups]
        return [_spread(own, [other for other in squares if other is not own], usual, is_far) for own in squares]


def mean_intervals(groups: Sequence[Array]) -> list[Interval]:
    """95 % interval of each group's mean over seeds and rows.

    Args:
        groups: For each group the scores by seed and row, shape (its seeds, n).
    """
    intervals = []
    for group, spread in zip(groups, spreads(groups), strict=True):
        is_share = _is_binary(group)
        low, high = _share_interval(spread, np.shape(group)) if is_share else _mean_interval(spread, 1)
        intervals.append(Interval(low, high, spread.covers))
    return intervals


def difference_intervals(groups: Sequence[Array]) -> list[Interval]:
    """Simultaneous 95 % intervals of the mean of each group: all of them cover, in 95 % of tables.

    Args:
        groups: For each comparison the differences of paired seeds and rows, shape (its seeds, n).
    """
    intervals = []
    for group, spread in zip(groups, spreads(groups, is_far=True), strict=True):
        differences = np.asarray(group, dtype=float)
        is_share = bool(np.isin(differences, (-1, 0, 1)).all())
        # Where two shares hardly ever differ, their variance is that of two rows that do (as Bonett and Price add).
        least = 2 / differences.shape[1] ** 2 if is_share else 0.0
        low, high = _mean_interval(spread, len(groups), least=least)
        if is_share:
            low, high = max(low, -1.0), min(high, 1.0)
        intervals.append(Interval(low, high, spread.covers))
    return intervals


def _is_binary(scores: Array) -> bool:
    """Whether scores are ones and zeros: right and wrong answers."""
    return bool(np.isin(scores, (0, 1)).all())


def _mean_squares(scores: Array) -> _Squares:
    n_seeds, n_rows = scores.shape
    mean, by_seed, by_row = scores.mean(), scores.mean(1), scores.mean(0)
    row_freedom = n_rows - 1.0
    if _is_binary(scores):
        # The variance of one seed's answers follows from their mean, so it takes no degree of freedom.
        row_freedom = np.inf if n_seeds == 1 else row_freedom
        between_rows = n_seeds * mean * (1 - mean) * _share_of_one_seed(by_row)
    else:
        between_rows = n_seeds * by_row.var(ddof=1) if n_rows > 1 else np.nan
    between_seeds = rest = np.nan
    if n_seeds > 1 and n_rows > 1:
        between_seeds = n_rows * by_seed.var(ddof=1)
        residuals = scores - by_seed[:, None] - by_row[None, :] + mean
        rest = (residuals**2).sum() / ((n_seeds - 1) * (n_rows - 1))
    return _Squares(n_seeds, n_rows, row_freedom, mean, between_seeds, between_rows, rest, scores.var(1).mean())


def _share_of_one_seed(by_row: Array) -> float:
    """Variance of the mean over seeds and rows as a share of that with one seed: from 1/S to 1, where seeds agree.

    A part of a row that all seeds get right, and as much of one that all get wrong, are added: few wrong answers cannot
    tell whether seeds would agree on others, and where none is wrong they are taken to.
    """
    n = len(by_row) + 2 * _ADDED
    mean, square = (by_row.sum() + _ADDED) / n, ((by_row**2).sum() + _ADDED) / n
    return float((square - mean**2) / (mean * (1 - mean)))


def _spread(own: _Squares, others: list[_Squares], usual: float, is_far: bool) -> Spread:
    """Estimate the two parts of a mean's variance; seeds count for what they vary more than rows explain."""
    cells = own.n_seeds * own.n_rows
    own_freedom = own.n_seeds - 1.0 if np.isfinite(own.between_seeds) else 0.0
    lent, lent_rest, lent_freedom = _lent_noise(own, others)
    seed_freedom = own_freedom + lent_freedom
    rows, seeds, uncertainty = own.between_rows / cells, 0.0, 0.0
    if seed_freedom:
        noise = ((own_freedom * own.between_seeds if own_freedom else 0.0) + lent_freedom * lent) / seed_freedom
        seeds = max(noise - (own.rest if own_freedom else lent_rest), 0.0) / cells
        uncertainty = (noise / cells) ** 2 / seed_freedom if seeds > 0 or is_far else 0.0
    elif usual:
        seeds, seed_freedom = usual**2 * own.within, np.inf
    if own.row_freedom:
        uncertainty += rows**2 / own.row_freedom
    freedom = max((rows + seeds) ** 2 / uncertainty, seed_freedom) if uncertainty > 0 else np.inf
    unknown = ASSUMED_SEEDS if usual else ONE_SEED
    covers = SEEDS_AND_ROWS if own_freedom else BORROWED_SEEDS if lent_freedom else unknown
    mean, rows, seeds, freedom, seed_freedom = map(float, (own.mean, rows, seeds, freedom, seed_freedom))
    return Spread(mean, rows, seeds, freedom, seed_freedom, covers)


def _lent_noise(own: _Squares, others: list[_Squares]) -> tuple[float, float, float]:
    """Mean squares between seeds and of the rest as other groups have them, and how many seeds they count for."""
    lenders = [
        other
        for other in others
        if other.n_rows == own.n_rows and np.isfinite(other.between_seeds) and other.within > 0
    ]
    if not lenders or not own.within > 0:
        return 0.0, 0.0, 0.0
    weights = np.asarray([other.n_seeds - 1.0 for other in lenders])
    between, rest = (
        own.within * np.average([getattr(other, name) / other.within for other in lenders], weights=weights)
        for name in ("between_seeds", "rest")
    )
    return between, rest, min(weights.sum() / (1 + (len(lenders) - 1) * _SHARED), _BORROWED)


def _mean_interval(spread: Spread, n_intervals: int, *, least: float = 0.0) -> tuple[float, float]:
    """Interval by t, or one of several that shall all cover (Bonferroni)."""
    if not np.isfinite(spread.rows):
        return np.nan, np.nan
    half = _quantile(spread.freedom, n_intervals) * float(np.sqrt(max(spread.rows, least) + spread.seeds))
    return spread.mean - half, spread.mean + half


def _share_interval(spread: Spread, shape: tuple[int, ...]) -> tuple[float, float]:
    """Wilson's interval with the number of independent rows that has this variance, and t for the normal quantile.

    Where very few rows are right (or wrong) its lower (or upper) end is the modified one of Brown, Cai and DasGupta
    (2001), since Wilson's own covers too seldom there.
    """
    n_seeds, n_rows = shape
    share, variance = spread.mean, spread.rows + spread.seeds
    of_one = share * (1 - share)
    n = float(np.clip(of_one / variance, 1, n_seeds * n_rows)) if variance > 0 else float(n_rows)
    t = _quantile(spread.freedom)
    centre, half = share + t**2 / (2 * n), t * np.sqrt(of_one / n + (t / n) ** 2 / 4)
    low, high = (centre - half) / (1 + t**2 / n), (centre + half) / (1 + t**2 / n)
    few = (2 if n <= 50 else 3) + 0.5  # counts of independent rows are no whole numbers
    right, wrong = n * share, n * (1 - share)
    if 0 < right <= min(few, wrong):
        low = min(low, gammaincinv(right, 1 - LEVEL) / n)
    if 0 < wrong <= min(few, right):
        high = max(high, 1 - gammaincinv(wrong, 1 - LEVEL) / n)
    # Where all rows are right or wrong, rounding must not leave the score outside.
    return float(low if share else 0.0), float(high if share < 1 else 1.0)


def _quantile(freedom: float, n_intervals: int = 1) -> float:
    """The t quantile of each of several two-sided intervals."""
    level = 1 - (1 - LEVEL) / 2 / n_intervals
    return float(stdtrit(freedom, level) if np.isfinite(freedom) else ndtri(level))
