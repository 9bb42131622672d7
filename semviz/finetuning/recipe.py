"""`Recipe`: how a scope is trained, and the key of a run: a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.finetuning.trainer_arguments import counting
from semviz.finetuning.trainer_defaults import usual_arguments
from semviz.lm.block_parts import check_modules
from semviz.scopes.methods import find_method
from semviz.scopes.methods.peft_configs import as_method
from semviz.version import __version__

_LAYOUT = 2
"""Changes with what goes into a key, and with what a key's parts mean, also within one version of semviz."""
_SEARCH = "auto, short trials, none that spoil"
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
        callbacks: Callbacks of Trainer, noted as `UserCallback`.
        modules: Which part of each block trains: `"all"`, `"attention"` or `"mlp"`.
    """

    method: str = "full"
    lr: float | Literal["auto"] = "auto"
    epochs: float = 3
    batch_size: int = 32
    seed: int = 0
    checkpointing: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Sequence[Any] = ()
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
            "callbacks": tuple(checks.as_list("callbacks", self.callbacks, "a list of callbacks")),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.arguments or self.callbacks:
            from semviz.finetuning.argument_checks import check_values  # transformers, which takes seconds
            from semviz.finetuning.user_callbacks import known

            object.__setattr__(self, "callbacks", known(self.callbacks, searched=self.lr == "auto"))
            check_values(self.arguments, [noted.callback for noted in self.callbacks])

    @property
    def training_method(self) -> TrainingMethod:
        """The training method itself."""
        return find_method(self.method)

    @property
    def parts(self) -> tuple[str, ...] | None:
        """Which parts of the blocks train, of `semviz.lm.block_parts.PARTS`; None for all."""
        return self.training_method.parts if self.modules == "all" else (self.modules,)

    def steps(self, rows: int) -> int:
        """Optimizer steps of a training on so many rows, as Trainer counts them.

        Raises:
            SemvizError: If rows that do not fill a batch are to be left out, and there are no others.
        """
        in_epoch = math.ceil(rows / self.batch_size)
        if self.arguments.get("dataloader_drop_last"):
            accumulated, processes = int(self.arguments.get("gradient_accumulation_steps", 1)), distributed.join()[1]
            batches = rows // max(1, self.batch_size // (accumulated * processes)) // processes
            in_epoch = math.ceil(batches / accumulated)
            if not in_epoch:
                raise SemvizError(
                    f"dataloader_drop_last leaves out all {rows} training rows, which do not fill a batch of "
                    f"{self.batch_size}; pass a smaller batch_size=."
                )
        return max(1, math.ceil(self.epochs * in_epoch))

    @property
    def why_uncached(self) -> str:
        """Why the frozen prefix has to run at every step, in a sentence; empty if it need not."""
        if not self.arguments.get("neftune_noise_alpha"):
            return ""
        return "The prefix was not cached: neftune_noise_alpha adds noise to the embeddings at every step."

    @property
    def is_seen(self) -> bool:
        """Whether a training leaves something for others: logs, checkpoints, or what callbacks make of it."""
        return bool(self.callbacks) or any(name in self.arguments for name in ("output_dir", "report_to"))

    @property
    def argument_texts(self) -> dict[str, str]:
        """What decides the result of the further arguments and callbacks, as JSON texts.

        Without arguments that are what they would be anyway.
        """
        if not self.arguments and not self.callbacks:
            return {}
        usual, texts = usual_arguments(), {}
        for name, value in sorted(counting(self.arguments, callbacks=bool(self.callbacks)).items()):
            value = value.item() if hasattr(value, "item") else value  # of NumPy
            if isinstance(usual.get(name), float) and isinstance(value, int):
                value = float(value)
            if name not in usual or value != usual[name]:
                texts[name] = json.dumps(value, default=repr, sort_keys=True)
        if self.callbacks:
            texts["callbacks"] = json.dumps([noted.identity for noted in self.callbacks])
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
