"""Deviation metrics: small pure functions of one space's states, in a registry that users can extend.

A metric reads a `View` and returns one number per position:

    >>> @metric("norm", title="length", unit="", low=0, high=None, loss_like=False, definition="length of f")
    ... def norm(view):
    ...     return view.states.norm(dim=-1)
    >>> METRICS.pop("norm").title
    'length'
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import get_args

import torch
from torch import Tensor

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.metric_facts import Guess, MetricFacts
from semviz.traces.virtual_path import Arc
from semviz.traces.vocabulary_scores import Product, Scoring, TokenScores, score_positions


@dataclass(frozen=True, eq=False)
class SharedProduct:
    """One product with the head for logits and cosines, where the semantic bases are the head's own rows (λ = ∞).

    Attributes:
        product: Computes the head's products at this space, shape (n, c).
        logits_of: The model's logits from them.
        norms: Length of each candidate's basis, shape (C,).
    """

    product: Product
    logits_of: Callable[[Tensor], Tensor]
    norms: Tensor


@dataclass(frozen=True, eq=False)
class View:
    """What a metric can read at one space, for n positions; anything it does not read is not computed. All float32.

    Attributes:
        space: ℓ in 0…L.
        depth: ℓ/L, in [0, 1].
        states: f_ℓ, the states in the output frame (minus the space's mean if centred), shape (n, d).
        arc: The virtual transition of each position.
        target: Index of the target among the candidates, shape (n,).
        candidates: Returns the unit semantic bases of all candidates (vocabulary or label words), shape (C, d).
        temperature: τ of the semantic distribution.
        size: C, the number of candidates that the head scores.
        read: Computes logits at this space, for a slice of the candidates or for some ids, shape (n, c).
        shared: How logits and cosines come of one product with the head; None where each takes its own.
    """

    space: int
    depth: float
    states: Tensor
    arc: Arc
    target: Tensor
    candidates: Callable[[], Tensor]
    temperature: float
    size: int
    read: Product
    shared: SharedProduct | None = None

    @cached_property
    def directions(self) -> Tensor:
        """The states scaled to length 1, shape (n, d)."""
        return torch.nn.functional.normalize(self.states, dim=-1)

    @property
    def basis(self) -> Tensor:
        """s_y, the target's semantic basis scaled to length 1, shape (n, d)."""
        return self.arc.end

    @cached_property
    def virtual(self) -> Tensor:
        """v_ℓ, the virtual transition's state scaled to length 1, shape (n, d)."""
        return self.arc.at(self.depth)

    @cached_property
    def cosines(self) -> Tensor:
        """Cosine of the state with every candidate's basis, shape (n, C)."""
        return self._cosines(slice(None))

    @cached_property
    def logits(self) -> Tensor:
        """The candidates' logits read at this space, shape (n, C)."""
        return self.read(slice(None))

    @cached_property
    def by_head(self) -> TokenScores:
        """The target's surprise and rank under the model's own head, and its first choice; needs no (n, C) array."""
        if self.shared is not None:
            return self._by_both[0]
        return score_positions(self.read, self.target, Scoring(self.size, keep=1))[0]

    @cached_property
    def by_basis(self) -> TokenScores:
        """The same under the cosines with the semantic bases divided by τ, with the three nearest candidates."""
        if self.shared is not None:
            return self._by_both[1]
        scoring = Scoring(self.candidates().shape[0], keep=3)
        return score_positions(lambda columns: self._cosines(columns) / self.temperature, self.target, scoring)[0]

    @cached_property
    def _by_both(self) -> list[TokenScores]:
        shared = self.shared
        assert shared is not None
        lengths = self.states.norm(dim=-1, keepdim=True).clamp_min(1e-12) * self.temperature

        def of_basis(products: Tensor, columns: slice | Tensor) -> Tensor:
            return products / shared.norms[columns] / lengths

        by_head = Scoring(self.size, keep=1, of=lambda products, _: shared.logits_of(products))
        by_basis = Scoring(len(shared.norms), keep=3, of=of_basis)
        return score_positions(shared.product, self.target, by_head, by_basis)

    def _cosines(self, columns: slice | Tensor) -> Tensor:
        return self.directions @ self.candidates()[columns].T


@dataclass(frozen=True)
class Metric(MetricFacts):
    """A deviation metric: its facts and how it is computed.

    Attributes:
        function: View → one float32 value per position, shape (n,).
        scores_candidates: Whether it reads `cosines` or `logits`, so that positions are read in parts of bounded size.
    """

    function: Callable[[View], Tensor] = field(kw_only=True)
    scores_candidates: bool = field(default=True, kw_only=True)


METRICS: dict[str, Metric] = {}
_RESERVED = ("top1", "nearest", "path", "labels")  # columns of saved traces that do not belong to a metric


def metric(
    key: str,
    *,
    title: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    loss_like: bool,
    definition: str,
    guess: Guess | None = None,
    scores_candidates: bool = True,
) -> Callable[[Callable[[View], Tensor]], Callable[[View], Tensor]]:
    """Register a function as a deviation metric; it then works in `trace` and in every figure.

    The function takes a `View`, one space as n positions see it, and returns n numbers.

    Args:
        key: Name in `trace.values` and in columns. A metric of the same module with this key is replaced, as when a
            notebook cell is run again; semviz's own metrics and those of other modules are not.
        title: Name in figures.
        unit: Unit of the numbers, such as `"nats"`.
        low: Smallest possible value; None if there is no bound.
        high: Largest possible value; None if there is no bound.
        loss_like: Whether it falls towards 0 as a state nears its target; only such metrics have gains.
        definition: One line for tables and hovers.
        guess: How a state that knows nothing scores, where the colours of pictures end: `"uniform"` for ln C nats among
            C candidates, `"middle rank"` for ln(1 + C/2)/ln(1 + C), `"right angle"` for 1 − cos = 1.
        scores_candidates: Whether the function reads `view.logits`, `view.cosines`, `view.by_head` or `view.by_basis`;
            otherwise more positions are read at once.

    Raises:
        SemvizError: If the key is taken or cannot name columns, or a bound is not a number.
    """
    if not isinstance(key, str) or not re.fullmatch(r"[\w-]+", key) or key in _RESERVED:
        raise SemvizError(
            f"{checks.named_repr('key', key)} cannot name columns of a saved trace; pass a name such as margin."
        )
    for name, bound in (("low", low), ("high", high)):
        if bound is not None:
            checks.number(name, bound, "a finite number, or None")
    if guess is not None:
        checks.one_of("guess", guess, get_args(Guess))

    def register(function: Callable[[View], Tensor]) -> Callable[[View], Tensor]:
        module = getattr(METRICS[key].function, "__module__", None) if key in METRICS else None
        if key in METRICS and (module == __name__ or module != getattr(function, "__module__", None)):
            raise SemvizError(f"There is already a metric {key!r}, defined in {module}; pass another key.")
        METRICS[key] = Metric(
            key, title, unit, low, high, loss_like, definition, guess=guess, function=function,
            scores_candidates=scores_candidates,
        )  # fmt: skip
        return function

    return register


def resolve_metrics(keys: Sequence[str] | str | None) -> tuple[str, ...]:
    """Check metric keys; None stands for all registered ones.

    Raises:
        SemvizError: If a key is unknown or there are no keys.
    """
    if keys is None:
        return tuple(METRICS)
    requested = (keys,) if isinstance(keys, str) else checks.as_list("metrics", keys, f"some of {list(METRICS)}")
    unknown = [key for key in requested if not isinstance(key, str) or key not in METRICS]
    if unknown or not requested:
        problem = f"has unknown keys {checks.short_repr(unknown)}" if unknown else "is empty"
        raise SemvizError(f"metrics={checks.short_repr(keys)} {problem}; pass some of {list(METRICS)}.")
    return tuple(dict.fromkeys(requested))


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of unit vectors, clamped: rounding can put it just outside [−1, 1], and a deviation just below 0."""
    return torch.linalg.vecdot(a, b).clamp(-1, 1)


@metric(
    "semantic",
    title="semantic deviation",
    unit="nats",
    low=0.0,
    high=None,
    loss_like=True,
    definition="−ln softmax(cos(f, S)/τ)[y]: surprise at the target, from angles to the semantic bases",
    guess="uniform",
)
def semantic(view: View) -> Tensor:
    """−ln softmax(cos(f_ℓ, S)/τ)[y] in nats, at least 0."""
    return view.by_basis.surprise


@metric(
    "lens",
    title="lens deviation",
    unit="nats",
    low=0.0,
    high=None,
    loss_like=True,
    definition="−ln softmax(readout(h))[y]: surprise at the target, read by the model's own head",
    guess="uniform",
)
def lens(view: View) -> Tensor:
    """−ln softmax(readout(h_ℓ))[y] in nats, at least 0: the logit lens."""
    return view.by_head.surprise


@metric(
    "target",
    title="target deviation",
    unit="1 − cos",
    low=0.0,
    high=2.0,
    loss_like=True,
    definition="1 − cos(f, s_y): angle between the state and the target's semantic basis",
    guess="right angle",
    scores_candidates=False,
)
def target(view: View) -> Tensor:
    """1 − cos(f_ℓ, s_y), in [0, 2]; needs only one basis per position."""
    return 1 - _cosine(view.directions, view.basis)


@metric(
    "virtual",
    title="virtual deviation",
    unit="1 − cos",
    low=0.0,
    high=2.0,
    loss_like=False,
    definition="1 − cos(f, v): angle between the factual and the virtual transition",
    scores_candidates=False,
)
def virtual(view: View) -> Tensor:
    """1 − cos(f_ℓ, v_ℓ), in [0, 2]: factual against virtual transition."""
    return 1 - _cosine(view.directions, view.virtual)


@metric(
    "rank",
    title="rank deviation",
    unit="ln(1+rank) / ln(1+V)",
    low=0.0,
    high=1.0,
    loss_like=True,
    definition="ln(1 + rank of y) / ln(1 + V) under the model's own head, rank 0 is best",
    guess="middle rank",
)
def rank(view: View) -> Tensor:
    """ln(1+rank of y)/ln(1+V), in [0, 1]; the rank counts candidates with a strictly larger logit."""
    return torch.log1p(view.by_head.better) / math.log1p(view.size)
