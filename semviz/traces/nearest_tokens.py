"""The tokens that each space is nearest to, as a table."""

from __future__ import annotations

import pandas as pd

from semviz.common.checks import is_whole, short_repr
from semviz.common.errors import SemvizError
from semviz.common.token_text import short_label
from semviz.traces.deviations import Deviations

_ORDER = ("first", "second", "third")
_WIDTH = 24


def nearest_tokens(trace: Deviations, sample: int, position: int | None) -> pd.DataFrame:
    """Tabulate the nearest tokens of one traced position; see `Trace.nearest_tokens`."""
    if trace.nearest is None and trace.top1 is None:
        raise SemvizError('This trace names no tokens; pass sv.trace(..., metrics=("semantic", "lens"), vocab="full").')
    rows = trace.positions[trace.positions["sample"] == (sample if is_whole(sample) else -1)]
    if not len(rows):
        raise SemvizError(f"sample={short_repr(sample)} was not traced; pass one of those in trace.positions.")
    if position is None:
        # In a labelled sample this is the answer position, which ends the prompt.
        row = (rows[rows["target_id"] >= 0] if (rows["target_id"] >= 0).any() else rows)["position"].idxmax()
    elif is_whole(position) and position in set(rows["position"]):
        row = rows["position"].eq(position).idxmax()
    else:
        positions = ", ".join(map(str, rows["position"]))
        raise SemvizError(
            f"position={short_repr(position)} of sample {sample} was not traced; pass one of {positions}."
        )

    def name(token_id: int) -> str:
        return short_label(trace.vocabulary.get(token_id, f"id {token_id}"), width=_WIDTH)

    columns: dict[str, list[str]] = {}
    if trace.nearest is not None:
        for rank, key in enumerate(_ORDER):
            columns[key] = [name(int(i)) for i in trace.nearest[row, :, rank]]
    if trace.top1 is not None:
        columns["head"] = [name(int(i)) for i in trace.top1[row]]
    return pd.DataFrame(columns, index=pd.RangeIndex(trace.n_blocks + 1, name="space"))
