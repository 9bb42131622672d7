"""Progress bars, in one place."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm


def progress_bar(total: int, label: str, *, unit: str, show: bool) -> Any:
    """A bar that goes away when it is done.

    `disable` is passed only to hide the bar: passing False would overrule the TQDM_DISABLE of tests and notebooks.
    """
    hidden = {} if show else {"disable": True}
    return tqdm(total=total, desc=label, unit=f" {unit}", leave=False, **hidden)
