from __future__ import annotations

import pytest
import torch
from small import tiny_llama, word_tokenizer
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaModel,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from semviz.anatomy import find_anatomy
from semviz.errors import ModelError


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=3, n_head=4, n_positions=64))


def gemma2():
    """Softcapped logits, a tied head, and alternating kinds of attention."""
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=60,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            final_logit_softcapping=2.0,
            max_position_embeddings=64,
            initializer_range=0.5,
        )
    )


def opt():
    """Projects between the last block and the head."""
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=60,
            hidden_size=32,
            word_embed_proj_dim=16,
            ffn_dim=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=64,
        )
    )


FAMILIES = {"llama": tiny_llama, "gpt2": gpt2, "gemma2": gemma2, "opt": opt}


@pytest.fixture(params=FAMILIES)
def network(request):
    torch.manual_seed(0)
    return FAMILIES[request.param]().eval()


@torch.no_grad()
def test_readout_of_the_last_space_is_the_models_logits(network):
    anatomy = find_anatomy(network)
    states = {}
    ids = torch.arange(5, 25).reshape(2, 10)
    with anatomy.tap(lambda space, h: states.__setitem__(space, h)):
        logits = network(input_ids=ids, use_cache=False).logits
    assert sorted(states) == list(range(anatomy.n_blocks + 1))
    torch.testing.assert_close(anatomy.readout(states[anatomy.n_blocks]), logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_readout_of_an_inner_space_is_what_the_model_says_with_that_state_at_the_end(network):
    anatomy = find_anatomy(network)
    ids = torch.arange(5, 15).reshape(1, 10)
    states = {}
    with anatomy.tap(lambda space, h: states.__setitem__(space, h)):
        network(input_ids=ids, use_cache=False)
    last = anatomy.blocks[-1]
    for space in range(anatomy.n_blocks):
        state = states[space]
        handle = last.register_forward_hook(lambda _m, _a, out, s=state: (s, *out[1:]) if isinstance(out, tuple) else s)
        logits = network(input_ids=ids, use_cache=False).logits
        handle.remove()
        torch.testing.assert_close(anatomy.readout(state), logits, rtol=1e-4, atol=1e-5)


def hooks(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_hooks_are_gone_after_success_and_after_an_exception(network):
    anatomy = find_anatomy(network)
    assert hooks(network) == 0

    def fail(space, _states):
        if space == 1:
            raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"), anatomy.tap(fail):
        network(input_ids=torch.arange(5).unsqueeze(0), use_cache=False)
    assert hooks(network) == 0


def test_a_softcap_is_found_and_needed():
    torch.manual_seed(0)
    anatomy = find_anatomy(gemma2().eval())
    assert anatomy.softcap == 2.0
    assert anatomy.error < 1e-5


def test_projection_onto_some_ids_is_a_part_of_the_whole(network):
    anatomy = find_anatomy(network)
    frames = torch.randn(3, anatomy.head_weight.shape[1])
    ids = torch.tensor([7, 2, 11])
    torch.testing.assert_close(anatomy.project(frames, ids), anatomy.project(frames)[:, ids])


def test_a_model_whose_logits_are_not_explained_is_refused_with_the_size_of_the_error():
    network = tiny_llama()
    forward = network.forward
    network.forward = lambda *a, **k: _tripled(forward(*a, **k))
    with pytest.raises(ModelError, match="differs from its logits by"):
        find_anatomy(network)
    assert hooks(network) == 0


def _tripled(output):
    output.logits = output.logits * 3
    return output


def test_encoder_decoders_and_bare_bodies_are_refused():
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=60, d_model=16, d_ff=32, num_layers=1, num_heads=2, d_kv=8))
    with pytest.raises(ModelError, match="encoder-decoder"):
        find_anatomy(t5)
    with pytest.raises(ModelError, match="AutoModelForCausalLM"):
        find_anatomy(LlamaModel(tiny_llama().config))


def test_layers_names_the_blocks_and_wrong_names_list_the_choices():
    assert find_anatomy(tiny_llama(), layers="model.layers").n_blocks == 4
    with pytest.raises(ModelError, match=r"model\.layers \(4\)"):
        find_anatomy(tiny_llama(), layers="model.blocks")


def test_training_mode_survives_the_probe():
    network = tiny_llama().train()
    find_anatomy(network)
    assert network.training


def test_half_precision_is_proven_too():
    anatomy = find_anatomy(tiny_llama().to(torch.bfloat16))
    assert anatomy.project(torch.randn(2, 32, dtype=torch.bfloat16)).dtype == torch.float32


def test_parameters_are_counted_once_when_the_head_is_tied():
    import semviz as sv

    tied = sv.load_model((tiny_llama(tie_word_embeddings=True), word_tokenizer()))
    free = sv.load_model((tiny_llama(tie_word_embeddings=False), word_tokenizer()))
    assert tied.parameters.total == sum(p.numel() for p in tied.model.parameters())
    assert free.parameters.total == sum(p.numel() for p in free.model.parameters())
    assert tied.parameters.head == 0
    assert free.parameters.head == free.model.lm_head.weight.numel()
