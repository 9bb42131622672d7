"""A scope as a ready-made snippet for other trainers, in each one's own way of choosing parameters."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace

from semviz.common import formats
from semviz.common.errors import ScopeError
from semviz.common.training_methods import FULL
from semviz.scopes import lora_exports
from semviz.scopes.export_settings import ExportSettings
from semviz.scopes.name_patterns import alternatives, patterns_by_stem
from semviz.scopes.scope import EXPORTS, Scope

_CHECKPOINTING_NOTE = (
    "# Gradient checkpointing sends gradients through the frozen blocks below too: slower, the same result."
)
_ELSEWHERE = 'export to "transformers", "axolotl" or "ms-swift"'
_EXPERTS_CHECK = (
    "# There it also takes gate_proj, up_proj, down_proj and gate for those of the experts, in every block.",
    'if getattr(config, "target_parameters", None):  # peft 0.17 and later',
    '    raise ValueError("reload the model, and take gate_proj, up_proj, down_proj and gate out of the layers")',
)
# LLaMA-Factory trains every parameter whose name contains the last part of a module's name: `norm` is in
# `input_layernorm`. These names occur in no block and no embedding of any family that the tests know.
_DISTINCT_NORMS = frozenset({"final_layernorm", "final_norm", "ln_f", "norm_f"})


_PLAIN = ExportSettings()
_Writer = Callable[..., str]


def _export(trainer: str) -> Callable[[_Writer], _Writer]:
    """Register the function that writes the snippet for a trainer."""

    def register(write: _Writer) -> _Writer:
        EXPORTS[trainer] = write
        return write

    return register


@_export("transformers")
def _transformers(scope: Scope, settings: ExportSettings = _PLAIN) -> str:
    """Python that sets `requires_grad`, and Trainer's arguments."""
    if settings.is_lora:
        raise ScopeError('transformers trains adapters through peft; export to "peft", or to "trl".')
    lines = _freezing(scope)
    if settings.arguments:
        lines += ["", "from transformers import TrainingArguments", ""]
        lines += lora_exports.python_arguments(settings, "TrainingArguments")
    return "\n".join(lines)


def _freezing(scope: Scope) -> list[str]:
    """Python that sets `requires_grad`; names are taken with duplicates, since blocks may share parameters."""
    lines = [_title(scope), "import re"]
    if scope.head and scope.parts.tied_head:
        lines += [
            "",
            "import torch",
            "",
            "# Tied to the embeddings, the head would change what enters block 1: it gets weights of its own.",
            f"head = model.get_submodule({scope.parts.names.head!r})",
            "head.weight = torch.nn.Parameter(head.weight.detach().clone())",
            "for config in (model.config, model.config.get_text_config()):",
            "    config.tie_word_embeddings = False",
        ]
    lines += [
        "",
        f"trained = re.compile({alternatives(_module_patterns(scope)) + '[.]'!r})",
        "model.requires_grad_(False)",
        "for name, parameter in model.named_parameters(remove_duplicate=False):",
        "    if trained.match(name):",
        "        parameter.requires_grad_(True)",
    ]
    if scope.boundary:
        lines += [
            "",
            "# Gradient checkpointing asks for gradients at the embeddings, which then flow through all frozen blocks.",
            "# Without that it needs use_reentrant=False, the default of transformers 5.",
            "model.disable_input_require_grads()",
            "model.enable_input_require_grads = lambda: None  # Trainer asks again when it starts",
        ]
    return lines


@_export("peft")
def _peft(scope: Scope, settings: ExportSettings = _PLAIN) -> str:
    """Python with a configuration of peft's; norm and head stay frozen, as under semviz' own LoRA."""
    _refuse_weights(settings, "peft", 'export to "transformers"')
    _refuse_head_of_lora(scope)
    lines = [
        *lora_exports.title(scope, settings),
        *_checkpointing_note(scope),
        f"from peft import {settings.config_class}, get_peft_model",
        "",
        *lora_exports.peft_config(scope, settings),
        "model = get_peft_model(model, config)",
        *_EXPERTS_CHECK,
    ]
    if settings.arguments:
        lines += ["", "from transformers import TrainingArguments", ""]
        lines += lora_exports.python_arguments(settings, "TrainingArguments")
    return "\n".join(lines)


