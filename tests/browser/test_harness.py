"""The browser tests' own tools: each can succeed, and each can fail."""

from __future__ import annotations

from pathlib import Path

import nbformat
import psutil
import pytest

from browser import chromium as found
from browser import pages, servers

TOUR = Path(__file__).parents[2] / "notebooks/01_tour.ipynb"


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    ("environ", "programs", "absent", "says"),
    [
        ({}, (), "", "apt-get install chromium"),
        ({"SEMVIZ_CHROMIUM": "/no/such"}, ("chromium",), "", "/no/such is not a program"),
        ({}, ("chromium",), "playwright", r"no playwright: python -m pip install -e '\.\[lab,peft,test\]'"),
    ],
)
def test_what_is_missing_skips_the_tests_or_fails_them_where_a_browser_is_required(
    environ, programs, absent, says, required
):
    outcome = pytest.fail.Exception if required else pytest.skip.Exception
    if required:
        environ = {**environ, "SEMVIZ_REQUIRE_BROWSER": "1"}
    with pytest.raises(outcome, match=says):
        found.require(
            environ,
            which=lambda name: f"/usr/bin/{name}" if name in programs else None,
            spec=lambda name: None if name == absent else object(),
        )


@pytest.mark.parametrize(("named", "expected"), [(None, "/usr/bin/google-chrome"), ("/my/chrome", "/my/chrome")])
def test_chromium_is_the_named_one_or_the_first_on_the_path(named, expected):
    programs = {"google-chrome": "/usr/bin/google-chrome", "/my/chrome": "/my/chrome"}
    environ = {"SEMVIZ_CHROMIUM": named} if named else {}
    assert found.require(environ, which=programs.get, spec=lambda name: object()) == Path(expected)


def _runs(process, what):
    """Whether a process runs something; one that ends meanwhile does not."""
    try:
        return what in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def test_a_server_leaves_no_process_behind_even_if_it_is_killed(chromium, tmp_path):
    server = servers.Server("lab", tmp_path)
    try:
        server.start()
        server.write(["1"], name="x")
        server.ask("POST", "api/kernels")
        assert any(_runs(process, "ipykernel_launcher") for process in server.processes())
        server.process.kill()
    finally:
        server.stop()
    assert server.processes() == []


@pytest.mark.parametrize(
    "address", ["https://semviz.invalid/x.js", "http://192.0.2.1/x.js", "http://localhost:8001/x.js"]
)
def test_a_request_to_a_network_is_refused_and_recorded(page, watch, address):
    page.goto("data:text/html,<p>here</p>")
    with page.expect_event("requestfailed") as failed:
        page.evaluate("url => fetch(url, {mode: 'no-cors'}).catch(() => null)", address)
    assert "ERR_NAME_NOT_RESOLVED" in failed.value.failure
    with pytest.raises(AssertionError, match="a page asked a network for"):
        watch.check()
    watch.foreign.clear()


def test_errors_of_a_page_are_recorded(page, watch):
    with page.context.expect_event("weberror"):
        page.goto("data:text/html,<script>console.error('one'); setTimeout(() => { throw Error('two') })</script>")
    assert sorted(watch.errors) == ["console: one", "page: two"]


def test_the_saved_tour_opens_in_jupyterlab_with_its_plots_drawn(lab):
    saved = nbformat.read(TOUR, as_version=4)
    plots = [
        index
        for index, cell in enumerate(saved.cells)
        for output in cell.get("outputs", [])
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    assert plots
    book = lab.open(saved)
    for index in plots:
        book.output(index).scroll_into_view_if_needed()
        book.output(index).locator(".js-plotly-plot .main-svg").first.wait_for()
        assert book.output(index).locator(".js-plotly-plot").count() == 1
    pages.shot(book.page, "harness-tour")


def test_a_cell_that_fails_fails_the_test_and_one_that_runs_can_be_interrupted(lab):
    book = lab.open(["1 / 0", "import time\nprint('asleep')\ntime.sleep(60)"], view="doc")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        book.run(0)
    assert "ZeroDivisionError: division by zero" in book.run(0, error=True)
    book.start(1)
    book.output(1).get_by_text("asleep").wait_for()
    book.interrupt()
    assert "KeyboardInterrupt" in book.wait(1, error=True)
