"""LoRA on a scope for other trainers: all of them end in peft's rule, but each has its own words for it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pprint import pformat
from typing import TYPE_CHECKING, Any

from semviz.common import formats
from semviz.common.errors import ScopeError
from semviz.scopes.export_settings import ExportSettings
from semviz.scopes.name_patterns import alternatives, patterns_by_stem

if TYPE_CHECKING:
    from semviz.scopes.scope import Scope

_UNSLOTH = frozenset(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
_EXPERTS = frozenset(["gate_proj", "up_proj", "down_proj", "gate", "w1", "w2", "w3"])
"""Last parts of names that peft takes for those of fused experts, in every block, where it knows the architecture."""
_DENSE = frozenset(("", "mlp", "feed_forward", "ffn"))
# Names in each trainer of transformers' arguments; None where it has no word for one.
_AXOLOTL = {
    "lr_scheduler_type": "lr_scheduler",
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "micro_batch_size",
    "optim": "optimizer",
}


@dataclass(frozen=True)
class LoraTargets:
    """The layers that carry LoRA.

    Attributes:
        blocks: Names of their blocks.
        layers: Names within a block.
        names: Whole names, where blocks differ in their layers; else empty, and all layers of all blocks are meant.
    """

    blocks: tuple[str, ...]
    layers: tuple[str, ...]
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, scope: Scope, settings: ExportSettings) -> LoraTargets:
        """Find them: those of the run, or all linear layers of the scope's blocks."""
        blocks, found = tuple(scope.block_names()), settings.adapter.get("target_modules")
        if not isinstance(found, list):
            return cls(blocks, scope.parts.names.linears)
        inside = {block: [n.removeprefix(f"{block}.") for n in found if n.startswith(f"{block}.")] for block in blocks}
        layers = tuple(dict.fromkeys(layer for names in inside.values() for layer in names))
        same = all(set(names) == set(layers) for names in inside.values())
        return cls(blocks, layers, () if same else tuple(found))

    @property
    def whole(self) -> list[str]:
        """Whole names of all of them."""
        return list(self.names) or [f"{block}.{layer}" for block in self.blocks for layer in self.layers]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the blocks in their names, from 0."""
        return [int(block.rpartition(".")[2]) for block in self.blocks]

    @property
    def pattern(self) -> str:
        """What stands before the number in names of blocks, for peft's `layers_pattern`; empty if that is unclear."""
        stem = self.blocks[0].rpartition(".")[0].split(".")
        return "[.]".join(stem[1:]) if len(stem) > 1 else ""


def refuse_head(scope: Scope, trainer: str) -> None:
    """Refuse a scope with the head.

    Raises:
        ScopeError: If the head trains.
    """
    if scope.head:
        raise ScopeError(
            f"LoRA goes on linear layers of blocks and leaves the head as it is; make the scope with head=False, "
            f'or export to "transformers" without LoRA ({trainer}).'
        )


def title(scope: Scope, settings: ExportSettings) -> list[str]:
    """The first two lines of every export of adapters: of a run, its method and layers and how much trains."""
    blocks = replace(scope, tail=True).label
    if not settings.trainable:
        count = formats.si(sum(scope.parts.blocks[b - 1] for b in scope.blocks))
        return [
            f"# Written by semviz: LoRA on the linear layers of {blocks}, {count} parameters.",
            "# The blocks' own weights, the final norm and the head stay frozen.",
        ]
    targets = LoraTargets.of(scope, settings)
    where = "the linear layers" if set(targets.layers) == set(scope.parts.names.linears) else ", ".join(targets.layers)
    if targets.names:
        where = "the layers that are listed below"
    count = formats.si(settings.trainable)
    return [
        f"# Written by semviz: {settings.title} on {where} of {blocks}; {count} parameters train.",
        "# All others, those of the final norm and the head too, stay frozen.",
    ]


