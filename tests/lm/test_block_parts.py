"""Every parameter of every family's blocks belongs to its attention, its MLP, its norms, or a mixer: to one of them."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from families import FAMILIES, LAYERS, VISION, family

from semviz.common.errors import ScopeError
from semviz.lm.anatomy import find_anatomy
from semviz.lm.block_parts import PARTS, check_parts, counts_by_part, parameters_of, parts_of_modules
from semviz.lm.blocks import find_blocks
from semviz.lm.parts import parts_of

pytestmark = pytest.mark.every_kind

# Families with blocks that mix positions by something else than attention; the others have nothing beside the three.
MIXERS = {
    *("bamba", "falcon-h1", "falcon-mamba", "granite-moe-hybrid", "jamba", "lfm2", "lfm2-moe", "mamba", "mamba2"),
    *("nemotron-h", "recurrent-gemma", "xlstm", "zamba", "zamba2"),
}
NO_ATTENTION = {"falcon-mamba", "mamba", "mamba2", "xlstm", "jamba"}  # jamba: in its first three blocks
NO_MLP = {"falcon-mamba", "mamba", "mamba2"}
# Their MLPs read the residual too, or rows of all texts without positions.
UNSEEN = {"bloom", "mpt", "llama4", "llama4-vision", "opt", "opt-projected", "opt-post-norm"}
NO_NORMS = {"nanochat", "olmo"}  # that have parameters


def blocks_of(name):
    network = family(name)
    return [network.get_submodule(block) for block in find_blocks(network, LAYERS.get(name))]


@pytest.mark.parametrize("name", [*FAMILIES, *VISION])
def test_attention_mlp_norms_and_mixers_are_all_of_a_block_and_no_parameter_is_of_two(name):
    blocks, kinds = blocks_of(name), set()
    for block in blocks:
        owners = Counter(id(p) for part in PARTS for p in parameters_of(block, [part]))
        assert set(owners) == {id(p) for p in block.parameters()}
        assert set(owners.values()) == {1}
        kinds |= {part for _, _, part in parts_of_modules(block)}
        for owner, module, part in parts_of_modules(block):
            assert (part == "norm") == (type(module).__name__.lower().find("norm") >= 0), owner
    expected = {
        *(() if name in NO_ATTENTION else ["attention"]),
        *(() if name in NO_MLP else ["mlp"]),
        *(() if name in NO_NORMS else ["norm"]),
        *(["mixer"] if name in MIXERS else ()),
    }
    assert kinds == expected


@pytest.mark.parametrize("name", [*FAMILIES, *VISION])
def test_no_mlp_mixes_positions_and_every_block_without_one_that_does_is_an_mlp(name):
    """By what the modules compute, not by their names: what comes out at a position depends on that position alone."""
    network = family(name)
    blocks = [network.get_submodule(block) for block in find_blocks(network, LAYERS.get(name))]
    tops = {}
    for block in blocks:
        for owner, _, part in parts_of_modules(block):
            if part == "mlp" and owner:
                top = owner.split(".")[0]
                whole = {p for n, _, p in parts_of_modules(block) if n.split(".")[0] == top} <= {"mlp", "norm"}
                place = top if whole and not isinstance(block.get_submodule(top), torch.nn.ModuleList) else owner
                tops[id(block.get_submodule(place))] = (place, block.get_submodule(place))
    seen: dict[int, list[torch.Tensor]] = {}

    def hook(module, args, kwargs, output):
        output = output[0] if isinstance(output, tuple) else output
        state = next((a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)), None)
        if isinstance(output, torch.Tensor) and output.is_floating_point() and state is not None:
            seen.setdefault(id(module), []).append((state.detach(), output.detach()))

    handles = [module.register_forward_hook(hook, with_kwargs=True) for _, module in tops.values()]
    ids = torch.arange(20, 32).reshape(1, 12)
    with torch.no_grad():
        network(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    checked = 0
    for place, module in tops.values():
        for state, output in seen.get(id(module), [])[:1]:
            if state.ndim != 3 or output.ndim != 3 or state.shape[1] != 12 or output.shape[1] != 12:
                continue  # experts, which read rows of some positions
            # Inkling's short convolutions and RWKV's time mixing belong to their MLPs, and read earlier positions.
            if "sconv" in place or name == "rwkv":
                continue
            changed = state.clone()
            changed[:, 3] += 1.0
            try:
                with torch.no_grad():
                    again = module(changed)
            except TypeError:  # it reads more than the state
                continue
            again = again[0] if isinstance(again, tuple) else again
            others = [i for i in range(12) if i != 3]
            with torch.no_grad():
                plain = module(state)
            plain = plain[0] if isinstance(plain, tuple) else plain
            torch.testing.assert_close(again[:, others], plain[:, others], rtol=1e-4, atol=1e-4, msg=place)
            checked += 1
    assert checked or name in {*NO_MLP, *UNSEEN, "rwkv"}


@pytest.mark.parametrize(
    "name", ["llama", "gpt2", "opt", "mixtral", "jamba", "nemotron-h", "zamba2", "qwen3.5", "rwkv"]
)
def test_counts_of_parts_add_up_to_those_of_blocks(name):
    anatomy = find_anatomy(family(name), layers=LAYERS.get(name))
    counts = counts_by_part(anatomy)
    assert [sum(column) for column in zip(*counts.values(), strict=True)] == list(parts_of(anatomy).blocks)


@pytest.mark.parametrize(
    ("name", "blocks", "part", "words"),
    [
        (
            "mamba",
            (1, 2, 3),
            "attention",
            r"\(blocks 1–3 of 3\) has attention with weights, only norms and a mixer",
        ),
        ("mamba", (1, 2, 3), "mlp", "has an MLP with weights"),
        ("jamba", (3,), "attention", 'pass modules="all"'),
        ("nemotron-h", (1,), "mlp", "has an MLP with weights"),
    ],
)
def test_a_part_that_no_block_has_is_refused_in_words(name, blocks, part, words):
    every = blocks_of(name)
    with pytest.raises(ScopeError, match=words):
        check_parts(SimpleNamespace(blocks=every), blocks, [part], "blocks 1–3 of 3")


def test_a_part_that_some_blocks_have_is_not():
    every = blocks_of("nemotron-h")
    for part in ("attention", "mlp"):
        check_parts(SimpleNamespace(blocks=every), (1, 2, 3, 4), [part], "all")
