"""Every snippet selects exactly the parameters of its scope, by the rule of the trainer that it is for."""

from __future__ import annotations

import copy
import re
import shlex
from bisect import bisect_right
from dataclasses import replace
from functools import cache
from itertools import accumulate

import pytest
import torch
import yaml
from families import FAMILIES, LAYERS, config_of, family
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from small import made_parts, tiny_llama
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from semviz.common.errors import ScopeError
from semviz.lm.anatomy import find_anatomy
from semviz.lm.parts import Names, Parts, parts_of
from semviz.scopes.scope import EXPORTS, Scope

BY_NAME = ("transformers", "axolotl", "ms-swift")  # any set of blocks, by a regular expression on parameter names
DEEP = 12  # layer 1 must not bring layers 10 and 11 with it
BLOCKS = {
    "suffix": (9, 10, 11, 12),
    "from-the-bottom": (1, 2, 3),
    "gaps": (2, 5, 6, 11),
    "first": (1,),
    "layer-1": (2,),
    "last": (12,),
    "all": tuple(range(1, DEEP + 1)),
}
# Families whose blocks share parameters: trainers that list each parameter once see those of the first block only.
SHARING = {"zamba", "zamba2"}


class Named(nn.Module):
    """A model that is nothing but its parameters' names."""

    def __init__(self, names):
        super().__init__()
        self.named = {name: nn.Parameter(torch.zeros(4)) for name in names}

    def named_parameters(self, *_args, **_options):
        yield from self.named.items()

    def disable_input_require_grads(self):
        """As a transformers model has it."""


def listed(prefix="model", experts=12):
    """A mixture of experts as in transformers 4, the experts in a list and numbered as blocks are; and its parts."""
    layers = ("self_attn.q_proj", "mlp.gate", *(f"mlp.experts.{e}.gate_proj" for e in range(experts)))
    names = Names(tuple(f"{prefix}.layers.{i}" for i in range(DEEP)), (f"{prefix}.norm",), "lm_head", layers)
    modules = [f"{prefix}.embed_tokens", *(f"{block}.{layer}" for block in names.blocks for layer in layers)]
    network = Named(f"{name}.weight" for name in (*modules, *names.tail, names.head))
    return network, Parts((4 * len(layers),) * DEEP, 4, 4, 4, tied_head=0, names=names)


def deep(kind, **options):
    return AutoModelForCausalLM.from_config(config_of(kind, num_hidden_layers=DEEP, **options)).eval()


MODELS = {
    "llama": lambda: tiny_llama(blocks=DEEP),
    "llama-tied": lambda: tiny_llama(blocks=DEEP, tie_word_embeddings=True),
    "gpt2": lambda: deep("gpt2"),  # tied; Conv1D for linear layers
    "mixtral": lambda: deep("mixtral"),  # fused experts
    "qwen2-moe": lambda: deep("qwen2_moe"),  # fused experts, and a shared one of linear layers
    "opt": lambda: deep("opt", word_embed_proj_dim=32),  # the final norm's name is in every block too
}


@cache
def model_and_parts(name):
    """A model with its parts; never trained or changed."""
    if name in ("listed", "listed-within"):
        return listed("model" if name == "listed" else "model.language_model")
    network = MODELS[name]() if name in MODELS else family(name)
    return network, parts_of(find_anatomy(network, layers=LAYERS.get(name)))


def meant(network, scope):
    """Names of the parameters of the scope's modules, each parameter under its first name, as trainers list them."""
    names = scope.parts.names
    within = [names.blocks[b - 1] for b in scope.blocks]
    within += [*(names.tail if scope.tail else ()), *([names.head] if scope.head else ())]
    if isinstance(network, Named):
        return {name for name in network.named if any(name.startswith(f"{module}.") for module in within)}
    own = {id(p) for name in within for p in network.get_submodule(name).parameters()}
    return {name for name, p in network.named_parameters() if id(p) in own}


def selected(trainer, text, network):
    """Names of the parameters that a trainer would train; each function mirrors what that trainer does."""
    return {
        "transformers": by_transformers,
        "axolotl": by_axolotl,
        "ms-swift": by_swift,
        "llama-factory": by_llama_factory,
    }[trainer](text, network)


def by_transformers(text, network):
    network = copy.deepcopy(network)
    exec(text, {"model": network})
    return {name for name, p in network.named_parameters() if p.requires_grad}


