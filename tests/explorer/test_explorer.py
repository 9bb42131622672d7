"""The Explorer's controls, driven as a person would, without a browser."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.apps import pictures, record, words
from semviz.explorer.widgets.picture import Click
from semviz.figures.drawing.updates import moved
from semviz.study.settings import Settings


def status(app):
    return words(app.status.value)


# ---- The short way ---------------------------------------------------------------------------------------------------


def test_a_finetune_by_three_lines(app):
    assert status(app).startswith("Ready.")
    app.boundary.value = 3
    app.run.click()
    app.job.wait()
    assert app.job.state == "done", app.job.traceback
    run = app.job.value
    assert (run.scope.boundary, run.steps) == (3, 2)
    assert app.study.history.runs == [run]
    assert "Done: training block 4 of 4" in status(app)
    assert [row["_id"] for row in app.keeping.table.rows] == [run.key]
    assert app.tuning.pareto.figure["data"]
    assert app.tuning.live.figure["data"]


# ---- Threshold and boundary ------------------------------------------------------------------------------------------


def test_the_slider_and_the_stepper_follow_each_other_and_act_once(app):
    told = []
    app.study.gain.__dict__["_normalised"] = np.array([0.2, 0.5, 0.5, 1.0])
    app.study.observe(told.append)
    app.boundary.value = 3
    assert (app.study.boundary, app.threshold.value) == (3, round(app.study.gain.theta_of(3), 2))
    app.threshold.value = 0
    assert (app.study.boundary, app.boundary.value, app.study.theta) == (0, 0, 0)
    app.threshold.value = 0.37
    assert (app.study.boundary, app.boundary.value) == (app.study.gain.threshold(0.37),) * 2
    assert (app.study.theta, app.threshold.value) == (0.37, 0.37)
    assert told == ["scope"] * 3


def test_the_study_moves_the_controls_without_being_moved_by_them(app):
    told = []
    app.study.observe(told.append)
    app.study.gain.__dict__["_normalised"] = np.array([0.2, 0.25, 1 / 3, 0.4])  # a θ that the slider must round
    app.study.freeze(3)
    assert (app.boundary.value, app.study.boundary, app.threshold.value) == (3, 3, 0.33)
    assert app.study.theta == pytest.approx(1 / 3)
    assert told == ["scope"]


def test_presets_move_everything(app):
    for name, boundary in (("full", 0), ("half", 2), ("last", 3), ("profile", 1)):
        app.boundary.value = (boundary + 1) % 4
        app.scoping.presets[name].click()
        assert (app.study.boundary, app.boundary.value) == (boundary, boundary), name
        assert f"{boundary} of 4 blocks frozen" in words(app.scoping.panel.value)
        assert app.gains.prices.chosen == str(boundary)
        assert app.study.scope.label in words(app.scoping.panel.value)


def test_the_preset_of_the_probes_is_off_until_they_were_run(app):
    assert app.scoping.presets["probes"].disabled
    advice = words(app.scoping.advice.value)
    assert app.study.gain.message in advice
    app.probe.click()
    app.job.wait()
    assert not app.scoping.presets["probes"].disabled
    assert words(app.scoping.advice.value) != advice
    app.boundary.value = (app.study.history.probes.boundary + 1) % 4
    app.scoping.presets["probes"].click()
    assert app.boundary.value == app.study.history.probes.boundary


def test_a_row_of_the_prices_freezes_as_many_blocks(app):
    assert [row["k"] for row in app.gains.prices.rows] == ["0", "1", "2", "3"]
    app.gains.prices.choose("2")
    assert (app.study.boundary, app.boundary.value) == (2, 2)


def test_all_pictures_follow_the_boundary_and_none_is_sent_again(app, monkeypatch):
    app.probe.click()
    app.job.wait()
    app.keeping.table.choose(app.study.history.runs[0].key)
    app.keeping.inspect.click()
    app.job.wait()
    app.boundary.value = 0
    named = pictures(app)
    assert all(picture.figure for picture in named.values())
    before = {name: id(picture.figure) for name, picture in named.items()}
    sent = record(monkeypatch)
    for boundary in (3, 1, 2):
        sent.clear()
        app.boundary.value = boundary
        for name in ("tokens", "samples", "way", "gain", "benefit", "change"):
            expected = moved(named[name].figure, boundary)
            assert named[name].overlay == expected, name
            assert expected["layout"] or expected["data"], name
        assert app.study.scope.trainable in named["pareto"].overlay["layout"].values()
        for name in ("tokens", "samples", "change"):  # rows are spaces, the line is half a row above the boundary
            assert named[name].overlay["layout"]["shapes[0].y0"] == boundary + 0.5
        states = [message["state"] for _, message, _ in sent if message["method"] == "update"]
        assert not [state for state in states if "figure" in state]
        assert len([state for state in states if "overlay" in state]) == 7
        assert sum(size for _, _, size in sent) < 10_000
    assert {name: id(picture.figure) for name, picture in named.items()} == before


def test_a_picture_that_is_drawn_later_has_the_boundary_of_then(app):
    app.boundary.value = 3
    app.look.metric.value = next(key for _, key in app.look.metric.options if key != app.study.metric)
    for picture in (app.look.tokens, app.look.samples):
        assert picture.overlay == {}
        assert 3.5 in [shape.get("y0") for shape in picture.figure["layout"]["shapes"]]


# ---- Looking ---------------------------------------------------------------------------------------------------------


def test_a_click_on_a_sample_opens_it_and_one_on_a_cell_shows_its_way(app):
    shown = app.look.samples.figure["layout"]["meta"]["samples"]
    app.look.samples.click(Click("cells", 40, 2, (2, 40)))
    assert app.study.sample.number == shown[40]
    assert app.look.tokens.figure["layout"]["meta"]["positions"]
    app.look.tokens.click(Click("cells", 3, 2, (2, 3)))
    assert app.study.cell == (app.look.tokens.figure["layout"]["meta"]["positions"][3], 2)
    assert "space 2 is marked" in words(app.look.near.value)
    assert app.look.near.value.count("aria-current") == 1


def test_a_position_without_a_target_has_words_instead_of_a_way(app):
    positions = app.study.sample.trace.positions
    last = positions.loc[(positions["sample"] == app.study.sample.number) & (positions["target_id"] < 0), "position"]
    if last.empty:
        app.study.read("the cat was good .")
        last = app.study.sample.trace.positions.loc[app.study.sample.trace.positions["target_id"] < 0, "position"]
    app.study.point(int(last.iloc[-1]), 1)
    assert app.look.way.figure == {}
    assert "no target" in app.look.near.value
    app.boundary.value = 3  # nothing to mark there


def test_metric_order_and_vocabulary_redraw(app):
    before = app.look.samples.figure
    app.look.order.value = "deviation"
    assert app.study.order == "deviation"
    assert app.look.samples.figure != before
    before = app.look.samples.figure
    app.look.vocab.value = "labels"
    app.job.wait()
    assert (app.study.vocab, app.look.vocab.value) == ("labels", "labels")
    assert app.look.samples.figure != before


def test_a_text_of_ones_own_is_read_with_and_without_a_label(app):
    assert [title for title, _ in app.data.label.options] == ["no", "yes", "next tokens"]
    app.data.text.value = "the cat was good ."
    assert (app.study.sample.own, app.study.sample.text) == (True, "the cat was good .")
    assert app.study.sample.trace.positions["target"].iloc[-1].strip() == "no"
    assert "Your text" in app.look.tokens.figure["layout"]["title"]["text"]
    app.data.label.value = ""
    app.data.read.click()
    assert (app.study.sample.trace.positions["role"] == "next").any()
    app.data.text.value = ""
    app.data.read.click()
    assert "empty" in status(app)


# ---- Settings --------------------------------------------------------------------------------------------------------


def test_the_controls_set_the_settings(app):
    tuning = app.tuning
    tuning.steps.value, tuning.batch_size.value, tuning.seed.value = 7, 8, 3
    tuning.lr.value, tuning.method.value = "0.02", "lora"
    assert app.study.settings == Settings(7, 0.02, "lora", 3, 8)
    tuning.lr.value = " AUTO "
    assert (app.study.settings.lr, tuning.lr.value) == ("auto", "auto")


def test_a_rate_that_is_refused_goes_back_and_is_explained(app):
    before = app.study.settings
    for text in ("fast", "-1", "0", "nan", "inf", "1e-3x"):
        app.status.value = ""
        app.tuning.lr.value = text
        assert app.tuning.lr.value == "0.001", text
        assert app.study.settings == before, text
        assert "Problem" in status(app), text
        assert "auto" in status(app), text
        assert "<details" not in app.status.value


def test_a_method_without_a_control_is_shown_all_the_same(app):
    app.study.set(method="lisa")
    assert app.tuning.method.value == "lisa"
