"""What an Explorer needs on its page besides its controls: a style sheet, plotly.js, names for what has none."""

from __future__ import annotations

import gzip
from functools import cache

import anywidget
import plotly
import traitlets
from plotly.offline import get_plotlyjs

from semviz.explorer.widgets.assets import script


class Page(anywidget.AnyWidget):
    """Brings the Explorer's style sheet and plotly.js, once for all its pictures; it draws nothing.

    It also gives sliders a name and their arrow keys, and says what the status line says to screen readers.
    """

    _esm = script("plotly_loader.js", "page.js")
    _css = script("page.css")

    edition = traitlets.Unicode(plotly.__version__).tag(sync=True)
    """Pictures of one edition share one plotly.js on the page."""
    library = traitlets.Bytes().tag(sync=True)
    """plotly.js, packed."""
    early = traitlets.Bool(True).tag(sync=True)
    """Whether plotly.js is to run at once, since nothing else starts at the moment."""

    def __init__(self) -> None:
        super().__init__(library=packed_library())


@cache
def packed_library() -> bytes:
    """Return plotly.js, packed to 1.6 MB; the same bytes each time."""
    return gzip.compress(get_plotlyjs().encode(), compresslevel=3, mtime=0)
