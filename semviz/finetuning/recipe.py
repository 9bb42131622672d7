"""`Recipe`: how a scope is trained, and the key of a run: a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.finetuning.trainer_defaults import usual_arguments
from semviz.lm.block_parts import check_modules
from semviz.scopes.methods import find_method
from semviz.scopes.methods.peft_configs import as_method
from semviz.version import __version__

_LAYOUT = 2
"""Changes with what goes into a key, and with what a key's parts mean, also within one version of semviz."""
_SEARCH = "auto, short trials"
"""Stands for `"auto"` in a key; changes with how rates are searched for, which no run at a given rate depends on."""

if TYPE_CHECKING:
    from semviz.common.training_methods import TrainingMethod
    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope
    from semviz.tasks.task import Task


@dataclass(frozen=True)
class Recipe:
    """How a scope is trained: what `finetune`, `sweep`, `probe` and `Study` are told, checked once and handed down.

    Attributes:
        method: Key of a training method, such as `"full"` or `"lora"`; a configuration of peft's becomes the
            `ConfiguredMethod` of it.
        lr: Peak learning rate of AdamW, after a linear warm-up and before a cosine decay to 0; or `"auto"`: searched.
        epochs: Passes over the training rows.
        batch_size: Rows per step, over all devices and accumulated batches.
        seed: Seed of data order, dropout, adapters and sampled blocks.
        checkpointing: Recompute the trained blocks' activations instead of keeping them.
        arguments: Further `TrainingArguments`.
        modules: Which part of each block trains: `"all"`, `"attention"` or `"mlp"`.
    """

    method: str = "full"
    lr: float | Literal["auto"] = "auto"
    epochs: float = 3
    batch_size: int = 32
    seed: int = 0
    checkpointing: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    modules: str = "all"

    def __post_init__(self) -> None:
        """Check all values, and turn NumPy numbers into Python's, so that keys are equal.

        Raises:
            SemvizError: If a value is of the wrong kind or out of range.
        """
        if not isinstance(self.arguments, Mapping) or any(not isinstance(name, str) for name in self.arguments):
            raise SemvizError(
                f"{checks.named_repr('arguments', self.arguments)}; pass a mapping from names of "
                "TrainingArguments to values."
            )
        method = as_method(self.method)
        if check_modules(self.modules) != "all" and find_method(method).parts is not None:
            raise SemvizError(
                f'method="{method}" says itself which part of the blocks trains; leave out modules={self.modules!r}.'
            )
        checks.flag("checkpointing", self.checkpointing)
        epochs = self.epochs if isinstance(self.epochs, int) and not isinstance(self.epochs, bool) else None
        checked = {
            "method": method,
            "epochs": checks.positive("epochs", self.epochs) if epochs is None or epochs < 1 else epochs,
            "batch_size": checks.whole_number("batch_size", self.batch_size, minimum=1),
            "seed": checks.whole_number("seed", self.seed, maximum=checks.MAX_SEED),
            "lr": checks.learning_rate(self.lr),
            "arguments": dict(self.arguments),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def training_method(self) -> TrainingMethod:
        """The training method itself."""
        return find_method(self.method)

    @property
    def parts(self) -> tuple[str, ...] | None:
        """Which parts of the blocks train, of `semviz.lm.block_parts.PARTS`; None for all."""
        return self.training_method.parts if self.modules == "all" else (self.modules,)

    def steps(self, rows: int) -> int:
        """Optimizer steps of a training on so many rows, as Trainer counts them."""
        return max(1, math.ceil(self.epochs * math.ceil(rows / self.batch_size)))

    @property
    def argument_texts(self) -> dict[str, str]:
        """The further arguments as JSON texts, without those that are what they would be anyway."""
        if not self.arguments:
            return {}
        usual, texts = usual_arguments(), {}
        for name, value in sorted(self.arguments.items()):
            if isinstance(value, str) and "token" in name:  # of a hub: decides nothing, and is a secret
                continue
            value = value.item() if hasattr(value, "item") else value  # of NumPy
            if isinstance(usual.get(name), float) and isinstance(value, int):
                value = float(value)
            if name not in usual or value != usual[name]:
                texts[name] = json.dumps(value, default=repr, sort_keys=True)
        return texts


def run_key(model: LanguageModel, task: Task, scope: Scope, recipe: Recipe, *, model_hash: str | None = None) -> str:
    """Return sixteen hex digits of everything that decides a run's result.

    Args:
        model: The model.
        task: The task.
        scope: What trains.
        recipe: How.
        model_hash: The model's hash, where it is known already.
    """
    epochs = int(recipe.epochs) if float(recipe.epochs).is_integer() else recipe.epochs  # 3 and 3.0 are the same
    # Checkpointing, caching and the number of processes change how a result is computed, not what it is.
    key_parts = [
        *(_LAYOUT, __version__, model_hash or model.hash, task.hash, scope.blocks, scope.tail, scope.head),
        *(
            recipe.method,
            _SEARCH if recipe.lr == "auto" else recipe.lr,
            epochs,
            recipe.batch_size,
            recipe.seed,
            recipe.argument_texts,
        ),
        *([] if recipe.modules == "all" else [recipe.modules]),
    ]
    return hashlib.blake2b(json.dumps(key_parts).encode(), digest_size=8).hexdigest()
