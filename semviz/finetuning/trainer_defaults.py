"""What arguments of Hugging Face Trainer are where the caller passes none."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

OWN_DEFAULTS: dict[str, Any] = {
    "lr_scheduler_type": "cosine",
    "weight_decay": 0.0,
    "logging_nan_inf_filter": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "remove_unused_columns": False,
}
"""What semviz sets in the place of Trainer's defaults, and callers may set otherwise."""
# Arguments whose default follows the data or the machine.
_FOLLOWS = ("output_dir", "warmup_steps", "logging_steps", "dataloader_pin_memory")


def usual_arguments() -> dict[str, Any]:
    """Return what arguments are where the caller passes none, but for those that follow data or machine."""
    from transformers import TrainingArguments  # takes seconds

    defaults = {field.name: field.default for field in fields(TrainingArguments) if field.default is not MISSING}
    return {name: value for name, value in (defaults | OWN_DEFAULTS).items() if name not in _FOLLOWS}
