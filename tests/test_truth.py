"""Numbers are what their definitions say: against float64 by another route, and whatever must not matter, does not."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import rankdata
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv

QUIET = {"progress": False}
LOOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 through a few blocks, in nats and in cosines


@pytest.fixture(scope="module")
def model():
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())


def states_in_float64(ids):
    """Every space of one text, in the output frame, by transformers' own hidden states of the model in float64."""
    network = tiny_llama().double()
    with torch.no_grad():
        output = network(input_ids=torch.as_tensor([ids]), output_hidden_states=True)
        # The last entry has been through the final norm already.
        frames = [network.model.norm(h)[0] for h in output.hidden_states[:-1]] + [output.hidden_states[-1][0]]
    return torch.stack(frames).numpy(), network.lm_head.weight.detach().numpy()


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def slerp(a, b, t):
    angle = math.acos(np.clip(a @ b, -1, 1))
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


def reference(ids, position, target, *, bases, tau, means=None, path="slerp"):
    """All five metrics at every space of one position, by numpy in float64, from their definitions."""
    frames, head = states_in_float64(ids)
    raw = frames[:, position]
    logits = raw @ head.T
    shifted = raw if means is None else raw - means
    directions, s = unit(shifted), unit(bases)
    last = len(raw) - 1
    found = {key: [] for key in ("semantic", "lens", "target", "virtual", "rank")}
    for space in range(last + 1):
        cosines = directions[space] @ s.T
        straight = slerp if path == "slerp" else lambda a, b, t: unit((1 - t) * a + t * b)
        way = straight(directions[0], s[target], space / last)
        found["semantic"].append(logsumexp(cosines / tau) - cosines[target] / tau)
        found["lens"].append(logsumexp(logits[space]) - logits[space][target])
        found["target"].append(1 - cosines[target])
        found["virtual"].append(1 - directions[space] @ way)
        better = rankdata(-logits[space], method="min")[target] - 1
        found["rank"].append(math.log1p(better) / math.log1p(len(head)))
    return found


def bases_in_float64(head, ridge):
    """By singular values, where the package has a Cholesky factor; the ridge in units of the mean eigenvalue."""
    if math.isinf(ridge):
        return head
    u, values, v = np.linalg.svd(head.astype(np.float64), full_matrices=False)
    penalty = ridge * (values**2).sum() / head.shape[1]
    return (u * (values / (values**2 + penalty))) @ v


@pytest.mark.parametrize("path", ["slerp", "lerp"])
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.1, math.inf])
def test_every_metric_in_float32_against_float64_from_the_definitions(model, mood, ridge, centre, path):
    calibration = sv.calibrate(model, ridge=ridge, **QUIET)
    trace = sv.trace(model, mood, calibration=calibration, centre=centre, path=path, readout="raw", samples=6, **QUIET)
    head = model.anatomy.head_weight.detach().double().numpy()
    bases = bases_in_float64(head, ridge)
    np.testing.assert_allclose(
        unit(calibration.bases.rows(torch.arange(len(head))).double().numpy()), unit(bases), atol=1e-5
    )
    means = calibration.means.double().numpy() if centre else None
    answers = trace.positions.query("role == 'answer'")
    for row, answer in answers.iterrows():
        ids = trace.positions.query("sample == @answer['sample']")["token_id"].tolist()
        wanted = reference(
            ids, int(answer["position"]), int(answer["target_id"]),
            bases=bases, tau=calibration.temperature, means=means, path=path,
        )  # fmt: skip
        for key, values in wanted.items():
            np.testing.assert_allclose(trace.values[key][row], values, err_msg=key, **LOOSE)


def by_text(trace, task):
    """Values of each text's answer, by the text."""
    texts = task.split("train").texts
    counted = trace.positions[trace.counted]
    return {
        texts[sample]: {key: values[row] for key, values in trace.values.items()}
        for row, sample in zip(counted.index, counted["sample"], strict=True)
    }


@pytest.fixture(scope="module")
def ragged_task():
    """Texts of many lengths, each of its own kind."""
    draw = random.Random(0)
    words = "the a cat dog bird tree red blue good bad not very ran sat ate saw".split()
    texts = list(dict.fromkeys(" ".join(draw.choices(words, k=draw.randint(1, 30))) for _ in range(80)))
    return sv.Task.from_texts(texts, [("yes", "no")[len(text) % 2] for text in texts], prompt="{text} mood :")


