"""Two small themes, and palettes that colour-blind readers can tell apart.

Magnitudes are Cividis, differences run from blue over a neutral tone to orange around 0, categories are Okabe and Ito's
colours with a different symbol each. Vermilion means one thing only, in every picture: the boundary between the frozen
and the trained blocks.

A theme is a table of colours by role, and no two roles of the light theme share a colour. So a figure is drawn once, in
the light theme, and `dark` swaps colour for colour; the HTML report does the same in the browser.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import plotly.graph_objects as go

from semviz.common import checks


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
    """The shading of the frozen side."""
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
    nearest: str
    """Changes, from nearest to the target over none to farthest."""
    nearer: str
    unchanged: str
    farther: str
    farthest: str
    group1: str
    """Lines of groups: Okabe and Ito's colours without the boundary's, darker where they would be lost on white."""
    group2: str
    group3: str
    group4: str
    group5: str
    group6: str
    group7: str
    group8: str


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
    nearest="#08306b",
    nearer="#5aa2d2",
    unchanged="#f8f6f1",
    farther="#eda73c",
    farthest="#7a3a05",
    group1="#0072b3",
    group2="#df9a00",
    group3="#009e74",
    group4="#c7679a",
    group5="#4fb0e6",
    group6="#20262c",
    group7="#9c8f00",
    group8="#7b5fb0",
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
    nearest="#b5deff",
    nearer="#2f7fc0",
    unchanged="#1b2128",
    farther="#a8690c",
    farthest="#ffd08a",
    group1="#4b9fe0",
    group2="#f0b429",
    group3="#2fc59b",
    group4="#e39ac5",
    group5="#9fd8f7",
    group6="#e3e8ed",
    group7="#d3c63c",
    group8="#b59be6",
)

MAGNITUDE = "Cividis"
"""Colour scale of magnitudes: dark blue is low, yellow is high."""
CHANGE = [
    [0.0, LIGHT.nearest], [0.25, LIGHT.nearer], [0.5, LIGHT.unchanged], [0.75, LIGHT.farther], [1.0, LIGHT.farthest],
]  # fmt: skip
"""Colour scale of changes around 0: blue is nearer to the target, orange farther; `dark` swaps it stop by stop."""
GROUPS = tuple(
    zip(
        (
            LIGHT.group1,
            LIGHT.group2,
            LIGHT.group3,
            LIGHT.group4,
            LIGHT.group5,
            LIGHT.group6,
            LIGHT.group7,
            LIGHT.group8,
        ),
        ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "star", "cross"),
        ("solid", "dash", "dot", "dashdot", "solid", "dash", "dot", "dashdot"),
        strict=True,
    )
)
"""Colour, marker and dash of groups."""


def role(name: str) -> str:
    """Return the light theme's colour of a role by its name.

    Raises:
        SemvizError: There is no such role.
    """
    return str(asdict(LIGHT)[checks.one_of("colour", name, asdict(LIGHT))])


def swaps() -> dict[str, str]:
    """Return the table light colour → dark colour."""
    return dict(zip(asdict(LIGHT).values(), asdict(DARK).values(), strict=True))


def dark(figure: go.Figure) -> go.Figure:
    """Return a copy of a semviz figure in the dark theme."""
    return go.Figure(_swap(figure.to_plotly_json(), swaps(), colour=False))


def _swap(node: Any, table: dict[str, str], *, colour: bool) -> Any:
    """Swap colours, but only where a key says that the string is one: a token may be spelled ``#ffffff``."""
    if isinstance(node, dict):
        return {key: _swap(child, table, colour="color" in key) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [_swap(child, table, colour=colour) for child in node]
    return table.get(node, node) if colour and isinstance(node, str) else node
