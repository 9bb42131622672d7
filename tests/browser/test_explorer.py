"""The Explorer in a real browser: what a person sees and does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat

from browser.explorers import GAIN, LIVE, PARETO, SAMPLES, SETUP, TOKENS, WAY, cell, shown

TOUR = Path(__file__).parents[2] / "notebooks/01_tour.ipynb"
LONG = 20_000  # steps of a finetune that no test waits for
THREADS = "import threading\nprint(sorted(t.name for t in threading.enumerate() if t.name.startswith('semviz')))"


def test_in_the_tour_mouse_and_keys_move_the_boundary_through_all_pictures_and_cells_open(lab, watch):
    tour = nbformat.read(TOUR, as_version=4)
    needed = [0, *(i for i, c in enumerate(tour.cells) if c.cell_type == "code" and _needed(c.source))]
    tour.cells = [tour.cells[i] for i in needed]
    for one in tour.cells:
        one.source = one.source.split("\nscopes =")[0]  # the sweep would take half a minute
    thresholds = "print([explorer.study.gain.threshold(i / 100) for i in range(101)])"
    tour.cells.append(nbformat.v4.new_code_cell(thresholds))
    book = lab.open(tour, view="doc")
    book.run_all()
    frozen_at = json.loads(book.text(6))
    app = shown(book.output(5))
    assert app.root.get_by_role("heading", name="Where should I finetune demo on where?").is_visible()
    app.shot("explorer-tour")

    everywhere = (TOKENS, SAMPLES, WAY)
    app.drag(1.0)
    app.boundary_is(frozen_at[100], *everywhere)
    book.page.keyboard.press("Home")
    app.boundary_is(0, *everywhere)
    assert "88 % of the model: blocks 1–8 of 8" in app.fact("Trains")
    book.page.keyboard.press("ArrowRight")
    app.boundary_is(frozen_at[1], *everywhere)
    assert app.root.locator(".widget-slider .widget-readout").inner_text() == "0.01"
    app.stepper.fill("7")
    app.stepper.press("Enter")
    app.boundary_is(7, *everywhere)
    assert "block 8 of 8" in app.fact("Trains")
    app.stepper.press("ArrowDown")
    app.boundary_is(6, *everywhere)
    app.button("Half").click()
    app.boundary_is(4, *everywhere)

    times = app.drawn(WAY)
    app.click_cell(TOKENS, column=2, row=3)
    app.drawn(WAY, times=times + 1)
    app.root.get_by_text(re.compile("^Token 2 .* space 3 is marked")).wait_for()
    assert app.root.locator("table.near tr.here th").inner_text() == "3"
    times = app.drawn(TOKENS)
    app.click_cell(SAMPLES, column=40, row=0)
    app.drawn(TOKENS, times=times + 1)
    app.shot("explorer-tour-moved")
    assert not _ours(watch)


def _needed(source: str) -> bool:
    return source.startswith(("import plotly.io", "model =", "task =", "small =", "explorer = "))


def _ours(watch) -> list[str]:
    return [error for error in watch.errors if not error.startswith("console: Failed to load resource")]


def test_a_finetune_is_watched_beside_another_cell_and_its_point_is_there_after_a_reload(lab, watch):
    book = lab.open([SETUP, cell(steps=40), "print('the kernel is free')", "print(app.study.busy)"], view="doc")
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    app.tab("Finetune")
    assert "appear here while a finetune runs" in app.picture(LIVE).inner_text()
    app.button("Finetune").click()
    app.says(r"Finetuning blocks 2–8 of 8.* step \d+ of 40 at learning rate 0\.003")
    app.button("Finetune").click()
    app.says("is still running; wait until it ends, or cancel it")
    assert book.run(2) == "the kernel is free"
    times = app.drawn(LIVE, times=2)
    app.shot("explorer-finetune-running")
    assert app.drawn(LIVE, times=times + 2)
    app.says("Done: training blocks 2–8 of 8 gives")
    app.drawn(PARETO)
    assert book.run(3) == "False"
    app.shot("explorer-finetune-done")
    app.tab("Runs")
    app.shot("explorer-runs")

    book.reload()
    app = shown(book.output(1), tab="Finetune")
    app.drawn(PARETO)
    app.tab("Trace")
    app.drag(1.0)
    app.boundary_is(3, TOKENS, SAMPLES, WAY)
    app.shot("explorer-reloaded")
    assert not _ours(watch)


def test_jobs_end_by_cancel_by_interrupt_and_by_an_error_which_is_told_in_words(lab):
    broken = """