def test_the_order_of_texts_does_not_matter(model, ragged_task):
    split = ragged_task.split("train")
    order = random.Random(1).sample(range(len(split)), len(split))
    shuffled = sv.Task.from_texts(
        [split.texts[i] for i in order], [ragged_task.labels[split.labels[i]] for i in order], prompt="{text} mood :",
        test=(ragged_task.split("test").texts, [ragged_task.labels[i] for i in ragged_task.split("test").labels]),
    )  # fmt: skip
    calibration = sv.calibrate(model, **QUIET)
    one = by_text(sv.trace(model, ragged_task, calibration=calibration, **QUIET), ragged_task)
    two = by_text(sv.trace(model, shuffled, calibration=calibration, **QUIET), shuffled)
    both = one.keys() & two.keys()
    assert len(both) > 30
    for text in both:
        for key, values in one[text].items():
            np.testing.assert_allclose(values, two[text][key], err_msg=key, **LOOSE)


@pytest.mark.parametrize("tokens", [1, 37, 64, 10_000])
def test_the_batch_and_its_padding_do_not_matter(model, ragged_task, monkeypatch, tokens):
    calibration = sv.calibrate(model, **QUIET)
    whole = sv.trace(model, ragged_task, calibration=calibration, **QUIET)
    monkeypatch.setattr("semviz.tasks.streaming._BATCH_TOKENS", {"cpu": tokens})
    other = sv.trace(model, ragged_task, calibration=calibration, **QUIET)
    for key in whole.values:
        np.testing.assert_allclose(whole.values[key], other.values[key], err_msg=key, **LOOSE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_device_does_not_matter(ragged_task):
    traces = []
    for device in ("cpu", "cuda"):
        loaded = sv.load_model((tiny_llama().to(device), word_tokenizer()), general_text=plain_text())
        traces.append(sv.trace(loaded, ragged_task, **QUIET))
    for key in traces[0].values:
        np.testing.assert_allclose(traces[0].values[key], traces[1].values[key], err_msg=key, rtol=1e-4, atol=1e-4)


def test_the_number_of_threads_does_not_matter(model, ragged_task):
    calibration = sv.calibrate(model, **QUIET)
    before = torch.get_num_threads()
    traces = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            traces.append(sv.trace(model, ragged_task, calibration=calibration, **QUIET))
    finally:
        torch.set_num_threads(before)
    for key in traces[0].values:
        np.testing.assert_allclose(traces[0].values[key], traces[1].values[key], err_msg=key, **LOOSE)


def test_a_trace_is_the_same_twice_bit_for_bit(ragged_task):
    traces = []
    for _ in range(2):
        loaded = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
        traces.append(sv.trace(loaded, ragged_task, centre=True, **QUIET))
        torch.manual_seed(len(traces))  # what others do to the random state is none of its business
        np.random.seed(len(traces))
        random.seed(len(traces))
    one, two = traces
    for key in one.values:
        assert one.values[key].tobytes() == two.values[key].tobytes(), key
    assert one.paths.tobytes() == two.paths.tobytes()
    assert one.positions.equals(two.positions)
    assert one.gain().chosen_share.tobytes() == two.gain().chosen_share.tobytes()


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("boundary", [0, 2])
def test_a_finetune_is_the_same_twice_bit_for_bit(ragged_task, method, boundary):
    runs = []
    for noise in (1, 2):
        loaded = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
        torch.manual_seed(noise)
        np.random.seed(noise)
        random.seed(noise)
        runs.append(
            sv.finetune(
                loaded, ragged_task, sv.Scope.above(loaded, boundary), method=method, lr=3e-3, epochs=2, batch_size=8,
                seed=7, keep_weights=True, progress=False,
            )
        )  # fmt: skip
    one, two = runs
    assert one.weights.keys() == two.weights.keys()
    for name, value in one.weights.items():
        assert torch.equal(value, two.weights[name]), name
    assert one.rows == two.rows
    assert one.curve["loss"].tolist() == two.curve["loss"].tolist()
