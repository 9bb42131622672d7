"""A prompt that names columns: which ones it needs, and the text that each row makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from semviz.common import checks
from semviz.common.errors import TaskError

TEXT = "text"
# What looks like a column's name; braces of code, of JSON and of TeX (\frac{a}{b}) do not.
_NAMED = re.compile(r"(?<![\w\\{}$])\{(\w[^{}\n\"':,;]*)\}")


@dataclass(frozen=True)
class Template:
    """A prompt whose text is made of one column or of several.

    Attributes:
        prompt: The prompt with one place for the text, as `Task.prompt`; None for the usual one.
        pieces: What is written between the columns' values: one piece less than there are columns.
        columns: The columns in the order in which the prompt names them.
    """

    prompt: str | None
    pieces: tuple[str, ...]
    columns: tuple[Any, ...]

    def texts(self, values: Sequence[Sequence[Any]]) -> list[Any]:
        """The text of each row, from the values of each column."""
        if not self.pieces:
            return list(values[0])
        return [self._joined(row) for row in zip(*values, strict=True)]

    def _joined(self, row: Iterable[Any]) -> str:
        first, *others = map(str, row)
        return first + "".join(piece + value for piece, value in zip(self.pieces, others, strict=True))


def template_of(name: str, prompt: Any, columns: Sequence[Any], text: Any) -> Template:
    """Read a prompt that may name columns of a table.

    Args:
        name: Name of the table in messages.
        prompt: The prompt; None for the usual one. `{text}` stands for the column of texts, `{name}` for any other.
        columns: Names of the table's columns.
        text: The column of texts, which need not be there where the prompt does not name it.

    Raises:
        TaskError: If it names a column that is not there.
    """
    if not isinstance(prompt, str):  # what is no text is refused with the task's other options
        return Template(prompt, (), (text,))
    column_of = {str(column): column for column in columns if isinstance(column, str)} | {TEXT: text}
    unknown = [one for one in _NAMED.findall(prompt) if one not in column_of]
    if unknown:
        raise TaskError(
            f"The prompt names {{{unknown[0]}}}, and the columns of {name} are {checks.short_repr(list(columns))}; "
            "name one of them, or {text} for the column of texts."
        )
    places = list(re.finditer("|".join(re.escape(f"{{{one}}}") for one in column_of), prompt))
    named = [column_of[place.group()[1:-1]] for place in places]
    if not places or all(place.group() == f"{{{TEXT}}}" for place in places):
        return Template(prompt, (), (text,))
    pieces = (prompt[one.end() : other.start()] for one, other in pairwise(places))
    whole = f"{prompt[: places[0].start()]}{{{TEXT}}}{prompt[places[-1].end() :]}"
    return Template(whole, tuple(pieces), tuple(named))
