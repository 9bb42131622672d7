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
    shot(book.page, "explorer-tour-moved")
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
    app = shown(book.output(1), tab="Finetune")
    app.drawn(PARETO)
    app.tab("Trace")
    app.drag(1.0)
    app.boundary_is(4, TOKENS, SAMPLES, WAY)
    shot(book.page, "explorer-reloaded")
    assert not _ours(watch)


def test_jobs_end_by_cancel_by_interrupt_and_by_an_error_which_is_told_in_words(lab):
    broken = """
def fail(*args, **options):
    raise RuntimeError("the <b>disk</b> is full")
import semviz.study
semviz.study.run_once = fail
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
    app.says("cancelled. The model is as before")
    assert app.button("Cancel").is_disabled()
    assert book.run(2) == "cancelled"
    assert book.run(3) == "[]"

    app.button("Finetune").click()
    app.says(r"step \d+ of 20,000")
    book.interrupt()
    app.says("cancelled. The model is as before")
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
    shot(book.page, "explorer-failed")
    app.root.get_by_text("Traceback", exact=True).click()
    assert "raise RuntimeError" in traceback.inner_text()
    shot(book.page, "explorer-failed-traceback")
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
    app.boundary_is(4, TOKENS, SAMPLES, WAY)


HOSTILE = r"""
import semviz as sv
from semviz.tasks import Split
bad = ["<img src=x onerror=window.hacked=1>", "</script><script>window.hacked=2</script>", "$$x^2$$", "<b>bold</b>"]
texts = [f"{one} {two}" for one in bad for two in bad]
task = sv.Task.from_texts(texts * 3, ([bad[0]] * 4 + [bad[1]] * 4 + [bad[2]] * 4 + [bad[3]] * 4) * 3,
                          name="<img src=x onerror=window.hacked=3>",
                          words=dict(zip(bad, ["yes", "no", "red", "blue"])))
app = sv.Explorer(sv.load_model(), task, samples=16, progress=False)
app.study.set(steps=2, lr=1e-3)
app
"""


def test_hostile_texts_labels_and_names_appear_as_text_and_run_nothing(lab, watch):
    book = lab.open([HOSTILE], view="doc")
    dialogs = []
    book.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    book.run(0)
    app = shown(book.output(0))
    shot(book.page, "explorer-hostile")
    name = "<img src=x onerror=window.hacked=3>"
    assert app.root.get_by_role("heading", name=f"Where should I finetune demo on {name}?").is_visible()


DRIVE = """
app = shown({place})
"""


def test_voila_shows_the_explorer_and_its_slider_and_finetune_work(voila):
    app = shown(voila.open([SETUP, cell()]).outputs)
    app.drag(1.0)
    app.boundary_is(4, TOKENS, SAMPLES, WAY)
    app.tab("Finetune")
    app.button("Finetune").click()
    app.says(r"step \d+ of 40")
    app.says("Done: training blocks 5–8 of 8 gives")
    app.drawn(LIVE)
    app.drawn(PARETO)
    shot(app.page, "explorer-voila")


def test_in_notebook_7_the_slider_keeps_its_arrow_keys(lab):
    book = lab.open([SETUP, cell()], view="notebook")
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    app.handle.focus()
    book.page.keyboard.press("Home")
    app.boundary_is(0, TOKENS)
    book.page.keyboard.press("ArrowRight")
    app.boundary_is(3, TOKENS)
    assert app.handle.evaluate("handle => handle === document.activeElement")
    app.picture(TOKENS).locator(".semviz-stage").focus()
    shot(book.page, "explorer-notebook-7")


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
    second.boundary_is(4, TOKENS, SAMPLES)
    first.boundary_is(1, TOKENS, SAMPLES)
    assert book.run(3) == "1 4"


def test_dark_and_narrow(lab):
    book = lab.open([SETUP, cell()], view="doc")
    book.page.set_viewport_size({"width": 1000, "height": 1400})
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    shot(book.page, "explorer-1000")
    book.page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    book.page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    app.drawn(TOKENS, times=2)
    shot(book.page, "explorer-dark")
    for tab in ("Gain", "Finetune", "Runs"):
        app.tab(tab)
        shot(book.page, f"explorer-dark-{tab}")


def test_every_control_is_reached_with_tab(lab):
    book = lab.open([SETUP, cell()], view="doc")
    book.run(0)
    book.run(1)
    app = shown(book.output(1))
    app.field("Task").focus()
    for _ in range(30):
        print(book.page.evaluate("() => { const e = document.activeElement; return [e.tagName, e.getAttribute('role'), e.getAttribute('aria-label'), e.textContent.slice(0, 30), e.className.slice(0, 40)] }"))
        book.page.keyboard.press("Tab")
    assert 0
