"""What a study opens in the background: other tasks, label words, differences; and runs that are taken up again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.study.settings import Settings


@pytest.fixture
def study(study):
    """One whose finetunes take a moment."""
    study.set(steps=2, lr=1e-3, batch_size=16)
    return study


def test_another_task_resets_what_was_chosen(study, stories, heard):
    run = study.finetune().result()
    study.restore(run.key)
    study.inspect(run.key).result()
    study.compare_with("labels").result()
    study.show(metric="target", order="label")
    study.freeze(3)
    study.point(1, 1)
    heard.clear()
    study.choose(stories).result()
    assert study.task is stories
    assert (study.vocab, study.order, study.cell, study.chosen, study.difference) == ("full", None, None, None, None)
    assert study.metric == study.trace.default_metric
    assert study.boundary == study.gain.boundary
    assert study.settings == Settings.of_epochs(3, rows=study.rows)
    assert study.history.runs == []
    assert study.sample.number in study.numbers
    assert heard[0] == "job"
    assert heard[-2:] == ["task", "job"]
    study.set(steps=2, lr=1e-3)
    assert study.finetune().result().task == "tiny stories"


def test_a_packaged_task_is_chosen_by_name_and_an_unknown_one_refused(study):
    with pytest.raises(SemvizError, match="packaged task 'nothing'"):
        study.choose("nothing")
    assert not study.busy


def test_a_task_that_cannot_be_opened_leaves_the_old_one(study, mood):
    broken = sv.Task.from_texts(["the cat"] * 8 + ["the dog"] * 8, ["zz"] * 8 + ["qq"] * 8, prompt="{text} :", name="b")
    job = study.choose(broken).wait()
    assert job.state == "failed"
    assert isinstance(job.error, SemvizError)
    assert study.task is mood
    assert study.finetune().wait().state == "done"


def test_a_cancel_while_a_task_is_entered_leaves_the_old_one_whole(study, mood, stories, monkeypatch):
    monkeypatch.setattr("semviz.study.job._REPORT_SECONDS", 0)  # every step is told
    sv.sweep(study.model, stories, [sv.Scope.last(study.model)], lr=1e-3, store=study.store.folder, progress=False)
    study.observe(lambda change: study.cancel() if study.trials.stage == "Scoring rows" else None)
    job = study.choose(stories).wait(60)
    assert job.state == "cancelled"
    assert study.task is mood


def test_label_words_are_traced_once(study, monkeypatch):
    full = study.trace
    found = study.compare_with("labels").result()
    assert study.vocab == "labels"
    assert study.trace is found
    assert found.meta["vocab"] == "labels"
    assert found.metrics == full.metrics
    assert found.meta["detail"] == full.meta["detail"]
    monkeypatch.setattr("semviz.study.study.trace", lambda *_, **__: pytest.fail("traced again"))
    assert study.compare_with("full").result() is None
    assert study.trace is full
    assert study.compare_with("labels").result() is None
    assert study.trace is found
    assert study.gain is study.opening.gain


def test_a_task_without_labels_has_no_label_words(study, stories):
    study.choose(stories).result()
    with pytest.raises(SemvizError, match='no labels; pass "full"'):
        study.compare_with("labels")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_difference_is_the_runs_trace_minus_the_untrained_one(study, method):
    study.set(method=method, lr=1e-2)
    run = study.finetune().result()
    shown = study.inspect(run.key).result()
    assert (study.difference, study.chosen) == (shown, run)
    again = study.store.find(run.key)
    expected = again.trace(study.model, study.task, progress=False) - sv.trace(study.model, study.task, progress=False)
    assert shown.metrics == expected.metrics
    assert shown.positions.equals(expected.positions)
    for key in shown.metrics:
        assert np.array_equal(shown.values[key], expected.values[key], equal_nan=True), key
    assert np.nanmax(np.abs(shown.values["target"])) > 0


def test_a_run_of_other_blocks_than_those_above_a_boundary_is_not_restored(study, tiny, mood):
    study.history.add(sv.finetune(tiny, mood, sv.Scope.of(tiny, [2]), lr=1e-3, epochs=1, progress=False))
    before = (study.boundary, study.settings, study.chosen)
    with pytest.raises(SemvizError, match="slider cannot show"):
        study.restore(study.history.runs[0].key)
    assert (study.boundary, study.settings, study.chosen) == before


def test_restoring_takes_up_scope_and_settings(study):
    study.freeze(3)
    study.set(seed=2, method="lora", steps=3)
    run = study.finetune().result()
    study.freeze(0)
    study.set(seed=0, method="full", lr="auto", steps=1, batch_size=5)
    study.restore(run.key)
    assert (study.boundary, study.chosen) == (3, run)
    assert study.settings == Settings(3, 1e-3, "lora", 2, 16)
    with pytest.raises(SemvizError, match="no run 'nothing'"):
        study.restore("nothing")


def test_a_run_that_diverged_is_restored_with_the_steps_that_it_was_asked_for(study):
    study.set(steps=6)
    run = study.finetune().result()
    study.history.add(replace(run, steps=3, validation_loss=float("inf")))
    study.set(steps=1)
    study.restore(run.key)
    assert study.settings.steps == 6
