"""The norms of the scope's blocks alone, and the final norm where it is part of the scope: the smallest baseline."""

from __future__ import annotations

from semviz.common.training_methods import Mark, TrainingMethod, register

register(
    TrainingMethod(
        key="norm",
        title="norms only",
        short_title="norms",
        parts=("norm",),
        rate_factor=10.0,
        mark=Mark(symbol="hourglass", fill="-open"),
        refuses={"head": "trains norms alone; pass a scope with head=False."},
        place=4,
    )
)
