"""What trains, sharded by FSDP over two processes, trains to what one process trains; each keeps half of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shard_share import REFUSED, RUNS, run
from torch import nn
from train_share import kept

import semviz as sv
from semviz.common.errors import SemvizError

pytestmark = pytest.mark.every_kind


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> list[dict]:
    """What each of two processes saw."""
    folder = tmp_path_factory.mktemp("shards")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(Path(__file__).parents[1] / "shard_share.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"shards-{number}.pt", weights_only=False) for number in (0, 1)]


def distance(one: dict, other: dict) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.brings(
    "Machines",
    '`arguments={"fsdp": True}` in two processes, `cache=False`',
    "shards what trains, with the weights and scores of one process",
)
def test_two_processes_with_shards_train_the_weights_that_one_trains(seen, name):
    one, two = kept(run(name, is_sharded=False)), seen[0]["runs"][name]
    assert distance(one["weights"], two["weights"]) < 1e-5
    assert two["curve"] == pytest.approx(one["curve"], abs=1e-5)
    for score in ("loss", "accuracy", "validation_loss", "rows"):
        assert two[score] == pytest.approx(one[score], abs=1e-5)
    assert [one[name] for name in ("lr", "steps", "key", "cached", "note")] == [
        two[name] for name in ("lr", "steps", "key", "cached", "note")
    ]


@pytest.mark.parametrize("name", RUNS)
def test_both_processes_end_with_the_same_whole_weights_and_scores(seen, name):
    one, two = (each["runs"][name] for each in seen)
    assert distance(one["weights"], two["weights"]) == 0
    assert {**one, "weights": None} == {**two, "weights": None}


@pytest.mark.parametrize("name", RUNS)
def test_each_process_keeps_half_of_what_trains(seen, name):
    kept = [each["kept"][name] for each in seen]
    for each in kept:
        # Rows of a matrix are dealt out, so an odd number of them is not cut into equal halves.
        assert each["weights"] == pytest.approx(each["all"] / 2, rel=0.01)
        assert each["gradients"] == pytest.approx(each["all"] / 2, rel=0.01)
        assert each["frozen"] <= {nn.Parameter}  # the user's own tensors stay whole, and are no copies
    assert sum(each["gradients"] for each in kept) == kept[0]["all"]


def test_each_process_keeps_half_of_the_optimizers_state(seen):
    kept = [each["kept"]["Adam"] for each in seen]
    assert sum(each["moments"] for each in kept) == kept[0]["all"]
    assert kept[0]["moments"] == pytest.approx(kept[0]["all"] / 2, rel=0.01)


def test_the_users_model_and_settings_are_not_written_to(seen):
    assert all(each["same"] for each in seen)
    assert not any(each["edited"] for each in seen)
    assert all(each["config"] == {"reshard_after_forward": True} for each in seen)


@pytest.mark.parametrize("word", REFUSED)
def test_what_cannot_be_sharded_is_refused_by_name_in_both_processes(seen, word):
    assert all(word in each["refused"][word] for each in seen)


@pytest.mark.brings(
    "Machines",
    "FSDP or DeepSpeed with a cached prefix",
    "refuses it: pass `cache=False`",
)
def test_shards_and_a_cached_prefix_are_refused(seen):
    assert all("pass cache=False" in each["cached"] for each in seen)


def test_what_would_be_left_whole_without_a_word_is_refused(seen):
    assert all("FSDP has left 19 trained tensors whole" in each["uncut"] for each in seen)


QUICK = {"lr": 3e-3, "epochs": 1, "batch_size": 8, "progress": False, "cache": False}


@pytest.mark.parametrize("fsdp", [True, "full_shard"])
def test_one_process_has_nobody_to_share_with(fsdp, tiny, mood):
    with pytest.raises(SemvizError, match="here is one; start with accelerate launch"):
        sv.finetune(tiny, mood, arguments={"fsdp": fsdp}, **QUICK)


def test_deepspeed_that_is_missing_is_named(tiny, mood):
    with pytest.raises(SemvizError, match="pip install deepspeed"):
        sv.finetune(tiny, mood, arguments={"deepspeed": {"zero_optimization": {"stage": 2}}}, **QUICK)


@pytest.mark.parametrize("arguments", [{"fsdp": True}, {"deepspeed": {"zero_optimization": {"stage": 2}}}])
def test_a_cached_prefix_is_refused_before_anything_runs(arguments, tiny, mood):
    with pytest.raises(SemvizError, match="pass cache=False"):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **{**QUICK, "cache": True})
    with pytest.raises(SemvizError, match="pass cache=False"):
        sv.sweep(tiny, mood, [sv.Scope.half(tiny)], arguments=arguments, progress=False)


@pytest.mark.parametrize("form", ["mapping", "file"])
def test_deepspeeds_third_stage_is_refused(form, tiny, mood, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    config: object = {"zero_optimization": {"stage": 3}}
    if form == "file":
        path = tmp_path / "zero.json"
        path.write_text(json.dumps(config))
        config = str(path)
    with pytest.raises(SemvizError, match="stage 3 cuts the weights too"):
        sv.finetune(tiny, mood, arguments={"deepspeed": config}, **QUICK)
    with pytest.raises(SemvizError, match="no configuration of DeepSpeed"):
        sv.finetune(tiny, mood, arguments={"deepspeed": str(tmp_path / "none.json")}, **QUICK)
