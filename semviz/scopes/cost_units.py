"""The cost table: what a scope costs in forward passes of an average block, as pure functions.

Our reading of the cost of freezing. A trained block costs one unit forward and two backward, a frozen block above the
lowest trained one costs one of these two (gradients pass through it), and a frozen prefix costs its forward pass only:
each epoch, or once where its states are cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semviz.scopes.methods import find_method

if TYPE_CHECKING:
    from semviz.scopes.scope import Scope


def units(
    scope: Scope,
    *,
    epochs: float,
    cached: bool = True,
    method: str = "full",
    head: float = 0.0,
    blocks: Sequence[float] | None = None,
    checkpointing: bool = False,
    trained_share: Sequence[float] | None = None,
) -> dict[str, float]:
    """Return the cost of a training run in units per token, by what it is spent on.

    With all blocks alike, L of them, k frozen below and E epochs: full finetuning E·(3L + 2h), a frozen prefix
    E·(L + 2(L−k) + 2h), a cached one k + E·(3(L−k) + 2h).

    Args:
        scope: What trains.
        epochs: E, passes over the training rows.
        cached: Whether the frozen prefix runs once.
        method: As in `finetune`; adapters need no gradients of the blocks' own weights.
        head: h, cost of the head's forward pass in units; V/(12 d) where every position has a target.
        blocks: Cost of each block's forward pass in units, shape (L,); all 1 by default.
        checkpointing: Whether the trained blocks run forward once more in the backward pass.
        trained_share: Share of each block's weights that train, shape (L,), where only a part of them does.

    Returns:
        prefix, forward, backward.
    """
    block_units = np.ones(scope.n_blocks) if blocks is None else np.asarray(blocks, dtype=float)
    k, trained = scope.boundary, np.asarray(scope.blocks) - 1
    above, own = float(block_units[k:].sum()), float(block_units[trained].sum())
    weights = own if trained_share is None else float((block_units * np.asarray(trained_share))[trained].sum())
    gradients = find_method(method).price.gradient_flops
    forward = epochs * (above + head + (own if checkpointing else 0.0))
    backward = epochs * (above + weights * gradients + head * (1 + gradients if scope.head else 1))
    return {
        "prefix": float(block_units[:k].sum()) * (1.0 if cached else epochs),
        "forward": forward,
        "backward": backward,
    }


def relative_costs(scopes: Sequence[Scope], *, epochs: float, everywhere: bool) -> NDArray[np.float64]:
    """Return the cost of scopes relative to the first, from parameter counts alone, shape (len(scopes),).

    Args:
        scopes: Scopes of one model, full finetuning first.
        epochs: Passes over the training rows.
        everywhere: Whether every position has a target, so that the head runs at all of them; otherwise its cost is 0.
    """
    parts = scopes[0].parts
    head = (parts.head or parts.tied_head) / float(np.mean(parts.blocks)) if everywhere else 0.0
    spent = np.asarray([sum(units(scope, epochs=epochs, head=head).values()) for scope in scopes])
    return np.asarray(spent / spent[0])
