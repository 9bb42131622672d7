"""Jobs behind the Explorer's buttons, and the runs that they leave."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from explorer.apps import words
from semviz.common.errors import SemvizError
from semviz.explorer.code_export import code_of


def status(app):
    return words(app.status.value)


def test_a_second_click_says_so_and_starts_nothing(app, training):
    job = training()
    app.run.click()
    assert "is still running" in status(app)
    assert app.job is job
    app.probe.click()
    assert "is still running" in status(app)
    assert app.job is job
    app.cancel.click()
    assert job.wait(60).state == "cancelled"
    assert "cancelled" in status(app)


def test_the_slider_works_while_a_job_runs_and_changes_nothing_of_it(app, training):
    app.boundary.value = 3
    job = training()
    for boundary in (0, 1, 2, 1, 0):
        app.boundary.value = boundary
        assert app.study.boundary == app.boundary.value == boundary
    assert job.running
    assert app.job.label == "Finetuning block 4 of 4"
    assert app.study.trials.trials[-1].label == "Finetuning block 4 of 4"
    app.cancel.click()
    job.wait(60)


def test_buttons_are_off_where_they_would_do_nothing(app, training):
    key = app.study.finetune().result().key

    def off():
        tuning, keeping = app.tuning, app.keeping
        return [c.disabled for c in (tuning.cancel, keeping.inspect, app.data.task, app.look.vocab)]

    assert off() == [True, True, False, False]
    app.keeping.table.choose(key)
    assert off() == [True, False, False, False]
    job = training()
    assert off() == [False, True, True, True]
    app.cancel.click()
    job.wait(60)
    assert off() == [True, False, False, False]
    assert app.tuning.bar.bar_style == "warning"


def test_the_task_goes_back_where_another_cannot_be_opened_now(app, training):
    job = training()
    app.data.task.value = "question"
    assert app.data.task.value == "tiny mood"
    assert "is still running" in status(app)
    app.look.vocab.value = "labels"
    assert app.look.vocab.value == "full"
    app.cancel.click()
    job.wait(60)


def test_the_bar_ends_full_and_says_how_it_ended(app, monkeypatch):
    app.run.click()
    app.job.wait()
    assert (app.tuning.bar.value, app.tuning.bar.bar_style) == (1, "success")
    app.study.set(seed=1)
    monkeypatch.setattr("semviz.finetuning.scope_trainer.fit", lambda *_, **__: 1 / 0)
    app.run.click()
    app.job.wait()
    assert app.tuning.bar.bar_style == "danger"


def test_live_curves_are_drawn_while_it_trains(app, training):
    job = training()
    assert app.tuning.live.figure["layout"]["meta"]["trials"] == 1
    assert "step" in status(app)
    app.cancel.click()
    job.wait(60)


def test_the_curves_of_a_longer_run_fill_its_axis(app):
    for steps in (2, 6):
        app.tuning.steps.value = steps
        app.run.click()
        app.job.wait()
    live = app.tuning.live
    end = live.overlay.get("layout", {}).get("xaxis.range", live.figure["layout"]["xaxis"]["range"])[1]
    assert end >= 6


def test_another_task_by_the_dropdown_and_by_the_study(app, stories):
    assert "tiny mood" in words(app.data.header.value)
    app.data.task.value = "question"
    assert app.job.wait(60).state in ("done", "failed")  # the tiny model does not know the words of packaged tasks
    assert app.data.task.value == app.study.task.name


def test_a_task_that_the_study_chose_is_shown(app, stories):
    app.study.choose(stories).wait(60)
    assert app.study.task is stories
    assert app.data.task.value == "tiny stories"


def test_a_row_restores_scope_and_settings(app):
    app.boundary.value = 3
    app.tuning.seed.value = 4
    app.run.click()
    key = app.job.result().key
    app.boundary.value, app.tuning.seed.value, app.tuning.steps.value = 0, 0, 9
    app.tuning.lr.value = "auto"
    app.keeping.table.choose(key)
    assert (app.boundary.value, app.study.boundary) == (3, 3)
    assert (app.tuning.seed.value, app.tuning.steps.value, app.tuning.lr.value) == (4, 2, "0.001")
    assert app.keeping.table.chosen == key
    app.keeping.inspect.click()
    app.job.wait()
    assert app.keeping.change.figure["data"]
    assert "Done" in status(app)


def test_files_are_handed_over(app):
    press = app.keeping.files.press
    for label in ("Runs as CSV", "Report as HTML"):
        with pytest.raises(SemvizError, match="finetune first"):
            press(label)
    app.probe.click()
    app.job.wait()
    table = pd.read_csv(io.BytesIO(press("Runs as CSV")))
    assert len(table) == len(app.study.history.runs) >= 2
    assert table["accuracy"].tolist() == [run.accuracy for run in app.study.history.runs]
    page = press("Report as HTML").decode()
    assert page.lstrip().lower().startswith("<!doctype html")
    assert "tiny mood" in page
    snippet = press("This snippet").decode()
    assert snippet == code_of(app.study)
    assert app.keeping.source.value == ""  # what is not seen is not sent at every move
    app.keeping.shown.value = True
    assert words(app.keeping.source.value) == snippet


def test_the_snippet_follows_the_view_and_the_trainer(app):
    app.keeping.shown.value = True
    app.boundary.value = 2
    assert "Scope.above(model, 2)" in words(app.keeping.source.value)
    for _, name in app.keeping.export.options[1:]:
        app.keeping.export.value = name
        assert words(app.keeping.source.value)
        assert "Scope.above" not in words(app.keeping.source.value)
    app.keeping.shown.value = False
    assert app.keeping.source.value == ""
