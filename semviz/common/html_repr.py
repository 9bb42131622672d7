"""The HTML version of a text repr: the same line above a table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def line_and_table(line: str, table: pd.DataFrame | None) -> str:
    """Return HTML of one line of text above a table, if there is one, all of it escaped."""
    return f"<p>{escape(line)}</p>{'' if table is None else table.to_html(escape=True, border=0)}"
