"""Semantic bases: the directions in the output frame that stand for single vocabulary entries.

Source: vocabulary-defined semantics (arXiv 2401.16184). The basis of vocabulary entry v is row v of W(WᵀW)⁻¹, which is
the pseudo-inverse of the head W (V × d), transposed. A ridge λ makes ill-conditioned heads usable:
W(WᵀW + λ·(tr/d)·I)⁻¹; λ = 0 is the pseudo-inverse, λ → ∞ gives the head's own rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RIDGES = (0.0, 0.01, 0.1, 1.0, math.inf)
_CHUNK = 8192  # vocabulary rows handled at once, so that no second V × d copy is made


class SemanticBases:
    """Semantic bases of a head, solved for the rows that are asked for.

    One Cholesky factor of the d × d Gram matrix in float64, O(V·d²) once; then O(d²) a row.

    Attributes:
        ridge: λ ≥ 0, in units of the Gram matrix's mean eigenvalue; `math.inf` for the head's own rows.
        size: V, the number of vocabulary rows (padded rows beyond the tokenizer are dropped).
    """

    def __init__(self, head: Tensor, *, size: int | None = None, ridge: float = 0.0) -> None:
        """Factor the Gram matrix of a head.

        Args:
            head: The head's weight, shape (V, d).
            size: Number of rows that the tokenizer knows; further rows are padding and are dropped.
            ridge: λ as above.
        """
        self._head = head.detach()[:size]
        self.size = self._head.shape[0]
        self.ridge = ridge
        self._unit: Tensor | None = None
        if math.isinf(ridge):
            self._factor = None
            return
        gram = torch.zeros(head.shape[1], head.shape[1], dtype=torch.float64)
        for rows in torch.split(self._head, _CHUNK):
            rows = rows.cpu().double()  # in this order: some devices have no float64
            gram += rows.T @ rows
        mean_eigenvalue = float(gram.trace()) / len(gram)
        # Rank-deficient heads (dead columns, or fewer rows than columns) have no Cholesky factor without some ridge.
        shift = max(ridge, 1e-12) * mean_eigenvalue
        self._factor = torch.linalg.cholesky(gram + shift * torch.eye(len(gram), dtype=torch.float64))

    def rows(self, ids: Tensor) -> Tensor:
        """Semantic bases of some vocabulary entries.

        Args:
            ids: Vocabulary ids, shape (n,).

        Returns:
            float32, shape (n, d), on the head's device.
        """
        rows = self._head[ids]
        if self._factor is None:
            return rows.float()
        solved = torch.cholesky_solve(rows.cpu().double().T, self._factor).T
        return solved.to(self._head.device, torch.float32)

    def unit_rows(self, ids: Tensor | None = None) -> Tensor:
        """Semantic bases scaled to length 1, float32, shape (n, d); all V of them (kept) without `ids`."""
        if ids is not None:
            return _unit(self.rows(ids))
        if self._unit is None:
            every = torch.arange(self.size, device=self._head.device)
            self._unit = torch.cat([_unit(self.rows(ids)) for ids in torch.split(every, _CHUNK)])
        return self._unit


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def fidelity(bases: SemanticBases, frames: Tensor, logits: Tensor) -> float:
    """Share of positions where the nearest semantic basis is the token that the model itself ranks first.

    Args:
        bases: Semantic bases of the model's head.
        frames: Last space in the output frame, shape (n, d).
        logits: The model's own logits at these positions, shape (n, V).

    Returns:
        φ in [0, 1]. Below 0.7 the geometry of the bases is a poor picture of what the model says.
    """
    nearest = (_unit(frames.float()) @ bases.unit_rows().T).argmax(-1)
    return float((nearest == logits[:, : bases.size].argmax(-1)).float().mean())