def by_axolotl(text, network):
    """Mirrors `freeze_layers_except` and `LayerNamePattern` of axolotl/utils/freeze.py."""
    chosen = set()
    for pattern in yaml.safe_load(text)["unfrozen_parameters"]:
        # "name[3]", "name[:3]", "name[2:]": rows of a parameter
        assert not re.match(r"^(.+)\[([0-9]*)(?::([0-9]*))?\]$", pattern)
        escaped = re.compile(re.sub(r"\.(?!\+)", lambda _: r"\.", pattern))
        chosen |= {name for name, _ in network.named_parameters() if escaped.match(name)}
    return chosen


def by_swift(text, network):
    """Mirrors `TunerMixin.prepare_model`, `freeze_parameters` and `activate_parameters` of ms-swift."""
    command = shlex.split(text, comments=True)
    assert command[:2] == ["swift", "sft"]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert options.pop("--tuner_type") == "full"
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    frozen = int(sum(sizes.values()) * float(options.pop("--freeze_parameters_ratio")))
    trained = set(list(sizes)[bisect_right(list(accumulate(sizes.values())), frozen) :])
    pattern = re.compile(options.pop("--trainable_parameters_regex"))
    assert not options
    return trained | {name for name in sizes if pattern.search(name)}


def by_llama_factory(text, network, *, layers=None):
    """Mirrors `_setup_freeze_tuning` of llamafactory/model/adapter.py."""
    options = yaml.safe_load(text)
    assert options.pop("finetuning_type") == "freeze"
    assert options.pop("freeze_trainable_modules") == "all"
    n, layers = options.pop("freeze_trainable_layers"), layers or network.config.num_hidden_layers
    numbers = range(max(0, layers - n), layers) if n > 0 else range(min(-n, layers))
    extra = [item.strip() for item in options.pop("freeze_extra_modules", "").split(",") if item]
    assert not options
    names = [name for name, _ in network.named_parameters()]
    known = {name.split(".")[-2] for name in names if re.search(r"\.\d+\.", name) is None}
    assert set(extra) <= known, "LLaMA-Factory raises ValueError"
    parts = [f".{i}." for i in numbers] + extra
    return {name for name in names if any(part in name for part in parts)}


def with_lora(text, network):
    """The model under peft itself, and the names of modules that carry LoRA."""
    space = {"model": copy.deepcopy(network)}
    exec(text, space)
    model = space["model"].get_base_model()
    return model, {name for name, module in model.named_modules() if hasattr(module, "lora_A")}


def linears(network, scope):
    """Names of the linear layers of the scope's blocks."""
    blocks = tuple(f"{scope.parts.names.blocks[b - 1]}." for b in scope.blocks)
    kinds = nn.Linear | Conv1D
    return {name for name, m in network.named_modules() if name.startswith(blocks) and isinstance(m, kinds)}


@pytest.mark.parametrize("tail", [True, False], ids=["norm", "no-norm"])
@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("name", [*MODELS, "listed", "listed-within"])
def test_a_snippet_selects_exactly_the_parameters_of_its_scope(name, blocks, tail):
    network, parts = model_and_parts(name)
    scope = Scope(blocks, DEEP, parts, tail=tail)
    wanted = meant(network, scope)
    assert len(wanted) >= 2
    for trainer in BY_NAME:
        assert selected(trainer, scope.export(trainer), network) == wanted, trainer


@pytest.mark.parametrize("name", ["llama", "mixtral", "qwen2-moe", "listed"])
def test_a_head_of_its_own_is_selected_too(name):
    network, parts = model_and_parts(name)
    assert not parts.tied_head
    scope = Scope((2, 12), DEEP, parts, head=True)
    wanted = meant(network, scope)
    assert "lm_head.weight" in wanted
    for trainer in BY_NAME:
        assert selected(trainer, scope.export(trainer), network) == wanted, trainer


@pytest.mark.parametrize(
    "name", ["falcon", "bloom", "gemma3", "qwen3-next", "deepseek-v3", "mamba", "bert", "opt-projected"]
)
def test_other_families_and_their_names(name):
    check_other_family(name)


@pytest.mark.parametrize("name", ["gemma3-vision", "llava", "qwen3-vl", "llama4-vision"])
def test_the_text_decoder_of_a_vision_model(name):
    _, parts = model_and_parts(name)
    assert not parts.names.blocks[0].startswith("model.layers")
    check_other_family(name)


