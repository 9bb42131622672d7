"""Bootstraps: means of rows that are drawn with replacement, of one sample or of several that share their rows.

For what has no formula: profiles, shares of a benefit, rank correlations; means of scores and their differences have
`semviz.common.intervals`. Random numbers are drawn in a fixed order, so a seed gives the same ones in every version.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semviz.common.intervals import spreads

Array = NDArray[np.float64]

RESAMPLES = 1000
_NORMAL = 1e9  # degrees of freedom of a t that is a normal distribution
_CHUNK = 2**20  # weights held at once


def bootstrap_means(values: NDArray[np.floating], *, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Means of resampled rows.

    Args:
        values: One row a sample, shape (n, m), without NaN.
        resamples: B, how often to draw n rows with replacement.
        seed: Seed of the draws.

    Returns:
        Shape (B, m).
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    drawn = np.empty((resamples, values.shape[1]))
    step = max(1, _CHUNK // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        # How often each row was drawn; counting draws is much faster than a multinomial over many rows.
        rows = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(rows.ravel(), minlength=size * n).reshape(size, n)
        drawn[start : start + size] = weights @ values.astype(np.float64) / n
    return drawn


def interval(drawn: Array, *, level: float = 0.95) -> tuple[Array, Array]:
    """Percentile interval over the first axis: two arrays of shape (m,)."""
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def means_over_seeds_and_rows(
    groups: Sequence[Array],
    *,
    fixed: Array | None = None,
    lenders: Sequence[Array] = (),
    usual: float = 0.0,
    are_shares: bool = False,
    seed: int = 0,
) -> Array:
    """Mean score of each group over its seeds and rows, and draws of what it might have been.

    All groups share the rows of a draw, since a row that is hard is hard for all of them. To that comes the noise of
    seeds, by t with the variance that they show: two or three seeds drawn with replacement would show too little.
    Where no group has several seeds, and `usual` is 0, draws are over rows alone.

    Args:
        groups: Score of each row by training seed: for each group, shape (its seeds, n).
        fixed: Score of each row without any training, shape (n,): a column before the others, without seed noise.
        lenders: Groups whose seed noise counts too, where a group has few seeds of its own.
        usual: Seed noise to assume where nothing is known of it, as in `semviz.common.intervals.spreads`.
        are_shares: Whether scores are ones and zeros: where all rows have the same, others need not.
        seed: Seed of the draws.

    Returns:
        Shape (B + 1, groups); the first row is the sample itself.
    """
    by_row = np.stack([np.asarray(group, dtype=float).mean(0) for group in groups], axis=1)
    drawn = np.zeros((RESAMPLES, len(groups)))
    rng, unseen = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    for column, spread in enumerate(spreads([*groups, *lenders], usual=usual)[: len(groups)]):
        if spread.seeds > 0:
            drawn[:, column] = np.sqrt(spread.seeds) * rng.standard_t(min(spread.seed_freedom, _NORMAL), RESAMPLES)
    if fixed is not None:
        by_row, drawn = (np.insert(array, 0, first, axis=1) for array, first in ((by_row, fixed), (drawn, 0)))
    certain = (by_row == by_row[0]).all(0) & np.isin(by_row[0], (0, 1)) & are_shares
    for column in np.flatnonzero(certain).tolist():
        # By Jeffreys' prior, as if half a row had been otherwise.
        drawn[:, column] += (1 - 2 * by_row[0, column]) * unseen.gamma(0.5, size=RESAMPLES) / len(by_row)
    return np.vstack([by_row.mean(0), bootstrap_means(by_row, seed=seed) + drawn])
