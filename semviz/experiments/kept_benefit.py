"""Which measured boundaries keep enough of full finetuning's benefit: one meaning of ε for probes and runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Array = NDArray[np.float64]

_MOST_FOR_A_ROW = 2  # times ε: with few validation rows, one of them may be worth half of the benefit
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
    """Say where no more than ε of full finetuning's benefit is given up.

    Nothing is refused for a single validation row, as long as that row is not worth more than twice as much.

    Args:
        fitted: Benefits or improvements, shape (…).
        full: That of full finetuning.
        epsilon: ε.
        one_row: What a single validation row moves them by; 0 for losses.
    """
    given_up = epsilon * full
    return np.asarray(fitted >= full - max(given_up, min(one_row, _MOST_FOR_A_ROW * given_up)) - _ROUNDING)
