"""What people have saved loads for good: the files of every folder in tests/saved, written by the semviz it names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made import above
from saved.write import content_of, content_of_run, model_and_tasks
from small import made_parts, mood_task

import semviz as sv
from semviz.experiments.run_store import Store
from semviz.finetuning.recipe import Recipe, run_key
from semviz.scopes.scope import Scope

FOLDERS = sorted(path.parent for path in (Path(__file__).parent / "saved").glob("*/content.json"))
CONTENT = {folder: json.loads((folder / "content.json").read_text(encoding="utf-8")) for folder in FOLDERS}
TRACES = [(folder, name) for folder in FOLDERS for name in CONTENT[folder]["traces"]]
RUNS = [(folder, key) for folder in FOLDERS for key in CONTENT[folder]["runs"]]
KEYS = {
    "half plain": "7b5c718c898354ca",
    "half searched": "1423a5d36d3a1e5d",
    "half adapters": "72964f30e5e15c0c",
    "half arguments": "44abbe0b93694986",
    "ends plain": "4a316bf310d945b0",
    "ends searched": "f7e1c8a152504bb1",
    "ends adapters": "d8b169553ff2d9d1",
    "ends arguments": "244c834d8b4b6448",
    "head plain": "429b6ea38c5662dc",
    "head searched": "4fb3c1bc2cdaef40",
    "head adapters": "341043bd059c9e28",
    "head arguments": "100a84c6a20323d0",
}


def name_of(value):
    return value.name if isinstance(value, Path) else value


def as_json(content):
    return json.loads(json.dumps(content))


@pytest.mark.parametrize(("folder", "name"), TRACES, ids=name_of)
def test_a_saved_trace_loads_as_it_was(folder, name):
    trace = sv.Trace.load(folder / f"{name}.parquet")
    found, expected = as_json(content_of(trace)), CONTENT[folder]["traces"][name]
    later = {key: found["meta"].pop(key) for key in found["meta"].keys() - expected["meta"].keys()}
    assert later.pop("readout") == "raw"
    assert not any(later.values())  # what the file does not say is unknown
    assert found.pop("repr") == expected["repr"].replace("fidelity", "raw readout, fidelity")
    assert found == {key: value for key, value in expected.items() if key != "repr"}
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
    found, expected = as_json(content_of_run(Store(folder / "store").find(key))), CONTENT[folder]["runs"][key]
    later = {name: found["record"].pop(name) for name in found["record"].keys() - expected["record"].keys()}
    assert found == expected
    assert not any(later.values())  # what the file does not say is unknown


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_store_holds_what_was_put_there(folder):
    store = Store(folder / "store")
    assert sorted(store.keys()) == sorted(CONTENT[folder]["runs"])
    runs = list(map(store.find, store.keys()))
    assert {run.method for run in runs} == {"full", "lora", "ia3", "lisa"}
    assert sum(run.diverged for run in runs) == 1
    assert sum(bool(run.rates) for run in runs) == 1
    # One whose rate was looked for trained for longer, so that there were trials.
    mood = [run for run in runs if run.score == "accuracy" and run.epochs == 1]
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
    """What a later semviz must find in a store of today.

    The keys of the folder v0_1_0 are of an older layout, with a hash of the weights alone: it found the runs of another
    model where only its tokenizer, config or hooks differed. Its runs load, and are trained anew by a sweep. So are the
    runs of older folders whose rates were looked for: what was taken for the best rate has changed since.
    """
    monkeypatch.setattr("semviz.finetuning.recipe.__version__", "0.1.0")
    model, task = SimpleNamespace(hash="0123456789ab"), mood_task(stratify=False)
    scopes = {"half": above(2), "ends": Scope((1, 4), 4, made_parts(4), tail=False), "head": above(3, head=True)}
    recipes = {
        "plain": Recipe(lr=1e-3),
        "searched": Recipe(epochs=1.0, batch_size=16),
        "adapters": Recipe("lora", 1e-2, 0.5, 8, 3),
        "arguments": Recipe(lr=1e-3, arguments={"weight_decay": 0.1, "adam_beta1": 0.5}),
    }
    keys = {f"{s} {r}": run_key(model, task, scopes[s], recipes[r]) for s in scopes for r in recipes}
    assert keys == KEYS


def test_old_runs_are_trained_anew_and_stay(tmp_path):
    (folder,) = [folder for folder in FOLDERS if folder.name == "v0_1_0"]
    shutil.copytree(folder / "store", tmp_path / "store")
    model, mood, _ = model_and_tasks(folder)
    scopes, options = [sv.Scope.half(model)], {"lr": 1e-3, "epochs": 1, "batch_size": 16, "progress": False}
    store = Store(tmp_path / "store")
    before = set(store.keys())
    (run,) = sv.sweep(model, mood, scopes, store=tmp_path / "store", **options)
    assert set(store.keys()) == before | {run.key}
    assert run.key not in before
    old = [store.find(key) for key in before]
    (same,) = [r for r in old if (r.scope, r.method, r.score) == (run.scope, "full", "accuracy")]
    assert same.loss == pytest.approx(run.loss, abs=1e-4)
