"""Bootstrap means over samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_CHUNK = 2**20  # weights held at once


def bootstrap_means(values: NDArray[np.float32], *, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float64]:
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


def interval(drawn: NDArray[np.float64], *, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval over the first axis: two arrays of shape (m,)."""
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def seeds_and_rows(scores: NDArray[np.float64], *, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over seeds and rows, both resampled.

    Args:
        scores: Score of each test row by training seed, shape (seeds, n).
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    seeds, n = scores.shape
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = scores[rng.integers(seeds, size=seeds)].mean(0)
        means[i] = drawn[rng.integers(n, size=n)].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
