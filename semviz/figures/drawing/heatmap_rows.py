"""Rows of the heatmaps: which spaces are shown, how high their rows are, and what stands beside them.

A row's y coordinate is its number from the bottom, so rows are of one height whatever spaces they show; a figure's
``layout.meta["spaces"]`` says which. The boundary lies between two rows for any number of frozen blocks, so it can move
in a picture that does not show its space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semviz.common.checks import as_list, is_whole, short_repr
from semviz.common.errors import SemvizError

Spaces = str | Sequence[int]
MOST = 32
"""Largest number of rows that a picture shows of its own accord, but for those beside the boundary."""
_HEIGHT, _LEAST, _SHORTEST, _TALLEST = 30, 14, 170, 560
"""Height of a row in pixels where there is room, that of a readable one, and those of a plot area."""


def choose_spaces(n_blocks: int, spaces: Spaces | None = None, *, boundary: int | None = None) -> tuple[int, ...]:
    """Choose the spaces to show, from the bottom up.

    Args:
        n_blocks: L.
        spaces: "all", or the numbers of the spaces; None shows all where their rows are high enough to be read, else
            0, 1, L, those on the two sides of the boundary, and every second, third, … of the others.
        boundary: Number of frozen blocks that the picture marks, or None.

    Raises:
        SemvizError: The spaces are not some of 0…L.
    """
    if spaces is None:
        if n_blocks < MOST + 3:
            return tuple(range(n_blocks + 1))
        stride = -(-n_blocks // (MOST - 3))
        beside = set() if boundary is None else {boundary, min(boundary + 1, n_blocks)}
        return tuple(sorted({0, 1, *range(stride, n_blocks, stride), n_blocks} | beside))
    advice = f'Pass "all", or numbers of spaces from 0 to {n_blocks}, such as [0, {n_blocks // 2}, {n_blocks}].'
    if isinstance(spaces, str):
        if spaces != "all":
            raise SemvizError(f"spaces={short_repr(spaces)} is not known. {advice}")
        return tuple(range(n_blocks + 1))
    numbers = as_list("spaces", spaces, f'"all", or a list of numbers of spaces from 0 to {n_blocks}')
    wrong = [k for k in numbers if not (is_whole(k) and 0 <= k <= n_blocks)]
    if wrong or not numbers:
        raise SemvizError(f"spaces has {short_repr(wrong[0])}, which is no space. {advice}" if wrong else
                          f"spaces is empty. {advice}")  # fmt: skip
    return tuple(sorted({int(k) for k in numbers}))


def thinning_note(n_blocks: int, shown: Sequence[int], *, has_options: bool = True) -> str:
    """Say that spaces are not shown, and how to see them where a reader can choose; empty where all are."""
    if len(shown) == n_blocks + 1:
        return ""
    how = '; pass spaces="all" to see all' if has_options else ""
    return f"{len(shown)} of {n_blocks + 1} spaces are shown, numbered on the left{how}."


def height(rows: int) -> int:
    """Return the height of a plot area of so many rows, in pixels."""
    return max(min(max(_HEIGHT * rows, _SHORTEST), _TALLEST), _LEAST * rows)


def boundary_height(boundary: int, shown: Sequence[int] | None) -> float:
    """Return the y coordinate of the boundary: above the rows of spaces up to k, below the others.

    Args:
        boundary: k.
        shown: The spaces of the rows; None where row k shows space k.
    """
    return boundary + 0.5 if shown is None else float(np.searchsorted(shown, boundary, side="right")) - 0.5


def labelled_rows(rows: int, body: int) -> list[int]:
    """Choose the rows with a label: all of them where they fit, else every second, fifth, …; the first and the last.

    Args:
        rows: Their number.
        body: Height of the plot area in pixels.
    """
    stride = next((s for s in (1, 2, 4, 5, 8, 10, 16, 20) if s * body / rows >= 13), max(rows // 10, 1))
    last = rows - 1
    return sorted({0, last, *(i for i in range(0, rows, stride) if last - i >= stride)})


def row_labels(shown: Sequence[int], body: int, marks: Mapping[int, str]) -> dict[str, Any]:
    """Describe the labels beside the rows.

    Args:
        shown: The spaces of the rows.
        body: Height of the plot area in pixels.
        marks: A sign before the label of a row, by its number.
    """
    labelled = labelled_rows(len(shown), body)
    text = [f"{marks.get(i, '')} {'input 0' if shown[i] == 0 else shown[i]}".strip() for i in labelled]
    return {"tickmode": "array", "tickvals": labelled, "ticktext": text}