@_export("trl")
def _trl(scope: Scope, settings: ExportSettings = _PLAIN) -> str:
    """Python for `SFTTrainer`, with `model`, `tokenizer` and `dataset` at hand."""
    arguments = lora_exports.python_arguments(settings, "SFTConfig")
    trainer = "model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer"
    if settings.is_lora:
        _refuse_head_of_lora(scope)
        return "\n".join(
            [
                *lora_exports.title(scope, settings),
                *_checkpointing_note(scope),
                f"from peft import {settings.config_class}, get_peft_model",
                "from trl import SFTConfig, SFTTrainer",
                "",
                *lora_exports.peft_config(scope, settings),
                "model = get_peft_model(model, config)",
                *_EXPERTS_CHECK,
                *arguments,
                f"trainer = SFTTrainer({trainer})",
            ]
        )
    first, *rest = _freezing(scope)
    lines = [first, "from trl import SFTConfig, SFTTrainer", *rest, "", *arguments, f"trainer = SFTTrainer({trainer})"]
    return "\n".join(lines)


@_export("unsloth")
def _unsloth(scope: Scope, settings: ExportSettings = _PLAIN) -> str:
    """Python with `FastLanguageModel.get_peft_model`, and TRL's arguments."""
    _refuse_weights(settings, "unsloth", 'export to "trl"')
    lines = lora_exports.unsloth(scope, settings)
    if settings.arguments:
        lines += ["", "from trl import SFTConfig", "", *lora_exports.python_arguments(settings, "SFTConfig")]
    return "\n".join(lines)


@_export("axolotl")
def _axolotl(scope: Scope, settings: ExportSettings = _PLAIN) -> str:
    """YAML. axolotl matches from a name's start, escapes periods, and takes a final `[a:b]` for a range of rows."""
    if settings.is_lora:
        return "\n".join(lora_exports.axolotl(scope, settings))
    _refuse_tied_head(scope, "axolotl")
    lines = [
        _title(scope),
        *_checkpointing_note(scope),
        "# axolotl takes a plain period literally, others take it for any character; [.] is a period everywhere.",
        "unfrozen_parameters:",
        *(f"  - {json.dumps(f'^{module}[.]')}" for module in _module_patterns(scope)),
        *lora_exports.axolotl_arguments(settings),
    ]
    return "\n".join(lines)


@_export("llama-factory")
def _llama_factory(scope: Scope, settings: ExportSettings = _PLAIN) -> str:
    """YAML of freeze tuning, which trains the last n blocks or the first n; of LoRA, for any blocks."""
    if settings.is_lora:
        return "\n".join(lora_exports.llama_factory(scope, settings))
    last = scope.blocks[-1] == scope.n_blocks
    if not (scope.is_range and (last or scope.boundary == 0)):
        raise ScopeError(f"LLaMA-Factory trains the last blocks or the first, not {scope.label}; {_ELSEWHERE}.")
    _refuse_tied_head(scope, "LLaMA-Factory")
    extra = _extra_modules(scope)
    lines = [
        _title(scope),
        f"# LLaMA-Factory goes by parts of names. All is right if it prints: trainable params: {scope.trainable:,}",
        "finetuning_type: freeze",
        f"freeze_trainable_layers: {len(scope.blocks) if last else -len(scope.blocks)}",
        "freeze_trainable_modules: all",
        *([f"freeze_extra_modules: {','.join(extra)}"] if extra else []),
        *lora_exports.llama_factory_arguments(settings),
    ]
    return "\n".join(lines)


