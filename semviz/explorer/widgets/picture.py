"""A Plotly figure in the browser: small messages, both themes, clicks and keys.

Plotly's own `FigureWidget` sends 5 MB with every figure. Here plotly.js travels once for each Explorer, packed, with
its `Page`; a figure is sent when it changes, and marks on it (a moving boundary) are sent alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anywidget
import plotly
import plotly.graph_objects as go
import traitlets
from plotly.utils import PlotlyJSONEncoder

from semviz.common.errors import SemvizError
from semviz.explorer.widgets.assets import script
from semviz.figures.drawing import style
from semviz.figures.drawing.updates import moved

_CSS = """
.semviz-picture { position: relative; width: 100%; overflow-x: auto; color: var(--jp-ui-font-color1, #1c2733);
  contain: content; /* a mark that moves lays out and paints this picture, not the page */ }
.semviz-picture .semviz-stage { position: relative; width: 100%; border-radius: 4px; will-change: transform; }
.semviz-picture [hidden] { display: none; }
.semviz-picture .semviz-stage:focus { outline: none; }
.semviz-picture .semviz-stage:focus-visible::after {
  content: ""; position: absolute; inset: 0; border: 3px solid #0a6ebd; border-radius: 4px; pointer-events: none;
}
[data-jp-theme-light="false"] .semviz-picture .semviz-stage:focus-visible::after { border-color: #62b6f0; }
.semviz-picture .semviz-cursor {
  position: absolute; box-sizing: border-box; pointer-events: none;
  border: 2px solid #fff; outline: 2px solid #000; border-radius: 1px;
}
.semviz-picture .semviz-note { margin: 0; padding: 12px 16px; font-size: 14px; line-height: 1.5; }
.semviz-picture .semviz-alarm { border-left: 3px solid #d55e00; }
.semviz-picture .semviz-voice {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}
"""


@dataclass(frozen=True)
class Click:
    """A point or cell that was clicked, or opened with the keyboard.

    Attributes:
        name: Name of the trace.
        x: Where the point is, as in the figure's data.
        y: Where the point is.
        index: Number of the point in its trace; of a cell its row and column.
    """

    name: str
    x: float | str | None
    y: float | str | None
    index: int | tuple[int, int]


class Picture(anywidget.AnyWidget):
    """A plain Plotly figure, as wide as its place, in the theme of the page.

    Args:
        label: What a screen reader says of the picture.
        placeholder: Words to show while there is no figure.
        on_click: Called with the point or cell that was clicked.
    """

    _esm = script("plotly_loader.js", "painting.js", "cursor.js", "picture.js")
    _css = _CSS

    figure = traitlets.Dict().tag(sync=True)
    """What is drawn, as Plotly's JSON; empty while there is nothing."""
    overlay = traitlets.Dict().tag(sync=True)
    """Marks on top: ``{"layout": {path: value}, "data": [[trace, {path: value}], …]}``."""
    label = traitlets.Unicode().tag(sync=True)
    placeholder = traitlets.Unicode().tag(sync=True)
    swaps = traitlets.Dict().tag(sync=True)
    """Light colour → dark colour."""
    config = traitlets.Dict().tag(sync=True)
    edition = traitlets.Unicode(plotly.__version__).tag(sync=True)
    """Whose plotly.js it waits for: that of the `Page` with the same edition."""

    def __init__(
        self,
        *,
        label: str,
        placeholder: str = "",
        on_click: Callable[[Click], None] | None = None,
    ) -> None:
        super().__init__(
            label=label,
            placeholder=placeholder,
            swaps=style.swaps(),
            config=style.CONFIG,
        )
        self._on_click = on_click
        self.on_msg(self._receive)

    def show(self, figure: go.Figure | None) -> None:
        """Draw a figure without marks; nothing is sent where it is drawn already.

        Args:
            figure: The figure, in the light theme. None takes the picture away and shows the placeholder.
        """
        drawn = {} if figure is None else json.loads(figure.to_json())
        with self.hold_sync():
            self.figure = drawn
            self.overlay = {}

    def mark(self, overlay: Mapping[str, Any]) -> None:
        """Change a few things on top of the figure: marks of before that are not named go back to the figure's own.

        Args:
            overlay: Under ``layout`` paths and values (``{"shapes[0].y0": 4.5}``); under ``data`` pairs of a trace's
                number and such paths and values. Empty takes all marks away.

        Raises:
            SemvizError: If it has other keys.
        """
        if odd := sorted(set(overlay) - {"layout", "data"}):
            raise SemvizError(f"A mark has no {odd[0]!r}. Pass 'layout' (paths and values) and 'data' (by trace).")
        self.overlay = json.loads(json.dumps(overlay, cls=PlotlyJSONEncoder))

    def move(self, boundary: int) -> None:
        """Move the boundary in the figure, if there is one.

        Raises:
            SemvizError: As in `semviz.figures.drawing.updates.moved`.
        """
        if self.figure:
            self.mark(moved(self.figure, boundary))

    def click(self, point: Click) -> None:
        """Do what a click on a point does."""
        if self._on_click is not None:
            self._on_click(point)

    def _receive(self, _: Picture, content: dict[str, Any], buffers: list[memoryview]) -> None:
        if content.get("event") == "click":
            index = content["index"]
            place = (int(index[0]), int(index[1])) if isinstance(index, list) else int(index)
            self.click(Click(name=str(content["name"]), x=content["x"], y=content["y"], index=place))
