"""Training by two processes, as torchrun and `accelerate launch` start them, equals training by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from train_share import BATCH, RUNS, SGD, kept, labelled, load, ragged, trained

from semviz.common.errors import SemvizError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where two processes trained together."""
    folder = tmp_path_factory.mktemp("together")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(Path(__file__).parents[1] / "train_share.py"), str(folder)],
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


def assert_same(one, other):
    """Two runs, in every bit."""
    assert distance(one["weights"], other["weights"]) == 0
    assert {**one, "weights": None} == {**other, "weights": None}


@pytest.mark.parametrize("name", RUNS)
def test_both_processes_end_with_the_same_weights_and_scores(seen, name):
    assert_same(*(each["runs"][name] for each in seen))


@pytest.mark.parametrize("name", [name for name in RUNS if name != "rows left over"])
def test_two_processes_train_the_weights_that_one_trains(seen, alone, name):
    one, two = alone[name], seen[0]["runs"][name]
    before = load().model.state_dict()
    assert distance(one["weights"], {key: before[key] for key in one["weights"]}) > 1e-2
    assert distance(one["weights"], two["weights"]) < 1e-5
    assert two["curve"] == pytest.approx(one["curve"], abs=1e-5)
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
    assert (one["steps"], one["key"], one["cached"]) == (two["steps"], two["key"], two["cached"])


def test_rows_that_do_not_fill_the_last_batch_are_filled_up_with_others_by_two_processes(seen, alone):
    one, two = alone["rows left over"], seen[0]["runs"]["rows left over"]
    full = 37 // BATCH
    assert one["steps"] == two["steps"] == 2 * (full + 1)
    # The same rows in the same order, up to the batch that one process leaves short.
    assert two["curve"][:full] == pytest.approx(one["curve"][:full], abs=1e-5)
    assert two["curve"][full] != pytest.approx(one["curve"][full], abs=1e-3)
    for curve in (one["curve"], two["curve"]):
        assert sum(curve[-full - 1 :]) < sum(curve[: full + 1]) - 0.5


def test_the_users_model_keeps_its_weights(seen):
    assert all(each["same"] for each in seen)


def test_the_users_model_is_not_written_to(seen):
    assert not any(each["edited"] for each in seen)


def test_each_process_runs_a_frozen_block_once_over_each_split(seen):
    assert [each["blocks"] for each in seen] == [{1: 3, 2: 3, 3: 3}] * 2


def test_all_processes_return_the_same_runs_of_a_sweep(seen, folder):
    assert [len(each["sweep"]) for each in seen] == [2, 2]
    for one, two in zip(*(each["sweep"] for each in seen), strict=True):
        assert_same(one, two)


def test_only_the_first_process_writes_into_the_store(seen, folder):
    keys = [run["key"] for run in seen[0]["sweep"]]
    assert [each["added"] for each in seen] == [keys, []]
    assert sorted(p.name for p in (folder / "store").iterdir()) == sorted(
        f"{key}.{kind}" for key in keys for kind in ("json", "safetensors")
    )
    stored = json.loads((folder / "store" / f"{keys[0]}.json").read_text())
    assert stored["run"]["accuracy"] == seen[0]["sweep"][0]["accuracy"]


def test_a_resumed_sweep_trains_nothing_in_any_process(seen):
    assert [each["finetunes"] for each in seen] == [(2, 0), (2, 0)]
    for each in seen:
        for run, again in zip(each["sweep"], each["resumed"], strict=True):
            assert_same(run, again)


def test_what_two_processes_cannot_do_is_refused_by_both(seen):
    for each in seen:
        assert "batch_size=7 is not a multiple of 2" in each["odd"]
        assert "batch_size=6 is not a multiple of 4" in each["odd, accumulated"]
        assert "several processes" in each["lisa"]


def test_the_first_process_goes_on_alone_after_they_parted(seen, alone):
    assert distance(seen[0]["alone"]["weights"], alone["labelled"]["weights"]) < 1e-5
    assert "alone" not in seen[1]


# What Trainer is told, with one process.


@pytest.mark.parametrize("rows", [40, 37], ids=["full batches", "rows left over"])
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_batches_of_unequal_texts_train_the_same_weights(rows, parts):
    whole = trained(ragged(rows))
    accumulated = trained(ragged(rows), arguments={**SGD, "gradient_accumulation_steps": parts})
    assert accumulated.steps == whole.steps
    assert distance(whole.weights, accumulated.weights) < 1e-5
    assert accumulated.curve["loss"].tolist() == pytest.approx(whole.curve["loss"].tolist(), abs=1e-5)


@pytest.mark.parametrize("arguments", [SGD, {}], ids=["gradient descent", "Adam"])
def test_accumulated_batches_of_labelled_texts_train_the_same_weights(arguments):
    options = {"lr": 0.3 if arguments else 3e-3, "batch_size": 16}  # 40 rows: the last batch is a short one
    whole = trained(labelled(), arguments=arguments, **options)
    accumulated = trained(labelled(), arguments={**arguments, "gradient_accumulation_steps": 4}, **options)
    assert distance(whole.weights, accumulated.weights) < 1e-5


def test_a_batch_that_cannot_be_cut_into_equal_parts_is_refused():
    with pytest.raises(SemvizError, match="batch_size=8 is not a multiple of 3"):
        trained(ragged(40), arguments={"gradient_accumulation_steps": 3})


def test_training_in_half_precision_is_in_half_precision():
    whole = trained(ragged(40))
    half = trained(ragged(40), arguments={**SGD, "bf16": True})
    assert 1e-5 < distance(whole.weights, half.weights) < 1e-1
