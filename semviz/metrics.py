"""Deviation metrics: small pure functions of one space's states, in a registry that users can add to.

A metric reads a `View` and returns one number a position:

    >>> @metric("norm", title="length", unit="", low=0, high=None, loss_like=False, definition="length of f")
    ... def norm(view):
    ...     return view.states.norm(dim=-1)
    >>> METRICS.pop("norm").title
    'length'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from semviz.errors import SemvizError


@dataclass(frozen=True, eq=False)
class View:
    """What a metric may read at one space, for n positions; all float32.

    Attributes:
        space: ℓ in 0…L.
        states: f_ℓ, the states in the output frame (minus the space's mean if centred), shape (n, d).
        virtual: v_ℓ, the virtual transition, shape (n, d).
        basis: s_y, the target's semantic basis, shape (n, d).
        target: Index of the target among the candidates, shape (n,).
        candidates: Unit semantic bases of all candidates (vocabulary or label words), shape (C, d).
        temperature: τ of the semantic distribution.
        read: Computes the candidates' logits at this space, shape (n, C).
    """

    space: int
    states: Tensor
    virtual: Tensor
    basis: Tensor
    target: Tensor
    candidates: Callable[[], Tensor]
    temperature: float
    read: Callable[[], Tensor]

    @cached_property
    def cosines(self) -> Tensor:
        """Cosine of the state with every candidate's basis, shape (n, C)."""
        return torch.nn.functional.normalize(self.states, dim=-1) @ self.candidates().T

    @cached_property
    def logits(self) -> Tensor:
        """The candidates' logits read at this space, shape (n, C)."""
        return self.read()


@dataclass(frozen=True)
class Metric:
    """A deviation metric with what a figure must say about it.

    Attributes:
        key: Name in `trace(metrics=…)` and `trace.values`.
        title: Name in figures.
        unit: Unit on axes and colour bars.
        low: Smallest possible value, None if unbounded.
        high: Largest possible value, None if unbounded.
        loss_like: Whether it falls towards 0 as a state nears its target; only these enter the scaling law.
        definition: One line for hover texts and reports.
        function: View → one float32 value a position, shape (n,).
    """

    key: str
    title: str
    unit: str
    low: float | None
    high: float | None
    loss_like: bool
    definition: str
    function: Callable[[View], Tensor]


METRICS: dict[str, Metric] = {}


def metric(
    key: str,
    *,
    title: str,
    unit: str,
    low: float | None,
    high: float | None,
    loss_like: bool,
    definition: str,
) -> Callable[[Callable[[View], Tensor]], Callable[[View], Tensor]]:
    """Register a function as a deviation metric; it then works in `trace` and in every figure.

    Raises:
        SemvizError: If the key is taken.
    """

    def register(function: Callable[[View], Tensor]) -> Callable[[View], Tensor]:
        if key in METRICS:
            raise SemvizError(f"There is a metric {key!r} already; pass another key.")
        METRICS[key] = Metric(key, title, unit, low, high, loss_like, definition, function)
        return function

    return register


def resolve(keys: Sequence[str] | str | None) -> tuple[str, ...]:
    """Check metric keys; all registered ones without any.

    Raises:
        SemvizError: If a key is unknown or there is none.
    """
    if keys is None:
        return tuple(METRICS)
    wanted = (keys,) if isinstance(keys, str) else tuple(dict.fromkeys(keys))
    unknown = [key for key in wanted if key not in METRICS]
    if unknown or not wanted:
        raise SemvizError(f"metrics={list(wanted)} has none or unknown ones {unknown}; pass some of {list(METRICS)}.")
    return wanted


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    # Rounding can leave a cosine a hair outside [−1, 1], and a deviation a hair below 0.
    return torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1)


def _surprise(scores: Tensor, target: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(scores, target, reduction="none")


@metric(
    "semantic",
    title="semantic deviation",
    unit="nats",
    low=0.0,
    high=None,
    loss_like=True,
    definition="−ln softmax(cos(f, S)/τ)[y]: surprise at the target, from angles to the semantic bases",
)
def semantic(view: View) -> Tensor:
    """−ln softmax(cos(f_ℓ, S)/τ)[y] in nats, at least 0."""
    return _surprise(view.cosines / view.temperature, view.target)


@metric(
    "lens",
    title="logit-lens deviation",
    unit="nats",
    low=0.0,
    high=None,
    loss_like=True,
    definition="−ln softmax(readout(h))[y]: surprise at the target, read by the model's own head",
)
def lens(view: View) -> Tensor:
    """−ln softmax(readout(h_ℓ))[y] in nats, at least 0: the logit lens."""
    return _surprise(view.logits, view.target)


@metric(
    "target",
    title="target deviation",
    unit="1 − cos",
    low=0.0,
    high=2.0,
    loss_like=True,
    definition="1 − cos(f, s_y): angle between the state and the target's semantic basis",
)
def target(view: View) -> Tensor:
    """1 − cos(f_ℓ, s_y), in [0, 2]; needs one basis a position only."""
    return 1 - _cosine(view.states, view.basis)


@metric(
    "virtual",
    title="virtual deviation",
    unit="1 − cos",
    low=0.0,
    high=2.0,
    loss_like=False,
    definition="1 − cos(f, v): angle between the factual and the virtual transition",
)
def virtual(view: View) -> Tensor:
    """1 − cos(f_ℓ, v_ℓ), in [0, 2]: factual against virtual transition."""
    return 1 - _cosine(view.states, view.virtual)


@metric(
    "rank",
    title="rank deviation",
    unit="ln(1+rank) / ln(1+V)",
    low=0.0,
    high=1.0,
    loss_like=True,
    definition="ln(1 + rank of y) / ln(1 + V) under the model's own head, rank 0 is best",
)
def rank(view: View) -> Tensor:
    """ln(1+rank of y)/ln(1+V), in [0, 1]; the rank counts candidates with a strictly larger logit."""
    own = view.logits.gather(-1, view.target.unsqueeze(-1))
    return torch.log1p((view.logits > own).sum(-1).float()) / math.log1p(view.logits.shape[-1])
