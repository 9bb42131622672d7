"""Adapters, LISA, and what becomes of the weights of a run: merged, stored, traced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures import gpt2
from small import word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.finetuning.callbacks import BlockSchedule

QUICK = {"epochs": 3, "batch_size": 8, "lr": 3e-3, "progress": False}


def logits(model, task):
    prompt = torch.as_tensor(model.tokenizer(task.split("test").texts[0])["input_ids"]).unsqueeze(0)
    with torch.no_grad():
        return model.model(input_ids=prompt).logits


@pytest.mark.parametrize("method", ["lora", "ia3"])
@pytest.mark.parametrize("cache", [True, False])
def test_merged_adapters_are_the_finetuned_model(tiny, mood, method, cache):
    scope = sv.Scope.half(tiny)
    run = sv.finetune(tiny, mood, scope, method=method, cache=cache, **{**QUICK, "lr": 3e-2})
    assert 0 < run.trainable < scope.trainable
    before = tiny.model.state_dict()
    assert set(run.weights) <= set(before)
    changed = {name for name, value in run.weights.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(("model.layers.2.", "model.layers.3.")) for name in run.weights)
    after = sv.trace(sv.load_run(tiny, run), mood, split="test", metrics="lens", progress=False)
    assert after.accuracy == pytest.approx(run.accuracy)
    assert after.sample_means("lens")[4].mean() == pytest.approx(run.loss, rel=1e-4)


def test_adapters_do_not_copy_the_model(tiny, mood):
    from semviz.finetuning.suffix_model import Suffix
    from semviz.scopes.methods import METHODS

    suffix = Suffix(tiny, sv.Scope.half(tiny), cached=False, own_weights=False)
    suffix.prepare(METHODS["lora"], seed=0)
    own = {p.data_ptr() for p in tiny.model.parameters()}
    base = [p for name, p in suffix.network.named_parameters() if "lora" not in name]
    assert all(p.data_ptr() in own for p in base)
    assert all(p.requires_grad == ("lora" in name) for name, p in suffix.network.named_parameters())


def test_adapters_of_gpt2s_own_linear_layers(mood):
    torch.manual_seed(0)
    network = gpt2()
    network.resize_token_embeddings(len(word_tokenizer()))
    model = sv.load_model((network.eval(), word_tokenizer()))
    for method in ("lora", "ia3"):
        run = sv.finetune(model, mood, sv.Scope.last(model), method=method, **{**QUICK, "epochs": 1})
        assert run.trainable > 0
        assert np.isfinite(run.loss)


def test_half_precision_adapters_train_in_float32(mood):
    from small import tiny_llama

    model = sv.load_model((tiny_llama().to(torch.bfloat16), word_tokenizer()))
    run = sv.finetune(model, mood, sv.Scope.half(model), method="lora", **QUICK)
    assert np.isfinite(run.loss)
    assert {w.dtype for w in run.weights.values()} == {torch.bfloat16}


def test_lisa_trains_two_blocks_at_a_time_and_all_in_the_end(tiny, mood, monkeypatch):
    seen = []
    real = BlockSchedule.on_step_begin

    def spy(self, *args, **options):
        real(self, *args, **options)
        seen.append(tuple(i for i, b in enumerate(self.blocks) if next(b.parameters()).requires_grad))

    monkeypatch.setattr(BlockSchedule, "on_step_begin", spy)
    run = sv.finetune(tiny, mood, method="lisa", **{**QUICK, "epochs": 6})
    assert {len(blocks) for blocks in seen} == {2}
    assert {i for blocks in seen for i in blocks} == {0, 1, 2, 3}
    before = tiny.model.state_dict()
    assert all(not torch.equal(value, before[name]) for name, value in run.weights.items())
    two = sum(sorted(tiny.parts.blocks)[:2])
    assert run.trainable == two + tiny.parts.tail


def test_a_block_that_lisa_leaves_out_does_not_move(tiny, mood, monkeypatch):
    monkeypatch.setattr("semviz.scopes.methods.lisa._PERIODS", 1)
    run = sv.finetune(tiny, mood, method="lisa", **QUICK)
    before = tiny.model.state_dict()
    moved = {name.split(".")[2] for name, value in run.weights.items() if not torch.equal(value, before[name])}
    assert len(moved - {"weight"}) == 2


def test_a_stored_run_brings_its_weights_back(tiny, mood, tmp_path):
    options = {**QUICK, "store": tmp_path, "keep_weights": True}
    (first,) = sv.sweep(tiny, mood, [sv.Scope.half(tiny)], **options)
    (again,) = sv.sweep(tiny, mood, [sv.Scope.half(tiny)], **options)
    direct = sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)
    assert again.origin is None
    assert set(first.weights) == set(again.weights) == set(direct.weights)
    for name, value in direct.weights.items():
        assert torch.equal(again.weights[name], value)
    assert torch.equal(logits(sv.load_run(tiny, again), mood), logits(sv.load_run(tiny, direct), mood))
    (tmp_path / f"{again.key}.safetensors").write_bytes(b"junk")
    with pytest.raises(SemvizError, match="delete it"):
        sv.sweep(tiny, mood, [sv.Scope.half(tiny)], **options)


def test_a_run_traces_what_it_changed(tiny, mood):
    # With the final norm frozen too, since it is what carries every space into the output frame.
    run = sv.finetune(tiny, mood, sv.Scope.above(tiny, 2, tail=False), **{**QUICK, "epochs": 8})
    before = sv.trace(tiny, mood, progress=False)
    after = run.trace(progress=False)
    assert after.positions["token_id"].equals(before.positions["token_id"])
    difference = after - before
    # Below the boundary nothing changed; at the top the deviation fell.
    np.testing.assert_allclose(difference.values["semantic"][:, :3], 0, atol=1e-5)
    assert difference.values["semantic"][:, -1].mean() < 0
    assert difference.token_heatmap(sample=0).data


def test_a_run_from_a_file_needs_its_model(tiny, mood, tmp_path):
    options = {**QUICK, "store": tmp_path, "keep_weights": True}
    sv.sweep(tiny, mood, [sv.Scope.half(tiny)], **options)
    (again,) = sv.sweep(tiny, mood, [sv.Scope.half(tiny)], **options)
    with pytest.raises(SemvizError, match="pass the model and the task"):
        again.trace(progress=False)
    assert (again.trace(tiny, mood, progress=False) - sv.trace(tiny, mood, progress=False)).metrics


def test_a_run_without_weights_says_so(tiny, mood):
    run = sv.finetune(tiny, mood, keep_weights=False, **{**QUICK, "epochs": 1})
    with pytest.raises(SemvizError, match="keep_weights=True"):
        run.trace(progress=False)


def test_scopes_that_are_no_suffix_train_and_cost_from_their_lowest_block(tiny, mood):
    run = sv.finetune(tiny, mood, sv.Scope.of(tiny, [2]), **QUICK)
    assert run.cached
    assert {name.split(".")[2] for name in run.weights if "layers" in name} == {"1"}
