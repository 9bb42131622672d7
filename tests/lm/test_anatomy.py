from __future__ import annotations

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from accelerate.hooks import AlignDevicesHook, SequentialHook
from architectures import gemma2
from families import config_of, family
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from small import tiny_llama, word_tokenizer
from transformers import (
    AutoModelForCausalLM,
    LlamaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from semviz.common.errors import ModelError
from semviz.lm.anatomy import find_anatomy
from semviz.lm.eval_mode import evaluating
from semviz.lm.offloading import execution_device

IDS = torch.arange(5, 25).reshape(2, 10)


@torch.no_grad()
def read(network, anatomy=None):
    """What a model says, its states by space, and what the body alone makes of the same ids."""
    anatomy = anatomy or find_anatomy(network)
    states, streamed = {}, {}
    with anatomy.tap(states.__setitem__):
        logits = network(input_ids=IDS, use_cache=False).logits
    with anatomy.tap(streamed.__setitem__):
        anatomy.body(input_ids=IDS, attention_mask=torch.ones_like(IDS), use_cache=False)
    return logits, states, streamed


def hooks(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


# Post-processing


def test_a_softcap_is_found_and_needed():
    torch.manual_seed(0)
    anatomy = find_anatomy(gemma2().eval())
    assert anatomy.softcap == 2.0
    assert anatomy.error < 1e-5


def test_a_softcap_that_the_config_names_but_the_model_does_not_apply_is_not_read():
    network = tiny_llama()
    network.config.final_logit_softcapping = 2.0
    assert find_anatomy(network).softcap is None


def test_a_scale_that_no_config_names_is_read_off_the_logits():
    assert find_anatomy(changed(lambda logits: logits * 2.5)).scale == pytest.approx(2.5, rel=1e-6)


@pytest.mark.parametrize(
    "change", [lambda x: x + x.square(), lambda x: x.roll(1, -1), lambda x: x * x.new_tensor(float("nan"))]
)
def test_a_model_whose_logits_are_not_explained_is_refused_with_the_size_of_the_error(change):
    network = changed(change)
    with pytest.raises(ModelError, match=r"differs from its logits by (nan|\d)"):
        find_anatomy(network)
    assert hooks(network) == 0


def test_a_step_before_the_tail_that_shows_on_inner_spaces_only_is_refused():
    network = tiny_llama()
    _, states, _ = read(network)
    body, norm = network.model, network.model.norm
    forward = body.forward

    def without_small_states(_norm, args):
        return args[0].where(args[0].norm(dim=-1, keepdim=True) > 5, 0)

    def stepping(*args, **kwargs):
        handle = norm.register_forward_pre_hook(without_small_states)
        try:
            return forward(*args, **kwargs)
        finally:
            handle.remove()

    body.forward = stepping
    assert states[0].norm(dim=-1).max() < 5 < states[4].norm(dim=-1).min()
    with pytest.raises(ModelError, match="differs from its logits"):
        find_anatomy(network)


def changed(change):
    """A model that does something more to its logits."""
    network = tiny_llama()
    forward = network.forward

    def more(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = change(output.logits)
        return output

    network.forward = more
    return network


# What is left as it was


def test_hooks_of_the_user_survive_and_a_callbacks_value_changes_nothing():
    network = tiny_llama()
    called = []
    for module in network.modules():
        module.register_forward_hook(lambda *_: called.append(1))
    before = hooks(network)
    anatomy = find_anatomy(network)
    plain = network(input_ids=IDS).logits
    called.clear()
    with anatomy.tap(lambda space, states: states * 0):
        tapped = network(input_ids=IDS).logits
    assert called
    assert hooks(network) == before
    assert torch.equal(plain, tapped)


@pytest.mark.parametrize("fail", [False, True])
def test_every_submodule_keeps_its_mode(fail):
    network = tiny_llama().train()
    network.model.layers[1].eval()
    network.model.layers[2].self_attn.eval()
    modes = [module.training for module in network.modules()]
    if fail:
        network.model.layers[3].mlp.forward = None
        with pytest.raises(ModelError, match="probe"):
            find_anatomy(network)
    else:
        find_anatomy(network)
    assert [module.training for module in network.modules()] == modes
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == modes


def test_a_model_whose_weights_follow_its_mode_says_the_same_as_before():
    network = family("rwkv").train()  # halves the weights of its upper blocks in evaluation mode
    before = network(input_ids=IDS).logits
    find_anatomy(network)
    assert torch.equal(network(input_ids=IDS).logits, before)


# Refusals


def test_encoder_decoders_and_bare_bodies_are_refused():
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=60, d_model=16, d_ff=32, num_layers=1, num_heads=2, d_kv=8))
    with pytest.raises(ModelError, match="encoder-decoder"):
        find_anatomy(t5)
    with pytest.raises(ModelError, match="AutoModelForCausalLM"):
        find_anatomy(LlamaModel(tiny_llama().config))


def test_models_without_weights_or_with_a_quantized_head_are_refused():
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(tiny_llama().config)
    with pytest.raises(ModelError, match="meta device"):
        find_anatomy(empty)
    packed = tiny_llama()
    packed.lm_head.weight = torch.nn.Parameter(torch.zeros(64, 16, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ModelError, match=r"uint8 of shape \(64, 16\)"):
        find_anatomy(packed)


def test_fewer_logits_than_rows_of_the_head_are_refused():
    network = AutoModelForCausalLM.from_config(config_of("inkling_text", unpadded_vocab_size=90))
    with pytest.raises(ModelError, match=r"logits of shape \(2, 8, 90\) where its head has 96"):
        find_anatomy(network)


def test_layers_names_the_blocks_and_wrong_names_list_the_choices():
    assert find_anatomy(tiny_llama(), layers="model.layers").n_blocks == 4
    with pytest.raises(ModelError, match=r"pass one of model\.layers \(4 × LlamaDecoderLayer\)"):
        find_anatomy(tiny_llama(), layers="model.blocks")
    with pytest.raises(ModelError, match="instead of 0 to 4 once each"):
        find_anatomy(repeating(tiny_llama()))


def test_of_several_lists_of_layers_the_one_of_the_configs_length_is_taken():
    network = tiny_llama()
    network.model.predictors = type(network.model.layers)(tiny_llama(blocks=1).model.layers)
    assert find_anatomy(network).block_names == tuple(f"model.layers.{i}" for i in range(4))
    network.model.predictors = type(network.model.layers)(tiny_llama().model.layers)
    with pytest.raises(ModelError, match=r"several .* model\.layers \(4 × Llama.*\); model\.predictors \(4 × Llama"):
        find_anatomy(network)
    assert find_anatomy(network, layers="model.layers").n_blocks == 4
    with pytest.raises(ModelError, match=r"in the order \[\] instead of 0 to 4 once each"):
        find_anatomy(network, layers="model.predictors")


def repeating(network):
    """The first block runs twice."""
    first = network.model.layers[0]
    forward = network.model.layers[1].forward
    network.model.layers[1].forward = lambda states, *args, **kwargs: forward(
        first(states, *args, **kwargs), *args, **kwargs
    )
    return network


# Adapters


def test_a_lora_adapter_is_read_with_the_model():
    torch.manual_seed(0)
    bare = tiny_llama()
    plain = bare(input_ids=IDS).logits
    network = get_peft_model(bare, LoraConfig(target_modules=["q_proj", "down_proj"], init_lora_weights=False)).eval()
    anatomy = find_anatomy(network)
    logits, states, streamed = read(network, anatomy)
    assert anatomy.model is bare
    assert not torch.allclose(logits, plain, atol=0.1)
    torch.testing.assert_close(anatomy.readout(states[4]), logits)
    torch.testing.assert_close(streamed, states)


def test_a_head_that_an_adapter_saves_is_read_and_one_that_it_adds_to_is_refused():
    network = get_peft_model(tiny_llama(), LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])).eval()
    with torch.no_grad():
        network.get_output_embeddings().weight.mul_(2)
    anatomy = find_anatomy(network)
    logits, states, _ = read(network, anatomy)
    torch.testing.assert_close(anatomy.readout(states[4]), logits)
    some = torch.tensor([7, 2])
    torch.testing.assert_close(anatomy.project(anatomy.output_frame(states[4]), some), logits[..., some])

    added = get_peft_model(tiny_llama(), LoraConfig(target_modules=["lm_head"], init_lora_weights=False))
    with pytest.raises(ModelError, match=r"merge_and_unload"):
        find_anatomy(added)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (PromptTuningConfig, "is a PROMPT_TUNING adapter: it puts virtual tokens before each text"),
        (PrefixTuningConfig, "is a PREFIX_TUNING adapter: it puts virtual tokens before each text"),
    ],
)
def test_adapters_that_add_virtual_tokens_are_refused(kind, message):
    network = get_peft_model(tiny_llama(), kind(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(ModelError, match=message):
        find_anatomy(network)


# Offloaded and dispatched models


def to_cpu(network, _folder):
    return cpu_offload(network, execution_device=torch.device("cpu"))


def to_disk(network, folder):
    return disk_offload(network, folder, execution_device=torch.device("cpu"))


def in_turn(network):
    """Places for the parts of a model: every second one on disk, embeddings and head among them."""
    parts = [f"model.{name}" for name, _ in network.model.named_children() if name != "layers"]
    parts += [f"model.layers.{i}" for i in range(len(network.model.layers))]
    return {part: ("disk", "cpu")[i % 2] for i, part in enumerate(parts)} | {"lm_head": "disk"}


def to_both(network, folder):
    return dispatch_model(network, in_turn(network), main_device="cpu", offload_dir=folder)


def from_folder(network, folder):
    network.save_pretrained(folder)
    options = {"device_map": in_turn(network), "offload_folder": folder / "offloaded"}
    return AutoModelForCausalLM.from_pretrained(folder, **options)


@pytest.mark.parametrize("offload", [to_cpu, to_disk, to_both, from_folder])
@pytest.mark.parametrize("name", ["llama", "gemma2", "phi"])
def test_an_offloaded_model_is_read_like_the_same_model_in_memory(name, offload, tmp_path):
    own = find_anatomy(family(name))
    logits, states, _ = read(own.model, own)
    network = offload(family(name), tmp_path)
    anatomy = find_anatomy(network)
    assert anatomy.head.weight.is_meta
    assert anatomy.input_device == anatomy.head_device == torch.device("cpu")
    assert (anatomy.vocabulary, anatomy.width, anatomy.tied) == (own.vocabulary, own.width, own.tied)
    assert torch.equal(anatomy.head_weight, own.head_weight)
    offloaded_logits, offloaded_states, streamed = read(network, anatomy)
    torch.testing.assert_close(offloaded_logits, logits)
    torch.testing.assert_close(offloaded_states, states)
    torch.testing.assert_close(streamed, states)
    with torch.no_grad():
        frames = anatomy.output_frame(states[2])
        some = torch.tensor([7, 2, 11])
        torch.testing.assert_close(anatomy.readout(states[2]), own.readout(states[2]))
        torch.testing.assert_close(anatomy.project(frames, some), own.readout(states[2])[..., some])
    assert anatomy.head.weight.is_meta  # and is left there


def test_weights_in_memory_are_not_copied():
    anatomy = find_anatomy(tiny_llama())
    assert anatomy.head_weight is anatomy.head.weight
    assert not anatomy.tied
    assert find_anatomy(tiny_llama(tie_word_embeddings=True)).tied


def test_a_module_computes_where_its_hook_says():
    module = torch.nn.Linear(2, 2)
    assert execution_device(module) == torch.device("cpu")
    module._hf_hook = SequentialHook(AlignDevicesHook(), AlignDevicesHook(execution_device="cuda:1"))
    assert execution_device(module) == torch.device("cuda:1")


def test_parameters_are_counted_once_when_the_head_is_tied():
    import semviz as sv

    tied = sv.load_model((tiny_llama(tie_word_embeddings=True), word_tokenizer()))
    free = sv.load_model((tiny_llama(tie_word_embeddings=False), word_tokenizer()))
    assert tied.parts.total == sum(p.numel() for p in tied.model.parameters())
    assert free.parts.total == sum(p.numel() for p in free.model.parameters())
    assert tied.parts.head == 0
    assert free.parts.head == free.model.lm_head.weight.numel()
