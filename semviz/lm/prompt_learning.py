"""Adapters of peft that put virtual tokens before a text (prompt tuning, p-tuning and the like): told from others."""

from __future__ import annotations

from typing import Any

from semviz.common.errors import ModelError


def adds_virtual_tokens(kind: str) -> bool:
    """Whether adapters of a kind of peft's, such as `PROMPT_TUNING`, are tokens that no text has."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.config import PromptLearningConfig

    known: Any = PEFT_TYPE_TO_CONFIG_MAPPING
    return kind in known and issubclass(known[kind], PromptLearningConfig)


def virtual_tokens_refused(name: str, kind: str) -> str:
    """What is said of such an adapter."""
    return (
        f"{name} is a {kind} adapter: it puts virtual tokens before each text, which semviz does not read. Pass the "
        "base model, or an adapter that changes weights, such as one of LoRA."
    )


def check_no_virtual_tokens(model: Any) -> None:
    """Refuse a model in memory whose active adapter puts virtual tokens before each text.

    Raises:
        ModelError: If it does.
    """
    active = getattr(model, "active_adapter", None)
    config: Any = getattr(model, "peft_config", {}).get(active) if isinstance(active, str) else None
    if getattr(config, "is_prompt_learning", False):
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        raise ModelError(virtual_tokens_refused(f"The {type(model).__name__}", kind))
