"""A study: what is looked at and which blocks would train. Its jobs are in test_study_jobs.py."""

from __future__ import annotations

import numpy as np
import pytest
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import ScopeError, SemvizError, TaskError
from semviz.finetuning.learning_rates import BUDGET
from semviz.study.settings import Settings

# ---- Opening ---------------------------------------------------------------------------------------------------------


def test_a_study_opens_with_every_choice_at_its_default(study, tiny, mood):
    assert (study.model, study.task, study.vocab, study.order, study.cell) == (tiny, mood, "full", None, None)
    assert study.metric == study.trace.default_metric
    assert study.boundary == study.gain.boundary
    assert study.theta == study.gain.theta_of(study.boundary)
    assert study.settings == Settings.of_epochs(3, rows=56)
    assert study.sample.number == study.trace.detailed[0]
    assert study.numbers == list(range(56))
    assert (study.job, study.busy, study.chosen, study.difference) == (None, False, None, None)
    assert repr(study) == "Study(LlamaForCausalLM on tiny mood: blocks 2–4 of 4; 0 runs)"


def test_a_trace_that_is_given_is_not_made_again(tiny, mood, monkeypatch):
    trace = sv.trace(tiny, mood, progress=False)
    monkeypatch.setattr("semviz.study.opened_task.trace_task", lambda *_, **__: pytest.fail("traced again"))
    study = sv.Study(tiny, mood, trace=trace, progress=False)
    assert study.trace is trace
    study.close()


def test_a_trace_of_something_else_is_refused_in_words(tiny, mood, stories):
    other = sv.load_model((tiny_llama(seed=1), word_tokenizer()), general_text=plain_text())
    for trace in (
        sv.trace(other, mood, progress=False),
        sv.trace(tiny, stories, progress=False),
        sv.trace(tiny, mood, vocab="labels", progress=False),
    ):
        with pytest.raises(SemvizError, match="leave it out"):
            sv.Study(tiny, mood, trace=trace, progress=False)


def test_samples_bound_what_is_traced(tiny, mood):
    study = sv.Study(tiny, mood, samples=10, progress=False)
    assert len(study.numbers) == study.trace.meta["samples"] == 10
    assert study.rows == 56
    study.close()


# ---- Which blocks train ----------------------------------------------------------------------------------------------


def test_the_threshold_is_monotone_and_ends_at_nothing_and_the_largest_gain(study):
    study.gain.__dict__["_normalised"] = np.array([0.0, 0.5, 1.0, 1.0])
    boundaries = []
    for theta in np.linspace(0, 1, 101):
        study.threshold(float(theta))
        assert study.theta == theta
        assert study.scope.boundary == study.boundary
        boundaries.append(study.boundary)
    assert boundaries == sorted(boundaries)
    assert boundaries[0] == 0
    assert boundaries[-1] == 3


def test_the_threshold_of_a_gain_that_rises_in_steps(study):
    study.gain.__dict__["_normalised"] = np.array([0.2, 0.5, 0.5, 1.0])
    expected = {0: 0, 0.1: 1, 0.2: 1, 0.21: 2, 0.5: 2, 0.51: 3, 1: 3}  # block 4 is never frozen
    for theta, boundary in expected.items():
        study.threshold(theta)
        assert study.boundary == boundary, theta
    for boundary, theta in enumerate((0, 0.2, 0.5, 0.5)):
        study.freeze(boundary)
        assert study.theta == theta
        study.threshold(study.theta)
        assert study.boundary <= boundary


def test_freezing_sets_the_boundary_and_its_threshold(study, heard):
    for boundary in range(4):
        study.freeze(boundary)
        assert study.boundary == study.scope.boundary == boundary
        assert study.theta == study.gain.theta_of(boundary)
        assert study.prospect().scope == study.scope
    assert heard == ["scope"] * 4


@pytest.mark.parametrize("wrong", [-1, 4, 99])
def test_a_boundary_that_does_not_exist_changes_nothing(study, heard, wrong):
    before = (study.boundary, study.theta)
    with pytest.raises(ScopeError):
        study.freeze(wrong)
    assert ((study.boundary, study.theta), heard) == (before, [])


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_does_not_exist_changes_nothing(study, heard, wrong):
    before = (study.boundary, study.theta)
    with pytest.raises(SemvizError, match="between 0 and 1"):
        study.threshold(wrong)
    assert ((study.boundary, study.theta), heard) == (before, [])


@pytest.mark.parametrize(("name", "boundary"), [("full", 0), ("half", 2), ("last", 3), ("profile", 1)])
def test_presets(study, name, boundary):
    study.freeze((boundary + 1) % 4)
    study.preset(name)
    assert study.boundary == boundary
    assert study.theta == study.gain.theta_of(boundary)


def test_unknown_presets_are_refused_and_the_known_ones_named(study):
    with pytest.raises(SemvizError, match=r"'most'.*profile"):
        study.preset("most")


def test_the_preset_of_the_probes_needs_probes(study):
    study.set(steps=2, lr=1e-3)
    with pytest.raises(SemvizError, match="run the probes first"):
        study.preset("probes")
    assert study.advice() == study.gain.message
    probes = study.probe().result()
    study.freeze((probes.boundary + 1) % 4)
    study.preset("probes")
    assert study.boundary == probes.boundary == study.history.probes.boundary
    assert study.advice() == study.history.probes.message


