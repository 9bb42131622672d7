"""Words inside the cells of a heatmap: as much of a token as its column has room for.

Plotly chooses the size so that the longest one fits at the width that the page gives. The letters are dark in light
cells and light in dark ones, in two layers, since Plotly's own choice is grey on grey in between.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import plotly.colors
import plotly.graph_objects as go

from semviz.common import token_text
from semviz.common.metric_facts import MetricFacts
from semviz.figures.drawing import style
from semviz.figures.drawing.protocols import Floats

_LETTER = 8
"""Width in pixels that a letter gets, where a page is as wide as its place says."""
_SHORTEST, _LONGEST = 4, 12
"""Letters below which a word tells nothing, and which most tokens do not exceed."""
_LINE = 13
"""Least height of a row in pixels."""
COMFORTABLE = 6 * _LETTER
"""Width of a column in pixels that shows most tokens whole."""
_NOTHING = "\u200b"
"""A letter without width."""
_ESCAPE = len("&#36;")
"""Length of the longest escaped letter, which the shortest room must hold."""
_LEVELS = 256
_LETTERS = ("#111111", "#fefefe")
"""Dark and light letters on magnitudes; no colours of a theme, which the dark one would swap."""


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
    for width in range(letters, 0, -1):
        label = token_text.short_label(text, width=width)
        escaped = token_text.html_label(label)
        if _columns(label) <= letters and _length(escaped) <= max(letters, _ESCAPE):
            return escaped
    return token_text.ELLIPSIS


def add_words(figure: go.Figure, words: list[list[str]], letters: int, facts: MetricFacts) -> None:
    """Write words into the cells of a figure's first heatmap.

    Args:
        figure: The figure.
        words: Escaped, [row][column].
        letters: Room in a cell.
        facts: Says which colour scale the cells have.
    """
    cells = figure.data[0]
    values = np.array([[np.nan if z is None else z for z in row] for row in cells.z], dtype=float)
    has_value = np.isfinite(values)
    level = np.clip((np.where(has_value, values, cells.zmax) - cells.zmin) / (cells.zmax - cells.zmin), 0, 1)
    is_dark = _wants_light_letters(facts.is_change)[(level * (_LEVELS - 1)).round().astype(int)] & has_value
    # Changes swap light and dark in the dark theme; magnitudes keep their colours.
    colours = (style.LIGHT.ink, style.LIGHT.paper) if facts.is_change else _LETTERS
    light, dark = (_padded(_where(words, here), letters) for here in (~is_dark & has_value, is_dark))
    cells.update(text=light, texttemplate="%{text}", textfont={"color": colours[0]})
    if is_dark.any():
        figure.add_heatmap(
            z=[[1 if here else None for here in row] for row in is_dark],
            x=cells.x, y=cells.y, xgap=cells.xgap, ygap=cells.ygap,
            text=dark, texttemplate="%{text}", textfont={"color": colours[1]},
            colorscale=[[0, "rgba(0,0,0,0)"], [1, "rgba(0,0,0,0)"]], showscale=False, hoverinfo="skip",
            name="words in dark cells",
        )  # fmt: skip


@cache
def _wants_light_letters(is_change: bool) -> Floats:
    """Tell for every level of a colour scale whether light letters are more legible, in both themes."""
    themes: list[tuple[Any, tuple[str, str]]] = [(style.MAGNITUDE, _LETTERS)]
    if is_change:
        swaps = style.swaps()
        turned = [[at, swaps[str(colour)]] for at, colour in style.CHANGE]
        themes = [(scale, (theme.ink, theme.paper)) for scale, theme in zip(
            (style.CHANGE, turned), (style.LIGHT, style.DARK), strict=True)]  # fmt: skip
    levels = np.linspace(0, 1, _LEVELS).tolist()
    worst = np.full((2, _LEVELS), np.inf)
    for scale, letters in themes:
        grounds = _luminance(plotly.colors.sample_colorscale(scale, levels, colortype="tuple"))
        for i, letter in enumerate(letters):
            (own,) = _luminance([tuple(v / 255 for v in plotly.colors.hex_to_rgb(letter))])
            low, high = np.minimum(grounds, own), np.maximum(grounds, own)
            worst[i] = np.minimum(worst[i], (high + 0.05) / (low + 0.05))
    return np.asarray(worst[1] > worst[0])


def _luminance(colours: Sequence[tuple[float, ...]]) -> Floats:
    """Return the relative luminance of colours whose parts run from 0 to 1, as WCAG defines it."""
    parts = np.array(colours)
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ np.array([0.2126, 0.7152, 0.0722]))


def _where(words: list[list[str]], here: Floats) -> list[list[str]]:
    return [[word if it else "" for word, it in zip(*row, strict=True)] for row in zip(words, here, strict=True)]


def _padded(words: list[list[str]], letters: int) -> list[list[str]]:
    """Make one text as long as a cell has room for, so that every layer and window has letters of the same size.

    Plotly's size follows the longest text as JavaScript counts it, whatever is seen of it.
    """
    row, column = max(
        ((r, c) for r in range(len(words)) for c in range(len(words[r]))), key=lambda at: _length(words[at[0]][at[1]])
    )
    longest = words[row][column]
    if longest:
        words[row][column] = longest + _NOTHING * (max(letters, _ESCAPE) - _length(longest))
    return words


def _length(text: str) -> int:
    """Count a text as JavaScript does."""
    return len(text.encode("utf-16-le")) // 2


def _columns(label: str) -> int:
    """Count the columns that a text takes, as a terminal does."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in label
    )
