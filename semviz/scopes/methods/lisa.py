"""LISA-like training: a few blocks of the scope at a time, redrawn every twentieth of the steps.

After arXiv 2403.17919, our reading: two blocks train at a time; embeddings and head, which LISA always trains, stay
frozen here as in every other scope.
"""

from __future__ import annotations

import numpy as np

from semviz.common.training_methods import Mark, Schedule, TrainingMethod, register

_BLOCKS = 2
_PERIODS = 20


def _draw_schedule(blocks: int, steps: int, seed: int) -> Schedule:
    """Draw the blocks of each period."""
    size, period = min(_BLOCKS, blocks), max(1, steps // _PERIODS)
    generator = np.random.default_rng(seed)

    def blocks_from(step: int) -> set[int] | None:
        return None if step % period else set(generator.choice(blocks, size, replace=False).tolist())

    return blocks_from


register(
    TrainingMethod(
        key="lisa",
        title="LISA-like",
        short_title="LISA",
        schedule=_draw_schedule,
        mark=Mark(fill="-dot"),
        refuses={
            "processes": 'changes which blocks train during the run, which several processes cannot do; pass "full".'
        },
        place=3,
    )
)
