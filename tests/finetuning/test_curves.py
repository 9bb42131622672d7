"""The training accuracy in `Run.curve`, against one that is counted without it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import semviz as sv
from semviz.experiments.run_store import Store
from semviz.finetuning.run import Run
from semviz.finetuning.suffix_model import Suffix
from semviz.tasks.tokenizing import NO_TARGET

QUICK = {"epochs": 2, "batch_size": 16, "lr": 1e-2, "progress": False}


@pytest.fixture
def counted(monkeypatch):
    """Hits and targets of every batch that a suffix in training mode reads, counted from its logits."""
    found = []
    forward = Suffix.forward

    def spy(self, *args, **batch):
        out = forward(self, *args, **batch)
        if self.training:
            targets = batch["labels"][batch["labels"] != NO_TARGET].numpy()
            best = out["logits"].detach().numpy().argmax(1)
            found.append((int((best == targets).sum()), len(targets)))
        return out

    monkeypatch.setattr(Suffix, "forward", spy)
    return found


@pytest.mark.parametrize("boundary", [0, 2])
@pytest.mark.parametrize("name", ["mood", "stories"])
def test_the_accuracy_of_a_step_is_that_of_its_batch(tiny, counted, request, name, boundary):
    task = request.getfixturevalue(name)
    run = sv.finetune(tiny, task, sv.Scope.above(tiny, boundary), **QUICK)
    assert list(run.curve) == ["step", "loss", "accuracy"]
    assert run.curve["step"].tolist() == list(range(1, run.steps + 1))
    # The proof of the cache and evaluations read batches too, but not in training mode.
    assert len(counted) == run.steps
    assert run.curve["accuracy"].tolist() == pytest.approx([hits / n for hits, n in counted])
    assert 0 < max(run.curve["accuracy"]) <= 1


def test_a_row_of_a_long_run_counts_all_batches_since_the_row_before(tiny, mood, counted):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), **{**QUICK, "epochs": 16, "batch_size": 8})
    assert run.steps == 112
    assert run.curve["step"].tolist() == list(range(2, 113, 2))
    pairs = np.array(counted).reshape(-1, 2, 2).sum(1)
    assert run.curve["accuracy"].tolist() == pytest.approx((pairs[:, 0] / pairs[:, 1]).tolist())


def test_batches_of_one_step_count_together(tiny, mood, counted):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments={"gradient_accumulation_steps": 2}, **QUICK)
    assert len(counted) > run.steps
    first = np.array(counted[:2]).sum(0)
    assert run.curve["accuracy"][0] == pytest.approx(first[0] / first[1])


def test_an_epoch_of_a_model_that_hardly_moves_has_the_accuracy_of_the_model_itself(tiny, mood):
    # Learn something first, so that the accuracy is not 0.
    learnt = sv.load_run(tiny, sv.finetune(tiny, mood, sv.Scope.last(tiny), **{**QUICK, "epochs": 1.25}))
    part, tokenizer = mood.split("train"), learnt.tokenizer
    right = []
    for text, label in zip(part.texts, part.labels, strict=True):
        ids = tokenizer(mood.prompt.replace("{text}", text), return_tensors="pt").input_ids
        with torch.no_grad():
            best = int(learnt.model(input_ids=ids).logits[0, -1].argmax())
        right.append(best == tokenizer.convert_tokens_to_ids(mood.words[label]))
    run = sv.finetune(learnt, mood, sv.Scope.half(learnt), **{**QUICK, "epochs": 1, "lr": 1e-12})
    assert 0 < np.mean(right) < 1
    assert np.average(run.curve["accuracy"], weights=[16, 16, 16, 8]) == pytest.approx(np.mean(right))


def test_counting_begins_anew_when_it_was_taken(tiny):
    suffix = Suffix(tiny, sv.Scope.last(tiny), cached=False)
    suffix.n_correct, suffix.n_targets = 3, 4
    assert suffix.take_hits() == (3, 4)
    assert suffix.take_hits() == (0, 0)


def test_the_curve_comes_back_from_a_record_and_from_a_store(tiny, mood, tmp_path):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), **QUICK)
    again = Run.from_record(json.loads(json.dumps(run.record())))
    Store(tmp_path).add(run)
    stored = Store(tmp_path).find(run.key)
    for other in (again, stored):
        assert other.curve.equals(run.curve)
        assert other.frame().columns.tolist() == ["step", "loss", "accuracy"]


def test_runs_that_were_stored_without_the_column_are_read(tiny, mood, tmp_path):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), **QUICK)
    store = Store(tmp_path)
    store.add(run)
    path = tmp_path / f"{run.key}.json"
    content = json.loads(path.read_text())
    del content["run"]["curve"]["accuracy"], content["digest"], content["weights"]
    content["format"] = 2  # no later one was ever without the column
    path.write_text(json.dumps(content))
    old = store.find(run.key)
    assert list(old.curve) == ["step", "loss"]
    assert old.figure().data
    study = sv.Study(tiny, mood, store=tmp_path, progress=False)
    assert [found.key for found in study.history.runs] == [run.key]
