"""Takes the README's picture of the Explorer after three probes and one finetune: python docs/explorer.py.

It opens JupyterLab in Chromium like tests/browser, so it needs the test extra; about three minutes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import chromium, pages, servers

WIDTH = 1200
CELL = """
import semviz as sv
app = sv.Explorer(sv.load_model(), sv.load_task("where").subset(train=1500))
app
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = servers.Server("lab", Path(home))
        try:
            server.start()
            browser = playwright.chromium.launch(executable_path=chromium.require(), args=list(chromium.ARGUMENTS))
            page = browser.new_context(viewport={"width": WIDTH + 100, "height": 2200}).new_page()
            book = pages.Lab(page, server, "where").open([CELL], view="doc")
            book.run(0, seconds=120)
            app = page.locator(".semviz")
            page.set_viewport_size({"width": WIDTH + 100 + WIDTH - round(app.bounding_box()["width"]), "height": 2200})
            page.get_by_role("tab", name="Finetune").click()
            for button in ("Probe", "Finetune"):
                page.get_by_role("button", name="Half", exact=True).click()
                page.get_by_role("spinbutton", name="Frozen blocks").fill("3")
                page.get_by_role("spinbutton", name="Frozen blocks").press("Enter")
                page.get_by_role("button", name=button, exact=True).click()
                page.get_by_role("button", name="Cancel", exact=True).and_(page.locator(":enabled")).wait_for()
                page.locator(".semviz .said", has_text="Done:").wait_for(timeout=400_000)
            page.mouse.move(0, 0)
            page.wait_for_timeout(1000)
            app.screenshot(path=Path(__file__).parent / "explorer.png")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
