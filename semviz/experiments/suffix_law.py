"""The suffix law: how much of full finetuning's benefit the top m blocks give, from a few probes.

Our reading. B(m) = (1 − (m/m₀ + 1)^(−p)) / (1 − (L/m₀ + 1)^(−p)) rises from 0 at no trained block to 1 at all L of
them. For p > 0 it is steep at the start, at p = −1 a straight line, below that steep at the end; m₀ sets how soon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# All shapes from a step at the first block (m₀ ≪ 1, p > 0) through a straight line to a step at the last (p ≪ −1).
_M0 = np.geomspace(1e-3, 1e3, 61)
_P = np.concatenate([-np.geomspace(0.02, 12, 25)[::-1], np.geomspace(0.02, 8, 31)])
# The search around the best law of the grid, ever finer: its reach, as powers of e, and how many values per parameter.
_REACHES = (0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05, 0.02, 0.01)
_AROUND = 9


@dataclass(frozen=True)
class SuffixLaw:
    """The fitted law.

    Attributes:
        m0, p: Its parameters.
        error: Root mean square residual at the probes, as a share of full finetuning's benefit.
    """

    m0: float
    p: float
    error: float


def law_curves(trained: Array, n_blocks: int, m0: Array, p: Array) -> Array:
    """Evaluate B(m) for many laws at once.

    Args:
        trained: m, numbers of trained blocks, shape (n,).
        n_blocks: L.
        m0: Parameter m₀ of each law, shape (g,).
        p: Parameter p of each law, shape (g,).

    Returns:
        Shape (g, n).
    """

    def rise(m: Array) -> Array:
        # −expm1(−p·log1p(x)) is 1 − (x + 1)^(−p) without loss of precision at small x.
        value: Array = -np.expm1(-p[:, None] * np.log1p(m[None, :] / m0[:, None]))
        return value

    return rise(np.asarray(trained, dtype=float)) / rise(np.asarray([n_blocks], dtype=float))


def fit_suffix_law(trained: Array, benefits: Array, n_blocks: int) -> tuple[SuffixLaw, Array]:
    """Fit the law to probes, and to each of many resamples of them.

    Args:
        trained: m of each probe, shape (n,); n ≥ 2.
        benefits: Share of full finetuning's benefit at each probe: shape (n,), or (B, n) for B resamples.
        n_blocks: L.

    Returns:
        The law of the first row, and the curves B(L − k) over k = 0…L of all rows, shape (B, L+1).
    """
    rows = np.atleast_2d(benefits)
    m0, p = (grid.ravel() for grid in np.meshgrid(_M0, _P))
    at_probes = law_curves(trained, n_blocks, m0, p)
    # |a − b|² without an array of (B, g, n).
    squares = (at_probes**2).sum(1)[None, :] - 2 * rows @ at_probes.T
    best = squares.argmin(1)
    m0, p = m0[best], p[best]
    for reach in _REACHES:
        m0, p = _refine(trained, rows, n_blocks, m0, p, reach)
    all_curves = law_curves(np.arange(n_blocks, -1, -1.0), n_blocks, m0, p)
    fitted = law_curves(trained, n_blocks, m0[:1], p[:1])[0]
    return SuffixLaw(float(m0[0]), float(p[0]), float(np.sqrt(np.mean((fitted - rows[0]) ** 2)))), all_curves


def law_interval(
    boundaries: Sequence[int], probes: tuple[Array, Array], curves: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Interval of the benefit at every boundary, for a truth that need not follow the law.

    Two numbers fit two probes whatever the truth is, so residuals cannot tell how wrong the law is between them. What
    is assumed instead: benefits lie between those of the probes on either side (or the known 1 and 0 at the ends). The
    interval joins that range, from end to end of the probes' intervals, with the law's own interval.

    Args:
        boundaries: k of each probe, ascending, 0 first; shape (n,).
        probes: Ends of the interval at each probe, shape (n,) each.
        curves: Ends of the law's interval at k = 0…L, shape (L+1,) each.

    Returns:
        Its ends at k = 0…L, shape (L+1,) each; those at probes hold the probe's interval.
    """
    n_blocks = len(curves[0]) - 1
    known = np.append(boundaries, n_blocks)
    ends = [np.append(end, 0.0) for end in probes]
    k = np.arange(n_blocks + 1)
    after = np.searchsorted(known, k)  # the first probe at this boundary or above it
    before = np.where(known[after] == k, after, after - 1)
    low = np.minimum.reduce([curves[0], ends[0][before], ends[0][after]])
    high = np.maximum.reduce([curves[1], ends[1][before], ends[1][after]])
    return low, high


def _refine(trained: Array, rows: Array, n_blocks: int, m0: Array, p: Array, reach: float) -> tuple[Array, Array]:
    """Find the best law around each row's law, with each parameter larger or smaller by up to e^reach."""
    steps = np.exp(reach * np.linspace(-1, 1, _AROUND))
    near_m0, near_p = (a.ravel() for a in np.meshgrid(steps, steps))
    tried_m0 = np.clip(m0[:, None] * near_m0, _M0[0], _M0[-1])
    tried_p = np.clip(p[:, None] * near_p, _P[0], _P[-1])
    curves = law_curves(trained, n_blocks, tried_m0.ravel(), tried_p.ravel()).reshape(*tried_m0.shape, -1)
    best = ((curves - rows[:, None]) ** 2).sum(-1).argmin(1)
    row_numbers = np.arange(len(rows))
    return tried_m0[row_numbers, best], tried_p[row_numbers, best]