@pytest.mark.parametrize("trainer", BY_NAME)
def test_a_tower_with_the_same_names_further_in(trainer):
    network, parts = listed()
    towers = Named([*network.named, *(f"tower.{name}" for name in network.named)])
    scope = Scope((2, 12), DEEP, parts, head=True)
    assert selected(trainer, scope.export(trainer), towers) == meant(network, scope)


def check_other_family(name):
    network, parts = model_and_parts(name)
    for blocks in ((1,), (2, 3)):
        for tail in (True, False):
            scope = Scope(blocks, len(parts.blocks), parts, tail=tail)
            for trainer in BY_NAME:
                assert selected(trainer, scope.export(trainer), network) == meant(network, scope), trainer


def test_shared_parameters_train_under_any_of_their_names():
    network, parts = model_and_parts("zamba2")
    scope = Scope((4,), 4, parts)
    wanted = meant(network, scope)
    assert any(name.startswith("model.layers.1.") for name in wanted)  # their first name is in block 2
    assert by_transformers(scope.export("transformers"), network) == wanted


@pytest.mark.parametrize("name", ["llama-tied", "gpt2"])
def test_a_tied_head_is_untied_first_and_stays_so_in_the_saved_model(name, tmp_path):
    network, parts = model_and_parts(name)
    scope = Scope((11, 12), DEEP, parts, head=True)
    network = copy.deepcopy(network)
    exec(scope.export("transformers"), {"model": network})
    assert network.get_output_embeddings().weight is not network.get_input_embeddings().weight
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert set(trained) == meant(network, scope)
    assert sum(p.numel() for p in trained.values()) == scope.trainable
    network.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.lm_head.weight is not again.get_input_embeddings().weight
    assert torch.equal(again.lm_head.weight, network.lm_head.weight)


@pytest.mark.parametrize("trainer", ["axolotl", "llama-factory", "ms-swift"])
def test_a_tied_head_is_refused_where_it_cannot_be_untied(trainer):
    _, parts = model_and_parts("gpt2")
    with pytest.raises(ScopeError, match='head=False, export to "transformers"'):
        Scope((12,), DEEP, parts, head=True).export(trainer)


def boundary_requires_gradients(network, scope):
    """Whether the state that enters the lowest trained block requires gradients."""
    seen = []
    block = network.get_submodule(scope.parts.names.blocks[scope.boundary])
    handle = block.register_forward_pre_hook(lambda _, args: seen.append(args[0].requires_grad))
    ids = torch.arange(5, 15)[None]
    network(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    handle.remove()
    return seen[0]  # the block runs again in the backward pass


def test_gradients_do_not_flow_through_the_frozen_prefix_under_checkpointing():
    network, parts = model_and_parts("llama")
    network, scope = copy.deepcopy(network).train(), Scope((9, 10, 11, 12), DEEP, parts)
    network.activation_checkpointing_enable()
    assert boundary_requires_gradients(network, scope)
    exec(scope.export("transformers"), {"model": network})
    network.zero_grad()
    network.activation_checkpointing_enable()  # as Trainer does, after the snippet
    assert not boundary_requires_gradients(network, scope)
    with_gradients = {name for name, p in network.named_parameters() if p.grad is not None}
    assert with_gradients == meant(network, scope)


@pytest.mark.parametrize("trainer", ["transformers", "peft", "axolotl", "ms-swift"])
def test_checkpointing_is_spoken_of_only_where_blocks_below_are_frozen(trainer):
    _, parts = model_and_parts("llama")
    assert "checkpointing" in Scope((2, 3), DEEP, parts).export(trainer)
    assert "checkpointing" not in Scope((1, 3), DEEP, parts).export(trainer)


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("name", MODELS)
def test_lora_sits_on_the_linear_layers_of_exactly_these_blocks(name, blocks):
    network, parts = model_and_parts(name)
    scope = Scope(blocks, DEEP, parts)
    model, found = with_lora(scope.export("peft"), network)
    assert found == linears(network, scope) != set()
    assert all("lora_" in name for name, p in model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["falcon", "bloom", "gemma3", "bert", "llava", "qwen3-vl"])
def test_lora_on_other_families(name):
    network, parts = model_and_parts(name)
    for blocks in ((1,), (2, 3)):
        scope = Scope(blocks, 3, parts)
        assert with_lora(scope.export("peft"), network)[1] == linears(network, scope) != set()


def test_lora_on_experts_that_are_modules():
    network, parts = listed()
    tree = nn.Module()
    for name in network.named:
        *path, last, _ = name.split(".")
        place = tree
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, nn.Module())
            place = getattr(place, part)
        place.add_module(last, nn.Linear(2, 2))
    scope = Scope((2, 12), DEEP, parts)
    space = {}
    exec(scope.export("peft").partition("model = ")[0], space)
    wanted = linears(tree, scope)
    inject_adapter_in_model(space["config"], tree)
    assert {name for name, module in tree.named_modules() if hasattr(module, "lora_A")} == wanted
    assert len(wanted) == 2 * 14


