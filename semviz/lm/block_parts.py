"""What the parameters of a block are part of: its attention, its MLP, its norms, or a mixer that is no attention.

Found by what transformers calls modules and their classes, whatever the family: fused projections, experts (MLP), and
blocks that have fully-connected layers without a module around them. Norms count as norms wherever they are, also those
of queries and keys. All else that works on each position by itself counts as MLP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from semviz.common import checks
from semviz.common.errors import ScopeError

if TYPE_CHECKING:
    from torch import nn

    from semviz.lm.anatomy import Anatomy
    from semviz.lm.model import LanguageModel

MODULES = ("all", "attention", "mlp")
"""What `modules=` may be: which part of each block trains."""
PARTS = ("attention", "mlp", "norm", "mixer")

_WORDS = {"attention": "attention", "mlp": "an MLP", "norm": "norms", "mixer": "a mixer without attention"}
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
# Not of layers, which are named by the attention that they hold beside their MLP.
_ATTENTION_CLASS = re.compile(r"(attention|attn)\w*(?<!layer)(?<!block)(?<!norm)$", re.IGNORECASE)
_MLP = re.compile(r"mlp|ffn|feed_?forward|moe|expert|^fc\d*$", re.IGNORECASE)
_MLP_CLASS = re.compile(r"(mlp|moe|feedforward|experts)$", re.IGNORECASE)
# State-space models, convolutions and recurrences, which mix positions without attention.
_MIXER = re.compile(r"mamba|ssm|conv|lstm|lru|recurrent|retention|temporal", re.IGNORECASE)
_MIXER_CLASS = re.compile(r"(mamba\d*|mixer|ssm|lstm|recurrent\w*block)$", re.IGNORECASE)
_NORM_CLASS = re.compile(r"norm", re.IGNORECASE)


def parts_of_modules(block: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield (name, module, part) for every module in a block that has parameters of its own."""
    from semviz.lm.quantization import is_packed

    kinds: dict[str, str] = {"": ""}
    packed: list[str] = []
    for name, module in block.named_modules():
        parent, _, leaf = name.rpartition(".")
        if name:
            kinds[name] = kinds[parent] or _kind(leaf, type(module).__name__)
        if any(name.startswith(f"{outer}.") for outer in packed):
            continue
        if is_packed(module):
            packed.append(name)
        elif all(p is None for p in module._parameters.values()):
            continue
        yield name, module, "norm" if is_norm(module) else kinds[name] or "mlp"


def modules_of_parts(block: nn.Module, parts: Iterable[str]) -> list[nn.Module]:
    """List the modules of a block whose own parameters are of some parts; their children may be of others."""
    wanted = set(parts)
    return [module for _, module, part in parts_of_modules(block) if part in wanted]


def parameters_of(module: nn.Module, parts: Iterable[str] | None) -> list[nn.Parameter]:
    """List the parameters of a block, or of another module, that are of some parts; all of them for None."""
    if parts is None:
        return list(module.parameters())
    return [p for owner in modules_of_parts(module, parts) for p in owner.parameters(recurse=False)]


def trained_in(model: LanguageModel, module: nn.Module, parts: Iterable[str] | None) -> list[nn.Parameter]:
    """List the parameters that train in one of a model's blocks, or in its final norm or head.

    Args:
        model: The model.
        module: One of its blocks, or a module outside of them, which trains whole: but for norms alone, its norms.
        parts: Parts of blocks; None for all.
    """
    outside = parts is not None and "norm" not in parts and not any(module is block for block in model.anatomy.blocks)
    return parameters_of(module, None if outside else parts)


def counts_by_part(anatomy: Anatomy) -> dict[str, tuple[int, ...]]:
    """Count the unique parameters of each part of blocks 1…L, as `parts_of` counts those of blocks.

    Those of all parts add up to the block's.
    """
    from semviz.lm.merging import adapter_parameters
    from semviz.lm.quantization import is_packed, true_counts

    counted = adapter_parameters(anatomy.model)
    columns: dict[str, list[int]] = {part: [0] * anatomy.n_blocks for part in PARTS}
    for i, block in enumerate(anatomy.blocks):
        for _, module, part in parts_of_modules(block):
            own = {id(p) for p in module._parameters.values() if p is not None} | {id(module)}
            counts = true_counts(module)
            fresh = {k: n for k, n in counts.items() if (k in own or is_packed(module)) and k not in counted}
            counted.update(fresh)
            columns[part][i] += sum(fresh.values())
    return {part: tuple(column) for part, column in columns.items()}


def check_modules(modules: object) -> str:
    """Refuse what `modules=` cannot be."""
    return checks.one_of("modules", modules, MODULES)


def check_parts(anatomy: Anatomy, blocks: Iterable[int], parts: Iterable[str], label: str) -> None:
    """Refuse parts that none of some blocks has.

    Args:
        anatomy: Of the model.
        blocks: Numbers of the blocks, from 1.
        parts: Parts that are to train.
        label: What the blocks are called.

    Raises:
        ScopeError: If there are none.
    """
    every, wanted = anatomy.blocks, set(parts)
    found = {part for number in blocks for _, _, part in parts_of_modules(every[number - 1])}
    if wanted & found:
        return
    has = " and ".join(_WORDS[part] for part in PARTS if part in found)
    raise ScopeError(
        f"No block of this scope ({label}) has {_WORDS[min(wanted)]} with weights, only {has or 'none'}; pass "
        + ('method="full".' if wanted == {"norm"} else 'modules="all".')
    )


def _kind(name: str, class_name: str) -> str:
    """What a module is by its name and its class; empty if these do not say."""
    if name.isdigit():
        name = ""
    if _ATTENTION.search(name) and not _NORM_CLASS.search(name):
        return "attention"
    if _ATTENTION_CLASS.search(class_name):
        return "attention"
    # Names first: classes begin with the model's, such as Lfm2MoeShortConv.
    for part, pattern, text in (
        ("mlp", _MLP, name),
        ("mixer", _MIXER, name),
        ("mlp", _MLP_CLASS, class_name),
        ("mixer", _MIXER_CLASS, class_name),
    ):
        if pattern.search(text):
            return part
    return ""


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm: by its class, and that its parameters are vectors."""
    own = [p for p in module._parameters.values() if p is not None]
    return bool(_NORM_CLASS.search(type(module).__name__)) and bool(own) and all(p.ndim == 1 for p in own)
