"""The law behind gains: pure functions of a profile of deviations.

SALF-style, our reading: the paper's formulas are not public. At fixed width a scaling law N ∝ depth gives
D(n) = c·n^(−α). With β = 1/α the transform y_β(D) = (D^(−β) − 1)/β (β → 0: −ln D) is a straight line in depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BETAS = np.linspace(0, 3, 61)
GOOD_FIT = 0.8  # R² below which β falls back to 0
_PROGRESS = 0.9  # quantile of the gains that stands for the progress of a finetuned layer
_SMALLEST = 1e-6  # a deviation of 0 (the rank of a certain token) has no logarithm
_TOO_JAGGED = 0.3  # share of the profile's movement that goes the wrong way, above which the law does not apply
_FLAT = 0.02  # relative movement of a profile up to which it carries no information


@dataclass(frozen=True, eq=False)
class Law:
    """The law fitted to a profile, and whether it applies.

    Attributes:
        beta: β of the transform.
        r2: R² of the straight line over spaces 1…L.
        nonmonotone: ν, share of the movement over spaces 1…L that leads away from the target.
        flat: Whether the profile hardly moves over spaces 1…L, and so carries no information.
        line: The fitted line as a deviation per space, shape (L+1,); NaN at space 0, and all NaN where the law does not
            apply.
    """

    beta: float
    r2: float
    nonmonotone: float
    flat: bool
    line: Array

    @property
    def applies(self) -> bool:
        """Whether the profile moves, and mostly towards the target, so that the law is informative."""
        return _applies(self.nonmonotone, self.flat)


def fit_law(deviation: Array, beta: float | None = None) -> Law:
    """Fit the law to a loss-like profile.

    Args:
        deviation: D_0…D_L, shape (L+1,).
        beta: β of the law. None takes the β in [0, 3] that makes y_β(D_ℓ) straightest over ℓ = 1…L, or 0 if no β
            fits well.
    """
    inner = deviation[1:]
    depth = np.arange(1, len(deviation))
    if beta is None:
        fits = [r_squared(depth, transform(inner, float(b))) for b in _BETAS]
        best = int(np.argmax(fits))
        beta, r2 = (float(_BETAS[best]), fits[best]) if fits[best] >= GOOD_FIT else (0.0, fits[0])
    else:
        r2 = r_squared(depth, transform(inner, beta))
    nu = nonmonotone(inner)
    flat = float(np.ptp(inner)) <= _FLAT * float(np.abs(inner).max())  # ≤, not <: a single space, or zeros everywhere
    line = np.full(len(deviation), np.nan)
    if _applies(nu, flat):
        slope, intercept = np.polyfit(depth, transform(inner, beta), 1)
        line[1:] = untransform(intercept + slope * depth, beta)
    return Law(beta, r2, nu, flat, line)


def _applies(nu: float, flat: bool) -> bool:
    return nu <= _TOO_JAGGED and not flat


def transform(deviation: Array, beta: float) -> Array:
    """y_β(D) = (D^(−β) − 1)/β, at β = 0 its limit −ln D; β = −1 is 1 − D, the plain drop. Larger is nearer."""
    clipped = np.maximum(deviation, _SMALLEST)
    return -np.log(clipped) if beta == 0 else (clipped**-beta - 1) / beta


def untransform(y: Array, beta: float) -> Array:
    """The deviation D with y_β(D) = y; 0 or ∞ where the law leaves the domain of deviations."""
    if beta == 0:
        return np.exp(-y)
    base = 1 + beta * y
    return np.where(base > 0, np.maximum(base, _SMALLEST) ** (-1 / beta), 0.0 if beta < 0 else np.inf)


def r_squared(x: NDArray[np.int64], y: Array) -> float:
    """Share of the variance of y that a straight line in x explains; 0 for fewer than three points."""
    if len(x) < 3 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def layer_gains(deviation: Array, beta: float) -> Array:
    """γ_1…γ_L of a profile, or of many at once, shape (…, L); γ_1 is NaN, as the embedding space has another frame."""
    gains = np.diff(transform(deviation, beta), axis=-1)
    gains[..., 0] = np.nan
    return gains


def depth_surplus(deviation: Array, beta: float) -> Array:
    """y_β(D_k) − s·k over k = 1…L: what blocks 1…k reach, less what k finetuned blocks would.

    s, the progress of a finetuned layer, is the 0.9 quantile of the gains.
    """
    s = np.nanquantile(layer_gains(deviation, beta), _PROGRESS, axis=-1, keepdims=True)
    return transform(deviation[..., 1:], beta) - s * np.arange(1, deviation.shape[-1])


def argmax_layer(values: Array) -> NDArray[np.int64]:
    """1-based position of the maximum over layers, limited to boundaries 1…L−1."""
    filled = np.where(np.isnan(values), -np.inf, values)
    return np.minimum(filled.argmax(-1) + 1, max(1, values.shape[-1] - 1))


# The quantity that each rule maximises over layers 1…L, read off a loss-like profile (…, L+1). `virtual peak` reads
# the virtual profile instead.
SCALES: dict[str, Callable[[Array, float], Array]] = {
    "law": layer_gains,
    "drop": lambda deviation, _beta: layer_gains(deviation, -1.0),
    "surplus": depth_surplus,
}
PEAK = "virtual peak"
EPSILON = 0.02
"""ε: the share of full finetuning's benefit that any advice may give up for more frozen blocks or fewer parameters.

One number for profiles, probes and finished runs, so that they do not contradict each other. On seven pairs of model
and task, 0.05 lost nearly twice as much and saved little cost (tests/bench/README.md).
"""
BENEFIT = "benefit"  # predicted share of full finetuning's improvement


def nonmonotone(profile: Array) -> float:
    """ν = Σ max(0, ΔD) / Σ |ΔD|."""
    steps = np.diff(profile)
    movement = float(np.abs(steps).sum())
    return float(np.maximum(steps, 0).sum()) / movement if movement else 0.0


def predict(deviation: Array, gains: Array, beta: float) -> Array:
    """D̂(k) = y_β⁻¹(y_β(D_k) + s·(L−k)) for k = 0…L, where s is the progress of a finetuned layer.

    Space 0 has another frame and its deviation is not comparable with the others, so block 1 is credited with the
    progress of any finetuned layer: D̂(0) = D̂(1).
    """
    blocks = len(gains)
    s = float(np.nanquantile(gains, _PROGRESS))
    predicted = untransform(transform(deviation, beta) + s * (blocks - np.arange(blocks + 1)), beta)
    predicted[0] = predicted[1]
    return predicted
