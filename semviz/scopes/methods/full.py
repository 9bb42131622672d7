"""The scope's own weights, all of them."""

from __future__ import annotations

from semviz.common.training_methods import FULL, Mark, TrainingMethod, register

register(TrainingMethod(key=FULL, title="all weights", mark=Mark(), place=0))