@_export("ms-swift")
def _swift(scope: Scope, settings: ExportSettings = _PLAIN) -> str:
    """A shell command; ms-swift searches for the pattern anywhere in a name, so it is anchored."""
    if settings.is_lora:
        return "\n".join(lora_exports.swift(scope, settings))
    _refuse_tied_head(scope, "ms-swift")
    pattern = shlex.quote(f"^{alternatives(_module_patterns(scope))}[.]")
    lines = [
        _title(scope),
        *_checkpointing_note(scope),
        "# Append --model, --dataset and what else you need. Before ms-swift 4 say --train_type full.",
        " ".join(
            [
                "swift sft --tuner_type full --freeze_parameters_ratio 1 --trainable_parameters_regex",
                pattern,
                *lora_exports.swift_arguments(settings),
            ]
        ),
    ]
    return "\n".join(lines)


def _refuse_weights(settings: ExportSettings, trainer: str, instead: str) -> None:
    if settings.method == FULL:
        raise ScopeError(f"{trainer} is exported to as LoRA, and this trains the blocks' own weights; {instead}.")


def _refuse_head_of_lora(scope: Scope) -> None:
    if scope.head:
        raise ScopeError(
            "LoRA goes on linear layers of blocks and leaves the head as it is; make the scope with head=False "
            f'(and add modules_to_save=["{scope.parts.names.head}"] to the LoraConfig yourself), or {_ELSEWHERE}.'
        )


def _title(scope: Scope) -> str:
    count = f"{formats.si(scope.trainable)} of {formats.si(scope.total)} parameters"
    return f"# Written by semviz: trains {scope.label}, {count}."


def _checkpointing_note(scope: Scope) -> list[str]:
    """A note for scopes with frozen blocks below the trained ones."""
    return [_CHECKPOINTING_NOTE] if scope.boundary else []


def _outside_blocks(scope: Scope) -> list[str]:
    """Names of trained modules that are not blocks."""
    # A norm without weights has nothing to train.
    return replace(scope, tail=scope.tail and scope.parts.tail > 0).module_names()[len(scope.blocks) :]


def _module_patterns(scope: Scope) -> list[str]:
    """Regular expressions of the trained modules' names."""
    return [*patterns_by_stem(scope.block_names()), *patterns_by_stem(_outside_blocks(scope))]


def _refuse_tied_head(scope: Scope, trainer: str) -> None:
    if scope.head and scope.parts.tied_head:
        raise ScopeError(
            f"The head is tied to the embeddings and {trainer} cannot give it weights of its own; make the scope with "
            'head=False, export to "transformers", or untie the model, save it, and make the scope of that one.'
        )


def _extra_modules(scope: Scope) -> list[str]:
    """Names by which LLaMA-Factory trains modules outside the blocks: all modules whose name contains one.

    Raises:
        ScopeError: If one, or the number of a block, also occurs in names that the scope leaves frozen.
    """
    names = scope.parts.names
    towers = {"language_model", "text_model"} & set(names.blocks[0].split("."))
    if towers:
        raise ScopeError(
            f"LLaMA-Factory goes by numbers in names, and beside the {towers.pop()} other towers have numbered layers "
            f"too; {_ELSEWHERE}."
        )
    leaves = [name.rpartition(".")[2] for name in _outside_blocks(scope)]
    clear = {*_DISTINCT_NORMS, "lm_head"} if scope.head else _DISTINCT_NORMS
    unclear = [leaf for leaf in leaves if leaf not in clear]
    if unclear:
        raise ScopeError(
            f"LLaMA-Factory trains all that has {unclear[0]!r} in its name, and that may be in frozen blocks too; make "
            f"the scope with tail=False and head=False, or {_ELSEWHERE}."
        )
    numbers = [f".{b - 1}." for b in scope.blocks]
    for b, block in enumerate(names.blocks, start=1):
        for layer in names.linears:
            if (b in scope.blocks) != any(number in f"{block}.{layer}." for number in numbers):
                raise ScopeError(
                    f"LLaMA-Factory trains all that has {' or '.join(numbers)} in its name, which is wrong for "
                    f"{block}.{layer}; {_ELSEWHERE}."
                )
    return leaves
