"""What probes advise: which blocks to train, what was measured around that, and how sure it is, in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semviz.common import formats

if TYPE_CHECKING:
    import pandas as pd

    from semviz.scopes.scope import Scope

_POOR_FIT = 0.05  # share of full finetuning's benefit
_SEEN = 0.005  # difference of two shares that shows when they are written as percentages


def advice(
    points: pd.DataFrame,
    *,
    scopes: Sequence[Scope],
    cost: NDArray[np.float64],
    epsilon: float,
    bracket: tuple[int, int],
    following: int | None,
    agreeing: float,
    assumes_seeds: bool,
    law_error: float,
) -> str:
    """Say which blocks to train, with what was measured there and at the next boundary, and what is still open.

    Args:
        points: `Probes.points`.
        scopes: The scope above every boundary 0…L−1.
        cost: Cost of training it as a share of full finetuning's, shape (L,).
        epsilon: ε.
        bracket: The recommended boundary, and the next measured one above it, or L.
        following: What is worth measuring next, if anything.
        agreeing: Share of resamples that recommend the same.
        assumes_seeds: Whether how much seeds vary is a guess.
        law_error: What the suffix law misses the probes by.
    """
    low, high = bracket
    share = formats.percent(1 - epsilon)
    if low == 0:
        sentence = f"Train all blocks: nothing less that was measured keeps {share} of full finetuning's benefit"
    else:
        sentence = (
            f"Train {scopes[low].label}: of what was measured, the most frozen blocks that keep {share} of full "
            f"finetuning's benefit. Boundary {low} keeps {_measured(points, low)}"
        )
    sentence += f"; boundary {high} keeps {_measured(points, high)}." if high < len(scopes) else "."
    for k, benefit in points.loc[points["boundary"] > low, ["boundary", "benefit"]].itertuples(index=False):
        if benefit >= 1 - epsilon:
            sentence += (
                f" Boundary {k} measured {formats.percent(benefit)}, which those around it make look like chance."
            )
    if following is not None:
        sentence += f" Measure boundary {following} next: it may change the answer."
    elif high - low > 1:
        between = f"{low + 1}" if high - low == 2 else f"{low + 1} to {high - 1}"
        saving = formats.percent(float(cost[low] - cost[high - 1]))
        sentence += f" Not measured between them: {between}, which could save {saving} of full finetuning's cost."
    seeds = "; each probe is one training, and seeds are taken to vary as usual" if assumes_seeds else ""
    sentence += f" {formats.percent(agreeing)} of resamples choose this boundary{seeds}."
    if law_error > _POOR_FIT:
        miss = formats.percent(law_error)
        sentence += f" The law misses the probes by {miss} of the benefit, so the curve between them is a guess."
    return sentence


def _measured(points: pd.DataFrame, k: int) -> str:
    """Write the benefit of a measured boundary with its interval, and smoothed where that makes a difference."""
    row = points.set_index("boundary").loc[k]
    benefit, low, high, curve = (float(row[name]) for name in ("benefit", "low", "high", "smoothed"))
    beside = ""
    if abs(curve - benefit) > _SEEN:
        beside = f"; {formats.percent(curve)} when smoothed over the boundaries around it"
    return f"{formats.percent(benefit)} ({formats.percent(low)} to {formats.percent(high)}{beside})"
