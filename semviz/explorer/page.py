"""The look of the Explorer, and what its standard controls lack."""

from __future__ import annotations

from pathlib import Path

import anywidget


class Page(anywidget.AnyWidget):
    """Brings the Explorer's style sheet, and gives its sliders names and their arrow keys; it draws nothing."""

    _esm = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
    _css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
