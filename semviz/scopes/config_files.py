"""Configs of other trainers as plain data, and whose they are."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.scopes.shell_commands import swift_options

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


def read_config(source: Any) -> tuple[dict[str, Any], str, list[str]]:
    """Read a config as a mapping.

    Args:
        source: A mapping, or the path of a file of YAML or JSON, of a script with a command of ms-swift's, or of a
            folder with an `adapter_config.json`.

    Returns:
        The mapping, the name of the file, and what is odd about it, in sentences.

    Raises:
        SemvizError: If the file cannot be read, or holds something else.
    """
    if isinstance(source, Mapping):
        return {str(key): value for key, value in source.items()}, "config", []
    path = checks.as_path("config", os.path.expanduser(source) if isinstance(source, str) else source)
    if path.is_dir() and (path / "adapter_config.json").is_file():
        path = path / "adapter_config.json"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SemvizError(
            f"{path} cannot be read ({checks.first_line(error)}); pass a file of YAML, JSON or a shell command."
        ) from error
    pairs, said = _parsed(text, path)
    names = [key for key, _ in pairs]
    twice = [key for key in dict.fromkeys(names) if names.count(key) > 1]
    said += [
        f"{key} is given {names.count(key)} times; the last counts, where the trainer does not stop." for key in twice
    ]
    return dict(pairs), path.name, said


def _parsed(text: str, path: Path) -> tuple[list[tuple[str, Any]], list[str]]:
    """Return the keys with their values, those that are given twice too, and what is odd."""
    import yaml

    options, commands = swift_options(text)
    if options:
        more = f"The file has {commands} commands of ms-swift's; the first is checked."
        return options, [more] if commands > 1 else []
    try:
        content = _pairs_of_json(text) if path.suffix.lower() == ".json" else _pairs_of_yaml(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise SemvizError(
            f"{path} is neither YAML nor JSON nor a swift command ({checks.first_line(error)}); pass one of these."
        ) from error
    if not isinstance(content, _Pairs):
        raise SemvizError(f"{path} holds no keys and values; pass a config of {', '.join(TRAINERS)}.")
    return [(str(key), value) for key, value in content], []


class _Pairs(list[tuple[Any, Any]]):
    """Keys and values in a file's order."""


def _pairs_of_json(text: str) -> Any:
    written: list[list[str]] = []  # keys of each object, the outermost last

    def noted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        written.append([key for key, _ in pairs])
        return dict(pairs)

    content = json.loads(text, object_pairs_hook=noted)
    return _with_repeats(content, written[-1] if written else [])


def _pairs_of_yaml(text: str) -> Any:
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        written = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        content = loader.construct_document(node) if node is not None else None
    finally:
        loader.dispose()
    return _with_repeats(content, written)


def _with_repeats(content: Any, written: list[Any]) -> Any:
    """Put a key that was written twice before the one that counts."""
    if not isinstance(content, dict):
        return content
    again = [key for key in content for _ in range(written.count(key) - 1)]
    return _Pairs([*((key, None) for key in again), *content.items()])


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
