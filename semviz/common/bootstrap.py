"""Bootstraps: means of rows that are drawn with replacement, of one sample or of several that share their rows.

Every function draws from one random stream in a fixed order, so a seed gives the same numbers in every version.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 1000
_CHUNK = 2**20  # weights held at once


def bootstrap_means(values: NDArray[np.float32], *, resamples: int = RESAMPLES, seed: int = 0) -> Array:
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


def means_over_rows(scores: Array, *, seed: int = 0) -> Array:
    """Mean of each of several scores of the same rows, and its resamples; a resample has the same rows for all.

    Args:
        scores: Scores of each row, shape (k, n).
        seed: Seed of the draws.

    Returns:
        Shape (B + 1, k); the first row is the sample itself.
    """
    n = scores.shape[1]
    rows = np.stack([np.arange(n), *np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))])
    return np.stack([score[rows].mean(1) for score in scores], axis=1)


def means_over_seeds_and_rows(groups: Sequence[Array], *, seed: int = 0) -> Array:
    """Mean score of each group over its seeds and rows, and resamples of it over both.

    All groups share the rows of a resample, since a row that is hard is hard for all of them.

    Args:
        groups: Score of each test row by training seed: for each group, shape (its seeds, n).
        seed: Seed of the draws.

    Returns:
        Shape (B + 1, groups); the first row is the sample itself.
    """
    rng, n = np.random.default_rng(seed), groups[0].shape[1]
    means = [[scores.mean() for scores in groups]]
    for _ in range(RESAMPLES):
        rows = rng.integers(n, size=n)
        means.append([_resample(scores, rng).mean(0)[rows].mean() for scores in groups])
    return np.asarray(means)


def seeds_and_rows(scores: Array, *, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of one group's mean over seeds and rows, both resampled.

    Args:
        scores: Score of each test row by training seed, shape (seeds, n).
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    # Seeds before rows: the other order would give other numbers than runs were reported with.
    means = [_resample(_resample(scores, rng).mean(0), rng).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _resample(values: Array, rng: np.random.Generator) -> Array:
    """As many of an array's rows, drawn with replacement."""
    return values[rng.integers(len(values), size=len(values))]
