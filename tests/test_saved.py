"""What people have saved loads for good: the files of every folder in tests/saved, written by the semviz it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from saved.write import content_of, content_of_run, model_and_tasks

import semviz as sv
from semviz.experiments.run_store import Store
from semviz.finetuning.recipe import Recipe, run_key

FOLDERS = sorted(path.parent for path in (Path(__file__).parent / "saved").glob("*/content.json"))
CONTENT = {folder: json.loads((folder / "content.json").read_text(encoding="utf-8")) for folder in FOLDERS}
TRACES = [(folder, name) for folder in FOLDERS for name in CONTENT[folder]["traces"]]
RUNS = [(folder, key) for folder in FOLDERS for key in CONTENT[folder]["runs"]]


def name_of(value):
    return value.name if isinstance(value, Path) else value


def as_json(content):
    return json.loads(json.dumps(content))


@pytest.mark.parametrize(("folder", "name"), TRACES, ids=name_of)
def test_a_saved_trace_loads_as_it_was(folder, name):
    trace = sv.Trace.load(folder / f"{name}.parquet")
    assert as_json(content_of(trace)) == CONTENT[folder]["traces"][name]
    assert trace.profile().data
    assert trace.sample_heatmap().data


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_detail_and_gain_of_a_saved_trace(folder):
    trace = sv.Trace.load(folder / "all.parquet")
    assert len(trace.detailed) == 2
    assert trace.token_heatmap().data
    assert trace.transition_map().data
    assert trace.gain().boundary in range(1, trace.n_blocks)


@pytest.mark.parametrize(("folder", "key"), RUNS, ids=name_of)
def test_a_stored_run_loads_as_it_was(folder, key):
    run = Store(folder / "store").find(key)
    assert as_json(content_of_run(run)) == CONTENT[folder]["runs"][key]


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_store_holds_what_was_put_there(folder):
    store = Store(folder / "store")
    assert sorted(store.keys()) == sorted(CONTENT[folder]["runs"])
    runs = list(map(store.find, store.keys()))
    assert {run.method for run in runs} == {"full", "lora", "ia3", "lisa"}
    assert sum(run.diverged for run in runs) == 1
    assert sum(bool(run.rates) for run in runs) == 1
    mood = [run for run in runs if run.score == "accuracy"]
    assert sv.Runs(tuple(mood), zero_shot=0.5).pareto().data


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_kept_weights_make_the_model_that_was_scored(folder):
    model, mood, _ = model_and_tasks(folder)
    kept = [run for run in map(Store(folder / "store").find, CONTENT[folder]["runs"]) if run.weights]
    assert {run.method for run in kept} == {"full", "lora"}
    for run in kept:
        tuned = sv.load_run(model, run)
        before, after = model.model.state_dict(), tuned.model.state_dict()
        assert {name for name in after if not torch.equal(before[name], after[name])} <= set(run.weights)
        test = sv.trace(tuned, mood, split="test", metrics="lens", vocab="labels", detail=0, progress=False)
        assert test.accuracy == pytest.approx(run.accuracy)


def test_runs_keep_their_keys(monkeypatch):
    """A sweep of today finds the runs that semviz 0.1.0 has stored."""
    (folder,) = [folder for folder in FOLDERS if folder.name == "v0_1_0"]
    monkeypatch.setattr("semviz.finetuning.recipe.__version__", "0.1.0")
    model, mood, stories = model_and_tasks(folder)
    store, searched = Store(folder / "store"), 0
    for run in map(store.find, store.keys()):
        arguments = {"weight_decay": 0.1} if run.score == "loss" else {}
        rate = "auto" if run.rates else run.lr
        recipe = Recipe(run.method, rate, run.epochs, run.batch_size, run.seed, arguments=arguments)
        task = mood if run.score == "accuracy" else stories
        searched += bool(run.rates)
        assert run_key(model, task, run.scope, recipe) == run.key
    assert searched == 1
