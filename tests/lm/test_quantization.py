"""Quantised layers of every form, without the libraries that make them: counts, hashes, copies, prices, LoRA."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from quantised_layers import KINDS, Buffers, EightBit, FourBit, Plain, quantise
from small import mood_task, plain_text, tiny_llama, word_tokenizer
from torch import nn

import semviz as sv
from semviz.lm.copies import private_copy
from semviz.lm.quantization import first_quantised, is_packed, is_quantised_layer, keep_as_loaded
from semviz.lm.raw_storage import stored_bytes, stored_tensors
from semviz.scopes.baselines import gradient_scores

TRAINING = {"lr": 1e-2, "epochs": 1, "batch_size": 8, "progress": False}


def loaded(network):
    return sv.load_model((network, word_tokenizer()), general_text=plain_text())


def whole():
    return loaded(tiny_llama())


def quantised(kind, **options):
    return loaded(quantise(tiny_llama(**options), kind))


def first_layer(network):
    return network.model.layers[0].mlp.up_proj


def snapshot(network):
    return {name: tensor.clone() for name, tensor in stored_tensors(network).items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_count_the_parameters_that_a_quantised_weight_stands_for(kind):
    full = whole()
    model = quantised(kind)
    assert model.parts == full.parts
    assert sv.Scope.above(model, 2).trainable == sv.Scope.above(full, 2).trainable


@pytest.mark.parametrize(
    "module", [nn.Linear(8, 4), nn.Linear(8, 4, bias=False), nn.Embedding(8, 4), nn.Bilinear(2, 3, 4)]
)
def test_ordinary_layers_are_not_quantised(module):
    assert not is_quantised_layer(module)
    assert not first_quantised([module])


def test_a_wrapper_is_judged_by_what_is_inside():
    class Wrapper(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.in_features, self.out_features = base, base.in_features, base.out_features
            self.register_buffer("codes", torch.zeros(3, 3, dtype=torch.int8))

    base = nn.Linear(8, 4, bias=False)
    assert not is_packed(Wrapper(base))
    assert first_quantised([Wrapper(Buffers(base))]) == "Buffers"


EDITS = {
    FourBit: lambda layer: [layer.weight.data, layer.quant_state.absmax, layer.quant_state.nested.offset],
    EightBit: lambda layer: [layer.weight.data, layer.scale],
    Buffers: lambda layer: [layer.qweight, layer.scales],
    Plain: lambda layer: [layer.W_q.data],
}


@pytest.mark.parametrize(
    ("kind", "index"), [(kind, i) for kind, n in zip(KINDS, (3, 2, 2, 1), strict=True) for i in range(n)]
)
def test_the_hash_follows_every_tensor_of_a_quantised_weight(kind, index):
    model = quantised(kind)
    before = model.hash
    assert quantised(kind).hash == before
    tensor = EDITS[kind](first_layer(model.model))[index].view(-1)
    value = tensor[0].item()
    tensor[0] = value + 1
    assert model.hash != before
    tensor[0] = value
    assert model.hash == before


@pytest.mark.parametrize("kind", KINDS)
def test_copies_share_storage_but_no_state(kind):
    model = quantised(kind)
    network = private_copy(model, model.anatomy.blocks, own_weights=False, to_train=True)
    theirs, own = first_layer(model.model), first_layer(network)
    tensors = {tensor.data_ptr() for tensor in (*theirs.parameters(), *theirs.buffers())}
    copied = {tensor.data_ptr() for tensor in own.parameters()}
    copied |= {tensor.data_ptr() for tensor in own.buffers() if kind is Buffers}
    assert copied <= tensors
    assert copied
    for parameter, other in zip(own.parameters(), theirs.parameters(), strict=True):
        assert parameter is not other
        assert type(parameter) is type(other)
    if kind is FourBit:
        assert own.quant_state is own.weight.quant_state
        assert own.quant_state is not theirs.quant_state
        assert own.quant_state.absmax is theirs.quant_state.absmax
    if kind is Plain:
        assert own.meta is not theirs.meta
        assert own.meta["scale"] is theirs.meta["scale"]
    ids = torch.arange(4, 20)[None]
    with torch.no_grad():
        assert torch.equal(network(ids).logits, model.model(ids).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_prices_are_those_of_plain_layers_but_for_the_bytes_of_weights(kind):
    task = mood_task()
    full, prices = sv.estimate_costs(whole(), task), sv.estimate_costs(quantised(kind), task)
    assert np.array_equal(prices.block_flops, full.block_flops)
    assert np.allclose(prices.block_bytes, full.block_bytes, rtol=0.02)
    scope = prices.scopes[2]
    assert prices.of(scope, method="lora").units == full.of(scope, method="lora").units
    stored = stored_bytes(quantised(kind).model)
    assert prices.of(scope, method="lora").memory["weights"] == pytest.approx(stored, abs=1)
    assert stored < full.of(scope, method="lora").memory["weights"]


@pytest.mark.parametrize("kind", [FourBit, EightBit])
@pytest.mark.parametrize("method", ["lora", "ia3"])
@pytest.mark.parametrize("boundary", [0, 2, 3])
def test_adapters_train_above_quantised_weights_and_come_back(kind, method, boundary):
    pytest.importorskip("peft")
    model, task = quantised(kind), mood_task()
    before, was = model.hash, snapshot(model.model)
    scope = sv.Scope.above(model, boundary)
    cached, plain = (sv.finetune(model, task, scope, method=method, cache=cache, **TRAINING) for cache in (True, False))
    assert cached.cached == (boundary > 0)
    assert not plain.cached
    assert np.allclose(cached.curve["loss"], plain.curve["loss"], atol=1e-4)
    assert cached.loss == pytest.approx(plain.loss, abs=1e-4)
    assert cached.loss != pytest.approx(sv.finetune(model, task, scope, method=method, **{**TRAINING, "lr": 1e-9}).loss)
    assert "kept unmerged" in cached.note
    assert all(tensor.is_floating_point() for tensor in cached.weights.values())
    assert sum(tensor.numel() for tensor in cached.weights.values()) == cached.trainable
    tuned = sv.load_run(model, cached)
    assert tuned.parts == model.parts
    assert tuned.hash != before
    assert scored(tuned, task) == pytest.approx(cached.loss, abs=1e-5)
    assert model.hash == before
    assert same(snapshot(model.model), was)


def scored(model, task):
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.finetune import zero_shot

    return zero_shot(EncodedTask(model, task, progress=False), "test").loss


def test_a_stored_run_comes_back_with_its_adapters(tmp_path):
    pytest.importorskip("peft")
    model, task = quantised(FourBit), mood_task()
    scopes = [sv.Scope.above(model, 2)]
    options = {"methods": ["lora"], "store": tmp_path, "keep_weights": True, "epochs": 1, "progress": False, "lr": 1e-2}
    (run,) = sv.sweep(model, task, scopes, **options)
    (again,) = sv.sweep(quantised(FourBit), task, scopes, **options)
    assert again.key == run.key
    assert scored(sv.load_run(model, again), task) == pytest.approx(run.loss, abs=1e-5)
    assert again.trace(model, task, progress=False).frame().shape[0] > 0


@pytest.mark.brings(
    "Quantised models",
    "quantised blocks and LoRA",
    "keeps adapters unmerged, and says so in `run.note`",
)
def test_adapters_beside_quantised_weights_are_never_merged():
    pytest.importorskip("peft")
    model, task = quantised(EightBit), mood_task()
    scope = sv.Scope.above(model, 2)
    tuned = sv.load_run(model, sv.finetune(model, task, scope, method="lora", **TRAINING))
    network = private_copy(tuned, tuned.anatomy.blocks, own_weights=False, merge_all=True)
    ids = torch.arange(4, 20)[None]
    with torch.no_grad():
        assert torch.equal(network(ids).logits, tuned.model(ids).logits)
    with pytest.raises(sv.SemvizError, match="carry an adapter beside quantised weights"):
        sv.finetune(tuned, task, sv.Scope.above(tuned, 1), method="lora", **TRAINING)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["full", "lisa"])
@pytest.mark.brings(
    "Quantised models",
    'quantised blocks and `method="full"`',
    "refuses it: pass LoRA or (IA)³",
)
def test_quantised_weights_themselves_do_not_train(kind, method):
    model = quantised(kind)
    with pytest.raises(sv.SemvizError, match="quantized weights"):
        sv.finetune(model, mood_task(), sv.Scope.above(model, 2), method=method, **TRAINING)
    with pytest.raises(sv.SemvizError, match="quantized weights"), sv.Scope.above(model, 2).apply(model):
        pass
    with pytest.raises(sv.SemvizError, match="quantized weights"):
        gradient_scores(model, mood_task())


@pytest.mark.parametrize("kind", [Buffers, Plain])
@pytest.mark.brings(
    "Quantised models",
    "layers that peft has no adapter for",
    "names them",
)
def test_layers_that_peft_has_no_adapter_for_are_named(kind):
    pytest.importorskip("peft")
    model = quantised(kind)
    with pytest.raises(sv.SemvizError, match=f"peft has no adapter .*{kind.__name__}"):
        sv.finetune(model, mood_task(), sv.Scope.above(model, 2), method="lora", **TRAINING)


def dynamic():
    network = tiny_llama(tie_word_embeddings=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.ao.quantization.quantize_dynamic(network.model, {nn.Linear}, inplace=True)
    return loaded(network)


@pytest.mark.brings(
    "Quantised models",
    "`torch.ao`'s `quantize_dynamic`",
    "counts and hashes it; refuses to train below such layers, which pass no gradients",
)
def test_torchs_own_dynamic_layers_count_and_hash_but_pass_no_gradients():
    pytest.importorskip("peft")
    model = dynamic()
    assert model.parts == loaded(tiny_llama(tie_word_embeddings=True)).parts
    assert model.hash == dynamic().hash
    assert model.hash != loaded(tiny_llama(tie_word_embeddings=True)).hash
    with pytest.raises(sv.SemvizError, match="No gradients pass through the quantised layers"):
        sv.finetune(model, mood_task(), sv.Scope.above(model, 2), method="lora", **TRAINING)


class Repacking(EightBit):
    """Like bitsandbytes' 4-bit layer on processors with AVX512-BF16: rewritten by a forward pass in evaluation mode."""

    def __init__(self, base):
        super().__init__(base)
        self.support_avx512bf16_for_cpu, self.repacked = True, False

    def forward(self, states):
        self.repacked |= self.support_avx512bf16_for_cpu and not self.training and not states.requires_grad
        return super().forward(states)


def test_weights_are_not_repacked_while_semviz_runs_a_model():
    model, task = quantised(Repacking), mood_task()
    _ = model.hash
    sv.trace(model, task, progress=False)
    sv.estimate_costs(model, task)
    layers = [m for m in model.model.modules() if isinstance(m, Repacking)]
    assert not any(layer.repacked for layer in layers)
    assert all(layer.support_avx512bf16_for_cpu for layer in layers)
    keep_as_loaded(model.model)
    model.model(torch.arange(4, 20)[None])
    assert not any(layer.repacked for layer in layers)


def test_the_same_model_without_quantised_layers_keeps_its_names_and_bytes():
    network = tiny_llama()
    assert same(stored_tensors(network), network.state_dict())
    assert stored_bytes(network) == sum(p.nbytes for p in copy.deepcopy(network).parameters())