def test_lora_that_peft_would_move_to_the_experts_is_refused_and_the_advice_helps():
    network, parts = model_and_parts("deepseek-v3")  # shared experts are linear layers, the others are not
    scope = Scope((3,), 3, parts)
    text = scope.export("peft")
    with pytest.raises(ValueError, match="take gate_proj, up_proj, down_proj and gate out") as refusal:
        with_lora(text, network)
    out = tuple(re.findall(r"\w+_proj|\bgate\b", str(refusal.value)))
    assert len(out) == 4
    less = replace(
        parts, names=replace(parts.names, linears=tuple(x for x in parts.names.linears if not x.endswith(out)))
    )
    found = with_lora(replace(scope, parts=less).export("peft"), network)[1]
    assert found == {name for name in linears(network, scope) if not name.endswith(out)} != set()


def test_what_the_lora_snippet_says_of_peft_is_so():
    for target in ("all-linear", r"model\.layers\.\d+\.self_attn\.q_proj"):
        with pytest.raises(ValueError, match="cannot be used when `target_modules` is a str"):
            LoraConfig(target_modules=target, layers_to_transform=[1])
    whole = LoraConfig(target_modules=r"model\.layers\.1\.self_attn\.q_proj")
    for name, blocks in (("llama", 1), ("mixtral", DEEP)):
        lora = get_peft_model(copy.deepcopy(model_and_parts(name)[0]), copy.deepcopy(whole))
        assert sum(hasattr(module, "lora_A") for module in lora.modules()) == blocks, name


def test_lora_leaves_norm_and_head_alone_and_says_so():
    _, parts = model_and_parts("llama")
    first = Scope((2,), DEEP, parts, tail=False).export("peft").splitlines()[0]
    assert first == "# Written by semviz: LoRA on the linear layers of block 2 of 12, 10.3 k parameters."
    with pytest.raises(ScopeError, match=r"head=False .and add modules_to_save=..lm_head..."):
        Scope((2,), DEEP, parts, head=True).export("peft")


@pytest.mark.parametrize("tail", [True, False], ids=["norm", "no-norm"])
@pytest.mark.parametrize("blocks", [(9, 10, 11, 12), (12,), (1, 2, 3), (1,), BLOCKS["all"]])
def test_llama_factory_trains_the_last_blocks_or_the_first(blocks, tail):
    network, parts = model_and_parts("gpt2")
    scope = Scope(blocks, DEEP, parts, tail=tail)
    assert by_llama_factory(scope.export("llama-factory"), network) == meant(network, scope)


@pytest.mark.parametrize("blocks", [(2,), (2, 3), (1, 12), (1, 2, 4)])
def test_llama_factory_cannot_train_other_blocks(blocks):
    with pytest.raises(ScopeError, match=r'last blocks or the first, not .* export to "transformers", "axolotl" or'):
        Scope(blocks, DEEP, model_and_parts("gpt2")[1]).export("llama-factory")


def test_llama_factory_takes_a_head_of_its_own():
    network, parts = model_and_parts("llama")
    scope = Scope((12,), DEEP, parts, tail=False, head=True)
    assert by_llama_factory(scope.export("llama-factory"), network) == meant(network, scope)


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_llama_factory_would_train_every_norm_for_the_last_one(name):
    network, parts = model_and_parts(name)
    scope = Scope((12,), DEEP, parts, tail=False)
    text = scope.export("llama-factory")
    assert by_llama_factory(text, network) == meant(network, scope)
    norm = parts.names.tail[0].rpartition(".")[2]
    found = by_llama_factory(f"{text}\nfreeze_extra_modules: {norm}", network)
    assert any(name.startswith(f"{parts.names.blocks[0]}.") for name in found)
    with pytest.raises(ScopeError, match=f"'{norm}' in its name.* tail=False"):
        replace(scope, tail=True).export("llama-factory")


