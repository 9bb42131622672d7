"""What an Explorer needs on its page besides its controls: a style sheet, plotly.js and accessible names."""

from __future__ import annotations

import gzip
from functools import cache

import anywidget
import plotly
import traitlets
from plotly.offline import get_plotlyjs

from semviz.explorer.widgets.assets import script


class Page(anywidget.AnyWidget):
    """Loads the Explorer's style sheet and plotly.js, once for all its pictures; it draws nothing.

    It also makes sliders accessible by name and arrow keys, and has screen readers announce the status line.
    """

    _esm = script("plotly_loader.js", "page.js")
    _css = script("page.css")

    edition = traitlets.Unicode(plotly.__version__).tag(sync=True)
    """Version of plotly; pictures of the same version share one plotly.js on the page."""
    library = traitlets.Bytes().tag(sync=True)
    """plotly.js, compressed with gzip."""
    early = traitlets.Bool(True).tag(sync=True)
    """Whether plotly.js should run at once, as long as no other widget is starting."""

    def __init__(self) -> None:
        super().__init__(library=packed_library())


@cache
def packed_library() -> bytes:
    """Return plotly.js, compressed to 1.6 MB; the bytes are the same each time."""
    return gzip.compress(get_plotlyjs().encode(), compresslevel=3, mtime=0)
