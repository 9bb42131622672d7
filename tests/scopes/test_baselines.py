from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from families import family
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import ModelError, ScopeError, SemvizError
from semviz.lm.anatomy import Anatomy
from semviz.scopes.baselines import (
    baseline_scopes,
    gradient_blocks,
    gradient_scores,
    random_blocks,
    spectrum_blocks,
    spectrum_scores,
)
from semviz.tasks.splits import Split
from semviz.tasks.tokenizing import encode

QUIET = {"progress": False}
ALL = {"rows": 10**6, **QUIET}
FAMILIES = ["llama", "gpt2", "mixtral"]  # Linear, Conv1D, and experts fused into one tensor


def loaded(network):
    return sv.load_model((network, word_tokenizer()), general_text=plain_text())


def stacks(network, block):
    """Every weight of a block as matrices, by kind; layers of a kind stand in another orientation in GPT-2."""
    named = network.get_submodule(block).named_parameters()
    return {n: p.detach().reshape(-1, *p.shape[-2:]) for n, p in named if p.ndim > 1 and not n.endswith("bias")}


def ratio(matrix):
    """The oracle: what Spectrum's program computes for one matrix, in its own words."""
    s = torch.linalg.svdvals(matrix.double())
    n, m = matrix.shape
    sigma = (torch.quantile(s, 0.75) - torch.quantile(s, 0.25)) / 1.349
    beta = n / m if n < m else m / n
    signal = s > sigma * np.sqrt((1 + np.sqrt(beta)) ** 2)
    noise = s[~signal].sum() if (~signal).any() else 1.0
    return float(s[signal].sum() / noise / s[0])


def places(model):
    """Mean place of each block among the blocks, kind by kind, by counting those below."""
    blocks = [stacks(model.model, name) for name in model.anatomy.block_names]
    found = np.zeros((len(blocks), len(blocks[0])))
    for k, kind in enumerate(blocks[0]):
        ratios = np.asarray([np.mean([ratio(m) for m in block[kind]]) for block in blocks])
        found[:, k] = [((ratios < r).sum() + 0.5) / len(blocks) for r in ratios]
    return found.mean(1)


