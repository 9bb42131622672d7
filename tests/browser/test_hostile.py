"""Every hostile text wherever users' texts are shown: nothing runs, nothing is loaded, letters are letters."""

from __future__ import annotations

from pathlib import Path

import hostile
import pytest
from hostile import CORPUS, NAMES

import semviz as sv
from browser.explorers import GAIN, PARETO, TOKENS, shown
from browser.pages import shot
from semviz.common.token_text import short_label

RAN = "() => [typeof hacked, document.querySelectorAll('iframe, object, embed, base, meta[http-equiv=refresh]').length]"
# Shown as it is: what has neither invisible characters nor spaces at its ends.
PLAIN = [text for text in NAMES if text.isprintable() and text.isascii()]


@pytest.fixture(scope="module")
def made():
    """Everything that a study has, with hostile names, labels, tokens and vocabulary."""
    model, task, trace = hostile.study()
    gain = trace.gain()
    scopes = [sv.Scope.full(model), sv.Scope.half(model), sv.Scope.last(model)]
    runs = sv.sweep(model, task, scopes, gain=gain, lr=1e-3, epochs=1, progress=False)
    return {"trace": trace, "gain": gain, "runs": runs}


@pytest.fixture
def quiet_page(page, watch):
    """A page that must neither open dialogs nor run what it shows."""
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    yield page
    assert dialogs == []
    assert page.evaluate(RAN) == ["undefined", 0]
    assert not [message for message in watch.errors if "hacked" in message]


def test_there_are_enough():
    assert len(set(CORPUS)) == len(CORPUS) >= 40
    assert len(PLAIN) >= 40


def test_the_report_shows_letters(made, quiet_page, tmp_path):
    path = sv.write_report(tmp_path / "report.html", title=" ".join(NAMES[:20]), probes=made["runs"].probes(), **made)
    quiet_page.goto(path.as_uri())
    quiet_page.locator(".js-plotly-plot .main-svg").first.wait_for()
    quiet_page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    quiet_page.wait_for_timeout(500)
    read = " ".join(quiet_page.locator("body").inner_text().split())
    title = " ".join(" ".join(NAMES[:8]).split())
    assert title[:120] in read
    unseen = [text for text in PLAIN if " ".join(short_label(text, width=10).split())[:9] not in read]
    # An axis thins its labels, and a table has its first rows.
    assert len(unseen) <= len(PLAIN) // 10, unseen
    shot(quiet_page, "hostile-report")


def test_every_figure_shows_letters(made, quiet_page, tmp_path):
    trace, gain, runs = made["trace"], made["gain"], made["runs"]
    change = trace - trace
    figures = [
        trace.token_heatmap(sample=trace.detailed[0]), trace.sample_heatmap(), trace.profile(), gain.figure(),
        trace.transition_map(sample=trace.detailed[0]), trace.by("label").profile(), runs.pareto(),
        change.sample_heatmap(), change.token_heatmap(sample=trace.detailed[0]), runs.probes().figure(runs),
    ]  # fmt: skip
    parts = [f.to_html(full_html=False, include_plotlyjs=i == 0) for i, f in enumerate(figures)]
    path = tmp_path / "figures.html"
    page = f"<!doctype html><meta charset=utf-8><body>{''.join(parts)}</body>"
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    quiet_page.goto(path.as_uri())
    quiet_page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot .main-svg').length >= {2 * len(figures)}")
    quiet_page.wait_for_timeout(500)
    assert quiet_page.locator("svg a, svg foreignObject").count() == 0
    # Heatmaps are images that Plotly paints itself.
    pictures = "[...document.querySelectorAll('svg image')].map(each => each.href.baseVal.slice(0, 15))"
    assert set(quiet_page.evaluate(pictures)) == {"data:image/png;"}
    ticks = " ".join(quiet_page.locator(".xtick, .ytick, .annotation-text, .gtitle").all_text_contents())
    assert ticks.count("<") > 30
    assert "mjx" not in quiet_page.content()


HOSTILE = f"""
import sys
sys.path.insert(0, {str(Path(hostile.__file__).parent)!r})
import hostile
import semviz as sv
model, task, trace = hostile.study()
app = sv.Explorer(model, task, trace=trace, progress=False)
app.study.set(steps=2, lr=1e-3)
app
"""


def test_the_explorer_shows_letters(lab, quiet_page):
    book = lab.open([HOSTILE], view="doc")
    book.run(0)
    app = shown(book.output(0))
    assert app.root.get_by_role("heading").inner_text().startswith(f"Where should I finetune {NAMES[12][:20]}")
    options = {text.replace("\xa0", " ") for text in app.field("read for").locator("option").all_text_contents()}
    ticks = {text.replace("\xa0", " ") for text in app.picture(TOKENS).locator(".xtick").all_text_contents()}
    app.click_cell(TOKENS, column=0, row=2)
    app.root.locator("table.near caption").get_by_text("Token 0").wait_for()
    near = app.root.locator("table.near").inner_text().replace("\xa0", " ")
    assert len(options.intersection(PLAIN)) > 0, options
    assert sum("<" in tick for tick in ticks) > 0, ticks
    assert near.count("<") > 0, near
    for text in NAMES[:6]:
        app.field("Your own text").fill(text)
        app.field("Your own text").press("Enter")
    app.tab("Finetune")
    app.button("Finetune").click()
    app.says("Done: training")
    app.drawn(PARETO)
    app.field("Learning rate").fill(NAMES[2])
    app.field("Learning rate").press("Enter")
    assert NAMES[2] in app.says("is not a number")
    for tab in ("Runs", "Gain"):
        app.tab(tab)
    app.drawn(GAIN)
    assert app.root.locator("img, script, .MathJax, mjx-container").count() == 0
    app.shot("hostile-explorer")