def axolotl(scope: Scope, settings: ExportSettings) -> list[str]:
    """Lines of YAML."""
    targets = _checked(scope, settings, "axolotl")
    lines = [
        *title(scope, settings),
        "adapter: lora",
        *_yaml(_rank(settings, "lora_", dora="peft_use_dora", rs="peft_use_rslora")),
    ]
    if targets.pattern and not targets.names:
        lines += [
            "lora_target_modules:",
            *(f"  - {json.dumps(layer)}" for layer in targets.layers),
            f"peft_layers_to_transform: {targets.numbers}",
            f"peft_layers_pattern: [{json.dumps(targets.pattern)}]",
        ]
    else:
        lines += ["lora_target_modules:", *(f"  - {json.dumps(name)}" for name in targets.whole)]
    if settings.adapter.get("fan_in_fan_out"):
        lines.append("lora_fan_in_fan_out: true")
    return lines + axolotl_arguments(settings)


def llama_factory(scope: Scope, settings: ExportSettings) -> list[str]:
    """Lines of YAML; LLaMA-Factory has no numbers of layers for LoRA, so whole names are listed."""
    targets = _checked(scope, settings, "LLaMA-Factory")
    return [
        *title(scope, settings),
        "finetuning_type: lora",
        *_yaml(_rank(settings, "lora_", rank="rank", dora="use_dora", rs="use_rslora")),
        f"lora_target: {','.join(targets.whole)}",
        *llama_factory_arguments(settings),
    ]


def swift(scope: Scope, settings: ExportSettings) -> list[str]:
    """Lines with a shell command."""
    targets = _checked(scope, settings, "ms-swift")
    layers = alternatives(patterns_by_stem(targets.layers))
    pattern = f"{alternatives(patterns_by_stem(targets.blocks))}[.]{layers}"
    where = f"--target_regex {shlex.quote(pattern)}"
    # Of a regular expression peft keeps only the last parts of names where it knows the mixture of experts.
    if targets.names or all(map(_is_attention, targets.layers)):
        where = f"--target_modules {' '.join(map(shlex.quote, targets.whole))}"
    rank = _rank(settings, "lora_", rank="rank", dora="use_dora", rs="use_rslora")
    return [
        *title(scope, settings),
        "# Append --model, --dataset and what else you need. Before ms-swift 4 say --train_type lora.",
        " ".join(["swift sft --tuner_type lora", where, *_flags(rank), *swift_arguments(settings)]),
    ]


def unsloth(scope: Scope, settings: ExportSettings) -> list[str]:
    """Lines of Python; unsloth hands layers_to_transform and layers_pattern on to peft."""
    targets = _checked(scope, settings, "unsloth")
    leaves = [layer.rpartition(".")[2] for layer in targets.layers]
    if targets.names or not targets.pattern or not _UNSLOTH.issuperset(leaves):
        odd = sorted(set(leaves) - _UNSLOTH) or list(targets.names[:1]) or [targets.blocks[0]]
        raise ScopeError(
            f"unsloth puts LoRA on {', '.join(sorted(_UNSLOTH))} of chosen layers, and {odd[0]} is none of them; "
            'export to "peft" or "trl".'
        )
    rank = settings.keywords(without=("target_modules", "fan_in_fan_out"))
    return [
        *title(scope, settings),
        "from unsloth import FastLanguageModel",
        "",
        "# model is what FastLanguageModel.from_pretrained(…) returned.",
        "model = FastLanguageModel.get_peft_model(",
        "    model,",
        *(f"    {name}={value!r}," for name, value in rank.items()),
        f"    target_modules={leaves!r},",
        f"    layers_to_transform={targets.numbers!r},",
        f"    layers_pattern={targets.pattern!r},",
        f"    random_state={settings.arguments.get('seed', 0)!r},",
        ")",
    ]


def peft_config(scope: Scope, settings: ExportSettings) -> list[str]:
    """Lines of Python that make `config`, with whole names of modules."""
    targets = LoraTargets.of(scope, settings)
    measured = settings.keywords(without=("target_modules",)) if settings.arguments or settings.is_lora else {}
    lists: list[str] = []
    if targets.names:
        lists = [f"layers = {pformat(list(targets.names), width=100, compact=True)}"]
        modules = "layers"
    else:
        lists = [
            f"blocks = {pformat(list(targets.blocks), width=100, compact=True)}",
            f"layers = {pformat(list(targets.layers), width=100, compact=True)}",
        ]
        modules = '[f"{block}.{layer}" for block in blocks for layer in layers]'
    return [
        *lists,
        f"config = {settings.config_class}(",
        '    task_type="CAUSAL_LM",',
        *(f"    {name}={value!r}," for name, value in measured.items()),
        '    # Whole names: layers_to_transform is refused beside "all-linear" and any other string, and of a regular',
        "    # expression peft 0.21 keeps only the last parts of names where it knows the mixture of experts.",
        f"    target_modules={modules},",
        ")",
    ]


