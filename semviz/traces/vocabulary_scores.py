"""Score positions against all candidates, strip by strip, so that no (positions × vocabulary) array is needed.

A strip of the vocabulary that fits into a core's cache is computed and reduced at once. That is not only smaller but
also faster than one product with the whole head: the scores never travel to memory and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[slice | Tensor], Tensor]
"""Computes the scores of some candidates, selected by a slice or by ids of shape (c,): shape (n, c), float32."""

# Scores in one strip: 4 MB on the CPU, 256 MB on a GPU.
_STRIP = {"cpu": 2**20}
_STRIP_GPU = 2**26
_COLUMNS = 2048  # candidates in a strip of as many positions as `rows_at_once` returns


def rows_at_once(size: int, device: torch.device) -> int:
    """Number of positions to score together against `size` candidates."""
    return max(1, _STRIP.get(device.type, _STRIP_GPU) // max(1, min(size, _COLUMNS)))


@dataclass(frozen=True, eq=False)
class TokenScores:
    """What is kept from the scores of n positions.

    Attributes:
        surprise: −ln softmax(scores)[y] in nats, float32, shape (n,).
        better: Number of candidates with a strictly larger score than y, float32, shape (n,).
        best: Indices of the candidates with the largest scores, best first, shape (n, k).
    """

    surprise: Tensor
    better: Tensor
    best: Tensor


@dataclass(frozen=True, eq=False)
class Scoring:
    """One way of scoring candidates by a product.

    Attributes:
        size: C, the number of candidates: the first ones that the product has.
        keep: k, the number of best candidates to return.
        of: Products and the candidates that they are with → scores, shape (n, c) as the products; None leaves them.
    """

    size: int
    keep: int
    of: Callable[[Tensor, slice | Tensor], Tensor] | None = None

    def scores(self, products: Tensor, columns: slice | Tensor) -> Tensor:
        """Scores of these candidates."""
        return products if self.of is None else self.of(products, columns)


def score_positions(product: Product, target: Tensor, *scorings: Scoring) -> list[TokenScores]:
    """Score all candidates at n positions, in one or more ways that share a product.

    Args:
        product: Computes products with candidates.
        target: Index y of each position's target, shape (n,).
        scorings: How scores are made of products.

    Returns:
        What is kept of each way.
    """
    strips = list(_strips(len(target), max(scoring.size for scoring in scorings), target.device))
    if len(strips) == 1:
        products = product(strips[0])
        return [_score_whole(_cut(products, strips[0], scoring), target, scoring.keep) for scoring in scorings]
    unique, inverse = torch.unique(target, return_inverse=True)
    of_targets = product(unique)
    reductions = [
        _Reduction(scoring, target, scoring.scores(of_targets, unique).gather(-1, inverse.unsqueeze(-1)))
        for scoring in scorings
    ]
    for columns in strips:
        products = product(columns)
        for reduction in reductions:
            if columns.start < reduction.scoring.size:
                reduction.add(_cut(products, columns, reduction.scoring), columns.start)
    return [reduction.result() for reduction in reductions]


def _cut(products: Tensor, columns: slice, scoring: Scoring) -> Tensor:
    """Scores of the candidates in a strip that a way of scoring has."""
    width = min(products.shape[-1], scoring.size - columns.start)
    return scoring.scores(products[..., :width], slice(columns.start, columns.start + width))


class _Reduction:
    """Takes the scores strip by strip."""

    def __init__(self, scoring: Scoring, target: Tensor, target_scores: Tensor) -> None:
        self.scoring, self._target, self._target_scores = scoring, target, target_scores
        self._top = torch.full_like(target_scores, -torch.inf)
        self._total, self._better = torch.zeros_like(target_scores), torch.zeros_like(target_scores)
        self._values: list[Tensor] = []
        self._indices: list[Tensor] = []

    def add(self, scores: Tensor, start: int) -> None:
        """Add a strip of scores, shape (n, c), that begins with this candidate."""
        # Finite, so that a strip of candidates that the model rules out (−∞) adds nothing.
        peak = torch.maximum(self._top, scores.amax(-1, keepdim=True)).clamp_min(torch.finfo(torch.float32).min)
        self._total = self._total * (self._top - peak).exp() + (scores - peak).exp_().sum(-1, keepdim=True)
        self._top = peak
        self._better += _larger(scores, self._target_scores)
        # Rounding in another order of summation can put the target above itself.
        inside = self._target.unsqueeze(-1) - start
        here = (inside >= 0) & (inside < scores.shape[-1])
        target_again = scores.gather(-1, inside.clamp(0, scores.shape[-1] - 1))
        self._better -= (here & (target_again > self._target_scores)).float()
        value, index = _largest(scores, self.scoring.keep)
        self._values.append(value)
        self._indices.append(index + start)

    def result(self) -> TokenScores:
        """What is kept of all strips."""
        surprise = (self._top + self._total.log() - self._target_scores).clamp_min(0)
        keep = min(self.scoring.keep, self.scoring.size)
        best = torch.cat(self._indices, -1).gather(-1, torch.cat(self._values, -1).topk(keep).indices)
        return TokenScores(surprise.squeeze(-1), self._better.squeeze(-1), best)


def _score_whole(scores: Tensor, target: Tensor, keep: int) -> TokenScores:
    """The same if all candidates fit into one strip, with fewer passes."""
    surprise = torch.nn.functional.cross_entropy(scores, target, reduction="none")
    better = _larger(scores, scores.gather(-1, target.unsqueeze(-1)))
    return TokenScores(surprise, better.squeeze(-1), _largest(scores, keep)[1])


def _larger(scores: Tensor, target_scores: Tensor) -> Tensor:
    """Number of scores that are larger, as float32, shape (n, 1)."""
    # As float32: summing booleans is many times slower, and up to 2²⁴ candidates are counted exactly.
    return torch.gt(scores, target_scores, out=torch.empty_like(scores)).sum(-1, keepdim=True)


def _largest(scores: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The largest scores and their indices, each of shape (n, k)."""
    if keep == 1:
        value, index = scores.max(-1, keepdim=True)
        return value, index
    top = scores.topk(min(keep, scores.shape[-1]))
    return top.values, top.indices


def best_candidates(product: Product, size: int, rows: int, device: torch.device) -> Tensor:
    """The candidate with the largest score for each of `rows` positions, shape (n,)."""
    strip_bests = [(product(columns).max(-1), columns.start) for columns in _strips(rows, size, device)]
    chosen = torch.stack([best.values for best, _ in strip_bests], -1).argmax(-1, keepdim=True)
    return torch.stack([best.indices + start for best, start in strip_bests], -1).gather(-1, chosen).squeeze(-1)


def _strips(rows: int, size: int, device: torch.device) -> Iterator[slice]:
    width = max(1, _STRIP.get(device.type, _STRIP_GPU) // max(1, rows))
    return (slice(start, min(start + width, size)) for start in range(0, size, width))
