"""Progress bars, in one place."""

from __future__ import annotations

import os
from typing import Any

from tqdm.auto import tqdm


def progress_bar(total: int, label: str, *, unit: str, show: bool) -> Any:
    """A bar that goes away when it is done."""
    # tqdm's own notebook bar overlooks this variable, and bars would end up in the outputs of compared notebooks.
    off = os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    return tqdm(total=total, desc=label, unit=f" {unit}", leave=False, disable=off or not show)
