"""Tables in text whose cells are separated by commas, semicolons, tabs or the like."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from semviz.common import checks
from semviz.common.errors import TaskError

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = (",", "\t", ";", "|")
_SAID = re.compile(r'"?sep=(.)"?\r?\n')  # a first line that spreadsheets write and read


def read_delimited(
    text: str, name: str, check: Callable[[Sequence[str]], object], *, separator: str | None, usual: str
) -> tuple[pd.DataFrame, list[str]]:
    """Read a table as it stands: every cell is text, and NA or None are words.

    The separator is the first one that splits the header into the columns that are asked for.

    Args:
        text: The text.
        name: What messages call it.
        check: Raises a TaskError where the names of columns lack one that is needed.
        separator: The separator, if it is known.
        usual: The separator that the file's ending means.

    Returns:
        The table, and what was noticed, in sentences.

    Raises:
        TaskError: If there is no header or no row, a column is missing, or rows do not fit the header.
    """
    if separator is not None and (not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n'):
        raise TaskError(f'{checks.named_repr("separator", separator)}; pass one character, such as ";".')
    said = _SAID.match(text)
    if said:
        text, separator = text[said.end() :], separator or said[1]
    if not text.strip():
        raise TaskError(f"{name} is empty and cannot be read; pass a file with a header and rows.")
    separator, header = _header(text, name, check, separator, usual)
    if not _unbalanced(text, separator, len(header)):
        return _parsed(text, name, separator, header, quoting=csv.QUOTE_MINIMAL), []
    frame = _parsed(text, name, separator, header, quoting=csv.QUOTE_NONE)
    return frame, [f"Quotes of {name} do not pair, so they were read as parts of its texts."]


def _header(
    text: str, name: str, check: Callable[[Sequence[str]], object], separator: str | None, usual: str
) -> tuple[str, list[str]]:
    """The separator, and the names of columns."""
    candidates = [separator] if separator else list(dict.fromkeys([usual, *_SEPARATORS]))
    headers = {candidate: _first_record(text, name, candidate) for candidate in candidates}
    for candidate, header in headers.items():
        try:
            check(header)
        except TaskError:
            continue
        return candidate, header
    if len(text.splitlines()) == 1:
        raise TaskError(f"{name} cannot be read as a table: it is one line; pass a file with a header and rows.")
    check(max(headers.values(), key=len))  # says which column is missing, and those that there are
    raise AssertionError("a header that failed passes")


def _first_record(text: str, name: str, separator: str) -> list[str]:
    try:
        records = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        return [cell.strip() for cell in next(record for record in records if record)]
    except (csv.Error, StopIteration) as error:
        raise TaskError(f"{name} has no header that can be read: {checks.first_line(error)}.") from error


def _unbalanced(text: str, separator: str, width: int) -> bool:
    """Whether quotes are signs of the texts, as in tables that quote nothing: they do not pair, and all lines fit."""
    if '"' not in text:
        return False
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            pass
    except csv.Error as error:
        lines = (line.rstrip("\r") for line in text.split("\n"))
        return "limit" not in str(error) and all(line.count(separator) == width - 1 for line in lines if line)
    return False


def _parsed(text: str, name: str, separator: str, header: list[str], *, quoting: int) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(
            io.StringIO(text, newline=""), sep=separator, dtype=str, keep_default_na=False, na_filter=False,
            quoting=quoting,
        )  # fmt: skip
        if isinstance(frame.index, pd.RangeIndex):
            if frame.empty:
                raise TaskError(f"{name} has a header and no rows (texts is empty); pass a file with rows.")
            return frame.set_axis(header, axis=1)
        # Where the first row is longer than the header, pandas takes the columns in front for names of the rows.
        where, expected, found = "first row", len(frame.columns), len(frame.columns) + frame.index.nlevels
    except TaskError:
        raise
    except (OSError, ValueError) as error:
        numbers = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if numbers is None:
            raise TaskError(
                f"{name} cannot be read as a table: {checks.first_line(error)}. Pass a .csv file with a header."
            ) from error
        where, expected, found = f"line {numbers[2]}", int(numbers[1]), int(numbers[3])
    sign = {",": "commas", ";": "semicolons", "\t": "tabs"}.get(separator, repr(separator))
    raise TaskError(
        f"{name}: its {where} has {found} fields, and its header {expected}; put texts that contain {sign} in "
        f'double quotes, such as "bad{separator} but fine", and end no row with {separator!r}.'
    )
