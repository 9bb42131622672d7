"""What other trainers train, weights or adapters, by the key that says so; and which keys then do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.scopes.config_files import AXOLOTL, DECISIVE, LLAMA_FACTORY, PEFT, SWIFT

FULL, FREEZE, LORA = "full", "freeze", "lora"
# The keys that say it, the first that is given counts; what is counted here; what else the trainer knows; and what it
# does where the key is not given.
_KEYS = {
    AXOLOTL: ("adapter",),
    LLAMA_FACTORY: ("finetuning_type",),
    SWIFT: ("tuner_type", "train_type", "sft_type"),
}
_COUNTED = {AXOLOTL: (LORA, "qlora"), LLAMA_FACTORY: (LORA, FREEZE, FULL), SWIFT: (LORA, FULL)}
_KNOWN: dict[str, tuple[str, ...]] = {
    AXOLOTL: ("llama-adapter",),
    LLAMA_FACTORY: ("oft",),
    SWIFT: (
        *("longlora", "adalora", "llamapro", "adapter", "vera", "boft", "fourierft", "reft", "bone", "ia3"),
        "lora_llm",
    ),
}
_USUAL = {AXOLOTL: FULL, LLAMA_FACTORY: LORA, SWIFT: LORA}
# Beginnings of the keys that a kind reads; whatever else decides what trains is not read.
_READ = {
    (AXOLOTL, FULL): ("unfrozen_parameters",),
    (AXOLOTL, LORA): ("lora_", "peft_"),
    (LLAMA_FACTORY, FULL): (),
    (LLAMA_FACTORY, FREEZE): ("freeze_", "use_llama_pro"),
    (LLAMA_FACTORY, LORA): ("lora_", "additional_target", "use_"),
    (SWIFT, FULL): ("freeze_", "trainable_"),
    (SWIFT, LORA): ("lora_", "target_", "modules_to_save", "use_"),
}
_WHAT = {
    FULL: "all weights train, or those that are not frozen",
    FREEZE: "weights of blocks train",
    LORA: "LoRA trains",
}


def kind_of(config: Mapping[str, Any], trainer: str) -> str:
    """Tell what a config trains: `"full"`, `"freeze"` or `"lora"`.

    Args:
        config: Its keys and values.
        trainer: Whose it is.

    Raises:
        SemvizError: If the trainer knows no such kind, or semviz cannot count what it trains.
    """
    if trainer == PEFT:
        return LORA
    key = next((key for key in _KEYS[trainer] if key in config), "")
    if not key or (trainer == AXOLOTL and not config[key]):  # axolotl's own examples leave `adapter:` empty
        return _USUAL[trainer]
    value, counted = config[key], _COUNTED[trainer]
    if isinstance(value, str) and value in counted:
        return LORA if trainer == AXOLOTL else value
    shown = f"{key}: {checks.short_repr(value)}"
    if isinstance(value, str) and value in _KNOWN[trainer]:
        raise SemvizError(f"{shown} is not checked here, though {trainer} has it; {_listed(counted)} are.")
    known = _listed((*counted, *_KNOWN[trainer]))
    raise SemvizError(f"{shown} is none of the kinds that {trainer} knows; it knows {known}.")


def does_nothing(config: Mapping[str, Any], trainer: str) -> list[str]:
    """Say which keys have no effect beside the kind of training, in sentences."""
    if trainer == PEFT:
        return []
    kind = kind_of(config, trainer)
    if kind == LORA and trainer == AXOLOTL:
        if not config.get("unfrozen_parameters"):
            return []
        return [
            "unfrozen_parameters beside an adapter: axolotl refuses or freezes parts of the adapter; leave it out, and "
            "choose layers by peft_layers_to_transform."
        ]
    idle = [
        key
        for key in DECISIVE[trainer]
        if key not in _KEYS[trainer] and not key.startswith(_READ[trainer, kind] or " ") and _is_set(config.get(key))
    ]
    stops = [key for key in idle if trainer == LLAMA_FACTORY and key.startswith("use_")]
    said = [f"{key}: LLaMA-Factory stops, since it is not for finetuning_type: {kind}; leave it out." for key in stops]
    idle = [key for key in idle if key not in stops]
    if idle:
        verb = "do" if len(idle) > 1 else "does"
        given = next((key for key in _KEYS[trainer] if config.get(key)), "")
        why = f"beside {given}: {kind}" if given else f"without {_KEYS[trainer][0]}"
        said.append(f"{', '.join(idle)} {verb} nothing {why}: {_WHAT[kind]}.{_instead(idle, trainer, kind)}")
    return said


def _instead(idle: list[str], trainer: str, kind: str) -> str:
    """Say what makes such keys count."""
    for other in _COUNTED[trainer]:
        if other != kind and all(key.startswith(_READ[trainer, LORA if other == "qlora" else other]) for key in idle):
            return f" Set {_KEYS[trainer][0]}: {other} where they are meant."
    return ""


def _is_set(value: Any) -> bool:
    """Whether a value asks for something: a flag that is off, or a key left empty, does not."""
    return value not in (None, "", "false", "False", "0", "0.0", 0, [])


def _listed(kinds: tuple[str, ...]) -> str:
    *first, last = kinds
    return f"{', '.join(first)} and {last}"
