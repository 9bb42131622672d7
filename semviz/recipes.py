"""`Recipe`: what a training run is beside its scope, and the key of a run: a hash of all that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semviz.version import __version__

if TYPE_CHECKING:
    from semviz.models import LanguageModel
    from semviz.scopes import Scope
    from semviz.tasks import Task


@dataclass(frozen=True)
class Recipe:
    """What a training run is, beside its scope.

    Attributes:
        method: `"full"`, `"lora"`, `"ia3"` or `"lisa"`.
        lr: Peak learning rate of AdamW, after a linear warm-up and before a cosine decay to 0.
        epochs: Passes over the training rows.
        batch_size: Rows a step, over all devices and accumulated batches.
        seed: Seed of data order and dropout.
        checkpointing: Recompute the trained blocks' activations instead of keeping them.
        arguments: Further `TrainingArguments`.
    """

    method: str
    lr: float
    epochs: float
    batch_size: int
    seed: int
    checkpointing: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


def run_key(model: LanguageModel, task: Task, scope: Scope, recipe: Recipe, lr: float | str) -> str:
    """Sixteen hex digits of all that decides a run's result."""
    epochs = int(recipe.epochs) if float(recipe.epochs).is_integer() else recipe.epochs  # 3 and 3.0 are the same
    # Checkpointing, caching and the number of processes change how a result is computed, not what it is.
    decides = [
        *(__version__, model.hash, task.hash, scope.blocks, scope.tail, scope.head, recipe.method, lr),
        *(epochs, recipe.batch_size, recipe.seed, sorted(recipe.arguments.items())),
    ]
    return hashlib.blake2b(json.dumps(decides, default=repr).encode(), digest_size=8).hexdigest()
