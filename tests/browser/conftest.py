"""Fixtures for tests in a real browser: JupyterLab, Notebook 7 and Voilà in Chromium, all on this machine.

    from browser.pages import shot

    def test_a_button_prints(lab):
        book = lab.open(["import ipywidgets as w\nw.Button(description='Go')"], view="lab")   # or "doc", "notebook"
        book.run(0)                                              # Shift+Enter; text of the outputs; fails on an error
        book.output(0).get_by_role("button", name="Go").click()  # Playwright's locators, on book.page
        shot(book.page, "button")                                # tests/browser/artefacts/button.png

- `lab.open(cells or notebook, view=…, kernel=…)` → `NotebookPage`: `run`, `start` and `wait`, `run_all`, `text`,
  `output`, `cell`, `interrupt`, `save`, `reload`. `voila.open(cells)` → `VoilaPage`: `page`, `outputs`. Cells are
  counted from 0.
- `page` is the test's own Playwright page (1,280 × 900, a context of its own). A test fails if a page asks a network
  for anything; `watch.errors` holds what it said on the console. A failed test leaves `artefacts/failed-….png`, and its
  report has these lines.
- `old_kernel` is the name of a kernel of ipykernel 7.0.1; tests with it skip unless SEMVIZ_OLD_KERNEL names a folder
  with it (`make test` makes one).
- Notebook 7 takes arrow keys from a focused slider, unless that very element has the attribute
  `data-lm-suppress-shortcuts`; JupyterLab and Voilà do not.
- Where Chromium or a package is missing, tests skip; with SEMVIZ_REQUIRE_BROWSER=1 they fail.

The folder is a package because its fixtures must end with its last test: while Playwright runs, no event loop can be
started in the main thread (Kaleido and nbclient want one), and servers would take memory from the tests that follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser import chromium as found
from browser import pages, servers

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WATCHES: pytest.StashKey[pages.Watch] = pytest.StashKey()


@pytest.fixture(scope="package")
def chromium() -> Path:
    """Chromium's path; skips, or fails where a browser is required."""
    return found.require()


@pytest.fixture(scope="package")
def browser(chromium: Path) -> Iterator[Browser]:
    """One Chromium for all tests."""
    from playwright.sync_api import sync_playwright

    for old in pages.ARTEFACTS.glob("failed-*.png"):
        old.unlink()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(found.ARGUMENTS))
        yield started
        started.close()


def _served(name: str, home: Path) -> Iterator[servers.Server]:
    server = servers.Server(name, home)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="package")
def jupyter_server(chromium: Path, tmp_path_factory) -> Iterator[servers.Server]:
    """One JupyterLab for all tests."""
    yield from _served("lab", tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="package")
def voila_server(chromium: Path, tmp_path_factory) -> Iterator[servers.Server]:
    """One Voilà for all tests."""
    yield from _served("voila", tmp_path_factory.mktemp("voila"))


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> pages.Watch:
    """What the pages of this test ask for and complain about."""
    return request.node.stash.setdefault(WATCHES, pages.Watch())


@pytest.fixture
def page(browser: Browser, watch: pages.Watch) -> Iterator[Page]:
    """An empty page in a context of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB", reduced_motion="reduce")
    context.set_default_timeout(20_000)
    context.set_default_navigation_timeout(60_000)
    watch.follow(context)
    yield context.new_page()
    context.close()


@pytest.fixture
def lab(page: Page, jupyter_server: servers.Server, request: pytest.FixtureRequest) -> Iterator[pages.Lab]:
    """Opens notebooks in JupyterLab or Notebook 7; their kernels end with the test."""
    yield pages.Lab(page, jupyter_server, _plain(request.node.name))
    jupyter_server.end_kernels()


@pytest.fixture
def voila(page: Page, voila_server: servers.Server, request: pytest.FixtureRequest) -> Iterator[pages.Voila]:
    """Opens notebooks in Voilà; their kernels end with the test."""
    opener = pages.Voila(page, voila_server, _plain(request.node.name))
    yield opener
    opener.close()


@pytest.fixture
def old_kernel() -> str:
    """The name of a kernel of ipykernel 7.0.1, which Binder's images start from."""
    if not servers.old_kernel():
        pytest.skip("SEMVIZ_OLD_KERNEL names no folder with an old ipykernel: `make test` makes one")
    return servers.OLD_KERNEL


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """Fail a test whose page asked a network for something."""
    result = yield
    if WATCHES in item.stash:
        item.stash[WATCHES].check()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Give the report of a failure the console's errors, and leave pictures of its pages."""
    report = yield
    watch = item.stash.get(WATCHES, None)
    if report.failed and call.when != "teardown" and watch is not None and watch.context is not None:
        report.sections.append(("errors in the browser", "\n".join(watch.errors) or "none"))
        for number, page in enumerate(watch.context.pages):
            try:
                path = pages.shot(page, f"failed-{_plain(item.name)}-{number}")
            except Exception as error:  # a page that cannot be drawn must not hide the test's own failure
                report.sections.append(("picture", f"none: {error}"))
            else:
                report.sections.append(("picture", str(path)))
    return report
