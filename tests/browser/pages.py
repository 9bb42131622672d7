"""What a test does with a page: watch it, open a notebook in it, run cells, read their outputs, take a picture."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import nbformat

from browser.servers import KERNEL, Server

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

ARTEFACTS = Path(__file__).parent / "artefacts"
# Voilà's own template asks a network for its icons; nothing of ours may depend on the answer.
OF_VOILA = re.compile(r"/@fortawesome/fontawesome-free@")
VIEWS = {"lab": "lab/tree", "doc": "doc/tree", "notebook": "notebooks"}
PANEL = "window.jupyterapp.shell.currentWidget"


def shot(page: Page | Locator, name: str) -> Path:
    """Write a picture of a page, or of a part of it, to tests/browser/artefacts; its path."""
    ARTEFACTS.mkdir(exist_ok=True)
    path = ARTEFACTS / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-')}.png"
    page.screenshot(path=path, animations="disabled")
    return path


@dataclass
class Watch:
    """What the pages of one test asked for and complained about."""

    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    context: BrowserContext | None = None

    def follow(self, context: BrowserContext) -> None:
        self.context = context
        context.on("request", lambda request: self._asked(request.url))
        context.on(
            "console", lambda message: message.type == "error" and self.errors.append(f"console: {message.text}")
        )
        context.on("weberror", lambda error: self.errors.append(f"page: {error.error}"))
        context.on("page", lambda page: page.on("websocket", lambda socket: self._asked(socket.url)))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        local = parts.scheme in ("blob", "data", "about", "file") or parts.hostname == "127.0.0.1"
        if not local and not OF_VOILA.search(parts.path):
            self.foreign.append(url)

    def check(self) -> None:
        """Fail if anything was asked of a network."""
        assert not self.foreign, f"a page asked a network for {sorted(set(self.foreign))}"


@dataclass
class NotebookPage:
    """A notebook that is open in JupyterLab or Notebook 7, with its kernel."""

    page: Page
    server: Server
    path: str

    def cell(self, index: int) -> Locator:
        """One cell, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """What a cell shows below its code: look for texts, buttons and plots in here."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def text(self, index: int) -> str:
        """What a cell printed, its last value's text, and the errors' tracebacks, without colour codes."""
        parts = []
        for output in self._state(index)["outputs"]:
            text = output.get("text") or output.get("data", {}).get("text/plain") or output.get("traceback", "")
            parts.append("\n".join(text) if output["output_type"] == "error" else "".join(text))
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(part.rstrip("\n") for part in parts))

    def run(self, index: int, *, seconds: float = 60, error: bool = False) -> str:
        """Select a cell and press Shift+Enter, as a person does; its text when it has finished.

        Raises:
            AssertionError: The cell ended with an error, and none was expected.
        """
        self.start(index)
        return self.wait(index, seconds=seconds, error=error)

    def start(self, index: int) -> None:
        """Select a cell and press Shift+Enter, without waiting for its end."""
        self.cell(index).scroll_into_view_if_needed()
        self.cell(index).locator(".jp-InputArea-prompt").click()
        self.page.evaluate(f"i => {{ {PANEL}.content.widgets[i].model.executionCount = null }}", index)
        self.page.keyboard.press("Shift+Enter")

    def wait(self, index: int, *, seconds: float = 60, error: bool = False) -> str:
        """Wait until a cell that was started has finished; its text.

        Raises:
            AssertionError: The cell ended with an error, and none was expected.
        """
        self.page.wait_for_function(
            f"i => {{ const cell = {PANEL}.content.widgets[i].model;"
            " return cell.executionCount !== null && cell.executionState === 'idle' }",
            arg=index,
            timeout=seconds * 1000,
        )
        failed = any(output["output_type"] == "error" for output in self._state(index)["outputs"])
        assert failed == error, f"cell {index} {'failed' if failed else 'did not fail'}:\n{self.text(index)}"
        return self.text(index)

    def run_all(self, *, seconds: float = 90) -> None:
        """Run all code cells, and wait until the last has finished."""
        last = self.page.evaluate(
            f"() => {{ const cells = {PANEL}.content.widgets.map(w => w.model);"
            " cells.filter(c => c.type === 'code').forEach(c => { c.executionCount = null });"
            " window.jupyterapp.commands.execute('notebook:run-all-cells');"
            " return cells.findLastIndex(c => c.type === 'code') }"
        )
        self.wait(last, seconds=seconds)

    def wait_idle(self, *, seconds: float = 60) -> None:
        """Wait until the kernel is connected and does nothing."""
        self.page.wait_for_function(
            "() => { const panel = window.jupyterapp?.shell.currentWidget;"
            " return panel?.content?.model?.cells?.length > 0 && panel.sessionContext.isReady"
            " && panel.sessionContext.session?.kernel?.status === 'idle'"
            " && panel.sessionContext.session.kernel.connectionStatus === 'connected' }",
            timeout=seconds * 1000,
        )

    def interrupt(self) -> None:
        """Interrupt the kernel."""
        self.page.evaluate(f"() => {PANEL}.sessionContext.session.kernel.interrupt()")

    def save(self) -> dict[str, Any]:
        """Save the notebook; what is in its file."""
        self.page.evaluate(f"() => {PANEL}.context.save()")
        return json.loads((self.server.folder / self.path).read_text("utf-8"))

    def reload(self) -> None:
        """Save the notebook and load the page anew; the kernel goes on."""
        self.save()
        self.page.reload()
        self.wait_idle()

    def _state(self, index: int) -> dict[str, Any]:
        return self.page.evaluate(
            f"i => {{ const m = {PANEL}.content.widgets[i].model; return {{outputs: m.outputs.toJSON()}} }}", index
        )


@dataclass
class Lab:
    """Opens notebooks in JupyterLab and Notebook 7."""

    page: Page
    server: Server
    name: str
    opened: int = 0

    def open(
        self, cells: list[str] | nbformat.NotebookNode, *, view: str = "lab", kernel: str = KERNEL
    ) -> NotebookPage:
        """Write the cells, or a notebook, to a file, open it and wait for its kernel; nothing is run yet.

        `view` is "lab", "doc" (JupyterLab with nothing beside the notebook) or "notebook" (Notebook 7).
        """
        self.opened += 1
        write = self.server.write if isinstance(cells, list) else self.server.place
        path = write(cells, name=f"{self.name}-{self.opened}", kernel=kernel)
        self.page.goto(self.server.url(f"{VIEWS[view]}/{path}", **({} if view == "notebook" else {"reset": ""})))
        opened = NotebookPage(self.page, self.server, path)
        opened.wait_idle()
        return opened


@dataclass
class VoilaPage:
    """A notebook that Voilà shows: all cells have run, and only their outputs are there."""

    page: Page
    server: Server
    kernel: str

    @property
    def outputs(self) -> Locator:
        """All that the notebook shows."""
        return self.page.locator("#rendered_cells")


@dataclass
class Voila:
    """Opens notebooks in Voilà."""

    page: Page
    server: Server
    name: str
    opened: list[VoilaPage] = field(default_factory=list)

    def open(self, cells: list[str], *, kernel: str = KERNEL, seconds: float = 90) -> VoilaPage:
        """Write the cells to a file and open it; returns when they have run and the page is there."""
        path = self.server.write(cells, name=f"{self.name}-{len(self.opened) + 1}", kernel=kernel)
        self.page.goto(self.server.url(f"voila/render/{path}"), timeout=seconds * 1000)
        self.page.locator("#rendered_cells").wait_for(timeout=seconds * 1000)
        settings = json.loads(self.page.locator("#jupyter-config-data").inner_text() or "{}")
        self.opened.append(VoilaPage(self.page, self.server, settings["kernelId"]))
        return self.opened[-1]

    def close(self) -> None:
        """End the kernels of all opened pages."""
        for opened in self.opened:
            self.server.ask("POST", f"voila/api/shutdown/{opened.kernel}")