def fail(*args, **options):
    raise RuntimeError("the <b>disk</b> is full")
import semviz.study
semviz.study.study.run_once = fail
"""
    book = lab.open([SETUP, cell(steps=LONG), "print(app.job.wait().state)", THREADS, broken], view="doc")
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    app.tab("Finetune")
    assert app.button("Cancel").is_disabled()
    app.button("Finetune").click()
    app.says(r"step \d+ of 20,000")
    app.button("Cancel").click()
    app.says("cancelled. The model is unchanged")
    assert app.button("Cancel").is_disabled()
    assert book.run(2) == "cancelled"
    assert book.run(3) == "[]"

    app.button("Finetune").click()
    app.says(r"step \d+ of 20,000")
    book.interrupt()
    app.says("cancelled. The model is unchanged")
    assert book.run(2) == "cancelled"

    # While a cell keeps the kernel busy: an interrupt stops both.
    app.button("Finetune").click()
    app.says(r"step \d+ of 20,000")
    book.start(2)
    app.button("Cancel").click()
    assert book.wait(2) == "cancelled"

    book.run(4)
    app.button("Finetune").click()
    app.says("failed. RuntimeError: the <b>disk</b> is full")
    traceback = app.root.locator("details pre")
    assert not traceback.is_visible()
    app.shot("explorer-failed")
    app.root.get_by_text("Traceback", exact=True).click()
    assert "raise RuntimeError" in traceback.inner_text()
    app.shot("explorer-failed-traceback")
    assert book.run(3) == "[]"


def test_running_the_cell_again_ends_its_job_and_leaves_one_widget(lab):
    book = lab.open([SETUP, cell(steps=LONG), "old = app.job", "print(old.state)", THREADS], view="doc")
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    app.tab("Finetune")
    app.button("Finetune").click()
    app.says(r"step \d+ of 20,000")
    book.run(2)
    book.run(1)
    app = shown(book.output(1))
    assert book.page.locator(".semviz").count() == 1
    assert book.run(3) == "cancelled"
    assert book.run(4) == "[]"
    app.drag(1.0)
    app.boundary_is(3, TOKENS, SAMPLES, WAY)


def test_voila_shows_the_explorer_and_its_slider_and_finetune_work(voila):
    app = shown(voila.open([SETUP, cell()]).outputs)
    app.drag(1.0)
    app.boundary_is(3, TOKENS, SAMPLES, WAY)
    app.tab("Finetune")
    app.button("Finetune").click()
    app.says(r"step \d+ of 40")
    app.says("Done: training blocks 4–8 of 8 gives")
    app.drawn(LIVE)
    app.drawn(PARETO)
    app.shot("explorer-voila")


def test_in_notebook_7_the_slider_keeps_its_arrow_keys(lab):
    book = lab.open([SETUP, cell()], view="notebook")
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    app.handle.focus()
    book.page.keyboard.press("ArrowRight")
    app.boundary_is(2, TOKENS)
    book.page.keyboard.press("ArrowLeft")
    app.boundary_is(0, TOKENS)
    assert app.handle.evaluate("handle => handle === document.activeElement")
    app.picture(TOKENS).locator(".semviz-stage").focus()
    app.shot("explorer-notebook-7")


def test_a_finetune_is_watched_on_the_kernel_that_binder_starts_from(lab, old_kernel):
    book = lab.open([SETUP, cell(), "import ipykernel\nprint(ipykernel.__version__)"], view="doc", kernel=old_kernel)
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    app.tab("Finetune")
    app.button("Finetune").click()
    app.says(r"step \d+ of 40")
    times = app.drawn(LIVE)
    app.drawn(LIVE, times=times + 2)
    app.says("Done: training blocks 2–8 of 8 gives")
    app.drawn(PARETO)
    assert book.run(2) == "7.0.1"


def test_two_explorers_of_one_notebook_share_plotly_and_work_each_for_itself(lab):
    other = cell().replace("app", "other")
    book = lab.open([SETUP, cell(), other, "print(app.study.boundary, other.study.boundary)"], view="doc")
    for index in (0, 1, 2):
        book.run(index)
    first, second = shown(book.output(1)), shown(book.output(2))
    second.drag(1.0)
    second.boundary_is(3, TOKENS, SAMPLES)
    first.boundary_is(1, TOKENS, SAMPLES)
    assert book.run(3) == "1 3"


# Text whose contrast with what is behind it is below AA (4.5), and which is not that of a disabled control.
PALE = """root => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const shine = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a = 1] = rgb(getComputedStyle(at).backgroundColor);
      if (a > 0.9) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || node.closest("svg, :disabled, option") || !node.checkVisibility()) continue;
    const [a, b] = [shine(rgb(getComputedStyle(node).color)), shine(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return found;
}"""
WIDE = """root => [...root.querySelectorAll("*")]
  .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.className)
