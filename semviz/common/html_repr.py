"""The rich twin of a text repr: the same facts, and a table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def line_and_table(line: str, table: pd.DataFrame) -> str:
    """One line of text over one table, all of it escaped."""
    return f"<p>{escape(line)}</p>{table.to_html(escape=True, border=0)}"
