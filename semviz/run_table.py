"""Tables of runs as people read them in a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from semviz.common import formats

if TYPE_CHECKING:
    from semviz.experiments.runs import Runs


def for_people(runs: Runs) -> pd.DataFrame:
    """One row a scope, all text: parameters and share, score ± interval, seconds, predicted and measured benefit."""
    loss = runs.score == "loss"

    def score(row: dict[str, Any]) -> str:
        if loss:
            half = (row["loss_high"] - row["loss_low"]) / 2
            return f"{row['loss']:.3f} ± {half:.3f}"
        return f"{100 * row['accuracy']:.1f} ± {100 * (row['high'] - row['low']) / 2:.1f} %"

    return pd.DataFrame(
        {
            "scope": row["scope"],
            "name": row["name"],
            "trainable": formats.si(row["trainable"]),
            "share": formats.percent(row["share"]),
            "loss (nats)" if loss else "accuracy": score(row),
            "seconds": f"{row['seconds']:.1f}",
            "speed-up": f"{row['speedup']:.1f} ×" if math.isfinite(row["speedup"]) else formats.MISSING,
            "predicted benefit": formats.percent(row["predicted"]),
            "measured benefit": formats.percent(row["benefit"]),
            "rate": formats.number(row["lr"], digits=2),
        }
        for row in runs.table().to_dict("records")
    )