def python_arguments(settings: ExportSettings, kind: str) -> list[str]:
    """Lines of Python that make `arguments`, of `TrainingArguments` or a class that extends it."""
    return [
        f"arguments = {kind}(",
        '    output_dir="finetuned",',
        *(f"    {name}={value!r}," for name, value in settings.arguments.items()),
        ")",
    ]


def axolotl_arguments(settings: ExportSettings) -> list[str]:
    """Lines of YAML with rate, schedule, epochs, batch size and seed."""
    said = {_AXOLOTL.get(name, name): value for name, value in settings.arguments.items()}
    return _yaml(_with_warmup(said, "warmup_ratio"))


def llama_factory_arguments(settings: ExportSettings) -> list[str]:
    """Lines of YAML; LLaMA-Factory reads transformers' own names."""
    said = dict(settings.arguments)
    if said:
        said["warmup_steps"] = settings.warmup_steps  # a share is another argument before transformers 5
    return _yaml(said)


def swift_arguments(settings: ExportSettings) -> list[str]:
    """Options of a command."""
    return list(_flags(_with_warmup(dict(settings.arguments), "warmup_ratio")))


def _with_warmup(said: dict[str, Any], share: str) -> dict[str, Any]:
    """Say a share of the steps by its own name."""
    if said and said["warmup_steps"] < 1:
        said[share] = said.pop("warmup_steps")
    return said


def _checked(scope: Scope, settings: ExportSettings, trainer: str) -> LoraTargets:
    """Return the targets, or refuse what a trainer's file cannot say.

    Raises:
        ScopeError: If the head trains, the run set more than the trainer has words for, or peft would move adapters to
            experts.
    """
    refuse_head(scope, trainer)
    unsaid = settings.unsaid()
    if unsaid:
        raise ScopeError(
            f'The run trained with {unsaid[0]}, which {trainer} is not told here; export to "peft" or "trl".'
        )
    targets = LoraTargets.of(scope, settings)
    beside_experts = next((layer for layer in targets.layers if _is_beside_experts(layer, targets.layers)), "")
    if beside_experts:
        raise ScopeError(
            f"The model looks like a mixture of experts, and for {beside_experts} peft may take the experts of every "
            'block; export to "peft", whose snippet looks.'
        )
    return targets


def _is_beside_experts(layer: str, layers: tuple[str, ...]) -> bool:
    """Whether a layer is named as fused experts are, in a block that has them by all that its names say."""
    path, _, leaf = layer.rpartition(".")
    place = path.rpartition(".")[2]
    latent = any(other.endswith("kv_a_proj_with_mqa") for other in layers)  # DeepSeek's attention
    return leaf == "gate" or (leaf in _EXPERTS and (latent or place not in _DENSE))


def _is_attention(layer: str) -> bool:
    return "attn" in layer or "attention" in layer


def _rank(settings: ExportSettings, prefix: str, *, rank: str = "r", dora: str, rs: str) -> dict[str, Any]:
    adapter: Mapping[str, Any] = settings.adapter
    said = {
        f"{prefix}{rank}": adapter["r"],
        f"{prefix}alpha": adapter["lora_alpha"],
        f"{prefix}dropout": adapter.get("lora_dropout", 0.0),
    }
    said |= {name: True for name, key in ((dora, "use_dora"), (rs, "use_rslora")) if adapter.get(key)}
    return said


def _yaml(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {_plain(value)}" for name, value in values.items()]


def _flags(values: Mapping[str, Any]) -> Iterable[str]:
    return (f"--{name} {shlex.quote(_plain(value))}" for name, value in values.items())


def _plain(value: Any) -> str:
    """A value as YAML and shells read it: YAML takes 1e-05 for a text, and 1.0e-05 for a number."""
    if isinstance(value, float):
        text = repr(value)
        mantissa, e, exponent = text.partition("e")
        return text if not e or "." in mantissa else f"{mantissa}.0e{exponent}"
    return value if isinstance(value, str) else json.dumps(value)