# ---- What is looked at -----------------------------------------------------------------------------------------------


def test_the_metric_and_the_order_are_shown_and_none_leaves_them(study, heard):
    other = next(key for key in study.trace.metrics if key != study.metric)
    study.show(metric=other)
    study.show(order="deviation")
    assert (study.metric, study.order, heard) == (other, "deviation", ["view", "view"])


@pytest.mark.parametrize("wrong", [{"metric": "beauty"}, {"order": "beauty"}, {"metric": "target", "order": "beauty"}])
def test_unknown_metrics_and_orders_change_nothing(study, heard, wrong):
    before = (study.metric, study.order)
    with pytest.raises(SemvizError):
        study.show(**wrong)
    assert ((study.metric, study.order), heard) == (before, [])


def test_orders_by_label_are_for_tasks_with_labels(study, tiny, stories):
    assert set(study.orders) == {"label", "correct", "deviation", "cluster", "index"}
    other = sv.Study(tiny, stories, progress=False)
    assert set(other.orders) == {"deviation", "cluster", "index"}
    for order in ("label", "correct"):
        with pytest.raises(SemvizError, match="deviation"):
            other.show(order=order)
    other.close()


def test_samples_are_opened_and_cells_pointed_at(study, heard):
    study.point(2, 3)
    assert study.cell == (2, 3)
    study.open(50)
    assert (study.sample.number, study.cell) == (50, None)
    study.point(1, 0)
    study.read("the cat was good .", "yes")
    assert (study.sample.own, study.cell) == (True, None)
    study.read("the cat was good .")
    assert (study.sample.trace.positions["role"] == "next").any()
    assert heard == ["cell", "sample", "cell", "sample", "sample"]


@pytest.mark.parametrize(("position", "space"), [(-1, 0), (99, 0), (0, -1), (0, 5)])
def test_a_cell_that_does_not_exist_is_refused_and_nothing_changes(study, heard, position, space):
    study.point(1, 1)
    with pytest.raises(SemvizError, match="a space from 0 to 4"):
        study.point(position, space)
    assert (study.cell, heard) == ((1, 1), ["cell"])


@pytest.mark.parametrize("act", [lambda s: s.open(56), lambda s: s.read(" "), lambda s: s.read("cat", "perhaps")])
def test_what_cannot_be_opened_leaves_what_was_open(study, heard, act):
    before = study.sample
    with pytest.raises(TaskError):
        act(study)
    assert study.sample is before
    assert heard == []


def test_settings_are_changed_one_by_one_and_refused_whole(study, heard):
    study.set(steps=7, lr=0.5)
    before = study.settings
    assert (before.steps, before.lr, before.method) == (7, 0.5, "full")
    with pytest.raises(SemvizError):
        study.set(steps=9, seed=-1)
    assert (study.settings, heard) == (before, ["settings"])


def test_an_observer_is_told_until_it_is_stopped_and_stopping_twice_is_no_error(study):
    told = []
    stop = study.observe(told.append)
    study.freeze(2)
    stop()
    stop()
    study.freeze(3)
    assert told == ["scope"]


# ---- Prospects -------------------------------------------------------------------------------------------------------


def test_a_prospect_says_what_a_finetune_costs_before_and_after_it_ran(study):
    study.set(steps=4, lr=1e-3)
    study.freeze(2)
    before = study.prospect()
    assert (before.clock, before.search_seconds) == ("forward pass", 0)
    assert before.cost == study.opening.costs.of(study.scope, method="full", epochs=study.epochs)
    assert before.seconds > 0
    run = study.finetune().result()
    after = study.prospect()
    assert after.clock == "runs"
    assert after.seconds == pytest.approx(run.seconds)
    study.set(steps=8)
    assert study.prospect().seconds > after.seconds
    study.set(lr="auto")
    assert study.prospect().search_seconds == pytest.approx(4 * study.prospect().seconds)  # so few steps: five rates
    study.set(steps=100)
    searching = study.prospect()
    assert searching.search_seconds == pytest.approx(BUDGET * searching.seconds)
    assert "to find its learning rate" in {fact.name: fact for fact in searching.facts()}["Time"].detail


def test_a_benefit_is_of_the_probes_or_of_the_profile_or_unknown(study):
    assert not study.gain.applies
    assert (study.prospect().evidence, np.isnan(study.prospect().benefit)) == ("", True)
    facts = {fact.name: fact for fact in study.prospect().facts()}
    assert facts["Predicted benefit"].value == "unknown"
    assert study.scope.label in facts["Trains"].detail
    study.set(steps=20, lr=1e-2, batch_size=16)
    study.probe().result()
    assert study.history.probes.helps
    for boundary in range(4):
        study.freeze(boundary)
        made, probes = study.prospect(), study.history.probes
        assert (made.evidence, made.benefit) == ("probes", probes.benefit[boundary])
        assert (made.low, made.high) == (probes.low[boundary], probes.high[boundary])
