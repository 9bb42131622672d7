"""The Explorer in a real browser: what a person sees and does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat

from browser.explorers import GAIN, LIVE, PARETO, SAMPLES, SETUP, TOKENS, WAY, cell, shown
from browser.pages import shot

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
    shot(book.page, "explorer-tour")

    everywhere = (TOKENS, SAMPLES, WAY)
    app.drag(1.0)
    app.boundary_is(frozen_at[100], *everywhere)
    book.page.keyboard.press("Home")
    app.boundary_is(0, *everywhere)
    assert "100 % of the model: blocks 1–8 of 8" in app.fact("Trains")
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
    shot(book.page, "explorer-tour-moved")
    assert not _ours(watch)


def _needed(source: str) -> bool:
    return source.startswith(("import plotly.io", "model =", "task =", "small =", "explorer = "))


def _ours(watch) -> list[str]:
    return [error for error in watch.errors if not error.startswith("console: Failed to load resource")]


def test_a_finetune_is_watched_beside_another_cell_and_its_point_is_there_after_a_reload(lab, watch):
    book = lab.open([SETUP, cell(steps=60), "print('the kernel is free')", "print(app.study.busy)"], view="doc")
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    app.tab("Finetune")
    assert "appear here while a finetune runs" in app.picture(LIVE).inner_text()
    app.button("Finetune").click()
    app.says(r"Finetuning blocks 2–8 of 8, step \d+ of 60 at learning rate 0\.003")
    app.button("Finetune").click()
    app.says("is still running; wait until it ends, or cancel it")
    assert book.run(2) == "the kernel is free"
    times = app.drawn(LIVE, times=2)
    shot(book.page, "explorer-finetune-running")
    assert app.drawn(LIVE, times=times + 2)
    app.says("Done: training blocks 2–8 of 8 gives")
    app.drawn(PARETO)
    assert book.run(3) == "False"
    book.page.set_viewport_size({"width": 1280, "height": 1500})
    shot(book.page, "explorer-finetune-done")
    app.tab("Runs")
    shot(book.page, "explorer-runs")

    book.reload()
    app = shown(book.output(1))
    app.drag(1.0)
    app.boundary_is(4, TOKENS, SAMPLES, WAY)
    app.tab("Finetune")
    app.drawn(PARETO)
    app.drawn(LIVE)
    shot(book.page, "explorer-reloaded")
    assert not _ours(watch)
