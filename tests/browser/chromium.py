"""Is there what these tests need? If not: a skip that says what to install, or, where it is required, a failure."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("playwright", "jupyterlab", "notebook", "voila", "ipykernel", "ipywidgets", "anywidget")

# Names and addresses other than the loopback's lead nowhere: what a page asks of a network is refused by the browser.
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def find(
    environ: Mapping[str, str] = os.environ,
    which: Callable[[str], str | None] = shutil.which,
    spec: Callable[[str], Any] = importlib.util.find_spec,
) -> tuple[Path | None, str]:
    """Chromium's path and "", or None and what to install."""
    absent = [name for name in PACKAGES if spec(name) is None]
    if absent:
        return None, f"no {', '.join(absent)}: python -m pip install -e '.[lab,peft,test]'"
    wanted = environ.get("SEMVIZ_CHROMIUM")
    found = which(wanted) if wanted else next((path for path in map(which, NAMES) if path), None)
    if found:
        return Path(found), ""
    if wanted:
        return None, f"SEMVIZ_CHROMIUM={wanted} is not a program that can be run: name one that is, or unset it"
    return None, f"no Chromium among {', '.join(NAMES)}: apt-get install chromium, or set SEMVIZ_CHROMIUM=/path/to/it"


def require(environ: Mapping[str, str] = os.environ, **look: Any) -> Path:
    """Chromium's path; skips the test where something is missing, and fails it if SEMVIZ_REQUIRE_BROWSER=1."""
    path, reason = find(environ, **look)
    if path is not None:
        return path
    if environ.get("SEMVIZ_REQUIRE_BROWSER", "0") not in ("", "0"):
        pytest.fail(f"SEMVIZ_REQUIRE_BROWSER is set, but there is {reason}", pytrace=False)
    pytest.skip(f"browser tests need a browser; there is {reason}")
