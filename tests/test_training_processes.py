"""Training by two processes, as torchrun and `accelerate launch` start them, equals training by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from train_share import BATCH, RUNS, SGD, kept, ragged, trained

import semviz as sv
from semviz.errors import SemvizError

WRITTEN = "the processes write frozen weights into each other, so every cached prefix counts as out of date"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where two processes trained together."""
    folder = tmp_path_factory.mktemp("together")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(Path(__file__).with_name("train_share.py")), str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def seen(folder) -> list[dict]:
    """What each of the two processes saw."""
    seen = [torch.load(folder / f"seen-{number}.pt", weights_only=False) for number in (0, 1)]
    assert [each["several"] for each in seen] == [2, 2]
    return seen


@pytest.fixture(scope="module")
def alone() -> dict[str, dict]:
    """The same runs by one process."""
    return {name: kept(run()) for name, run in RUNS.items()}


def distance(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("name", RUNS)
def test_both_processes_end_with_the_same_weights_and_scores(seen, name):
    first, second = (each["runs"][name] for each in seen)
    assert distance(first.pop("weights"), second.pop("weights")) == 0
    assert first == second


@pytest.mark.parametrize("name", [name for name in RUNS if name != "rows left over"])
def test_two_processes_train_the_weights_that_one_trains(seen, alone, name):
    one, two = alone[name], seen[0]["runs"][name]
    start = sv.load_model((__import__("small").tiny_llama(), __import__("small").word_tokenizer()))
    assert distance(one["weights"], two["weights"]) < 1e-5
    assert two["curve"] == pytest.approx(one["curve"], abs=1e-5)
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
    assert (one["steps"], one["key"], one["cached"]) == (two["steps"], two["key"], two["cached"])
