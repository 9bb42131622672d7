"""Every family is read as it speaks: each space's readout is what the model itself says with that state at its end."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from families import FAMILIES, LAYERS, VISION, config_of, family, uneven
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PaliGemmaConfig

from semviz.common.errors import ModelError
from semviz.lm.anatomy import find_anatomy

# Softcaps and scales of the small configs. MiniCPM3 divides by hidden_size / dim_model_base, Inkling by 24.
POST = {
    "cohere": (0.3, None),
    "cohere2": (0.3, None),
    "falcon-h1": (0.3, None),
    "gemma2": (1.0, 2.0),
    "gemma3": (1.0, 2.0),
    "granite": (1 / 3, None),
    "hyperclovax": (3.0, None),
    "inkling": (1 / 24, None),
    "llama": (1.0, None),
    "minicpm3": (0.5, None),
    "nanochat": (1.0, 2.0),
    "paligemma2": (1.0, 2.0),
    "recurrent-gemma": (1.0, 2.0),
    "xlstm": (1.0, 2.0),
}
IDS = torch.arange(20, 40).reshape(2, 10)


@pytest.fixture(scope="module", params=[*FAMILIES, *VISION])
def anatomy(request):
    """Built once for all tests of a family."""
    return anatomy_of(request.param)


def anatomy_of(name):
    return find_anatomy(family(name), layers=LAYERS.get(name))


def logits(network, ids=IDS):
    return network(input_ids=ids, use_cache=False).logits


def spaces_of(anatomy, run):
    """States by space; each space must come once, in order."""
    found = []
    with anatomy.tap(lambda space, states: found.append((space, states))):
        run()
    assert [space for space, _ in found] == list(range(anatomy.n_blocks + 1))
    return [states for _, states in found]


@contextmanager
def ending_in(block, states):
    """The oracle: the model goes on from these states as if its last block had returned them."""

    def replace(_module, _args, output):
        return states if isinstance(output, torch.Tensor) else (states, *output[1:])

    handle = block.register_forward_hook(replace)
    yield
    handle.remove()


def assert_close(found, wanted, *, within=1e-5):
    """Within a share of the largest wanted value of each sample."""
    size = wanted.float().abs().amax(tuple(range(1, wanted.ndim)), keepdim=True)
    assert ((found.float() - wanted.float()) / size).abs().max() <= within


def hooks(network):
    return {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in network.named_modules()}


@torch.no_grad()
def test_every_readout_is_what_the_model_says_with_that_state_at_its_end(anatomy):
    states = spaces_of(anatomy, lambda: logits(anatomy.model))
    assert_close(anatomy.readout(states[-1]), logits(anatomy.model))
    for state in states[:-1]:
        with ending_in(anatomy.blocks[-1], state):
            wanted = logits(anatomy.model)
        assert_close(anatomy.readout(state), wanted)
    some = torch.tensor([7, 2, 11])
    frames = anatomy.output_frame(states[1])
    assert_close(anatomy.project(frames, some), anatomy.project(frames)[..., some])
    # The blocks of these small models do something, or the above would say little.
    assert all(((b - a).norm() / a.norm()) > 0.1 for a, b in pairwise(states))


@torch.no_grad()
def test_the_body_visits_every_space_once_and_padding_on_the_right_changes_no_state(anatomy):
    lengths = (10, 6)
    mask = (torch.arange(10) < torch.tensor(lengths).unsqueeze(-1)).long()
    ids = torch.where(mask.bool(), IDS, 0)
    padded = spaces_of(anatomy, lambda: anatomy.body(input_ids=ids, attention_mask=mask, use_cache=False))
    for row, length in enumerate(lengths):
        alone = spaces_of(anatomy, lambda row=row, length=length: logits(anatomy.model, IDS[row : row + 1, :length]))
        for batched, single in zip(padded, alone, strict=True):
            assert_close(batched[row : row + 1, :length], single)


@torch.no_grad()
def test_hooks_are_gone_after_success_and_after_an_exception(anatomy):
    assert not any(sum(counts) for counts in hooks(anatomy.model).values())

    def fail(space, _states):
        if space == 1:
            raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"), anatomy.tap(fail):
        logits(anatomy.model)
    assert not any(sum(counts) for counts in hooks(anatomy.model).values())


def test_half_precision_is_proven_too(anatomy):
    if anatomy.model.config.model_type == "xlstm":
        pytest.skip("xLSTM itself computes in float32 only")
    half = find_anatomy(
        copy.deepcopy(anatomy.model).to(torch.bfloat16), layers=anatomy.block_names[0].rpartition(".")[0]
    )
    assert half.softcap == anatomy.softcap
    assert half.scale == pytest.approx(anatomy.scale, rel=1e-3)
    assert half.project(torch.randn(2, half.width, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("name", POST)
def test_scales_and_softcaps_are_exact(name):
    anatomy = anatomy_of(name)
    scale, softcap = POST[name]
    assert anatomy.scale == pytest.approx(scale, rel=1e-6)
    assert anatomy.softcap == softcap


def test_what_a_model_does_before_its_tail_is_seen():
    anatomy = anatomy_of("rwkv")
    assert anatomy.entry_scale == 0.5


def test_the_body_runs_no_head():
    assert all(a.body is not a.model for a in map(anatomy_of, ["gpt2", "llama4", "opt-projected", "qwen2-vl"]))


def refused(kind, **options):
    return uneven(AutoModelForCausalLM.from_config(config_of(kind, **options))).eval()


def paligemma():
    """Its attention looks in both directions over a prompt."""
    vision = {**VISION["paligemma2"][3]}
    config = PaliGemmaConfig(text_config=config_of("gemma").to_dict(), vision_config=vision)
    return AutoModelForImageTextToText.from_config(config).eval()


REFUSED = {
    "gemma3n": (
        lambda: refused(
            "gemma3n_text",
            vocab_size_per_layer_input=96,
            hidden_size_per_layer_input=8,
            laurel_rank=8,
            num_kv_shared_layers=0,
            activation_sparsity_pattern=[0.0] * 3,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        r"Space 0 of Gemma3nForCausalLM is a tensor of shape \(4, 2, 8, 32\) for \(2, 8\) tokens",
    ),
    "hyper-connections": (lambda: refused("hy_v4"), r"Space 0 of HYV4ForCausalLM is a tensor of shape \(2, 8, 4, 32\)"),
    "two stacks": (lambda: refused("hrm_text"), r"several .* layers= .* model\.L_module\.layers \(3 × HrmText"),
    "unmarked blocks": (lambda: refused("openai-gpt"), r"layers= with one of transformer\.h \(3 × Block\)"),
    "both directions": (lambda: refused("bert", is_decoder=False), "padded on the right .* semviz reads causal LMs"),
    "prefix in both directions": (paligemma, "padded on the right .* semviz reads causal LMs"),
    "more than modules before the head": (lambda: refused("roberta"), r"differs from its logits by 0\.\d"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_and_says_why(name):
    build, message = REFUSED[name]
    torch.manual_seed(0)
    network = build()
    with pytest.raises(ModelError, match=message):
        find_anatomy(network)
    assert not any(sum(counts) for counts in hooks(network).values())
