"""A text's numbers are its own: whatever is read beside it, in whatever order, and whatever was read before."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from families import FAMILIES, config_of, uneven
from small import WORDS, mood_task, plain_text, tiny_llama, word_tokenizer
from torch import nn
from transformers import AutoModelForCausalLM

import semviz as sv
from semviz.common.errors import ModelError, SemvizError
from semviz.lm.model import LanguageModel
from semviz.tasks import neighbours
from semviz.tasks.neighbours import Reading, extremes, groups, how_to_read
from semviz.tasks.tokenizing import encode

QUIET = {"progress": False}
LONG = " ".join(WORDS[:20])
ROTARY = (
    "llama",
    "phi3",
    "qwen3",
    "mistral",
    "gemma3",
    "olmo2",
    "stablelm",
    "gpt-neox",
    "mixtral",
    "falcon",
    "minicpm3",
)
DYNAMIC = ("llama", "qwen3", "gemma3", "mixtral", "falcon")


def loaded(network):
    return sv.load_model((network, word_tokenizer()), general_text=plain_text())


def rotary(name, kind):
    """A family whose angles follow the longest text beyond 16 tokens."""
    family, options = FAMILIES[name]
    plain = config_of(family, **options)
    width = getattr(plain, "qk_rope_head_dim", None) or getattr(plain, "head_dim", None) or 8
    parameters = plain.rope_parameters
    per_layer = any(isinstance(value, dict) for value in parameters.values())
    share = parameters.get("partial_rotary_factor", 1.0) if not per_layer else 1.0
    half = max(1, int(width * share) // 2)
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 8.0}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * half, "long_factor": [8.0 + i for i in range(half)]}
        rope |= {"original_max_position_embeddings": 16}
    if share != 1.0:
        rope["partial_rotary_factor"] = share
    sizes = {"vocab_size": len(word_tokenizer()), "max_position_embeddings": 64 if kind == "longrope" else 16}
    if hasattr(plain, "original_max_position_embeddings"):
        sizes["original_max_position_embeddings"] = 16
    torch.manual_seed(0)
    chosen = dict.fromkeys(parameters, rope) if per_layer else rope
    config = config_of(family, **options, **sizes, rope_parameters=chosen)
    return uneven(AutoModelForCausalLM.from_config(config)).eval()


def short_and_long(rows=24):
    texts = [
        f"the {('cat', 'dog', 'bird')[i % 3]} was {'good' if i % 2 else 'bad'} ." + f" {LONG}" * (i % 4 > 1)
        for i in range(rows)
    ]
    labels = ["yes" if i % 2 else "no" for i in range(rows)]
    return sv.Task.from_texts(texts, labels, prompt="{text} mood :", test=(texts[:8], labels[:8]))


def lens(model, task):
    trace = sv.trace(model, task, split="test", metrics="lens", progress=False)
    return trace.values["lens"][trace.counted][:, -1]


@torch.no_grad()
def alone(make, model, task):
    """The oracle: each text by itself through a model that has read nothing."""
    losses = []
    encoded = encode(model, task, "test")
    for ids, targets, counted in zip(encoded.ids, encoded.targets, encoded.counted, strict=True):
        logits = make()(input_ids=torch.as_tensor(ids).long()[None], use_cache=False).logits[0]
        place = int(np.flatnonzero(counted)[0])
        losses.append(-float(logits[place].float().log_softmax(-1)[int(targets[place])]))
    return np.asarray(losses)


CASES = [*((name, "longrope") for name in ROTARY), *((name, "dynamic") for name in DYNAMIC)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_angles_that_follow_the_longest_text_are_those_of_each_text_alone(name, kind, monkeypatch):
    monkeypatch.setattr(LanguageModel, "context", property(lambda _self: 64))
    network = rotary(name, kind)
    with torch.no_grad():  # what the user has run before must not matter, and stays
        network(input_ids=torch.arange(50)[None] % 40, use_cache=False)
    buffers = {key: value.clone() for key, value in network.named_buffers()}
    model, task = loaded(network), short_and_long()
    np.testing.assert_allclose(lens(model, task), alone(lambda: rotary(name, kind), model, task), atol=1e-5)
    scope = sv.Scope.above(model, 1)
    options = {"lr": 1e-3, "epochs": 1, "batch_size": 3, "progress": False}
    cached, plain = (sv.finetune(model, task, scope, cache=cache, **options) for cache in (True, False))
    assert cached.cached
    assert "of different length were read apart" in cached.note
    for key, value in cached.weights.items():
        torch.testing.assert_close(value, plain.weights[key], atol=1e-4, rtol=0)
    for key, value in network.named_buffers():
        assert torch.equal(value, buffers[key])
    untrained = sv.finetune(model, task, scope, **{**options, "lr": 1e-12})
    assert untrained.loss == pytest.approx(lens(model, task).mean(), abs=1e-4)


def test_the_order_of_the_texts_and_their_neighbours_do_not_matter():
    model, task = loaded(rotary("phi3", "longrope")), short_and_long()
    split, names = task.split("test"), list(task.labels)
    labels = [names[i] for i in split.labels]
    wanted = lens(model, task)
    order = np.random.default_rng(0).permutation(len(labels))
    for rows in (order, order[:3]):
        chosen = [split.texts[i] for i in rows], [labels[i] for i in rows]
        other = sv.Task.from_texts(list(split.texts) * 2, labels * 2, prompt="{text} mood :", test=chosen)
        np.testing.assert_allclose(lens(model, other), wanted[rows], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_does_not_hide_angles_that_change(dtype):
    model = loaded(rotary("phi3", "longrope").to(dtype))
    assert how_to_read(model, encode(model, short_and_long(), "train")) is Reading.BY_LENGTH


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "mixtral", "qwen3-moe", "mamba2", "bloom", "gemma2", "falcon-alibi", "gpt2"])
def test_most_models_are_read_together(name, dtype):
    family, options = FAMILIES[name]
    torch.manual_seed(0)
    config = config_of(family, **options, vocab_size=len(word_tokenizer()))
    model = loaded(uneven(AutoModelForCausalLM.from_config(config)).to(dtype).eval())
    assert how_to_read(model, encode(model, short_and_long(), "train")) is Reading.TOGETHER


class Crowded(nn.Module):
    """Experts with a limited capacity, reduced to what matters: later tokens of a batch find no room."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        flat = self.inner(x).reshape(-1, x.shape[-1])
        room = torch.arange(len(flat)) < 12
        return (flat * room[:, None]).view_as(x)


