"""The one look of semviz's pictures: two small themes, one layout, palettes that colour-blind readers can tell apart.

Magnitudes are Cividis, differences run from blue over a neutral tone to orange around 0, categories are Okabe and Ito's
colours with a different symbol each. Vermilion means one thing only, in every picture: the boundary between the frozen
and the trained blocks.

A theme is a table of colours by role, and no two roles of the light theme share a colour. So a figure is drawn once, in
the light theme, and `dark` swaps colour for colour; the HTML report does the same in the browser.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from typing import Any

import plotly.graph_objects as go

from semviz import tokens

FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SIZE = 13
"""Font size of a picture, in pixels; ticks and notes are one smaller."""
TITLE_SIZE = 17
LINE = 17
"""Height of one line of a subtitle, in pixels."""
WRAP = 124
"""Characters in a line of a subtitle."""

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


@dataclass(frozen=True)
class Theme:
    """Colours by role."""

    paper: str
    ink: str
    muted: str
    grid: str
    axis: str
    missing: str
    """Cells without a value."""
    frozen: str
    """The veil over the frozen side."""
    boundary: str
    halo: str
    """Around the boundary, where it crosses a heatmap."""
    line: str
    band: str
    law: str
    predicted: str
    negative: str
    whisker: str
    hover: str
    full: str
    half: str
    last: str
    recommended: str
    other: str


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c2733",
    muted="#5f6c7a",
    grid="#e9edf1",
    axis="#c3ccd5",
    missing="#d9dee4",
    frozen="rgba(96,110,124,0.10)",
    boundary="#d55e00",
    halo="rgba(255,255,255,0.85)",
    line="#0a6ebd",
    band="rgba(10,110,189,0.15)",
    law="#37424e",
    predicted="#00896b",
    negative="#cc79a7",
    whisker="#7d8a97",
    hover="#fdfdfe",
    full="#0072b2",
    half="#e69f00",
    last="#009e73",
    recommended="#b8336a",
    other="#8893a0",
)
DARK = Theme(
    paper="#12171d",
    ink="#e8edf2",
    muted="#9aa8b6",
    grid="#242d36",
    axis="#465361",
    missing="#39434e",
    frozen="rgba(150,165,180,0.13)",
    boundary="#ff8a3d",
    halo="rgba(10,14,18,0.85)",
    line="#62b6f0",
    band="rgba(98,182,240,0.20)",
    law="#c9d3dd",
    predicted="#35c9a0",
    negative="#e39ac4",
    whisker="#8494a3",
    hover="#1d252d",
    full="#56b4e9",
    half="#f0b429",
    last="#2fc59a",
    recommended="#f078a8",
    other="#7f8b98",
)

MAGNITUDE = "Cividis"
"""Colour scale of magnitudes: dark blue is low, yellow is high."""


def swaps() -> dict[str, str]:
    """Return the table light colour → dark colour."""
    return dict(zip(asdict(LIGHT).values(), asdict(DARK).values(), strict=True))


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
        title: Plain text that states what is seen. It is escaped here.
        notes: Plain sentences for the lines below the title: how to read it, what is hidden. Escaped here too.
        body: Height of the plot area in pixels.
        left: Margin in pixels.
        right: Margin in pixels.
        bottom: Margin in pixels.
        above: Extra pixels between the notes and the plot area (a legend, labels).

    Returns:
        The same figure, as high as its parts.
    """
    heading = textwrap.wrap(title, 78) or [""]
    lines = [line for note in notes if note for line in _balanced(note)]
    top = 40 + 22 * len(heading) + LINE * max(len(lines), 1) + above
    figure.update_layout(
        template=template(),
        height=top + body + bottom,
        margin={"l": left, "r": right, "t": top, "b": bottom},
        title={
            "text": "<br>".join(tokens.html(line) for line in heading),
            "font": {"size": TITLE_SIZE, "color": LIGHT.ink, "weight": 600},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 16, "t": 18},
            "subtitle": {
                "text": "<br>".join(tokens.html(line) for line in lines),
                "font": {"size": SIZE - 0.5, "color": LIGHT.muted},
            },
        },
    )
    return figure


def _balanced(text: str) -> list[str]:
    """Break a text into lines of about the same length: a last line of one word reads badly."""
    count = -(-len(text) // WRAP)
    width = min(-(-len(text) // max(count, 1)) + 12, WRAP)
    return textwrap.wrap(text, width)


def name(text: object, *, width: int = 40) -> str:
    """Return a name that came from outside (a task, a model, a label) as one short visible line, not yet escaped."""
    return tokens.show(str(text), width=width)


def sentence(text: str) -> str:
    """Begin a text with a capital and leave the rest as it is: ``KL distance`` stays so."""
    return text[:1].upper() + text[1:]


def dark(figure: go.Figure) -> go.Figure:
    """Return a copy of a semviz figure in the dark theme."""
    return go.Figure(_swap(figure.to_plotly_json(), swaps(), colour=False))


def show(figure: go.Figure, *, renderer: str | None = None) -> None:
    """Display a figure without Plotly's logo and upload button."""
    figure.show(renderer=renderer, config=CONFIG)


def _swap(node: Any, table: dict[str, str], *, colour: bool) -> Any:
    """Swap colours, but only where a key says that the text is one: a token may be spelled ``#ffffff``."""
    if isinstance(node, dict):
        return {key: _swap(child, table, colour="color" in key) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [_swap(child, table, colour=colour) for child in node]
    return table.get(node, node) if colour and isinstance(node, str) else node
