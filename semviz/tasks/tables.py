"""Read texts and labels from pandas tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.tasks.columns import Template, template_of
from semviz.tasks.labels import prints_as_text

_LOST = (
    " If the file says NA, None or null there, read it with Task.from_file, or with pd.read_csv(…, "
    "keep_default_na=False)."
)


def texts_and_labels(
    name: str, table: Any, text: str, label: str | None, prompt: Any
) -> tuple[str | None, list[Any], list[Any] | None]:
    """Read the texts and labels of a pandas DataFrame.

    Args:
        name: Name of the argument or split, for messages.
        table: The DataFrame.
        text: Column of texts.
        label: Column of labels, or None.
        prompt: The prompt, which may name other columns.

    Returns:
        The prompt with one place for the text, the texts, and the labels as they are.

    Raises:
        TaskError: If it is not a DataFrame, a column is missing or duplicated, or a cell is empty.
    """
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise TaskError(f"{checks.named_repr(name, table)}; pass a pandas DataFrame.")
    template = needed(name, list(table.columns), text, label, prompt)
    for column in template.columns:
        _check_cells(f"texts[{{}}] of {name}" if column == text else f"{column}[{{}}] of {name}", table[column])
        if template.pieces:
            _check_texts(f"{column}[{{}}] of {name}", table[column])
    if label:
        _check_cells(f"labels[{{}}] of {name}", table[label])
    texts = template.texts([table[column] for column in template.columns])
    return template.prompt, texts, list(table[label]) if label else None


def needed(name: str, columns: Sequence[Any], text: str, label: str | None, prompt: Any) -> Template:
    """Return what a prompt needs of a table; refuse a needed column that is missing or duplicated."""
    template = template_of(name, prompt, columns, text)
    if label is not None and label in template.columns:
        raise TaskError(
            f"Column {checks.short_repr(label)} of {name} is both text and label, so each text would hold its "
            "own answer; pass two columns."
        )
    for column in (*template.columns, *([label] if label else [])):
        count = list(columns).count(column)
        if count != 1:
            problem = "appears twice" if count else "is missing"
            raise TaskError(
                f"Column {checks.short_repr(column)} of {name} {problem}; pass one of "
                f"{checks.short_repr(list(columns))}."
            )
    return template


def _check_cells(where: str, cells: Iterable[Any]) -> None:
    """Refuse a missing value: as text, it would be the word "nan"."""
    import pandas as pd

    for row, value in enumerate(cells):
        if pd.api.types.is_scalar(value) and pd.isna(value):
            raise TaskError(
                f"{where.format(row)} is {type(value).__name__} ({value}), a missing value; drop rows without one."
                f"{_LOST}"
            )


def _check_texts(where: str, cells: Iterable[Any]) -> None:
    """Refuse a value that is one of several in a text and has no text of its own."""
    for row, value in enumerate(cells):
        # Numbers and dates are written as they print; lists are not.
        has_text = not hasattr(value, "__len__") and prints_as_text(value)
        checks.one_text(where.format(row), str(value) if has_text else value, empty=True)
