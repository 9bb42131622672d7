"""Rows of other people's tables (pandas, datasets) as texts and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import TaskError

if TYPE_CHECKING:
    import pandas as pd


def rows_of_frame(name: str, table: Any, text: str, label: str | None) -> tuple[list[Any], list[Any] | None]:
    """Texts and labels of a pandas DataFrame; labels become text, but for missing ones, which a task refuses.

    Args:
        name: The argument that it was, for messages.
        table: The DataFrame.
        text: Column of texts.
        label: Column of labels, or None.

    Raises:
        TaskError: If it is no DataFrame, or a column is missing or there twice.
    """
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise TaskError(f"{checks.named_repr(name, table)}; pass a pandas DataFrame.")
    _check_columns(list(table.columns), text, label)
    if not label:
        return list(table[text]), None
    # A missing label has a name in pandas ("nan"), and would become a class of its own.
    return list(table[text]), [v if pd.api.types.is_scalar(v) and pd.isna(v) else str(v) for v in table[label]]


def frame_of_dataset(part: Any, text: str, label: str | None) -> pd.DataFrame:
    """The columns of a `datasets.Dataset`, with the names of its `ClassLabel`.

    Raises:
        TaskError: If it is none, a column is missing, or a row has no label.
    """
    if not hasattr(part, "to_pandas") or not hasattr(part, "__len__"):
        raise TaskError(f"{checks.named_repr('dataset', part)}; pass a map-style datasets.Dataset, or a DatasetDict.")
    _check_columns(list(part.column_names), text, label)
    made: pd.DataFrame = part.select_columns([text, *([label] if label else [])]).to_pandas()
    names = getattr(part.features[label], "names", None) if label else None
    if not (label and names):
        return made
    for row, index in enumerate(made[label]):
        if not 0 <= index < len(names):  # -1 stands for no label, and NaN is in no range
            raise TaskError(f"labels[{row}] is {index}, which is no label of {names}; drop rows without one.")
    return made.assign(**{label: [names[int(i)] for i in made[label]]})


def _check_columns(there: list[Any], *wanted: str | None) -> None:
    """Refuse columns that are not there, or there twice."""
    for column in (name for name in wanted if name):
        found = there.count(column)
        if found != 1:
            told = "is there twice" if found else "is not there"
            raise TaskError(f"Column {checks.short_repr(column)} {told}; pass one of {checks.short_repr(there)}.")
