"""A Plotly figure in the browser: small messages, both themes, clicks and keys.

Plotly's own `FigureWidget` sends 5 MB with every figure. Here plotly.js is sent once per Explorer, compressed, with
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
  contain: content; /* moving a mark lays out and paints this picture only, not the page */ }
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
        x: Horizontal coordinate, as in the figure's data.
        y: Vertical coordinate.
        index: Number of the point in its trace; for a cell, its row and column.
    """

    name: str
    x: float | str | None
    y: float | str | None
    index: int | tuple[int, int]


class Picture(anywidget.AnyWidget):
    """A Plotly figure, as wide as its container, in the theme of the page.

    Args:
        label: Name of the picture for screen readers.
        placeholder: Text to show while there is no figure.
        on_click: Called with the point or cell that was clicked.
    """

    _esm = script("plotly_loader.js", "painting.js", "cursor.js", "picture.js")
    _css = _CSS

    figure = traitlets.Dict().tag(sync=True)
    """The figure as Plotly's JSON; empty if there is none."""
    overlay = traitlets.Dict().tag(sync=True)
    """Marks on top: ``{"layout": {path: value}, "data": [[trace, {path: value}], …]}``."""
    label = traitlets.Unicode().tag(sync=True)
    placeholder = traitlets.Unicode().tag(sync=True)
    swaps = traitlets.Dict().tag(sync=True)
    """Light colour → dark colour."""
    config = traitlets.Dict().tag(sync=True)
    edition = traitlets.Unicode(plotly.__version__).tag(sync=True)
    """Version of plotly; it waits for the plotly.js of a `Page` with the same version."""

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
        """Draw a figure without marks; nothing is sent if it is already drawn.

        Args:
            figure: The figure, in the light theme. None removes the figure and shows the placeholder.
        """
        figure_json = {} if figure is None else json.loads(figure.to_json())
        with self.hold_sync():
            self.figure = figure_json
            self.overlay = {}

    def mark(self, overlay: Mapping[str, Any]) -> None:
        """Change a few values of the figure; earlier marks that are not repeated return to the figure's own values.

        Args:
            overlay: Under ``layout`` paths and values (``{"shapes[0].y0": 4.5}``); under ``data`` pairs of a trace's
                number and such paths and values. Empty removes all marks.

        Raises:
            SemvizError: If it has other keys.
        """
        if unknown_keys := sorted(set(overlay) - {"layout", "data"}):
            raise SemvizError(
                f"A mark has no {unknown_keys[0]!r}. Pass 'layout' (paths and values) and 'data' (by trace)."
            )
        self.overlay = json.loads(json.dumps(overlay, cls=PlotlyJSONEncoder))

    def move(self, boundary: int) -> None:
        """Move the boundary in the figure, if there is one.

        Raises:
            SemvizError: As in `semviz.figures.drawing.updates.moved`.
        """
        if self.figure:
            self.mark(moved(self.figure, boundary))

    def click(self, point: Click) -> None:
        """Act as if a point was clicked."""
        if self._on_click is not None:
            self._on_click(point)

    def _receive(self, _: Picture, content: dict[str, Any], buffers: list[memoryview]) -> None:
        if content.get("event") == "click":
            index = content["index"]
            position = (int(index[0]), int(index[1])) if isinstance(index, list) else int(index)
            self.click(Click(name=str(content["name"]), x=content["x"], y=content["y"], index=position))
