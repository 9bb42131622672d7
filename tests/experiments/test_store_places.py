"""Stores that vanish, move, are full, hold other people's files, or were filled without weights."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.experiments.run_store import Store

OPTIONS = {"lr": 1e-3, "epochs": 1, "batch_size": 16, "progress": False}


@pytest.fixture
def scopes(tiny):
    return [sv.Scope.last(tiny), sv.Scope.above(tiny, 2)]


@pytest.mark.brings(
    "Files",
    "a store that vanishes during a sweep",
    "makes it again",
)
def test_a_store_that_vanishes_while_runs_are_made_is_made_again(tiny, mood, scopes, tmp_path):
    folder, left = tmp_path / "runs", tmp_path / "elsewhere"

    def moves(progress):
        if folder.exists() and list(folder.glob("*.json")) and not left.exists():
            folder.rename(left)

    runs = sv.sweep(tiny, mood, scopes, store=folder, control=sv.Control(moves), keep_weights=True, **OPTIONS)
    assert len(runs) == 2
    keys = {run.key for run in runs}
    assert {path.stem for place in (folder, left) for path in place.glob("*.json")} == keys
    assert len(list(folder.glob("*.json"))) == 1


@pytest.mark.brings(
    "Files",
    "a full disk during a sweep",
    "keeps the runs in memory, and warns",
)
def test_runs_that_cannot_be_written_are_kept(tiny, mood, scopes, tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("semviz.common.files.os.replace", refuse)
    with pytest.warns(UserWarning, match="kept in memory only"):
        runs = sv.sweep(tiny, mood, scopes, store=tmp_path / "runs", keep_weights=True, **OPTIONS)
    monkeypatch.undo()
    assert len(runs) == 2
    assert all(isinstance(value, torch.Tensor) for run in runs for value in run.weights.values())
    assert not list((tmp_path / "runs").iterdir())
    assert [run.value for run in sv.sweep(tiny, mood, scopes, store=tmp_path / "runs", **OPTIONS)] == [
        run.value for run in runs
    ]


def test_weights_of_a_run_whose_store_was_moved(tiny, mood, scopes, tmp_path):
    folder, moved = tmp_path / "runs", tmp_path / "moved"
    run = sv.sweep(tiny, mood, scopes[:1], store=folder, keep_weights=True, **OPTIONS).runs[0]
    folder.rename(moved)
    with pytest.raises(SemvizError, match="store="):
        sv.load_run(tiny, run)
    again = sv.sweep(tiny, mood, scopes[:1], store=moved, keep_weights=True, **OPTIONS).runs[0]
    assert again.seconds == run.seconds  # read, not trained
    assert sv.load_run(tiny, again).n_blocks == 4
    shutil.move(moved, folder)
    assert sv.load_run(tiny, run).n_blocks == 4


@pytest.mark.brings(
    "Files",
    "a store filled without weights, then `keep_weights=True`",
    "trains again what lacks them",
)
def test_a_store_without_weights_is_filled_with_them_on_demand(tiny, mood, scopes, tmp_path):
    folder = tmp_path / "runs"
    plain = sv.sweep(tiny, mood, scopes, store=folder, **OPTIONS)
    assert not any(run.weights for run in plain)
    kept = sv.sweep(tiny, mood, scopes[:1], store=folder, keep_weights=True, **OPTIONS).runs[0]
    before = {run.key: run for run in plain}
    assert kept.rows == before[kept.key].rows
    assert kept.weights
    # The other one is as it was, and what has weights serves whoever needs none.
    again = sv.sweep(tiny, mood, scopes, store=folder, **OPTIONS)
    assert {run.key: run.seconds for run in again} == {
        key: (kept if key == kept.key else run).seconds for key, run in before.items()
    }


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"architectures": ["LlamaForCausalLM"]}', "not json", ""])
@pytest.mark.brings(
    "Files",
    "other programs' JSON in a store",
    "never calls it deletable",
)
def test_other_peoples_files_are_never_called_deletable(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(SemvizError) as refused:
        Store(tmp_path).find("config")
    assert "config.json" in str(refused.value)
    assert "delete" not in str(refused.value)
    assert "move it elsewhere" in str(refused.value)


def test_a_damaged_run_of_ours_is_told(tiny, mood, scopes, tmp_path):
    run = sv.sweep(tiny, mood, scopes[:1], store=tmp_path, **OPTIONS).runs[0]
    file = tmp_path / f"{run.key}.json"
    content = json.loads(file.read_text())
    content["run"]["seed"] = 7
    file.write_text(json.dumps(content))
    with pytest.raises(SemvizError, match="delete it"):
        Store(tmp_path).find(run.key)
