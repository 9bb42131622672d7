"""The shared look of semviz's pictures: one layout, one way to write titles and notes.

Colours and palettes are in `semviz.figures.drawing.themes`.
"""

from __future__ import annotations

import textwrap
from typing import Any

import plotly.graph_objects as go

from semviz.common import token_text
from semviz.figures.drawing.themes import CHANGE as CHANGE
from semviz.figures.drawing.themes import DARK as DARK
from semviz.figures.drawing.themes import GROUPS as GROUPS
from semviz.figures.drawing.themes import LIGHT as LIGHT
from semviz.figures.drawing.themes import MAGNITUDE as MAGNITUDE
from semviz.figures.drawing.themes import dark as dark
from semviz.figures.drawing.themes import role as role
from semviz.figures.drawing.themes import swaps as swaps

FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SIZE = 13
"""Font size of a picture, in pixels; ticks and notes are one smaller."""
TITLE_SIZE = 17
LINE = 17
"""Height of one line of a subtitle, in pixels."""
WRAP = 86
"""Characters in a line of a subtitle: Plotly does not break lines, and a picture may be only 500 pixels wide."""
TITLE_WRAP = 56
"""Characters in a line of a title."""
_PERCENT = "\u00a0%"
"""A sign that stays with its number where lines are broken."""
_LONGEST = 2_000
"""Characters of the notes that come from a result, several times as long as the longest message."""

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "responsive": True,
    # The figures do not zoom (they are drawn to be read whole), so only the camera stays.
    "modeBarButtonsToRemove": [
        "zoom2d", "pan2d", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d",
    ],
}  # fmt: skip
"""Settings for showing a figure: no upload button, no logo, as wide as its place."""


def template() -> go.layout.Template:
    """Return the light template. It is small on purpose: Plotly's own adds 6 KB to every figure."""
    axis = {
        "gridcolor": LIGHT.grid,
        "linecolor": LIGHT.axis,
        "tickcolor": LIGHT.axis,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickfont": {"size": SIZE - 1, "color": LIGHT.muted},
        "title": {"font": {"size": SIZE, "color": LIGHT.ink}, "standoff": 10},
        "automargin": False,
        "exponentformat": "power",
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": SIZE, "color": LIGHT.ink},
            "paper_bgcolor": LIGHT.paper,
            "plot_bgcolor": LIGHT.paper,
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {
                "bgcolor": LIGHT.hover,
                "bordercolor": LIGHT.axis,
                "font": {"family": FONT, "size": SIZE, "color": LIGHT.ink},
                "align": "left",
            },
            "legend": {"bgcolor": "rgba(0,0,0,0)", "font": {"size": SIZE - 1, "color": LIGHT.ink}},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": LIGHT.axis, "activecolor": LIGHT.line},
            "hovermode": "closest",
            "dragmode": False,
        }
    )


def finish(
    figure: go.Figure,
    *,
    title: str,
    notes: list[str],
    body: int,
    left: int = 72,
    right: int = 24,
    bottom: int = 60,
    above: int = 0,
) -> go.Figure:
    """Give a figure its title, notes, height and margins.

    Args:
        figure: The figure; it is changed and returned.
        title: Plain text that states what the figure shows. It is escaped here.
        notes: Plain sentences for the lines below the title: how to read it, what is hidden. Escaped here too.
        body: Height of the plot area in pixels.
        left: Margin in pixels.
        right: Margin in pixels.
        bottom: Margin in pixels.
        above: Extra pixels between the notes and the plot area (a legend, labels).

    Returns:
        The same figure, as high as its parts.
    """
    heading = textwrap.wrap(title, TITLE_WRAP) or [""]
    lines = [line for note in notes if note for line in _balanced(note)]
    top = 40 + 22 * len(heading) + LINE * max(len(lines), 1) + above
    figure.update_layout(
        template=template(),
        height=top + body + bottom,
        margin={"l": left, "r": right, "t": top, "b": bottom},
        title={
            "text": "<br>".join(literal(line) for line in heading),
            "font": {"size": TITLE_SIZE, "color": LIGHT.ink, "weight": 600},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            # Plotly lifts a title of two lines.
            "pad": {"l": 16, "t": 18 + 11 * (len(heading) - 1)},
            "subtitle": {
                "text": "<br>".join(literal(line) for line in lines),
                "font": {"size": SIZE - 0.5, "color": LIGHT.muted},
            },
        },
    )
    return figure


def align_top(figure: go.Figure, top: int) -> go.Figure:
    """Move the plot area down to at least ``top`` pixels below the top edge, level with a neighbouring figure.

    Args:
        figure: A finished figure; it is changed and returned.
        top: Smallest distance of the plot area from the top edge, in pixels.
    """
    more = max(top - int(figure.layout.margin.t), 0)
    return figure.update_layout(margin_t=figure.layout.margin.t + more, height=figure.layout.height + more)


def _balanced(text: str) -> list[str]:
    """Break a text into lines; where the last would be short, into lines of about the same length."""
    text = text.replace(" %", _PERCENT)
    lines = textwrap.wrap(text, WRAP)
    if len(lines) > 1 and len(lines[-1]) < WRAP // 4:
        lines = textwrap.wrap(text, min(-(-len(text) // len(lines)) + 12, WRAP))
    return [line.replace(_PERCENT, " %") for line in lines]


def literal(text: str) -> str:
    """Escape a text that Plotly also reads as a template: titles, annotations, hover templates."""
    return token_text.html_label(text).replace("%{", "%&#123;")


def name(text: object, *, width: int = 40) -> str:
    """Return a name that came from outside (a task, a model, a label) as one short visible line, not yet escaped."""
    return token_text.short_label(str(text), width=width)


def sentences(text: object) -> str:
    """Return sentences of semviz's own, with names from outside in them, whole and visible; not yet escaped.

    A note that ends in the middle says something else than it should. Only what is longer than any message of ours,
    such as a damaged file's, is cut.
    """
    return name(text, width=_LONGEST)


def capitalized(text: str) -> str:
    """Capitalize the first letter and leave the rest as it is: ``KL distance`` stays so."""
    return text[:1].upper() + text[1:]


def show(figure: go.Figure, *, renderer: str | None = None) -> None:
    """Display a figure without Plotly's logo and upload button."""
    figure.show(renderer=renderer, config=CONFIG)
