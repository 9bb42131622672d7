"""What semviz says on a real pretrained LM: SmolLM2-135M-Instruct on real reviews (`make real`; minutes).

The model is made by ../shared/real/get_smollm2.py and the reviews lie beside it; both stay out of the project.
"""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from small import REAL
from tokenizer_kinds import SMOLLM2

import semviz as sv
from semviz.tasks.tokenizing import encode

MISSING = [str(path) for path in (REAL, SMOLLM2) if not path.is_dir()]
if MISSING and os.environ.get("SEMVIZ_REQUIRE_REAL") == "1":
    raise FileNotFoundError(f"SEMVIZ_REQUIRE_REAL=1, and there is no {', '.join(MISSING)}")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

ROWS = 60


@pytest.fixture(scope="module")
def model():
    return sv.load_model(SMOLLM2, dtype="float32")


@pytest.fixture(scope="module")
def task():
    lines = (REAL / "sst2" / "train.jsonl").read_text(encoding="utf-8").splitlines()[: ROWS + 60]
    rows = [json.loads(line) for line in lines]
    parts = [([r["text"] for r in part], [r["label"] for r in part]) for part in (rows[:ROWS], rows[ROWS:])]
    return sv.Task.from_texts(
        *parts[0], prompt="Review: {text}\nSentiment:", test=parts[1], validation=parts[1], name="reviews"
    )


@pytest.fixture(scope="module")
def calibration(model):
    return sv.calibrate(model, progress=False)


@pytest.fixture(scope="module")
def traces(model, task, calibration):
    options = {"calibration": calibration, "detail": 0, "progress": False}
    return {readout: sv.trace(model, task, readout=readout, **options) for readout in ("raw", "translated")}


def test_the_translated_readout_is_nearer_to_the_model_at_every_space(calibration, model):
    table = calibration.frame().pivot(index="space", columns="readout")
    below = slice(0, model.n_blocks - 1)
    divergence, explained = table["divergence"].loc[below], table["explained"].loc[below]
    assert (divergence["translated"] < 0.5 * divergence["raw"]).all()
    assert (explained["translated"] > explained["raw"]).all()
    assert (np.diff(divergence["translated"][1:]) < 0.1).all()  # it falls nearly all the way
    assert divergence["translated"][15] < 3 < divergence["raw"][15]


@torch.no_grad()
def test_values_are_those_of_the_models_own_hidden_states(model, task, calibration, traces):
    encoded = encode(model, task, "train")
    for row in (0, 11):
        ids = torch.as_tensor(encoded.ids[row]).unsqueeze(0)
        found = model.model(input_ids=ids, output_hidden_states=True)
        target = int(encoded.targets[row][-1])
        for space in (1, 7, 15, 29):
            frame = model.model.model.norm(found.hidden_states[space][0, -1])
            for readout, read in (("raw", frame), ("translated", calibration.translators.translate(space, frame))):
                expected = float(-model.model.lm_head(read).log_softmax(-1)[target])
                assert traces[readout].values["lens"][row, space] == pytest.approx(expected, abs=1e-3), (readout, space)
        expected = float(-found.logits[0, -1].log_softmax(-1)[target])
        assert traces["raw"].values["lens"][row, -1] == pytest.approx(expected, abs=1e-3)


def test_what_the_model_knows_is_seen_below_its_last_space(traces, task):
    """Translated, the spaces 22 to 26 are nearly as often right as the last one; raw they are less often so."""
    right = {}
    for readout, trace in traces.items():
        labels = trace.positions["label"].map(list(task.labels).index).to_numpy()
        right[readout] = (trace.label_probabilities.argmax(-1) == labels[:, None]).mean(0)
    assert right["raw"][-1] == right["translated"][-1] > 0.7
    assert right["translated"][22:27].mean() > right["raw"][22:27].mean() + 0.03
    assert right["translated"][22:27].mean() > right["translated"][-1] - 0.1


def test_the_default_metric_is_the_one_that_the_model_supports(traces):
    trace = traces["translated"]
    assert trace.meta["fidelity"] < 0.5
    assert trace.gain().metric == "lens"
    assert trace.gain().caution == ""
    assert "% of positions only" in trace.gain("semantic").message


def test_training_from_cached_states_is_training(model, task):
    """The same run with and without the cache: the same rows right, the same loss."""
    scope = sv.Scope.above(model, 26)
    options = {"lr": 1e-3, "epochs": 1, "batch_size": 16, "progress": False, "keep_weights": False}
    cached, plain = (sv.finetune(model, task, scope, cache=cache, **options) for cache in (True, False))
    assert cached.cached
    assert not plain.cached
    assert cached.loss == pytest.approx(plain.loss, abs=2e-3)
    np.testing.assert_allclose(cached.curve["loss"], plain.curve["loss"], atol=2e-3)
