"""Read texts and labels from pandas and `datasets` tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import TaskError

if TYPE_CHECKING:
    import pandas as pd


def texts_and_labels(name: str, table: Any, text: str, label: str | None) -> tuple[list[Any], list[Any] | None]:
    """Read the texts and labels of a pandas DataFrame; labels become text.

    Args:
        name: Name of the argument, for messages.
        table: The DataFrame.
        text: Column of texts.
        label: Column of labels, or None.

    Raises:
        TaskError: If it is not a DataFrame, a column is missing or duplicated, or a cell is empty.
    """
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise TaskError(f"{checks.named_repr(name, table)}; pass a pandas DataFrame.")
    _check_columns(list(table.columns), text, label)
    for column, what in ((text, "texts"), (label, "labels")) if label else ((text, "texts"),):
        for row, value in enumerate(table[column]):
            # As text, a missing label ("nan") would become a class of its own.
            if pd.api.types.is_scalar(value) and pd.isna(value):
                raise TaskError(
                    f"{what}[{row}] of {name} is {type(value).__name__} ({value}), a missing value; drop rows without "
                    "one. If the file says NA, None or null there, read it with pd.read_csv(…, keep_default_na=False)."
                )
    return list(table[text]), [str(value) for value in table[label]] if label else None


def dataset_to_frame(dataset: Any, text: str, label: str | None) -> pd.DataFrame:
    """Convert a `datasets.Dataset` to a DataFrame, with the class names of its `ClassLabel`.

    Raises:
        TaskError: If it is not a dataset, a column is missing, or a row has no label.
    """
    if not hasattr(dataset, "to_pandas") or not hasattr(dataset, "__len__"):
        raise TaskError(
            f"{checks.named_repr('dataset', dataset)}; pass a map-style datasets.Dataset, or a DatasetDict."
        )
    _check_columns(list(dataset.column_names), text, label)
    frame: pd.DataFrame = dataset.select_columns([text, *([label] if label else [])]).to_pandas()
    names = getattr(dataset.features[label], "names", None) if label else None
    if not (label and names):
        return frame
    for row, index in enumerate(frame[label]):
        if not 0 <= index < len(names):  # -1 stands for a missing label, and NaN fails every comparison
            raise TaskError(
                f"labels[{row}] is {index}, which is not the index of a label in {names}; drop rows without one."
            )
    return frame.assign(**{label: [names[int(i)] for i in frame[label]]})


def _check_columns(columns: list[Any], *required: str | None) -> None:
    """Refuse a required column that is missing or duplicated."""
    for column in (name for name in required if name):
        count = columns.count(column)
        if count != 1:
            problem = "appears twice" if count else "is missing"
            raise TaskError(f"Column {checks.short_repr(column)} {problem}; pass one of {checks.short_repr(columns)}.")
