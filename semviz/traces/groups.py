"""A trace split by a column of its positions: one trace per label, or one for right and one for wrong answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.traces.deviations import Deviations

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

D = TypeVar("D", bound=Deviations)


@dataclass(frozen=True, eq=False)
class Groups(Mapping[str, D]):
    """Traces by group, from the largest group to the smallest.

    Attributes:
        column: The column of `positions` that separates the groups.
        traces: Name of a group → its trace.
    """

    column: str
    traces: dict[str, D] = field(repr=False)

    def __getitem__(self, name: str) -> D:
        if name not in self.traces:
            raise KeyError(f"no group {name!r}; pass one of {list(self.traces)}")
        return self.traces[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.traces)

    def __len__(self) -> int:
        return len(self.traces)

    def frame(self, metric: str | None = None) -> pd.DataFrame:
        """Profiles of all groups: columns group, samples, space, mean, low, high (95 % bootstrap over samples)."""
        parts = []
        for name, trace in self.traces.items():
            part = trace.profile_frame(metric)
            part.insert(0, "group", name)
            part.insert(1, "samples", trace.meta["samples"])
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def profile(self, *, metric: str | None = None, boundary: int | None = None) -> Figure:
        """Draw one profile per group in one panel."""
        from semviz.figures import group_profile

        return group_profile(self, metric=metric, boundary=boundary)

    def __repr__(self) -> str:
        """One line: the column and the groups with their samples."""
        sizes = ", ".join(f"{name} {trace.meta['samples']:,}" for name, trace in self.traces.items())
        return f"Groups(by {self.column}: {sizes} samples)"

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        # Without the intervals of `frame`, which the table would not show.
        table = pd.DataFrame({name: trace.mean_profile().round(2) for name, trace in self.traces.items()})
        return line_and_table(repr(self), table.rename_axis(index="space", columns="group"))


def group(trace: D, column: str) -> Groups[D]:
    """Split the counted positions of a trace by a column.

    Positions that are not averaged (context, special) stay with their sample if all its counted positions are in one
    group, and are left out otherwise.

    Raises:
        SemvizError: If there is no such column, or it has no values at counted positions.
    """
    if not isinstance(column, str) or column not in trace.positions:
        raise SemvizError(
            f"by={checks.short_repr(column)} is not a column of positions; pass one of {list(trace.positions)}."
        )
    trace.check_counted()
    values = trace.positions[column].to_numpy(dtype=object, na_value=None)
    has_value = trace.counted & np.array([value is not None for value in values])
    if not has_value.any():
        raise SemvizError(f"No counted position has a {column}; pass another column of {list(trace.positions)}.")
    names = np.array([str(value) for value in values], dtype=object)
    sample = trace.positions["sample"].to_numpy()
    sample_groups = pd.Series(names[has_value]).groupby(sample[has_value]).agg(["first", "nunique"])
    owner = sample_groups["first"].where(sample_groups["nunique"] == 1).reindex(sample).to_numpy(dtype=object)
    sizes = pd.Series(names[has_value]).value_counts(sort=True)
    order = sorted(sizes.index, key=lambda name: (-sizes[name], name))
    return Groups(
        column,
        {
            name: trace.take(np.where(trace.counted, has_value & (names == name), owner == name).astype(bool))
            for name in order
        },
    )
