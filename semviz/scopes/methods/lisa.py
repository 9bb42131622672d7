"""LISA-like training: a few blocks of the scope at a time, drawn anew every twentieth of the steps.

After arXiv 2403.17919, our reading: two blocks train at a time; embeddings and head, which LISA always trains, stay
frozen here as in every other scope.
"""

from __future__ import annotations

import numpy as np

from semviz.common.training_methods import Mark, Schedule, TrainingMethod, register

_BLOCKS = 2
_PERIODS = 20


def _sampled(blocks: int, steps: int, seed: int) -> Schedule:
    """Draw the blocks of each period."""
    size, period = min(_BLOCKS, blocks), max(1, steps // _PERIODS)
    draw = np.random.default_rng(seed)

    def blocks_from(step: int) -> set[int] | None:
        return None if step % period else set(draw.choice(blocks, size, replace=False).tolist())

    return blocks_from


register(
    TrainingMethod(
        key="lisa",
        title="LISA-like",
        short_title="LISA",
        schedule=_sampled,
        mark=Mark(fill="-dot"),
        refuses={"processes": 'changes what trains on the way, which several processes cannot; pass "full".'},
        place=3,
    )
)
