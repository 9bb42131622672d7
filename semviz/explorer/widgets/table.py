"""A table in the browser, sortable by its headers, whose rows can be chosen with mouse and keyboard."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import anywidget
import traitlets

from semviz.common.errors import SemvizError
from semviz.explorer.widgets.assets import script

_CSS = """
.semviz-table { overflow-x: auto; width: 100%; color: var(--jp-ui-font-color1, #1c2733); font-size: 13px; }
.semviz-table [hidden] { display: none; }
.semviz-table table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; line-height: 1.4; }
.semviz-table caption { text-align: left; padding: 4px 0 8px; caption-side: top; }
.semviz-table th, .semviz-table td {
  text-align: left; padding: 6px 10px; white-space: nowrap; border-bottom: 1px solid var(--jp-border-color2, #c3ccd5);
}
.semviz-table tbody th { font-weight: 500; }
.semviz-table .semviz-numeric { text-align: right; }
.semviz-table thead th { padding: 2px 4px; vertical-align: bottom; }
.semviz-table button {
  font: inherit; font-weight: 600; color: inherit; background: none; border: 0; border-radius: 4px;
  padding: 4px 6px; cursor: pointer;
}
.semviz-table button:hover { background: var(--jp-layout-color2, #eef1f4); }
.semviz-table .semviz-arrow { display: inline-block; width: 1.1em; text-align: center; font-size: 10px; }
.semviz-table tbody tr { cursor: pointer; background: var(--jp-layout-color1, #fff); }
.semviz-table tbody tr:hover { background: var(--jp-layout-color2, #eef1f4); }
.semviz-table tbody tr.semviz-chosen { background: rgba(10, 110, 189, 0.16); }
.semviz-table tbody tr.semviz-chosen > :first-child { box-shadow: inset 4px 0 #0a6ebd; font-weight: 700; }
.semviz-table tbody tr:focus-visible, .semviz-table button:focus-visible {
  outline: 3px solid #0a6ebd; outline-offset: -3px;
}
[data-jp-theme-light="false"] .semviz-table :focus-visible { outline-color: #62b6f0; }
[data-jp-theme-light="false"] .semviz-table tbody tr.semviz-chosen { background: rgba(98, 182, 240, 0.2); }
[data-jp-theme-light="false"] .semviz-table tbody tr.semviz-chosen > :first-child { box-shadow: inset 4px 0 #62b6f0; }
.semviz-table .semviz-note { margin: 0; padding: 12px 0; font-size: 14px; }
"""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Key of its texts in the rows.
        title: Text of its header.
        numeric: Whether its texts are aligned like numbers.
        help: Explanation of the header, shown on hover and read out by screen readers.
    """

    key: str
    title: str
    numeric: bool = False
    help: str = ""


class Table(anywidget.AnyWidget):
    """A table whose rows can be chosen.

    Args:
        caption: What the table shows.
        placeholder: Text to show while there are no rows.
        on_choose: Called with the ``_id`` of the chosen row, also if it is chosen again.
    """

    _esm = script("table.js")
    _css = _CSS

    columns: Any = traitlets.List().tag(sync=True)
    rows: Any = traitlets.List().tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)
    """``_id`` of the chosen row, or an empty text. Setting it does not call ``on_choose``."""
    caption = traitlets.Unicode().tag(sync=True)
    placeholder = traitlets.Unicode().tag(sync=True)

    def __init__(self, *, caption: str, placeholder: str = "", on_choose: Callable[[str], None] | None = None) -> None:
        super().__init__(caption=caption, placeholder=placeholder)
        self._on_choose = on_choose
        self.on_msg(self._receive)

    def show(self, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        """Show rows, sorted as the user last sorted them.

        Args:
            columns: The columns from left to right; the first names the row.
            rows: Texts by the key of their column, ``_id`` (a unique text) and, for columns not sorted by their texts,
                ``_sort`` with a number or text by key. None and NaN are sorted last.

        Raises:
            SemvizError: If rows share an ``_id`` or have none.
        """
        json_rows = [_json_row(row) for row in rows]
        ids = [row["_id"] for row in json_rows]
        if duplicates := sorted({name for name in ids if ids.count(name) > 1}):
            raise SemvizError(f"Two rows have the _id {duplicates[0]!r}. Give each row its own _id.")
        with self.hold_sync():
            self.columns = [asdict(column) for column in columns]
            self.rows = json_rows
            if self.chosen not in ids:
                self.chosen = ""

    def choose(self, row: str) -> None:
        """Act as if a row was clicked.

        Args:
            row: The row's ``_id``.

        Raises:
            SemvizError: If the table has no such row.
        """
        ids = [shown_row["_id"] for shown_row in self.rows]
        if row not in ids:
            raise SemvizError(f"The table has no row {row!r}. Pass one of: {ids}.")
        self.chosen = row
        if self._on_choose is not None:
            self._on_choose(row)

    def _receive(self, _: Table, content: dict[str, Any], buffers: list[memoryview]) -> None:
        # The row may have been removed before the click arrived.
        if content.get("event") == "choose" and any(row["_id"] == content["id"] for row in self.rows):
            self.choose(str(content["id"]))


def _json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a row to valid JSON: one NaN would lose the whole message."""
    if not isinstance(row.get("_id"), str) or not row["_id"]:
        raise SemvizError(f"A row has the _id {row.get('_id')!r}. Give each row a text as its _id.")
    sort_keys = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.get("_sort", {}).items()
    }
    return {**{key: str(value) for key, value in row.items() if key != "_sort"}, "_sort": sort_keys}
