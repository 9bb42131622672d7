"""Semantic bases: the directions in the output frame that represent single vocabulary entries.

Source: vocabulary-defined semantics (arXiv 2401.16184). The basis of vocabulary entry v is row v of W(WᵀW)⁻¹, which is
the pseudo-inverse of the head W (V × d), transposed. A ridge λ makes ill-conditioned heads usable:
W(WᵀW + λ·(tr/d)·I)⁻¹; λ = 0 is the pseudo-inverse, λ → ∞ gives the head's own rows.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

RIDGES = (0.0, 0.01, 0.1, 1.0, math.inf)
_CHUNK = 8192  # vocabulary rows handled at once, to avoid a second V × d copy
_TILE = 256  # columns of a tile of the Gram matrix
# Rank-deficient heads (dead columns, or fewer rows than columns) have no Cholesky factor without a ridge.
_LEAST_RIDGE = 1e-12


class SemanticBases:
    """Semantic bases of a head, solved for the requested rows.

    One Cholesky factor of the d × d Gram matrix in float64, O(V·d²) once; then O(d²) per row.

    Attributes:
        ridge: λ ≥ 0, in units of the Gram matrix's mean eigenvalue; `math.inf` for the head's own rows.
        size: V, the number of vocabulary rows (padded rows beyond the tokenizer are dropped).
        factor: Cholesky factor of the Gram matrix with its ridge, float64, shape (d, d); None for the head's own rows.
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
        self._seen = _sums(self._head)
        self._gram: Tensor | None = None
        self._factorise(ridge)

    def with_ridge(self, ridge: float) -> SemanticBases:
        """Bases of the same head with another ridge; the Gram matrix is shared."""
        bases = object.__new__(SemanticBases)
        bases._head, bases.size, bases._gram = self._head, self.size, self._gram
        bases._seen = self._seen
        bases._factorise(ridge)
        self._gram = bases._gram
        return bases

    @classmethod
    def restored(cls, head: Tensor, *, size: int, ridge: float, factor: Tensor | None) -> SemanticBases:
        """Bases that were made before, from their `ridge` and `factor`."""
        bases = object.__new__(cls)
        bases._head, bases._gram = head.detach()[:size], None
        bases.size = bases._head.shape[0]
        bases._seen = _sums(bases._head)
        bases._start(ridge)
        bases.factor = None if factor is None else factor.to("cpu" if head.device.type == "mps" else head.device)
        return bases

    def _start(self, ridge: float) -> None:
        self.ridge = ridge
        self._unit: Tensor | None = None
        self._inverse: Tensor | None = None
        self.factor: Tensor | None = None

    def _factorise(self, ridge: float) -> None:
        self._start(ridge)
        if math.isinf(ridge):
            return
        if self._gram is None:
            self._gram = _gram(self._head)
        mean_eigenvalue = float(self._gram.trace()) / len(self._gram)
        shifted = self._gram.clone()
        shifted.diagonal().add_(max(ridge, _LEAST_RIDGE) * mean_eigenvalue)
        self.factor = torch.linalg.cholesky(shifted)

    def rows(self, ids: Tensor) -> Tensor:
        """Semantic bases of some vocabulary entries.

        Args:
            ids: Vocabulary ids, shape (n,).

        Returns:
            float32, shape (n, d), on the head's device.
        """
        rows = self._head[ids]
        if self.factor is None:
            return rows.float()
        solved = torch.cholesky_solve(_double(rows).T, self.factor).T
        return solved.to(self._head.device, torch.float32)

    def unit_rows(self, ids: Tensor | None = None) -> Tensor:
        """Semantic bases scaled to length 1, float32, shape (n, d); without `ids` all V of them, cached."""
        if ids is not None:
            return _unit(self.rows(ids))
        if self._unit is None:
            self._unit = torch.cat([self._unit_chunk(rows) for rows in torch.split(self._head, _CHUNK)])
        return self._unit

    @cached_property
    def norms(self) -> Tensor:
        """Lengths of the head's own rows, float32, shape (V,)."""
        return torch.cat([rows.float().norm(dim=-1) for rows in torch.split(self._head, _CHUNK)]).clamp_min(1e-12)

    @property
    def moved(self) -> bool:
        """Whether the head, whose weight this is and no copy of it, was changed in place since."""
        return not torch.equal(_sums(self._head), self._seen)

    def head_is(self, head: Tensor) -> bool:
        """Whether the bases are of this very weight, and not of another one with the same shape."""
        return head.data_ptr() == self._head.data_ptr()

    def cosines(self, directions: Tensor) -> Tensor:
        """Cosine of unit vectors with every basis; uses a cached V × d array if there is one, and makes none.

        Args:
            directions: Shape (n, d).

        Returns:
            float32, shape (n, V).
        """
        if self._unit is not None:
            return directions @ self._unit.T
        return torch.cat([directions @ self._unit_chunk(rows).T for rows in torch.split(self._head, _CHUNK)], dim=-1)

    def _unit_chunk(self, rows: Tensor) -> Tensor:
        """Unit bases of some of the head's rows; for many rows, one inverse and a product are faster than solving."""
        if self.factor is None:
            return _unit(rows.float())
        if self._inverse is None:
            self._inverse = torch.cholesky_inverse(self.factor)
        return _unit((_double(rows) @ self._inverse).to(self._head.device, torch.float32))


def _sums(head: Tensor) -> Tensor:
    """Sums of the head's columns, of all rows and of the upper half: another weight has others.

    Of the bits as whole numbers, which is exact: sums of floats depend on how many threads add them.
    """
    bits = head.contiguous().view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[head.element_size()])
    return torch.stack([part.sum(0, dtype=torch.int64) for part in (bits, bits[: len(bits) // 2])]).cpu()


def _double(rows: Tensor) -> Tensor:
    """Convert to float64, on the CPU if the device lacks it."""
    return rows.cpu().double() if rows.device.type == "mps" else rows.double()


def _gram(head: Tensor) -> Tensor:
    """WᵀW in float64, shape (d, d). It is symmetric, so only the tiles on and above the diagonal are computed."""
    width = head.shape[1]
    starts = range(0, width, _TILE)
    gram: Tensor | None = None
    for part in torch.split(head, _CHUNK):
        rows = _double(part)
        if gram is None:
            gram = rows.new_zeros(width, width)
        for start in starts:
            tile = slice(start, start + _TILE)
            gram[tile, start:].addmm_(rows[:, tile].T, rows[:, start:])
    assert gram is not None  # a head has rows
    return gram.triu() + gram.triu(1).T


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def fidelity(cosines: Tensor, logits: Tensor) -> float:
    """Share of positions where the nearest semantic basis is the token that the model itself ranks first.

    Args:
        cosines: Cosines of the last space's states with every semantic basis, shape (n, V).
        logits: The model's own logits at these positions, shape (n, at least V).

    Returns:
        φ in [0, 1]. Below 0.7 the geometry of the bases is a poor picture of what the model says.
    """
    nearest = cosines.argmax(-1)
    return float((nearest == logits[:, : cosines.shape[1]].argmax(-1)).float().mean())