def plant(model, block):
    """Few strong directions and little noise, at the size that each matrix has.

    The noise is a product of two random matrices, for its singular values reach down to 0. Those of one wide random
    matrix lie close together, all of them above Spectrum's threshold, which then finds no noise in it.
    """
    generator = torch.Generator().manual_seed(5)
    for stack in stacks(model.model, model.anatomy.block_names[block - 1]).values():
        for matrix in stack:
            n, m = matrix.shape
            rank = max(1, min(n, m) // 8)
            made = torch.randn(n, rank, generator=generator) @ torch.randn(rank, m, generator=generator)
            small = min(n, m)
            noise = torch.randn(n, small, generator=generator) @ torch.randn(small, m, generator=generator)
            made += 0.001 * noise
            matrix.copy_(made * matrix.norm() / made.norm())


def naive(model, task):
    """Relative gradient norms by .backward() on a copy, one sample after the other, through the whole model."""
    network = copy.deepcopy(model.model).eval().requires_grad_(True)
    network.zero_grad()
    encoded = encode(model, task, "train")
    total = sum(int(counted.sum()) for counted in encoded.counted)
    for ids, targets, counted in zip(encoded.ids, encoded.targets, encoded.counted, strict=True):
        logits = network(input_ids=torch.as_tensor(ids).long()[None]).logits[0]
        wanted = torch.as_tensor(targets).long()
        for position in np.flatnonzero(counted):
            (-logits[position].log_softmax(-1)[wanted[position]] / total).backward(retain_graph=True)

    def norm(tensors):
        return torch.cat([t.flatten() for t in tensors]).norm()

    found = []
    for name in model.anatomy.block_names:
        parameters = list(network.get_submodule(name).parameters())
        found.append(float(norm([p.grad for p in parameters if p.grad is not None]) / norm(parameters).detach()))
    return np.asarray(found)


def test_random_blocks_are_those_of_their_seed(tiny):
    scopes = [random_blocks(tiny, 2, seed=seed).blocks for seed in range(20)]
    assert scopes == [random_blocks(tiny, 2, seed=seed).blocks for seed in range(20)]
    assert all(len(blocks) == 2 for blocks in scopes)
    assert len(set(scopes)) > 3
    assert {block for blocks in scopes for block in blocks} == {1, 2, 3, 4}
    assert random_blocks(tiny, 4).blocks == (1, 2, 3, 4)


@pytest.mark.parametrize("name", FAMILIES)
def test_spectrum_scores_are_the_places_by_the_published_rule(name):
    model = loaded(family(name))
    np.testing.assert_allclose(spectrum_scores(model, **QUIET), places(model))


@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_block_with_a_planted_signal_is_chosen(name, block):
    model = loaded(family(name))
    with torch.no_grad():
        plant(model, block)
    assert spectrum_blocks(model, 1, **QUIET).blocks == (block,)
    assert block in spectrum_blocks(model, 2, **QUIET).blocks


def test_the_rule_prefers_small_matrices_and_not_what_is_loud(tiny):
    weights = [p for p in tiny.anatomy.blocks[1].parameters() if p.ndim == 2]
    before = spectrum_scores(tiny, **QUIET)[1]
    assert 1 / 8 < before < 7 / 8
    with torch.no_grad():
        for p in weights:
            p.mul_(0.01)
    assert spectrum_scores(tiny, **QUIET)[1] == 7 / 8
    with torch.no_grad():
        for p in weights:
            p.mul_(100)
            # A direction ten times as strong as all that was there, on the same noise.
            p.add_(10 * torch.linalg.matrix_norm(p, 2) * torch.outer(*(torch.ones(n) / n**0.5 for n in p.shape)))
    assert spectrum_scores(tiny, **QUIET)[1] == 1 / 8


def test_experts_are_one_kind_also_as_modules_of_their_own():
    model = loaded(family("mixtral"))
    fused = spectrum_scores(model, **QUIET)
    for block in model.anatomy.blocks:
        experts = block.mlp.experts
        for name, stack in list(experts.named_parameters()):
            delattr(experts, name)
            parts = torch.nn.ModuleList(torch.nn.Linear(*m.shape[::-1], bias=False) for m in stack)
            for part, matrix in zip(parts, stack, strict=True):
                part.weight = torch.nn.Parameter(matrix.detach())
            experts.add_module(name, parts)
    np.testing.assert_allclose(spectrum_scores(model, **QUIET), fused)


def test_equal_blocks_give_the_upper_ones(tiny):
    with torch.no_grad():
        for block in tiny.anatomy.blocks[1:]:
            block.load_state_dict(tiny.anatomy.blocks[0].state_dict())
    assert spectrum_scores(tiny, **QUIET).tolist() == [0.5] * 4
    assert spectrum_blocks(tiny, 2, **QUIET).blocks == (3, 4)


@pytest.mark.parametrize("task", ["mood", "stories"])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_scores_are_those_of_a_plain_loop(name, task, request):
    model, task = loaded(family(name)), request.getfixturevalue(task)
    expected = naive(model, task)
    found = gradient_scores(model, task, **ALL)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    best = int(expected.argmax()) + 1
    assert gradient_blocks(model, task, 1, **ALL).blocks == (best,)


def test_rows_limits_what_is_read_and_seed_chooses_it(tiny, stories, monkeypatch):
    read = []
    forward = torch.nn.Embedding.forward

    def counted(module, ids):
        if torch.is_grad_enabled():  # not the proof that rows may be read together
            read.append(len(ids))
        return forward(module, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", counted)
    scores = gradient_scores(tiny, stories, rows=11, **QUIET)
    assert sum(read) == 11
    assert max(read) < 11
    assert np.array_equal(scores, gradient_scores(tiny, stories, rows=11, **QUIET))
    assert not np.allclose(scores, gradient_scores(tiny, stories, rows=11, seed=1, **QUIET))


def test_texts_of_one_token_have_no_gradient_and_are_not_drawn(tiny):
    def task(*texts):
        return sv.Task("texts", "{text}", (), (), {"train": Split(texts)})

    two = ("the cat ran", "the dog sat")
    expected = gradient_scores(tiny, task(*two), rows=2, **QUIET)
    found = gradient_scores(tiny, task(*["cat"] * 38, *two), rows=2, **QUIET)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradients_are_taken_without_dropout(stories):
    model = loaded(family("gpt2"))
    expected = gradient_scores(model, stories, **ALL)
    model.model.train()
    assert any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.model.modules())
    assert np.array_equal(gradient_scores(model, stories, **ALL), expected)


def unusual(model):
    """Give a model flags, gradients, modes and hooks that a careless reader would lose."""
    network = model.model.train()
    model.anatomy.blocks[0].requires_grad_(False).eval()
    network.lm_head.requires_grad_(False)
    for i, p in enumerate(network.parameters()):
        if i % 3:
            p.grad = torch.full_like(p, float(i))
    model.anatomy.blocks[2].register_forward_hook(lambda *_: None)


def everything(model):
    """All that a user could notice, and the random state."""
    network = model.model
    return {
        "weights": [t.tolist() for t in (*network.parameters(), *network.buffers())],
        "flags": [p.requires_grad for p in network.parameters()],
        "gradients": [(id(p.grad), None if p.grad is None else p.grad.tolist()) for p in network.parameters()],
        "modes": [m.training for m in network.modules()],
        "hooks": [(list(m._forward_hooks), list(m._forward_pre_hooks)) for m in network.modules()],
        "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
        "grad mode": torch.is_grad_enabled(),
    }


def test_nothing_of_the_users_is_changed(tiny, mood):
    unusual(tiny)
    before = everything(tiny)
    found = baseline_scopes(tiny, mood, 2, **QUIET)
    assert everything(tiny) == before
    assert len(found["gradient"].blocks) == 2


def test_nothing_is_changed_by_an_error_halfway(tiny, mood, monkeypatch):
    unusual(tiny)
    before, real, calls = everything(tiny), Anatomy.readout, []

    def fails_late(anatomy, states):
        calls.append(1)
        return real(anatomy, states) if len(calls) < 3 else 1 / 0

    monkeypatch.setattr(Anatomy, "readout", fails_late)
    with pytest.raises(ZeroDivisionError):
        gradient_scores(tiny, mood, **ALL)
    assert len(calls) == 3
    assert everything(tiny) == before


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_gradients_are_taken_also_where_the_user_has_switched_them_off(tiny, mood, without):
    expected = gradient_scores(tiny, mood, **ALL)
    with without():
        assert np.array_equal(gradient_scores(tiny, mood, **ALL), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_models_in_bfloat16_score_as_their_weights_in_float32(name, stories):
    half = loaded(family(name).bfloat16())
    wide = loaded(copy.deepcopy(half.model).float())
    assert np.array_equal(spectrum_scores(half, **QUIET), spectrum_scores(wide, **QUIET))
    np.testing.assert_allclose(gradient_scores(half, stories, **ALL), gradient_scores(wide, stories, **ALL), rtol=0.1)
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_baseline_trains_as_many_blocks_as_asked(tiny, mood, size):
    found = baseline_scopes(tiny, mood, size, seed=3, **QUIET)
    assert {name: len(scope.blocks) for name, scope in found.items()} == {
        **dict.fromkeys(("random", "spectrum", "gradient", "top"), size),
        "half": 2,
    }
    assert found["random"] == random_blocks(tiny, size, seed=3)
    assert found["spectrum"] == spectrum_blocks(tiny, size, **QUIET)
    assert found["gradient"] == gradient_blocks(tiny, mood, size, seed=3, **QUIET)
    assert found["top"] == sv.Scope.above(tiny, 4 - size)
    assert found["half"] == sv.Scope.half(tiny)


@pytest.mark.parametrize("size", [0, 5, -1, 1.5, True, None, "2"])
def test_sizes_that_no_model_has(tiny, mood, size):
    for choose in (
        lambda: random_blocks(tiny, size),
        lambda: spectrum_blocks(tiny, size, **QUIET),
        lambda: gradient_blocks(tiny, mood, size, **QUIET),
        lambda: baseline_scopes(tiny, mood, size, **QUIET),
    ):
        with pytest.raises(ScopeError, match="pass how many of the blocks train, a whole number from 1 to 4"):
            choose()


@pytest.mark.parametrize("rows", [0, -3, 2.5, True])
def test_rows_that_cannot_be_read(tiny, mood, rows):
    with pytest.raises(SemvizError, match="pass how many training rows"):
        gradient_scores(tiny, mood, rows=rows, **QUIET)


def offloaded(model):
    cpu_offload(model.model)


def quantized(model):
    linear = model.anatomy.blocks[1].mlp.up_proj
    linear.weight = torch.nn.Parameter(linear.weight.detach().to(torch.int8), requires_grad=False)


@pytest.mark.parametrize(("spoil", "advice"), [(offloaded, "load it whole"), (quantized, "floating-point dtype")])
def test_weights_that_cannot_be_read_are_refused(tiny, mood, spoil, advice):
    spoil(tiny)
    with pytest.raises(ModelError, match=advice):
        spectrum_scores(tiny, **QUIET)
    with pytest.raises(ModelError, match=advice):
        gradient_scores(tiny, mood, **QUIET)


def test_weights_and_gradients_that_are_no_numbers_are_named(mood):
    model = loaded(tiny_llama())
    with torch.no_grad():
        model.anatomy.blocks[2].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"mlp\.down_proj\.weight of block 3 is not finite"):
        spectrum_scores(model, **QUIET)
    with pytest.raises(ModelError, match=r"states of space 3 are not finite in float32"):
        gradient_scores(model, mood, **QUIET)