class OverTheBatch(nn.Module):
    """Normalizes by what the whole batch holds."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x / x.std())


@pytest.mark.parametrize("kind", [Crowded, OverTheBatch])
def test_texts_that_compete_in_a_batch_are_read_one_by_one_with_a_warning(kind):
    def make():
        network = tiny_llama()
        network.model.layers[1].mlp = kind(network.model.layers[1].mlp)
        return network

    model, task = loaded(make()), short_and_long()
    with pytest.warns(RuntimeWarning, match="texts are read one at a time"):
        found = lens(model, task)
    np.testing.assert_allclose(found, alone(make, model, task), atol=1e-5)
    run = sv.finetune(model, task, sv.Scope.half(model), lr=1e-12, epochs=1, batch_size=8, **QUIET)
    assert "one at a time" in run.note
    assert run.loss == pytest.approx(found.mean(), abs=1e-5)


def test_a_range_of_lengths_is_proven_once(monkeypatch):
    model, task, proven = loaded(tiny_llama()), short_and_long(), []
    prove = neighbours._prove
    monkeypatch.setattr(
        neighbours, "_prove", lambda m, texts: (proven.append(list(map(len, texts))), prove(m, texts))[1]
    )
    train = encode(model, task, "train")
    for _ in range(2):
        assert how_to_read(model, train) is Reading.TOGETHER
    assert len(proven) == 1
    assert proven[0][0] == train.ids.lengths.max()
    assert proven[0][-1] == train.ids.lengths.min()
    how_to_read(model, encode(model, mood_task(), "train"))  # all of one length, within that range
    assert len(proven) == 1


def test_extremes_are_the_longest_and_the_shortest():
    lengths = np.array([3, 9, 1, 5, 7])
    assert extremes(lengths, 3) == [1, 3, 2]
    assert extremes(lengths, 2) == [1, 2]
    assert sorted(extremes(lengths, 9)) == [0, 1, 2, 3, 4]
    assert extremes(lengths[:1], 3) == [0]


@pytest.mark.parametrize("reading", Reading)
def test_groups_hold_each_row_once(reading):
    lengths = torch.tensor([4, 2, 4, 7])
    found = groups(lengths, reading)
    assert sorted(torch.cat(found).tolist()) == [0, 1, 2, 3]
    if reading:
        assert all(len(lengths[rows].unique()) == 1 for rows in found)
        assert all(lengths[a].max() >= lengths[b].max() for a, b in pairwise(found)) or reading is Reading.ALONE
    assert len(found) == {Reading.TOGETHER: 1, Reading.BY_LENGTH: 3, Reading.ALONE: 4}[reading]


# States that are not finite.


class Overflowing(nn.Module):
    """Beyond float16's range where a certain word is read."""

    def __init__(self, inner, factor=1e6):
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, x):
        y = self.inner(x)
        return torch.where(y.abs() > 0, y * self.factor, y)


def test_states_that_overflow_half_precision_are_named_when_the_model_is_loaded():
    network = tiny_llama()
    network.model.layers[2].mlp = Overflowing(network.model.layers[2].mlp, 1e9)
    loaded(network)
    with pytest.raises(
        ModelError, match=r'space 3 are not finite in float16; load the model with dtype="float32" or "bf'
    ):
        loaded(network.half())


@pytest.mark.parametrize("use", ["trace", "calibrate", "finetune"])
def test_states_that_overflow_on_some_texts_only_are_named_where_they_are_read(use, mood):
    model = loaded(tiny_llama().half())
    with torch.no_grad():
        model.model.get_input_embeddings().weight[word_tokenizer()("cat")["input_ids"][-1]] = float("inf")
    uses = {
        "trace": lambda: sv.trace(model, mood, **QUIET),
        "calibrate": lambda: sv.calibrate(model, ["the cat sat and ate ."] * 20, **QUIET),
        "finetune": lambda: sv.finetune(model, mood, sv.Scope.half(model), lr=1e-3, epochs=1, **QUIET),
    }
    with pytest.raises(ModelError, match=r"space 0 are not finite in float16"):
        uses[use]()


def test_a_loss_that_is_not_finite_before_the_first_step_is_not_blamed_on_the_rate(mood):
    model = loaded(tiny_llama().half())
    with torch.no_grad():
        model.model.get_input_embeddings().weight[word_tokenizer()("cat")["input_ids"][-1]] = float("inf")
    with pytest.raises(SemvizError, match=r"not finite.*float16"):
        sv.finetune(model, mood, lr=1e-3, epochs=1, **QUIET)
