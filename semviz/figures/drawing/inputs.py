"""Checks of what callers of a picture pass, and the names of what it shows."""

from __future__ import annotations

from typing import cast

from semviz.common import token_text
from semviz.common.checks import is_whole, named_repr
from semviz.common.errors import SemvizError
from semviz.common.metric_facts import MetricFacts
from semviz.figures.drawing.protocols import DeviationsLike, DifferenceLike

_READOUTS = {
    "raw": "Spaces are read raw (logit lens).",
    "translated": "Spaces are read translated to the last one.",
}


def with_unit(facts: MetricFacts) -> str:
    """Return a metric's axis title, such as ``semantic deviation (nats)``."""
    return f"{facts.title} ({facts.unit})" if facts.unit else facts.title


def difference_of(trace: DeviationsLike) -> DifferenceLike | None:
    """Return the trace if it is a difference of two, else None."""
    return cast("DifferenceLike", trace) if hasattr(trace, "before") else None


def models_of(difference: DifferenceLike) -> str:
    """Say which model minus which, such as ``tuned − base``; hashes tell models of one name apart. Not escaped."""
    metas = difference.after.meta, difference.before.meta
    names = [token_text.short_label(str(meta["model"]), width=32) for meta in metas]
    if names[0] == names[1]:
        names = [f"{name} ({str(meta['model_hash'])[:6]})" for name, meta in zip(names, metas, strict=True)]
    # No-break spaces, so that a title is not cut inside the difference.
    return "\u00a0−\u00a0".join(names)


def check_boundary(n_blocks: int, boundary: int | None) -> int | None:
    """Return the boundary to draw, checked.

    Raises:
        SemvizError: It is not a number of frozen blocks of this model.
    """
    if boundary is None:
        return None
    if not (is_whole(boundary) and 0 <= boundary <= n_blocks):
        raise SemvizError(
            f"{named_repr('boundary', boundary)} is not a number of frozen blocks; pass a whole number from 0 (train "
            f"all) to {n_blocks} (train none)."
        )
    return int(boundary)


def readout_note(trace: DeviationsLike) -> str:
    """Say in one sentence how the spaces below the last were read; empty where that is not known."""
    return _READOUTS.get(str(trace.meta.get("readout")), "")