def test_llama_factory_is_refused_where_experts_carry_the_numbers_of_blocks():
    network, parts = listed(experts=10)
    wide = Scope((10, 11, 12), DEEP, parts, tail=False)  # numbers 9 to 11, and experts 0 to 9
    text = replace(wide, parts=replace(parts, names=replace(parts.names, linears=()))).export("llama-factory")
    assert by_llama_factory(text, network, layers=DEEP) > meant(network, wide)
    with pytest.raises(ScopeError, match=r"\.9\. .* wrong for model\.layers\.0\.mlp\.experts\.9\.gate_proj"):
        wide.export("llama-factory")
    narrow = Scope((11, 12), DEEP, parts, tail=False)
    assert by_llama_factory(narrow.export("llama-factory"), network, layers=DEEP) == meant(network, narrow)


def test_llama_factory_is_refused_for_vision_models():
    with pytest.raises(ScopeError, match="other towers"):
        Scope((3,), 3, model_and_parts("llava")[1], tail=False).export("llama-factory")


def test_whatever_llama_factory_is_given_is_right_in_all_families():
    # StableLM numbers norms inside its attention, and semviz knows the names of linear layers only.
    unknown, given = {*SHARING, "stablelm-parallel"}, 0
    for name in FAMILIES:
        network = family(name)
        parts = parts_of(find_anatomy(network, layers=LAYERS.get(name)))
        depth = len(parts.blocks)
        for scope in (Scope((depth,), depth, parts, tail=tail) for tail in (True, False)):
            try:
                text = scope.export("llama-factory")
            except ScopeError:
                continue
            if name not in unknown:
                found = by_llama_factory(text, network, layers=depth)
                assert found == meant(network, scope), name
                count = sum(p.numel() for key, p in network.named_parameters() if key in found)
                assert f"trainable params: {count:,}" in text, name
                given += scope.tail
    assert given >= 25


def test_an_unknown_trainer():
    with pytest.raises(
        ScopeError, match=r"'nanotron' is unknown; pass one of .'transformers', 'peft', 'trl', 'unsloth'"
    ):
        Scope((1,), 2, made_parts(2)).export("nanotron")


@pytest.mark.parametrize("trainer", EXPORTS)
def test_the_first_line_says_what_trains(trainer):
    scope = Scope((2,), 2, made_parts(2, each=150_000), tail=False)
    first = scope.export(trainer).splitlines()[0]
    assert first.startswith("# Written by semviz: ")
    assert "block 2 of 2" in first
    assert "0.15 M" in first


def test_plain_text_that_can_be_pasted():
    scope = Scope((2, 4), 4, made_parts(4))
    assert yaml.safe_load(scope.export("axolotl")) == {
        "unfrozen_parameters": ["^model[.]layers[.](1|3)[.]", "^model[.]norm[.]"]
    }
    last = Scope((3, 4), 4, made_parts(4), tail=False)
    assert yaml.safe_load(last.export("llama-factory")) == {
        "finetuning_type": "freeze",
        "freeze_trainable_layers": 2,
        "freeze_trainable_modules": "all",
    }
    pattern = "^(model[.]layers[.](1|3)|model[.]norm)[.]"
    command = ["swift", "sft", "--tuner_type", "full", "--freeze_parameters_ratio", "1"]
    command += ["--trainable_parameters_regex", pattern]
    assert shlex.split(scope.export("ms-swift"), comments=True) == command
    assert shlex.split(scope.export("ms-swift").splitlines()[-1]) == command


@pytest.mark.parametrize("trainer", BY_NAME)
def test_names_with_characters_that_mean_something(trainer):
    names = Names(("a'b.$x-y.0", "a'b.$x-y.1"), ('n"o(r #m',), "head", ("q",))
    scope = Scope((2,), 2, replace(made_parts(2), names=names))

    odd = Named(("a'b.$x-y.0.q", "a'b.$x-y.1.q", 'n"o(r #m.w', "n.w"))
    assert selected(trainer, scope.export(trainer), odd) == {"a'b.$x-y.1.q", 'n"o(r #m.w'}
