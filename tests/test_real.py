"""The line on a real pretrained LM and real data, kept beside the project and never in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small import REAL

import semviz as sv

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real model and data in {REAL}")

SWEEP = {"epochs": 1, "lr": 1e-3, "progress": False}


def rows(name: str, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (REAL / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def model():
    return sv.load_model(REAL / "stories260K-llama")


def three_boundaries(model, task, gain):
    scopes = [sv.Scope.full(model), sv.Scope.half(model), sv.Scope.last(model)]
    runs = sv.sweep(model, task, scopes, gain=gain, **SWEEP)
    assert runs.table()["boundary"].tolist() == [0, 2, 4]
    return runs


def test_question_classification_at_answer_positions(model):
    train, test = rows("trec", "train")[:600], rows("trec", "test")[:200]
    task = sv.Task.from_texts(
        [row["text"] for row in train],
        [row["label"] for row in train],
        prompt="{text} Type:",
        test=([row["text"] for row in test], [row["label"] for row in test]),
        name="trec",
    )
    trace = sv.trace(model, task, progress=False)
    assert trace.values["lens"].shape[1] == 6
    assert (trace.positions.query("role == 'answer'")["token"].str.strip() == ":").all()
    runs = three_boundaries(model, task, trace.gain())
    # The model knows kindergarten stories only: untrained it is at chance, and one epoch teaches it something.
    assert runs.zero_shot < 0.4
    assert runs.table()["accuracy"].max() > runs.zero_shot + 0.05


def test_stories_at_next_positions(model):
    train, test = rows("tinystories_text", "train")[:60], rows("tinystories_text", "test")[:20]
    task = sv.Task.from_texts(
        [row["text"] for row in train], test=[row["text"] for row in test], max_tokens=128, name="tinystories"
    )
    trace = sv.trace(model, task, metrics=("lens", "semantic", "target", "virtual"), progress=False)
    profile = trace.profile_frame("lens")["mean"].to_numpy()
    # This model was trained on such stories: its loss is about 1.4 nats, and it gets there block by block.
    assert 1.0 < profile[-1] < 1.9
    assert (np.diff(profile[1:]) < 0).all()
    runs = three_boundaries(model, task, trace.gain("lens"))
    assert runs.score == "loss"
    assert 1.0 < runs.zero_shot < 1.9
