"""Which measured boundaries keep enough of full finetuning's benefit: one meaning of ε for probes and runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Array = NDArray[np.float64]

_ROUNDING = 1e-9  # means of equal scores differ in their last digits


def smoothed(benefits: Array, weights: Sequence[float] | None = None) -> Array:
    """Return the falling curve that is nearest to what was measured.

    Whoever freezes more can reach no more with the same data, so where a boundary measures better than one below it,
    that is taken for noise, and both count as their mean (isotonic regression).

    Args:
        benefits: Benefit, or improvement, by boundary in ascending order, shape (n,).
        weights: How much each of them counts, such as its number of seeds; all alike by default.
    """
    fitted: Array = isotonic_regression(benefits, weights=weights, increasing=False).x
    return fitted


def enough(fitted: Array, full: float, *, epsilon: float, one_row: float) -> NDArray[np.bool_]:
    """Say where no more than ε of full finetuning's benefit is given up, or than one row is worth if that is more.

    Args:
        fitted: Benefits or improvements, shape (…).
        full: That of full finetuning.
        epsilon: ε.
        one_row: What a single validation row moves them by, 0 for losses: nothing is refused for one row.
    """
    return np.asarray(fitted >= full - max(epsilon * full, one_row) - _ROUNDING)