"""


def test_it_fits_into_1000_pixels_and_is_read_in_light_and_dark(lab):
    book = lab.open([SETUP, cell(steps=4)], view="doc")
    book.page.set_viewport_size({"width": 1000, "height": 900})
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    app.tab("Finetune")
    app.button("Finetune").click()
    app.says("Done: training")
    app.tab("Trace")
    pale = []
    for theme in ("Dark", "Light"):  # the server remembers the last one for the tests that follow
        times = app.drawn(TOKENS)
        change = f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})"
        book.page.evaluate(change)
        book.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'")
        app.drawn(TOKENS, times=times + 1)
        paper = app.picture(TOKENS).locator(".main-svg").first.evaluate("svg => getComputedStyle(svg).backgroundColor")
        assert (min(map(int, re.findall(r"\d+", paper)[:3])) < 128) == (theme == "Dark")
        for tab in ("Gain", "Finetune", "Runs", "Trace"):
            app.tab(tab)
            app.drawn({"Gain": GAIN, "Finetune": PARETO}.get(tab, TOKENS))
            app.shot(f"explorer-1000-{theme}-{tab}".lower())
            assert app.root.evaluate(WIDE) == [], (theme, tab)
            pale += [f"{theme} {tab} {text}" for text in app.root.evaluate(PALE)]
    assert pale == []


FOCUS = """() => {
  const at = document.activeElement;
  return at.closest('.semviz') ? at.labels?.[0]?.textContent || at.getAttribute('aria-label') || at.textContent : null;
}"""
CONTROLS = [
    "Task", "Your own text", "read for", "Read", "Freeze threshold θ", "Frozen blocks (0–7)", "Full", "Half",
    "Last block", "Profile", "Trace", "Metric", "compared with", "samples", TOKENS, SAMPLES,
]  # fmt: skip


def test_with_keys_alone_every_control_is_reached_in_order_and_cells_are_opened(lab):
    book = lab.open([SETUP, cell()], view="doc")
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    keys = book.page.keyboard
    app.field("Task").focus()
    met = []
    while (name := book.page.evaluate(FOCUS)) is not None:
        met.append(name)
        keys.press("Tab")
    known = [next((c for c in CONTROLS if name.split(":")[0] == c), "") for name in met]
    assert [name for name in known if name] == CONTROLS

    stage = app.picture(TOKENS).locator(".semviz-stage")
    app.field("samples").focus()
    keys.press("Tab")
    assert stage.evaluate("stage => stage === document.activeElement")
    voice = app.picture(TOKENS).locator(".semviz-voice")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown"):
        keys.press(key)
    assert "space 7" in voice.inner_text()
    app.shot("explorer-keys")
    times = app.drawn(WAY)
    keys.press("Enter")
    app.root.get_by_text(re.compile("^Token 2 .* space 7 is marked")).wait_for()
    app.drawn(WAY, times=times + 1)
    times = app.drawn(TOKENS)
    keys.press("Tab")
    keys.press("Tab")
    keys.press("End")
    keys.press("Enter")
    app.drawn(TOKENS, times=times + 1)
    keys.press("Escape")
    assert app.picture(SAMPLES).locator(".semviz-cursor").is_hidden()
