"""Finished runs: which belong to a study, and which of them may stand in one chart."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.experiments.run_store import Store
from semviz.study.history import comparable

QUICK = {"lr": 1e-3, "epochs": 0.5, "batch_size": 16, "progress": False}


@pytest.fixture
def run(tiny, mood):
    return sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)


def copies(run, *changes):
    return [replace(run, key=f"{i}", **change) for i, change in enumerate(changes)]


def opened(model, task, folder):
    return sv.Study(model, task, store=folder, progress=False)


# ---- comparable ------------------------------------------------------------------------------------------------------


def test_nothing_compares_with_nothing():
    assert comparable([]) == []


def test_of_each_scope_and_method_the_rate_with_the_best_validation_score_is_taken_with_its_seeds(tiny, run):
    last = sv.Scope.last(tiny)
    runs = copies(
        run,
        {"lr": 1e-3, "validation": 0.5, "accuracy": 0.9},
        {"lr": 1e-2, "validation": 0.7, "accuracy": 0.1},
        {"lr": 1e-1, "validation": 0.6},
        {"seed": 1, "lr": 1e-2, "validation": 0.1},
        {"method": "lora", "validation": 0.2},
        {"scope": last, "validation": 0.3},
        {"scope": last, "validation": 0.4},
        {"seed": 2, "lr": 1e-3, "validation": 0.6},
    )
    assert [made.key for made in comparable(runs)] == ["1", "3", "4", "6"]


def test_seeds_that_looked_for_rates_of_their_own_are_seeds_of_one_another(run):
    searched = [{"seed": seed, "lr": lr, "rates": {lr: 0.5}, "validation": 0.5} for seed, lr in enumerate((1e-3, 1e-2))]
    runs = copies(run, *searched, {"seed": 2, "lr": 1e-3, "validation": 0.4})
    assert [made.key for made in comparable(runs)] == ["0", "2"]
    more = copies(run, *searched, {**searched[1], "seed": 3}, {"seed": 2, "lr": 1e-3, "validation": 0.4})
    assert [made.key for made in comparable(more)] == ["0", "1", "2"]
    assert sv.Runs(tuple(comparable(more)), zero_shot=0.5).table()["runs"].tolist() == [3]


def test_of_losses_the_smaller_is_the_better(run):
    runs = copies(run, *({"score": "loss", "validation": loss} for loss in (3.0, 2.0, 2.5)))
    assert [made.key for made in comparable(runs)] == ["1"]


def test_only_runs_as_long_as_the_newest_compare(run):
    runs = copies(
        run,
        {"seed": 0, "epochs": 3, "batch_size": 32},
        {"seed": 1, "epochs": 3.0, "batch_size": 16},
        {"seed": 2, "epochs": 1.0, "batch_size": 32},
        {"seed": 3, "epochs": 3.0, "batch_size": 32},
    )
    assert [made.key for made in comparable(runs)] == ["0", "3"]


def test_runs_that_diverged_compare_with_nothing(run):
    runs = copies(run, {"validation_loss": math.inf, "validation": 1.0}, {"validation": 0.1})
    assert [made.key for made in comparable(runs)] == ["1"]
    assert comparable(copies(run, {"validation_loss": math.nan})) == []


# ---- History ---------------------------------------------------------------------------------------------------------


def test_a_study_shows_the_runs_of_its_store_the_oldest_first(tiny, mood, tmp_path):
    runs = sv.sweep(tiny, mood, store=tmp_path, **QUICK)
    keys = Store(tmp_path).keys()
    study = opened(tiny, mood, tmp_path)
    assert [run.key for run in study.history.runs] == keys
    assert set(keys) == {run.key for run in runs}
    assert len(study.history.comparable) == 4
    assert study.history.problems == []
    assert study.history.together.zero_shot == pytest.approx(runs.zero_shot)
    assert study.history.probes.benefit == pytest.approx(runs.probes().benefit, nan_ok=True)


def test_runs_of_another_model_or_task_or_with_other_arguments_are_not_shown(tiny, mood, stories, run, tmp_path):
    other = sv.load_model((tiny_llama(seed=1), word_tokenizer()), general_text=plain_text())
    store = Store(tmp_path)
    store.add(sv.finetune(other, mood, sv.Scope.half(other), **QUICK))
    store.add(sv.finetune(tiny, stories, sv.Scope.half(tiny), **QUICK))
    store.add(sv.finetune(tiny, mood.subset(train=40), sv.Scope.half(tiny), **QUICK))
    store.add(sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments={"adam_beta1": 0.5}, **QUICK))
    assert opened(tiny, mood, tmp_path).history.runs == []
    store.add(run)
    study = opened(tiny, mood, tmp_path)
    assert [made.key for made in study.history.runs] == [run.key]
    assert study.history.problems == []
    assert study.history.probes is None  # one run predicts nothing
    assert [made.scope.boundary for made in opened(tiny, stories, tmp_path).history.runs] == [2]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 1, "semviz": "0"}', '{"format": 2, "run": {}}', ""])
def test_a_file_that_cannot_be_read_is_told_and_the_others_are_shown(tiny, mood, run, tmp_path, content):
    store = Store(tmp_path)
    store.add(run)
    (tmp_path / "broken.json").write_text(content)
    history = opened(tiny, mood, tmp_path).history
    assert [made.key for made in history.runs] == [run.key]
    assert len(history.problems) == 1
    assert "broken.json" in history.problems[0]
    assert (tmp_path / "broken.json").read_text() == content  # nobody deletes what is not ours


def test_weights_that_cannot_be_read_are_told_too(tiny, mood, run, tmp_path):
    Store(tmp_path).add(run)
    (tmp_path / f"{run.key}.safetensors").write_bytes(b"no weights")
    history = opened(tiny, mood, tmp_path).history
    assert history.runs == []
    assert len(history.problems) == 1


def test_a_run_with_the_same_key_is_replaced_and_becomes_the_newest(tiny, mood, run, tmp_path):
    history = opened(tiny, mood, tmp_path).history
    first, second = copies(run, {"seed": 0}, {"seed": 1})
    history.add(first, second)
    again = replace(first, accuracy=0.125)
    history.add(again)
    assert history.runs == [second, again]
    assert history.find("0") is again
    assert {made.key for made in history.together.runs} == {"0", "1"}


def test_an_unknown_key_is_refused_and_the_known_ones_are_named(tiny, mood, run, tmp_path):
    history = opened(tiny, mood, tmp_path).history
    history.add(run)
    with pytest.raises(SemvizError, match=run.key):
        history.find("nothing")


def test_three_boundaries_make_probes_and_two_without_the_whole_do_not(tiny, mood, run, tmp_path):
    history = opened(tiny, mood, tmp_path).history
    last = sv.finetune(tiny, mood, sv.Scope.last(tiny), **QUICK)
    history.add(run, last)
    assert history.probes is None
    assert history.together is not None
    history.add(sv.finetune(tiny, mood, **QUICK))
    assert set(history.probes.points["boundary"]) == {0, 2, 3}
