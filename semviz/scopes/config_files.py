"""Configs of other trainers as plain data, and whose they are."""

from __future__ import annotations

import difflib
import json
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from semviz.common import checks
from semviz.common.errors import SemvizError

AXOLOTL, LLAMA_FACTORY, SWIFT, PEFT = "axolotl", "llama-factory", "ms-swift", "peft"
TRAINERS = (AXOLOTL, LLAMA_FACTORY, SWIFT, PEFT)
# What decides which parameters train, and by which a config is known.
DECISIVE = {
    AXOLOTL: (
        "unfrozen_parameters", "adapter", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules",
        "lora_target_linear", "lora_target_parameters", "lora_modules_to_save", "lora_exclude_modules",
        "lora_fan_in_fan_out", "peft_layers_to_transform", "peft_layers_pattern", "peft_use_dora", "peft_use_rslora",
    ),
    LLAMA_FACTORY: (
        "finetuning_type", "freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules",
        "lora_target", "lora_rank", "lora_alpha", "lora_dropout", "additional_target", "use_llama_pro", "use_dora",
        "use_rslora",
    ),
    SWIFT: (
        "tuner_type", "train_type", "sft_type", "freeze_parameters", "freeze_parameters_regex",
        "freeze_parameters_ratio", "trainable_parameters", "trainable_parameters_regex", "target_modules",
        "target_regex", "modules_to_save", "lora_rank", "lora_alpha", "lora_dropout", "use_dora", "use_rslora",
    ),
    PEFT: ("peft_type", "target_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
}  # fmt: skip
# Other keys that tell the trainers apart.
_TELLING = {
    AXOLOTL: ("base_model", "micro_batch_size", "num_epochs", "sequence_len", "datasets", "lr_scheduler"),
    LLAMA_FACTORY: ("stage", "model_name_or_path", "cutoff_len", "template", "do_train", "dataset_dir"),
    SWIFT: ("model", "dataset", "torch_dtype", "system", "model_type", "tuner_backend"),
    PEFT: ("base_model_name_or_path", "task_type", "inference_mode"),
}
_OF_SWIFT = ("swift", "megatron")


def read_config(source: Any) -> tuple[dict[str, Any], str]:
    """Read a config as a mapping.

    Args:
        source: A mapping, or the path of a file of YAML or JSON, of a script with a command of ms-swift's, or of a
            folder with an `adapter_config.json`.

    Returns:
        The mapping, and the name of the file.

    Raises:
        SemvizError: If the file cannot be read, or holds something else.
    """
    if isinstance(source, Mapping):
        return dict(source), "config"
    path = checks.as_path("config", os.path.expanduser(source) if isinstance(source, str) else source)
    if path.is_dir() and (path / "adapter_config.json").is_file():
        path = path / "adapter_config.json"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SemvizError(
            f"{path} cannot be read ({checks.first_line(error)}); pass a file of YAML, JSON or a shell command."
        ) from error
    return _parsed(text, path), path.name


def _parsed(text: str, path: Path) -> dict[str, Any]:
    import yaml

    command = _command(text)
    if command:
        return command
    try:
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise SemvizError(
            f"{path} is neither YAML nor JSON nor a swift command ({checks.first_line(error)}); pass one of these."
        ) from error
    if not isinstance(content, dict):
        raise SemvizError(f"{path} holds no keys and values; pass a config of {', '.join(TRAINERS)}.")
    return {str(key): value for key, value in content.items()}


def _command(text: str) -> dict[str, Any]:
    """Return the options of a command such as `swift sft --tuner_type full`; nothing for another text."""
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError:
        return {}
    starts = [i for i, word in enumerate(words[:-1]) if word in _OF_SWIFT and words[i + 1] in ("sft", "pt", "rlhf")]
    if not starts:
        return {}
    options: dict[str, list[str]] = {}
    for word in words[starts[0] + 2 :]:
        if word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            options[name] = [value] if has_value else []
        elif options:
            options[list(options)[-1]].append(word)
    return {name: values[0] if len(values) == 1 else values for name, values in options.items()}


def whose(config: Mapping[str, Any], trainer: str | None) -> str:
    """Tell whose config it is.

    Raises:
        SemvizError: If that cannot be told; the message says what to pass.
    """
    if trainer is not None:
        return checks.one_of("trainer", trainer, TRAINERS)
    if "peft_type" in config:
        return PEFT
    votes = {
        name: sum(1.0 for key in (*_own(name), *_TELLING[name]) if key in config) for name in TRAINERS if name != PEFT
    }
    best = max(votes.values())
    first = [name for name, count in votes.items() if count == best]
    if not best or len(first) > 1:
        why = "has keys of more than one trainer" if best else "has none of the keys of a trainer that semviz knows"
        raise SemvizError(f"The config {why}; pass trainer= one of {', '.join(map(repr, TRAINERS))}.")
    return first[0]


def _own(trainer: str) -> list[str]:
    """Decisive keys that no other trainer has."""
    others = {key for name, keys in DECISIVE.items() if name not in (trainer, PEFT) for key in keys}
    return [key for key in DECISIVE[trainer] if key not in others]


def misspelt(config: Mapping[str, Any], trainer: str) -> list[str]:
    """Say which keys do nothing since they are not spelt as a key that decides what trains."""
    known = DECISIVE[trainer]
    found = []
    for key in config:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.88)
        if key not in known and key not in _TELLING[trainer] and near and near[0] not in config:
            found.append(f"{key} is no key of {trainer} and does nothing; {near[0]} is.")
    return found


def as_list(value: Any) -> list[str]:
    """A value that may be a list, a text with commas, or nothing."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return [str(item) for item in value] if isinstance(value, Iterable) else [str(value)]


def as_flag(value: Any) -> bool:
    """A value that may be a flag or its name."""
    return value.strip().lower() in ("true", "1", "yes", "") if isinstance(value, str) else bool(value)
