"""Translators: for each space an affine map of its output frame to that of the last space, fitted on general text.

The head reads the last space only. What a lower space holds stands in other directions, so the head alone (the logit
lens) may see nothing there. A translator turns these directions into those that the head reads. It is known as the
tuned lens where it is trained (Belrose et al. 2023, arXiv 2303.08112) and as a linear shortcut where it is fitted by
least squares, as here (Din et al. 2023, arXiv 2303.09435).

A_ℓ minimises Σ‖A f_ℓ + b − f_L‖² + λ·(tr Σ_ℓ/d)·n·‖A‖² over n positions, where Σ_ℓ is the covariance of f_ℓ. Of the
text that it is fitted on only sums of products are kept, so memory grows with d² a space and not with positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semviz.common.interrupts import raise_waiting_interrupt

RIDGES = (0.001, 0.01, 0.1, 1.0)
"""λ that are tried, in units of a space's mean variance."""
POSITIONS_A_DIRECTION = 8
"""Fewer positions than so many a direction of the output frame make rough translators."""


@dataclass(frozen=True, eq=False)
class Translators:
    """The fitted maps of one model; that of the last space is the identity.

    Attributes:
        weights: A_ℓ transposed, so that f·weights + offsets is the translated frame; float32, shape (L, d, d).
        offsets: b_ℓ, float32, shape (L, d).
        ridges: λ chosen for each space on held-out text, shape (L,).
        positions: Number of positions that the maps were fitted on.
    """

    weights: Tensor = field(repr=False)
    offsets: Tensor = field(repr=False)
    ridges: NDArray[np.float64]
    positions: int

    @property
    def rough(self) -> bool:
        """Whether there was too little text for maps of this width."""
        return self.positions < POSITIONS_A_DIRECTION * self.offsets.shape[1]

    def translate(self, space: int, frames: Tensor) -> Tensor:
        """Map states of space ℓ in the output frame to the last space's.

        Args:
            space: ℓ in 0…L.
            frames: Shape (…, d).

        Returns:
            float32, shape (…, d); the frames themselves at space L.
        """
        if space == len(self.weights):
            return frames.float()
        return torch.nn.functional.linear(frames.float(), self.weights[space].T, self.offsets[space])


class Moments:
    """Sums over positions of f_ℓ, f_L and their products, for every space below the last; float64.

    The sums are taken about a fixed point near the mean, or the products would lose digits where means are large.
    """

    def __init__(self, spaces: int, width: int, *, device: torch.device) -> None:
        """Start with nothing.

        Args:
            spaces: L, the number of spaces below the last.
            width: d.
            device: Where the sums are kept.
        """
        self.count = 0
        self._origins: Tensor | None = None
        self._first = torch.zeros(spaces + 1, width, dtype=torch.float64, device=device)
        self._inner = torch.zeros(spaces, width, width, dtype=torch.float64, device=device)
        self._cross = torch.zeros(spaces, width, width, dtype=torch.float64, device=device)

    @staticmethod
    def nbytes(spaces: int, width: int) -> int:
        """Bytes that the sums take."""
        return 8 * (2 * spaces * width**2 + (spaces + 1) * width)

    def add(self, frames: Sequence[Tensor]) -> None:
        """Add n positions.

        Args:
            frames: The states of each space 0…L in the output frame, each of shape (n, d).
        """
        if not len(frames[-1]):
            return
        if self._origins is None:
            self._origins = torch.stack([states.double().mean(0) for states in frames])
        last = (frames[-1].double() - self._origins[-1]).float()
        self.count += len(last)
        self._first[-1] += last.double().sum(0)
        for space, states in enumerate(frames[:-1]):
            centred = (states.double() - self._origins[space]).float()
            self._first[space] += centred.double().sum(0)
            # Products of a batch in float32, their sums over batches in float64.
            self._inner[space] += centred.T @ centred
            self._cross[space] += centred.T @ last

    @property
    def means(self) -> Tensor:
        """Mean state of every space 0…L, float64, shape (L+1, d)."""
        assert self._origins is not None  # something was added
        return self._origins + self._first / self.count

    def covariances(self, space: int) -> tuple[Tensor, Tensor]:
        """Covariance of f_ℓ, and of f_ℓ with f_L, float64, each of shape (d, d)."""
        mean, last = self._first[space] / self.count, self._first[-1] / self.count
        inner = self._inner[space] / self.count - torch.outer(mean, mean)
        return inner, self._cross[space] / self.count - torch.outer(mean, last)


def fit_translators(fitted: Moments, held_out: Sequence[Tensor], *, ridges: Sequence[float] = RIDGES) -> Translators:
    """Fit the maps on one part of the text and choose each space's ridge on the other.

    Args:
        fitted: Moments of the text that the maps are fitted on.
        held_out: States of other text at each space 0…L in the output frame, each of shape (n, d).
        ridges: λ to choose from.
    """
    means = fitted.means
    weights, offsets, chosen = [], [], []
    for space in range(len(means) - 1):
        raise_waiting_interrupt()
        inner, cross = fitted.covariances(space)
        unit = inner.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)
        best: tuple[float, float, Tensor, Tensor] | None = None
        for ridge in ridges:
            shifted = inner.clone()
            shifted.diagonal().add_(ridge * unit)
            weight = torch.cholesky_solve(cross, torch.linalg.cholesky(shifted))
            offset = (means[-1] - means[space] @ weight).float()
            weight = weight.float()
            translated = torch.addmm(offset, held_out[space].float(), weight)
            error = float((translated - held_out[-1].float()).square().sum())
            if best is None or error < best[0]:
                best = error, ridge, weight, offset
        assert best is not None  # at least one ridge is tried
        chosen.append(best[1])
        weights.append(best[2])
        offsets.append(best[3])
    return Translators(torch.stack(weights), torch.stack(offsets), np.asarray(chosen), fitted.count)
