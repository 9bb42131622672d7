"""How an Explorer begins and ends, and what it says of itself."""

from __future__ import annotations

import threading

import pytest
from ipywidgets import Button

import semviz as sv
from explorer.apps import of_kind, widgets_in, words


def status(app):
    return words(app.status.value)


def test_reopening_on_the_same_store_shows_the_runs(app, tiny, mood):
    app.run.click()
    run = app.job.result()
    (app.study.store.folder / "broken.json").write_text("{")
    again = sv.Explorer(tiny, mood, store=app.study.store.folder, progress=False)
    assert [row["_id"] for row in again.keeping.table.rows] == [run.key]
    assert again.tuning.pareto.figure["data"]
    assert "broken.json" in status(again)
    again.close()


def test_the_text_is_one_line_and_always_the_same(app, tiny, mood):
    assert repr(app) == "Explorer(LlamaForCausalLM on tiny mood: blocks 2–4 of 4; no run)"
    other = sv.Explorer(tiny, mood, progress=False)
    assert repr(other) == repr(app)
    other.close()
    app.run.click()
    app.job.wait()
    assert repr(app).endswith("; 1 run)")


def test_the_bundle_has_a_widget_a_table_and_a_line(app):
    app.run.click()
    app.job.wait()
    bundle = app._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"] == repr(app)
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == app.widget.model_id
    assert "<table" in bundle["text/html"]
    assert app.study.scope.label in words(bundle["text/html"])


def test_a_study_that_is_open_already_is_shown(tiny, mood):
    study = sv.Study(tiny, mood, progress=False)
    study.freeze(3)
    shown = sv.Explorer(study=study)
    assert shown.study is study
    assert shown.boundary.value == 3
    study.set(steps=2, lr=1e-3)
    job = study.finetune()
    shown.close()
    assert job.wait(60).state == "done"  # a study that was passed is not the Explorer's to close
    study.close()


def test_closing_cancels_the_job_and_can_be_repeated(app, training):
    job = training()
    app.close()
    assert job.state == "cancelled"
    app.close()
    for thread in threading.enumerate():
        if thread.name.startswith("semviz"):
            thread.join(timeout=60)
            assert not thread.is_alive()
    assert app.widget.comm is None
    app.study.freeze(2)
    app.study.set(steps=3)
    app.study.open(3)
    repr(app)


def test_closing_takes_away_every_widget(app):
    inside = widgets_in(app.widget)
    app.close()
    assert [type(widget).__name__ for widget in inside if widget.comm is not None] == []


def test_buttons_say_what_they_do(app):
    assert all(button.description for button in of_kind(app.widget, Button))


def test_an_explorer_of_texts_without_labels(tiny, stories):
    made = sv.Explorer(tiny, stories, progress=False)
    assert {key for _, key in made.look.order.options} == {"deviation", "cluster", "index"}
    assert [key for _, key in made.look.vocab.options] == ["full"]
    assert made.data.label.options == (("next tokens", ""),)
    made.data.text.value = "the cat was good ."
    assert made.study.sample.own
    made.boundary.value = 3
    made.study.set(steps=2, lr=1e-3)
    made.run.click()
    made.job.wait()
    assert "a loss of" in status(made)
    assert made.keeping.table.columns[2]["title"] == "Loss (nats)"
    made.keeping.table.choose(made.study.history.runs[0].key)
    made.keeping.inspect.click()
    assert made.job.wait().state == "done"
    assert made.keeping.change.figure
    made.close()


def test_the_packaged_task_without_labels_opens():
    made = sv.Explorer(sv.load_model(), sv.load_task("dialect").subset(train=16, test=8), progress=False)
    assert made.data.task.value == "dialect"
    assert "next tokens right" in words(made.data.header.value)
    assert made.data.label.options == (("next tokens", ""),)
    assert all(picture.figure for picture in (made.look.tokens, made.look.samples, made.look.way, made.gains.gain))
    assert made.study.prospect().cost.bytes > 0
    made.close()


def test_a_study_that_was_passed_stays_open_when_its_explorer_closes(tiny, mood):
    study = sv.Study(tiny, mood, progress=False)
    made = sv.Explorer(study=study)
    made.boundary.value = 3
    made.close()
    assert study.boundary == 3
    study.set(steps=1, lr=1e-3)
    assert study.finetune().result().scope.boundary == 3
    study.close()


def test_an_explorer_that_cannot_open_leaves_no_widget(tiny, mood):
    from ipywidgets.widgets import widget

    before = set(widget._instances)
    with pytest.raises(sv.SemvizError):
        sv.Explorer(tiny, "no such task", progress=False)
    assert set(widget._instances) == before
