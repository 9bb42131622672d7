"""Where in the caller's own code semviz was called, so that a warning names a line that they wrote."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1])


def outside() -> int:
    """Return the `stacklevel=` at which `warnings.warn`, called by the caller of this, names a line outside semviz."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
