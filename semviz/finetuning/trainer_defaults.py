"""What arguments of Hugging Face Trainer are where the caller passes none."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import cache
from typing import Any

OWN_DEFAULTS: dict[str, Any] = {
    "lr_scheduler_type": "cosine",
    "weight_decay": 0.0,
    "logging_nan_inf_filter": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "remove_unused_columns": False,
    "restore_callback_states_from_checkpoint": True,
}
"""What semviz sets in the place of Trainer's defaults."""
# Arguments whose default follows the data or the machine.
_FOLLOWS = ("output_dir", "warmup_steps", "logging_steps", "dataloader_pin_memory")


@cache
def _usual() -> dict[str, Any]:
    from transformers import TrainingArguments  # takes seconds

    of_fields = fields(TrainingArguments)
    defaults = {field.name: field.default for field in of_fields if field.default is not MISSING}
    defaults |= {field.name: field.default_factory() for field in of_fields if field.default_factory is not MISSING}
    return {name: value for name, value in (defaults | OWN_DEFAULTS).items() if name not in _FOLLOWS}


def usual_arguments() -> dict[str, Any]:
    """Return what arguments are where the caller passes none, but for those that follow data or machine."""
    return dict(_usual())


def as_usual(name: str, value: Any) -> bool:
    """Whether an argument is what it would be anyway."""
    if name == "report_to" and value in (None, [], ["none"]):
        return True
    if name not in _usual():
        return False
    usual = _usual()[name]
    try:
        return bool(value == usual) and isinstance(value, bool) == isinstance(usual, bool)  # True is not 1
    except ValueError:  # an array
        return False
