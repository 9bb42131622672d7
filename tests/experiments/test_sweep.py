from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.experiments.runs import Runs
from semviz.finetuning.finetune import train_scope
from semviz.finetuning.run import Run

QUICK = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "progress": False}


@pytest.fixture
def swept(tiny, mood):
    return sv.sweep(tiny, mood, seeds=(0, 1), **QUICK)


def test_every_boundary_by_default(tiny, swept):
    table = swept.table()
    assert table["boundary"].tolist() == [0, 1, 2, 3]
    assert table["runs"].tolist() == [2] * 4
    assert table["name"].tolist() == ["full", "k=1", "half", "last"]
    assert len(swept) == len(swept.frame()) == 8
    assert (table["low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["high"]).all()


def test_benefit_and_speedup_are_relative_to_full_finetuning(swept):
    table = swept.table().set_index("name")
    assert table.loc["full", "speedup"] == 1
    assert table.loc["full", "benefit"] == 1
    full, last = table.loc["full", "accuracy"], table.loc["last", "accuracy"]
    assert table.loc["last", "benefit"] == pytest.approx((last - swept.zero_shot) / (full - swept.zero_shot))


def test_the_profiles_scope_is_named(tiny, mood):
    gain = sv.trace(tiny, mood, progress=False).gain()
    runs = sv.sweep(tiny, mood, [sv.Scope.full(tiny), gain.scope()], gain=gain, **QUICK)
    names = runs.table()["name"].tolist()
    assert any("profile" in name for name in names)


@pytest.mark.parametrize("applies", [True, False])
def test_a_profile_predicts_only_where_its_law_applies(swept, tiny, mood, applies):
    gain = sv.trace(tiny, mood, progress=False).gain()
    law = dataclasses.replace(gain.law, nonmonotone=0.0 if applies else 0.5, flat=False)
    gain = dataclasses.replace(gain, law=law, predicted=gain.deviation[-1] - np.array([0.8, 0.8, 0.4, 0.1, 0.0]))
    predicted = dataclasses.replace(swept, gain=gain).table()["predicted"]
    assert predicted.tolist() == pytest.approx([1, 1, 0.5, 0.125] if applies else [np.nan] * 4, nan_ok=True)


def test_scopes_of_one_sweep_differ_in_nothing_but_the_scope(swept):
    frame = swept.frame()
    assert frame["steps"].nunique() == frame["epochs"].nunique() == 1


def test_a_second_sweep_reads_the_store_and_trains_nothing(tiny, mood, tmp_path, monkeypatch):
    first = sv.sweep(tiny, mood, store=tmp_path, **QUICK)
    assert len(list(tmp_path.glob("*.json"))) == 4
    monkeypatch.setattr("semviz.experiments.sweep.train_scope", lambda *_a, **_k: pytest.fail("trained again"))
    again = sv.sweep(tiny, mood, store=tmp_path, **QUICK)
    assert first.table().equals(again.table())
    assert not list(tmp_path.glob(".*"))


def test_a_stopped_sweep_goes_on_where_it_was(tiny, mood, tmp_path, monkeypatch):
    real, done = train_scope, []

    def stops(*args, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args, **options)

    monkeypatch.setattr("semviz.experiments.sweep.train_scope", stops)
    with pytest.raises(KeyboardInterrupt):
        sv.sweep(tiny, mood, store=tmp_path, **QUICK)
    assert len(list(tmp_path.glob("*.json"))) == 2
    monkeypatch.setattr("semviz.experiments.sweep.train_scope", lambda *a, **k: done.append(1) or real(*a, **k))
    resumed = sv.sweep(tiny, mood, store=tmp_path, **QUICK)
    assert len(done) == 4
    undisturbed = sv.sweep(tiny, mood, **QUICK)
    columns = ["boundary", "accuracy", "lr", "trainable"]
    assert resumed.table()[columns].equals(undisturbed.table()[columns])


def test_runs_survive_a_round_trip(swept):
    for run in swept:
        again = Run.from_record(json.loads(json.dumps(run.record())))
        assert again.record() == run.record()
        assert again.scope == run.scope


def test_files_that_are_no_runs(tiny, mood, tmp_path):
    sv.sweep(tiny, mood, [sv.Scope.last(tiny)], store=tmp_path, **QUICK)
    (path,) = tmp_path.glob("*.json")
    whole = path.read_text()
    path.write_text(whole[:100])
    with pytest.raises(SemvizError, match="move it elsewhere"):
        sv.sweep(tiny, mood, [sv.Scope.last(tiny)], store=tmp_path, **QUICK)
    path.write_text(whole.replace('"format": 5', '"format": 99'))
    with pytest.raises(SemvizError, match="update semviz"):
        sv.sweep(tiny, mood, [sv.Scope.last(tiny)], store=tmp_path, **QUICK)


def test_language_modelling_tables_are_in_nats(tiny, stories):
    runs = sv.sweep(tiny, stories, [sv.Scope.full(tiny), sv.Scope.last(tiny)], **QUICK)
    table = runs.table()
    assert runs.score == "loss"
    assert (table["loss_low"] <= table["loss"]).all()
    assert (table["loss"] <= table["loss_high"]).all()
    assert "nats" in runs.answer()


def test_the_answer_names_blocks_parameters_and_scores(swept):
    answer = swept.answer()
    assert "train block" in answer
    assert "% accuracy" in answer
    assert answer.endswith(".")


def judged(runs, before, **validation):
    """The runs with other scores on validation rows, by boundary."""
    scores = {int(name.removeprefix("k")): score for name, score in validation.items()}
    made = tuple(
        dataclasses.replace(r, validation=scores[r.scope.boundary]) for r in runs if r.scope.boundary in scores
    )
    return dataclasses.replace(runs, runs=made, untrained_rows=(before,) * 10)


def test_where_full_finetuning_does_not_help_the_answer_says_so(swept):
    answer = judged(swept, 0.6, k0=0.5, k2=0.7, k3=0.65).answer()
    assert "train blocks 3–4 of 4" in answer
    assert "Training blocks 1–4 of 4 did not help" in answer
    for all_equal in (0.6, 0.4):
        nothing = judged(swept, 0.6, k0=all_equal, k2=all_equal, k3=0.6).answer()
        assert "nothing that was tried helped" in nothing
    diverged = judged(swept, 0.6, k0=float("nan"), k2=0.7, k3=0.65).answer()
    assert "train blocks 3–4 of 4" in diverged


def test_of_losses_the_smaller_helps(tiny, stories):
    runs = sv.sweep(tiny, stories, [sv.Scope.full(tiny), sv.Scope.half(tiny), sv.Scope.last(tiny)], **QUICK)
    assert "train blocks 3–4 of 4" in judged(runs, 4.0, k0=3.0, k2=3.01, k3=3.9).answer()
    assert "did not help" in judged(runs, 4.0, k0=4.1, k2=3.9, k3=4.0).answer()
    assert "nothing that was tried helped" in judged(runs, 4.0, k0=4.1, k2=4.2, k3=4.3).answer()


@pytest.mark.parametrize("options", [{"scopes": []}, {"seeds": ()}, {"methods": ()}])
def test_empty_lists(tiny, mood, options):
    with pytest.raises(SemvizError, match="is empty"):
        sv.sweep(tiny, mood, **{"scopes": None, **options}, **QUICK)


def test_no_runs():
    with pytest.raises(SemvizError, match="no run"):
        Runs((), zero_shot=0.5)


def test_in_a_budget_the_largest_and_the_smallest_scope_train_first(tiny, mood):
    """Of ranges these are all blocks and a single one, whatever their boundaries."""
    runs = sv.sweep(tiny, mood, sv.Scope.ranges(tiny), epochs=0.2, lr=1e-3, budget=3600, progress=False)
    first = [run.scope for run in runs][:2]
    assert first[0].blocks == (1, 2, 3, 4)
    assert len(first[1].blocks) == 1
