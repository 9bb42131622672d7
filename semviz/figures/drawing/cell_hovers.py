"""What the hovers of heatmap cells say beside the value: tokens of a space, and values before and after a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from semviz.common import formats, token_text
from semviz.figures.drawing import style
from semviz.figures.drawing.inputs import difference_of
from semviz.figures.drawing.protocols import DeviationsLike, Floats

HOVER_WIDTH = 16
"""Graphemes of a token in a hover."""


@dataclass(frozen=True)
class Line:
    """One more line in the hover of every cell.

    Attributes:
        name: What the line begins with.
        texts: What it says, [column][space], already escaped.
    """

    name: str
    texts: list[list[str]]


def token_lines(trace: DeviationsLike, index: Floats, *, escape: bool = True) -> list[Line]:
    """Return the nearest tokens in every space and the head's first choice there, where they were traced.

    Args:
        trace: The trace, or a difference: then of the model after, and of both where their heads disagree.
        index: Rows of the trace's arrays, one per column.
        escape: False leaves the texts plain, for tables.
    """
    shown = hover_text if escape else _short_label
    names = {i: shown(text) for i, text in trace.vocabulary.items()}
    lines = []
    difference = difference_of(trace)
    if trace.nearest is not None:
        near = [
            [", ".join(_token_name(names, i) for i in ids if i >= 0) for ids in row] for row in trace.nearest[index]
        ]
        lines.append(Line("nearest" if difference is None else "nearest after", near))
    if trace.top1 is not None:
        first = [[_token_name(names, i) for i in row] for row in trace.top1[index]]
        if difference is not None and difference.before.top1 is not None:
            old = [[_token_name(names, i) for i in row] for row in difference.before.top1[index]]
            first = [
                [b if a == b else f"{a} → {b}" for a, b in zip(*rows, strict=True)]
                for rows in zip(old, first, strict=True)
            ]
        lines.append(Line("head", first))
    return lines


def change_line(name: str, before: Floats, after: Floats) -> Line:
    """Return the values before and after a change; both of shape (columns, spaces)."""
    texts = [
        [f"{formats.number(float(a))} → {formats.number(float(b))}" for a, b in zip(*rows, strict=True)]
        for rows in zip(before, after, strict=True)
    ]
    return Line(style.literal(name), texts)


def _token_name(names: Mapping[int, str], token_id: int) -> str:
    return names.get(int(token_id), f"id {token_id}")


def hover_text(text: object) -> str:
    """Return a token or name as a hover shows it, escaped."""
    return token_text.html_label(_short_label(text))


def _short_label(text: object) -> str:
    return token_text.short_label(str(text), width=HOVER_WIDTH)
