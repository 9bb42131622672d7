"""What an export says beside the blocks: how they train, as it was measured in a run or chosen by the caller."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from semviz.common import checks
from semviz.common.errors import ScopeError
from semviz.common.training_methods import FULL
from semviz.scopes.methods.peft_kinds import title_of

LORA = "lora"
_USUAL_LORA = {"peft_type": "LORA", "r": 8, "lora_alpha": 16}
_WARMUP = 0.1  # share of the steps, as `finetune` has it
# Fields of a configuration of LoRA that every trainer has a word for, or that say where and for what it is.
_SAID = frozenset(
    {"r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora", "target_modules", "fan_in_fan_out"}
    | {
        "peft_type",
        "task_type",
        "inference_mode",
        "base_model_name_or_path",
        "revision",
        "auto_mapping",
        "peft_version",
    }
)


class MeasuredRun(Protocol):
    """What is read of a run."""

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def parts(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def lr(self) -> float: ...  # noqa: D102
    @property
    def epochs(self) -> float: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def arguments(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def environment(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def adapter(self) -> Any: ...  # noqa: D102
    @property
    def trainable(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class ExportSettings:
    """How an exported scope trains.

    Attributes:
        method: `"full"`, `"lora"`, or empty for what the trainer does anyway.
        adapter: Fields of peft's configuration, for adapters.
        arguments: Fields of transformers' `TrainingArguments`; `warmup_steps` is a share of the steps, or a number of
            them. Empty where nothing was measured.
        steps: Steps of the run; 0 where nothing was measured.
        trainable: Parameters that trained in the run; 0 where nothing was measured.
    """

    method: str = ""
    adapter: Mapping[str, Any] = field(default_factory=lambda: dict(_USUAL_LORA))
    arguments: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    trainable: int = 0

    @classmethod
    def of(cls, method: str | None, run: MeasuredRun | None) -> ExportSettings:
        """Read them off a run.

        Args:
            method: `"full"` or `"lora"`; None for the run's.
            run: The run, or None.

        Raises:
            ScopeError: If the method is unknown or not the run's, or no other trainer has the run's method.
        """
        if method is not None:
            checks.one_of("method", method, (FULL, LORA), error=ScopeError)
        if run is None:
            return cls(method or "")
        for name in ("lr", "epochs", "batch_size", "arguments", "adapter", "trainable"):
            if not hasattr(run, name):
                raise ScopeError(f"{checks.named_repr('run', run)} is not a run; pass what finetune() returns.")
        adapter = run.adapter.settings if run.adapter is not None else _USUAL_LORA
        kind = LORA if run.adapter is not None or run.method == LORA else FULL if run.method == FULL else ""
        if not kind:
            raise ScopeError(
                f'The run trained by method="{run.method}", which is no method of other trainers, or kept no adapter; '
                "export its scope without the run: run.scope.export(trainer)."
            )
        if kind == FULL and run.parts:
            raise ScopeError(
                f"The run trained the {run.parts[0]} of its blocks alone, and exports of weights are of whole blocks; "
                "export its scope without the run, or train with LoRA."
            )
        if method not in (None, kind):
            raise ScopeError(f'method="{method}" is not how the run trained ("{kind}"); leave it out.')
        return cls(kind, dict(adapter), _arguments(run), run.steps, run.trainable)

    @property
    def is_lora(self) -> bool:
        """Whether LoRA is asked for."""
        return self.method == LORA

    @property
    def title(self) -> str:
        """What people call the kind of adapters."""
        return "DoRA" if self.adapter.get("use_dora") else title_of(self.adapter["peft_type"])

    @property
    def warmup_steps(self) -> int:
        """Steps of the run in which the rate rises."""
        warmup = self.arguments["warmup_steps"]
        return math.ceil(warmup * self.steps) if warmup < 1 else int(warmup)

    def unsaid(self) -> list[str]:
        """Fields of peft's configuration that are not its defaults and that a trainer's file has no word for."""
        if self.adapter["peft_type"] != "LORA":
            return [f"peft_type={self.adapter['peft_type']}"]
        usual = _defaults(self.adapter) if set(self.adapter) - _SAID else {}
        return [f"{key}={value!r}" for key, value in self.adapter.items() if key not in _SAID and value != usual[key]]

    def keywords(self, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
        """The fields of peft's configuration that are not its defaults, for its class in Python."""
        left_out = {"peft_type", "peft_version", "inference_mode", "base_model_name_or_path", "task_type", *without}
        usual = _defaults(self.adapter) if set(self.adapter) - set(_USUAL_LORA) else {}
        kept = {k: v for k, v in self.adapter.items() if k not in left_out and (k not in usual or v != usual[k])}
        always = {key: self.adapter[key] for key in ("r", "lora_alpha") if key in self.adapter}
        return always | kept

    @property
    def config_class(self) -> str:
        """Name of peft's class."""
        if self.adapter["peft_type"] == "LORA":
            return "LoraConfig"
        return str(type(_default_config(self.adapter)).__name__)


def _arguments(run: MeasuredRun) -> dict[str, Any]:
    own = _own_arguments(run.arguments) if run.arguments else {}
    accumulated = int(own.get("gradient_accumulation_steps", 1))
    half = {"bfloat16": {"bf16": True}, "float16": {"fp16": True}}.get(run.environment.get("dtype", ""), {})
    return {
        "learning_rate": run.lr,
        "lr_scheduler_type": "cosine",
        "warmup_steps": _WARMUP,
        "weight_decay": 0.0,
        "num_train_epochs": run.epochs,
        "per_device_train_batch_size": max(1, run.batch_size // accumulated),
        "seed": run.seed,
        **half,
        **own,
    }


def _own_arguments(texts: Mapping[str, str]) -> dict[str, Any]:
    """What the caller passed to Trainer, as far as it is a field of its arguments."""
    from transformers import TrainingArguments  # takes seconds

    known = {one.name for one in fields(TrainingArguments)}
    return {name: json.loads(text) for name, text in texts.items() if name in known}


def _default_config(adapter: Mapping[str, Any]) -> Any:
    from peft import PeftConfig

    return PeftConfig.from_peft_type(peft_type=adapter["peft_type"])


def _defaults(adapter: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a configuration's fields, as a file has them."""
    usual: dict[str, Any] = _default_config(adapter).to_dict()
    return {key: usual.get(key) for key in adapter}
