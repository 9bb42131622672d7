"""Readouts: how a space is read by the model's head, and how near what is read comes to what the model says.

`"raw"` reads a state as if the last block had returned it: the logit lens. `"translated"` first maps it to where the
last space holds the same (`semviz.traces.translators`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Readout = Literal["raw", "translated"]
DEFAULT: Readout = "translated"


@dataclass(frozen=True, eq=False)
class ReadoutScores:
    """How near one readout of each space comes to the model's own output, on general text that nothing was fitted on.

    Attributes:
        explained: Share of the variance of f_L that the state explains as it is read, at most 1, shape (L+1,). Below 0
            it is farther from f_L than the mean is.
        divergence: Mean KL divergence of the model's own distribution from the one read there, in nats, shape (L+1,).
        agreement: Share of positions where both rank the same token first, in [0, 1], shape (L+1,).
        positions: Number of positions that divergence and agreement are means over.
    """

    explained: NDArray[np.float64]
    divergence: NDArray[np.float64]
    agreement: NDArray[np.float64]
    positions: int
