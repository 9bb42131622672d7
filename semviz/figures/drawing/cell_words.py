"""Words inside the cells of a heatmap: as much of a token as its column has room for.

Plotly chooses the size so that the longest one fits at the width that the page gives, and white or dark letters by the
colour of each cell.
"""

from __future__ import annotations

import unicodedata

import plotly.graph_objects as go

from semviz.common import token_text

_LETTER = 7.3
"""Width in pixels that Plotly keeps for a letter of 9 pixels, on a page that is four fifths as wide as a place says."""
_SHORTEST, _LONGEST = 4, 12
"""Letters below which a word tells nothing, and which most tokens do not exceed."""
_LINE = 13
"""Least height of a row in pixels."""
COMFORTABLE = 51
"""Width of a column in pixels that shows most tokens whole."""


def letters_that_fit(column: float, row: float) -> int:
    """Return how many letters a cell has room for, 0 if so few that words would tell nothing.

    Args:
        column: Width of the cell in pixels.
        row: Its height.
    """
    letters = min(int(column / _LETTER), _LONGEST)
    return letters if letters >= _SHORTEST and row >= _LINE else 0


def cell_word(text: str, letters: int) -> str:
    """Return a token's text for a cell, escaped: cut between graphemes, without the space before a word.

    Args:
        text: The token's plain text.
        letters: Room in the cell; wide characters take two.
    """
    text = text.removeprefix(" ") if text.strip() else text
    for width in range(letters, 1, -1):
        label = token_text.short_label(text, width=width)
        escaped = token_text.html_label(label)
        # Plotly's size follows the longest text as JavaScript counts it, entities and all.
        if _columns(label) <= letters and len(escaped.encode("utf-16-le")) // 2 <= letters:
            return escaped
    return token_text.html_label(token_text.short_label(text, width=1))


def add_words(cells: go.Heatmap, words: list[list[str]]) -> None:
    """Write words into the cells of a heatmap, [row][column], escaped."""
    # A word may look like a template, which is why it is not one: Plotly fills in `%{text}` once.
    cells.update(text=words, texttemplate="%{text}")


def _columns(label: str) -> int:
    """Count the columns that a text takes, as a terminal does."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in label
    )
