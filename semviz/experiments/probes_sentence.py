"""What probes advise: which blocks to train, what was measured around that, and how sure it is, in a few sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from semviz.common import formats
from semviz.common.intervals import ASSUMED_SEEDS

if TYPE_CHECKING:
    from semviz.experiments.probes import Probes

_POOR_FIT = 0.05  # share of full finetuning's benefit
_SEEN = 0.005  # difference of two shares that shows when they are written as percentages


def advice(probes: Probes) -> str:
    """Say which blocks to train, with what was measured there and at the next boundary, and what is still open."""
    if not probes.helps:
        return (
            f"Full finetuning did not improve the model on {probes.task} beyond noise, so there is no benefit to "
            "share out: try other learning rates, more epochs or more rows."
        )
    low, high = probes.bracket
    share = formats.percent(1 - probes.epsilon)
    if low == 0:
        first = f"Train all blocks: nothing less that was measured keeps {share} of full finetuning's benefit"
    else:
        first = (
            f"Train {probes.scopes[low].label}: of what was measured, the most frozen blocks that keep {share} of full "
            f"finetuning's benefit. Boundary {low} keeps {_measured(probes, low)}"
        )
    neighbour = f"; boundary {high} keeps {_measured(probes, high)}." if high < probes.n_blocks else "."
    sentences = [first + neighbour, _what_is_open(probes, low, high), _how_sure(probes), _fit_warning(probes)]
    return " ".join(sentence for sentence in sentences if sentence)


def _measured(probes: Probes, k: int) -> str:
    """Write the benefit of a measured boundary with its interval, and smoothed where that makes a difference."""
    row = probes.points.set_index("boundary").loc[k]
    benefit, low, high, curve = (float(row[name]) for name in ("benefit", "low", "high", "smoothed"))
    beside = ""
    if abs(curve - benefit) > _SEEN:
        beside = f"; {formats.percent(curve)} when smoothed over the boundaries around it"
    return f"{formats.percent(benefit)} ({formats.percent(low)} to {formats.percent(high)}{beside})"


def _what_is_open(probes: Probes, low: int, high: int) -> str:
    """What was not measured and may change the answer."""
    following = probes.next_boundary
    if following is not None:
        return f"Measure boundary {following} next: it may change the answer."
    if high - low < 2:
        return ""
    saving = float(probes.cost[low] - probes.cost[high - 1])
    between = f"{low + 1}" if high - low == 2 else f"{low + 1} to {high - 1}"
    return (
        f"Not measured between them: {between}, which would save at most {formats.percent(saving)} more of full "
        "finetuning's cost."
    )


def _how_sure(probes: Probes) -> str:
    """How many resamples agree, and what is not known of seeds."""
    seeds = "; each probe is one training, and seeds are taken to vary as usual"
    share = formats.percent(probes.agreement_of_resamples)
    return f"{share} of resamples choose this boundary{seeds if probes.covers == ASSUMED_SEEDS else ''}."


def _fit_warning(probes: Probes) -> str:
    """A warning if the law does not fit the probes."""
    if not (math.isfinite(probes.law.error) and probes.law.error > _POOR_FIT):
        return ""
    miss = formats.percent(probes.law.error)
    return f"The law misses the probes by {miss} of the benefit, so the curve between them is a guess."
