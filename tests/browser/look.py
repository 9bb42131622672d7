"""Takes pictures of notebooks in JupyterLab as they were saved, light and dark: `python tests/browser/look.py FILE…`.

Nothing is run. Each notebook becomes pictures of 1,600 pixels in tests/browser/artefacts, from top to bottom:
01_tour-light-1.png, 01_tour-light-2.png, …
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser import chromium, pages, servers

WIDTH, HEIGHT = 1160, 1600


def look(page: Page, server: servers.Server, notebook: Path, theme: str) -> list[Path]:
    """Draw one notebook from top to bottom; the pictures' paths."""
    opened = pages.Lab(page, server, notebook.stem)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    opened.open(nbformat.read(notebook, as_version=4), view="doc")
    page.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})")
    page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'")
    # As high as all its cells, so that everything is drawn; plots and formulas change the height once more.
    tall, before = 0, -1
    while tall != before:
        before = tall
        tall = page.evaluate("Math.ceil(document.querySelector('.jp-WindowedPanel-inner').scrollHeight) + 120")
        page.set_viewport_size({"width": WIDTH, "height": tall})
        page.wait_for_timeout(1500)
    pages.ARTEFACTS.mkdir(exist_ok=True)
    made = []
    for number, top in enumerate(range(0, tall, HEIGHT), start=1):
        made.append(pages.ARTEFACTS / f"{notebook.stem}-{theme.lower()}-{number}.png")
        page.screenshot(path=made[-1], clip={"x": 0, "y": top, "width": WIDTH, "height": min(HEIGHT, tall - top)})
    return made


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--theme", choices=("light", "dark", "both"), default="both")
    chosen = parser.parse_args()
    path, missing = chromium.find()
    if path is None:
        raise SystemExit(missing)
    themes = ("light", "dark") if chosen.theme == "both" else (chosen.theme,)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = servers.Server("lab", Path(home))
        browser = playwright.chromium.launch(executable_path=path, args=list(chromium.ARGUMENTS))
        try:
            settings = server.home / "config/lab/user-settings/@jupyterlab/notebook-extension"
            settings.mkdir(parents=True)
            (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
            server.start()
            for notebook in chosen.notebooks:
                for theme in themes:
                    page = browser.new_page(locale="en-GB", reduced_motion="reduce")
                    print(*look(page, server, notebook, theme.title()), sep="\n")
                    page.close()
                    server.end_kernels()
        finally:
            browser.close()
            server.stop()


if __name__ == "__main__":
    main()
