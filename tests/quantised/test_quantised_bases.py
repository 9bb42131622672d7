"""Bases quantised by bitsandbytes and torchao, and LoRA beside them (`make quantised`): made ones, and SmolLM2's."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from small import mood_task, plain_text, tiny_llama, word_tokenizer
from tokenizer_kinds import SMOLLM2
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TorchAoConfig

import semviz as sv
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.finetune import zero_shot
from semviz.lm.copies import private_copy
from semviz.lm.copy_proof import copy_error, default_probe, tolerance
from semviz.lm.raw_storage import stored_bytes, stored_tensors

REQUIRED = os.environ.get("SEMVIZ_REQUIRE_QUANTISED") == "1"
for _library in ("bitsandbytes", "torchao", "peft"):
    if not REQUIRED:
        pytest.importorskip(_library, reason=f"needs {_library}: make quantised")

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
BLOCKS = 3


def torchao_int8():
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


CONFIGS = {
    "fp4": lambda: BitsAndBytesConfig(load_in_4bit=True),
    "nf4": lambda: BitsAndBytesConfig(**NF4, bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16),
    "8-bit": lambda: BitsAndBytesConfig(load_in_8bit=True),
    "torchao": torchao_int8,
}
KINDS = list(CONFIGS)
TRAINING = {"lr": 3e-3, "epochs": 1, "batch_size": 8, "progress": False}


def close(kind):
    """How far results with and without cache may lie apart: 8-bit layers round by what is in the batch."""
    return 0.05 if kind == "8-bit" else 1e-4


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    tiny_llama(hidden_size=64, intermediate_size=128, initializer_range=0.08).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory):
    """The first blocks of SmolLM2, with its embeddings, norm and head."""
    if not SMOLLM2.is_dir():
        pytest.skip(f"needs {SMOLLM2}")
    network = AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype="float32")
    network.model.layers = network.model.layers[:BLOCKS]
    network.config.num_hidden_layers = BLOCKS
    if getattr(network.config, "layer_types", None):
        network.config.layer_types = network.config.layer_types[:BLOCKS]
    folder = tmp_path_factory.mktemp("smollm2")
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(SMOLLM2).save_pretrained(folder)
    return folder


def load(folder, kind=""):
    options = {"quantization_config": CONFIGS[kind]()} if kind else {}
    return sv.load_model(str(folder), general_text=plain_text(), device="cpu", dtype="float32", **options)


def snapshot(network):
    return {name: tensor.clone() for name, tensor in stored_tensors(network).items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def film_task():
    texts = [f"the film was {('bad', 'good')[i % 2]} and {i} " * (1 + i % 3) for i in range(32)]
    return sv.Task.from_texts(texts, [("no", "yes")[i % 2] for i in range(32)], prompt="{text}\nLiked:", name="films")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", ["made", "smollm2"])
def test_counts_hashes_and_prices(base, kind, request):
    folder, task = request.getfixturevalue(base), mood_task() if base == "made" else film_task()
    full, model = load(folder), load(folder, kind)
    was = snapshot(model.model)
    assert model.parts == full.parts
    assert model.hash == load(folder, kind).hash
    assert model.hash != full.hash
    prices, of_full = sv.estimate_costs(model, task), sv.estimate_costs(full, task)
    assert np.array_equal(prices.block_flops, of_full.block_flops)
    assert np.allclose(prices.block_bytes, of_full.block_bytes, rtol=1e-3)
    weights = prices.of(prices.scopes[1], method="lora").memory["weights"]
    assert weights == pytest.approx(stored_bytes(model.model), abs=1)
    assert weights < of_full.of(of_full.scopes[1], method="lora").memory["weights"]
    sv.trace(model, task.subset(train=8), progress=False)
    assert same(snapshot(model.model), was)


@pytest.mark.brings(
    "Quantised models",
    "bitsandbytes in 4 and 8 bits, torchao in 8",
    "counts the parameters that the weights stand for",
)
def test_parameters_are_counted_as_peft_counts_them(made):
    from peft import LoraConfig, get_peft_model

    model = load(made, "nf4")
    trainable, every = get_peft_model(
        model.model, LoraConfig(target_modules="all-linear")
    ).get_nb_trainable_parameters()
    assert every - trainable == load(made).parts.total


@pytest.mark.parametrize("kind", ["fp4", "nf4"])
@pytest.mark.parametrize("part", ["absmax", "code", "state2.absmax", "state2.code", "offset"])
def test_the_hash_follows_the_scales_of_a_4_bit_weight(made, kind, part):
    model = load(made, kind)
    state = model.model.model.layers[1].mlp.up_proj.weight.quant_state
    if not state.nested and part in ("state2.absmax", "state2.code", "offset"):
        pytest.skip("only of scales that are quantised too")
    for name in part.split(".")[:-1]:
        state = getattr(state, name)
    tensor = getattr(state, part.split(".")[-1])
    before, value = model.hash, tensor.clone()
    tensor.view(-1)[0] += 1
    assert model.hash != before
    tensor.copy_(value)
    assert model.hash == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["lora", "ia3"])
@pytest.mark.parametrize("boundary", [0, 2])
@pytest.mark.brings(
    "Quantised models",
    "LoRA or (IA)³ on such a base, above any boundary",
    "the same result with and without cached prefix",
)
def test_adapters_train_with_and_without_cache(made, kind, method, boundary):
    model, task = load(made, kind), mood_task()
    before, was, scope = model.hash, snapshot(model.model), sv.Scope.above(model, boundary)
    runs = [sv.finetune(model, task, scope, method=method, cache=cache, **TRAINING) for cache in (True, False)]
    assert [run.cached for run in runs] == [boundary > 0, False]
    assert np.allclose(runs[0].curve["loss"], runs[1].curve["loss"], rtol=close(kind))
    assert runs[0].loss == pytest.approx(runs[1].loss, rel=close(kind))
    assert "kept unmerged" in runs[0].note
    tuned = sv.load_run(model, runs[0])
    loss = zero_shot(EncodedTask(tuned, task, progress=False), "test").loss
    assert loss == pytest.approx(runs[0].loss, rel=close(kind) / 5)
    assert model.hash == before
    assert same(snapshot(model.model), was)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.brings(
    "Quantised models",
    "SmolLM2's first blocks in 4 and 8 bits",
    "traces them and trains LoRA above a boundary",
)
def test_lora_on_the_first_blocks_of_a_real_model(smollm2, kind):
    model, task = load(smollm2, kind), film_task()
    scope = sv.Scope.above(model, 1)
    runs = [sv.finetune(model, task, scope, method="lora", cache=cache, **TRAINING) for cache in (True, False)]
    assert runs[0].cached
    assert runs[0].loss == pytest.approx(runs[1].loss, rel=close(kind))
    before = zero_shot(EncodedTask(model, task, progress=False), "test").loss
    assert runs[0].loss < 0.8 * before
    moved = runs[0].trace(progress=False, metrics="lens") - sv.trace(model, task, progress=False, metrics="lens")
    frame = moved.frame()
    assert len(frame)
    with pytest.raises(sv.SemvizError, match="quantized weights"):
        sv.finetune(model, task, scope, method="full", **TRAINING)


def test_a_sweep_with_its_plan_and_a_stored_run(made, tmp_path):
    options = {"methods": ["lora"], "store": tmp_path, "keep_weights": True, **TRAINING}
    model, task = load(made, "nf4"), mood_task()
    runs = list(sv.sweep(model, task, [sv.Scope.above(model, k) for k in (1, 3)], **options))
    again = load(made, "nf4")
    found = list(sv.sweep(again, task, [sv.Scope.above(again, k) for k in (1, 3)], **options))
    assert [run.key for run in found] == [run.key for run in runs]
    loss = zero_shot(EncodedTask(sv.load_run(again, found[0]), task, progress=False), "test").loss
    assert loss == pytest.approx(runs[0].loss, rel=1e-4)


def test_plans_and_the_memory_guard_count_what_is_stored(made, monkeypatch):
    task, full, model = mood_task(), load(made), load(made, "nf4")
    weights = {m: sv.plan(m, task, methods=["lora"], epochs=1, lr=1e-3).frame()["bytes"].max() for m in (full, model)}
    assert weights[model] < weights[full]
    monkeypatch.setenv("MEM_LIMIT", str(2**20))
    with pytest.raises(sv.SemvizError, match="MEM_LIMIT"):
        sv.finetune(model, task, sv.Scope.above(model, 1), method="lora", **TRAINING)


def scales_of(state):
    """Scales of a 4-bit weight, which may be quantised themselves."""
    from bitsandbytes.functional import dequantize_blockwise

    return dequantize_blockwise(state.absmax, state.state2) + state.offset if state.nested else state.absmax


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("storage", ["uint8", "bfloat16"])
@pytest.mark.brings(
    "Quantised models",
    "4-bit weights that bitsandbytes has repacked for the processor",
    "trains LoRA on a copy in the usual packing; yours stays as it is",
)
def test_weights_that_bitsandbytes_has_repacked_for_this_processor(made, double, storage):
    config = BitsAndBytesConfig(**NF4, bnb_4bit_use_double_quant=double, bnb_4bit_quant_storage=storage)
    network, fresh = (
        AutoModelForCausalLM.from_pretrained(made, quantization_config=config, dtype="float32").eval() for _ in range(2)
    )
    ids = torch.arange(4, 30)[None]
    with torch.no_grad():
        logits = network(ids).logits
    state = network.model.layers[0].mlp.up_proj.weight.quant_state
    if not getattr(state, "packing_format_for_cpu", False):
        pytest.skip("bitsandbytes repacks 4-bit weights on processors with AVX512-BF16 only")
    model, task = sv.load_model((network, word_tokenizer()), general_text=plain_text()), mood_task()
    was, before = snapshot(network), model.hash
    copied = private_copy(model)
    assert copy_error(model, copied, default_probe(model)) < tolerance(model)
    # All that is lost is what the repacking itself rounds: the scales, to bfloat16.
    for block, other in zip(copied.model.layers, fresh.model.layers, strict=True):
        one, wanted = block.mlp.up_proj.weight, other.mlp.up_proj.weight
        assert torch.equal(one.data.view(torch.uint8), wanted.data.view(torch.uint8))  # any bits: NaN too
        scales = scales_of(wanted.quant_state).bfloat16().float()
        assert torch.equal(one.quant_state.absmax, scales)
    run = sv.finetune(model, task, sv.Scope.above(model, 1), method="lora", **TRAINING)
    assert run.cached
    assert run.curve["loss"].iloc[-1] < run.curve["loss"].iloc[0]
    assert model.hash == before
    assert same(snapshot(network), was)
    with torch.no_grad():
        assert torch.equal(network(ids).logits, logits)
    assert network.model.layers[0].mlp.up_proj.support_avx512bf16_for_cpu


def test_a_model_loaded_by_semviz_is_not_repacked(made):
    model = load(made, "fp4")
    before = model.hash
    with torch.no_grad():
        model.model(torch.arange(4, 30)[None])
    assert model.hash == before


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_saved_and_loaded_beside_quantised_weights(made, tmp_path, kind):
    """QLoRA's usual end: the adapter's folder, put on the base that is quantised again."""
    from peft import PeftModel

    model = load(made, kind)
    run = sv.finetune(model, mood_task(), sv.Scope.last(model), method="lora", **{**TRAINING, "lr": 3e-2})
    with pytest.raises(sv.SemvizError, match=r"quantised weights .* pass run\.save_adapter"):
        run.save_model(tmp_path / "model")
    folder = run.save_adapter(tmp_path / "adapter")
    ids = torch.arange(4, 14)[None]
    with torch.no_grad():
        expected = run.model().model(input_ids=ids).logits
        found = PeftModel.from_pretrained(load(made, kind).model, folder).eval()(input_ids=ids).logits
        how = {"device": "cpu", "dtype": "float32", "quantization_config": CONFIGS[kind]()}
        again = sv.load_model(folder, base=str(made), **how)
        loaded = again.model(input_ids=ids).logits
        base = model.model(input_ids=ids).logits
    assert torch.allclose(found, expected, atol=close(kind))
    assert torch.allclose(loaded, expected, atol=close(kind))
    assert not torch.allclose(base, expected, atol=1e-2)
    assert run.predictions(progress=False)["right"].mean() == pytest.approx(run.accuracy, abs=0.1)
