"""One training loop: Hugging Face Trainer on a suffix, and the caller's random state given back."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.common.files import temporary_folder
from semviz.common.interrupts import interrupts_held, raise_waiting_interrupt
from semviz.finetuning.callbacks import BlockSchedule, Watch
from semviz.finetuning.recipe import Recipe
from semviz.scopes.methods import METHODS

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.prefix_cache import SplitWithStates
    from semviz.finetuning.suffix_model import Suffix

_WARMUP = 0.1  # share of the steps
# What a run decides by itself, and the argument of `finetune` that decides it.
_OURS = {
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "max_steps": "epochs",
    "per_device_train_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "seed": "seed",
    "data_seed": "seed",
    "gradient_checkpointing": "checkpointing",
    "activation_checkpointing": "checkpointing",
    "use_cpu": "device of load_model",
}


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training run was like: steps, seconds, tokens, peak bytes, curve, and why it stopped early, if so."""

    steps: int
    seconds: float
    tokens: int
    peak_bytes: int
    curve: pd.DataFrame
    stopped: str


@interrupts_held()
def fit(
    suffix: Suffix,
    bench: EncodedTask,
    part: SplitWithStates,
    recipe: Recipe,
    *,
    label: str,
    control: Control,
    progress: bool,
) -> TrainingOutcome:
    """Train the suffix's trainable parameters on one split.

    The same seed gives the same data order whatever the scope, so that scopes differ in nothing else.

    Raises:
        Cancelled: If asked to stop; within one step.
        SemvizError: If an argument of Trainer is not ours to pass on, or the optimizer would train something else.
    """
    device = bench.model.device
    steps = max(1, math.ceil(recipe.epochs * math.ceil(len(part) / recipe.batch_size)))  # as Trainer counts
    assert recipe.lr != "auto"  # each rate that is tried has a recipe of its own
    watch = Watch(suffix, label, recipe.lr, device, control=control, progress=progress)
    schedule = METHODS[recipe.method].schedule
    turns = [BlockSchedule(suffix, schedule(len(suffix.trained), steps, recipe.seed))] if schedule else []
    if recipe.checkpointing:
        suffix.checkpoint()
    with temporary_folder("training") as folder, preserved_random_state():
        suffix.to(device)
        trainer = Trainer(
            model=suffix,
            args=_arguments(recipe, steps, folder, device),
            train_dataset=part,
            data_collator=bench.collator(part),
            callbacks=[watch, *turns],
        )
        # They print and draw on their own; the watch above does it once.
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        started = time.perf_counter()
        try:
            trainer.train()
        finally:
            watch.close()
        seconds = time.perf_counter() - started
        done = trainer.state.global_step
    control.check()
    raise_waiting_interrupt()
    tokens = round(part.encoded.tokens * done * recipe.batch_size / max(1, len(part)))
    curve = pd.DataFrame(watch.curve, columns=["step", "loss", "accuracy"])
    return TrainingOutcome(done, seconds, tokens, watch.peak, curve, watch.stopped)


def _arguments(recipe: Recipe, steps: int, folder: str, device: torch.device) -> TrainingArguments:
    """Trainer's arguments: ours, and what the caller passes besides."""
    for name in recipe.arguments:
        if name in _OURS:
            raise SemvizError(f"arguments={{{name!r}: …}} is decided elsewhere; pass {_OURS[name]}= instead.")
    given = dict(recipe.arguments)
    _check_kinds(given)
    if int(given.get("gradient_accumulation_steps", 1)) < 1:
        raise SemvizError("gradient_accumulation_steps is below 1; pass at least 1.")
    parts = int(given.get("gradient_accumulation_steps", 1)) * distributed.join()[1]
    if recipe.batch_size % parts:
        raise SemvizError(
            f"batch_size={recipe.batch_size} is no multiple of {parts}, the number of batches (accumulated, over all "
            "processes) that make a step; pass one that is."
        )
    options: dict[str, Any] = {
        "output_dir": folder,
        "lr_scheduler_type": "cosine",
        "warmup_steps": math.ceil(_WARMUP * steps),
        "weight_decay": 0.0,
        "logging_steps": max(1, steps // 50),
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": device.type == "cuda",
    }
    try:
        made = TrainingArguments(
            **{**options, **given},
            per_device_train_batch_size=recipe.batch_size // parts,
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.lr,
            use_cpu=device.type == "cpu",
            seed=recipe.seed,
        )
    except (TypeError, ValueError) as error:
        why = checks.first_line(error).rstrip(".")
        raise SemvizError(
            f"arguments={checks.short_repr(given)}: {why}. Pass fields of transformers.TrainingArguments."
        ) from error
    # The suffix hands tensors past the model's signature, which copies of it in threads would not see; several GPUs
    # work through accelerate launch.
    made._n_gpu = min(made.n_gpu, 1)
    return made


def _check_kinds(given: dict[str, Any]) -> None:
    """Refuse what Trainer would fail on later: texts for numbers, and numbers for switches."""
    for field in fields(TrainingArguments):
        if field.name in given and isinstance(field.default, bool):
            checks.flag(f"arguments[{field.name!r}]", given[field.name])
        elif field.name in given and isinstance(field.default, int | float):
            checks.number(f"arguments[{field.name!r}]", given[field.name], f"a number, such as {field.default}")


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Give back the random state of python, numpy and torch: Trainer seeds all of them."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
