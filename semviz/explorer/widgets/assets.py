"""Read the scripts and the style sheet of the Explorer's own widgets."""

from __future__ import annotations

from pathlib import Path


def script(*files: str) -> str:
    """Join several files into one module: anywidget takes a single text, and short files are easier to read."""
    return "\n".join((Path(__file__).parent / file).read_text(encoding="utf-8") for file in files)
