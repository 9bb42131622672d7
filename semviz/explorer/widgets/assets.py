"""The scripts and the style sheet of the Explorer's own widgets."""

from __future__ import annotations

from pathlib import Path


def script(*parts: str) -> str:
    """Read the parts of one module and join them: anywidget takes one text, and a file should fit on a few pages."""
    return "\n".join((Path(__file__).parent / part).read_text(encoding="utf-8") for part in parts)
