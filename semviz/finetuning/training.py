"""One training loop: Hugging Face Trainer on a suffix, with the caller's random state restored."""

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
from semviz.finetuning.callbacks import BlockSchedule, Pause, TrainingMonitor
from semviz.finetuning.recipe import Recipe
from semviz.finetuning.trainer_defaults import OWN_DEFAULTS

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.prefix_cache import SplitWithStates
    from semviz.finetuning.suffix_model import Suffix

_WARMUP = 0.1  # share of the steps
# Arguments of Trainer that callers may not pass, and what of semviz sets them.
_SET_ELSEWHERE = {
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
    """The outcome of a training run: steps, seconds, tokens, peak bytes, curve, and why it stopped early, if it did."""

    steps: int
    seconds: float
    tokens: int
    peak_bytes: int
    curve: pd.DataFrame
    stop_reason: str

    @property
    def first_loss(self) -> float:
        """The first training loss that was logged, infinite if there is none: that of the same rows at any rate."""
        return float(self.curve["loss"].iloc[0]) if len(self.curve) else math.inf


@interrupts_held()
def fit(
    suffix: Suffix,
    encoded_task: EncodedTask,
    part: SplitWithStates,
    recipe: Recipe,
    *,
    steps: int | None = None,
    pause: Pause | None = None,
    label: str,
    control: Control,
    progress: bool,
) -> TrainingOutcome:
    """Train the suffix's trainable parameters on one split.

    The same seed gives the same data order whatever the scope, so that scopes differ in nothing else.

    Args:
        suffix: What trains.
        encoded_task: The task.
        part: The split.
        recipe: How; with a number as its rate.
        steps: Optimizer steps, over which the rate rises and falls; those of the recipe's epochs by default.
        pause: What is to be done on the way; its time does not count.
        label: What is trained, in words.
        control: To watch, and to stop within one step.
        progress: Show a progress bar.

    Raises:
        Cancelled: If asked to stop; within one step.
        SemvizError: If an argument of Trainer is set elsewhere, or the optimizer would train something else.
    """
    device = encoded_task.model.device
    all_steps = recipe.steps(len(part))
    steps = steps or all_steps
    assert recipe.lr != "auto"  # each rate that is tried gets its own recipe
    monitor = TrainingMonitor(suffix, label, recipe.lr, device, control=control, progress=progress)
    schedule = recipe.training_method.schedule
    block_schedules = [BlockSchedule(suffix, schedule(len(suffix.trained), steps, recipe.seed))] if schedule else []
    if recipe.checkpointing:
        suffix.checkpoint()
    with temporary_folder("training") as folder, preserved_random_state():
        suffix.to(device)
        trainer = Trainer(
            model=suffix,
            args=_arguments(recipe, steps, all_steps, folder, device),
            train_dataset=part,
            data_collator=encoded_task.collator(part),
            callbacks=[monitor, *block_schedules, *([pause] if pause else [])],
        )
        # These print and draw too; the monitor above already does.
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        started = time.perf_counter()
        try:
            trainer.train()
        finally:
            monitor.close()
        seconds = time.perf_counter() - started - (pause.seconds if pause else 0.0)
        steps_done = trainer.state.global_step
    if pause is not None and pause.error is not None:
        raise pause.error
    control.check()
    raise_waiting_interrupt()
    tokens = round(part.encoded.tokens * steps_done * recipe.batch_size / max(1, len(part)))
    curve = pd.DataFrame(monitor.curve, columns=["step", "loss", "accuracy"])
    return TrainingOutcome(steps_done, seconds, tokens, monitor.peak_bytes, curve, monitor.stop_reason)


def _arguments(recipe: Recipe, steps: int, all_steps: int, folder: str, device: torch.device) -> TrainingArguments:
    """Build Trainer's arguments from the recipe's settings and what the caller passes in addition."""
    for name in recipe.arguments:
        if name in _SET_ELSEWHERE:
            raise SemvizError(f"arguments={{{name!r}: …}} is set elsewhere; pass {_SET_ELSEWHERE[name]}= instead.")
    arguments = dict(recipe.arguments)
    _check_types(arguments)
    if int(arguments.get("gradient_accumulation_steps", 1)) < 1:
        raise SemvizError("gradient_accumulation_steps is below 1; pass at least 1.")
    batches_per_step = int(arguments.get("gradient_accumulation_steps", 1)) * distributed.join()[1]
    if recipe.batch_size % batches_per_step:
        raise SemvizError(
            f"batch_size={recipe.batch_size} is not a multiple of {batches_per_step}, the number of batches "
            "(accumulated, over all processes) that make a step; pass a multiple."
        )
    options: dict[str, Any] = {
        **OWN_DEFAULTS,
        "output_dir": folder,
        "warmup_steps": math.ceil(_WARMUP * steps),
        "logging_steps": max(1, steps // 50),
        "dataloader_pin_memory": device.type == "cuda",
    }
    warmup = arguments.get("warmup_steps", 0)
    if warmup >= 1:  # a number of steps of a whole training
        arguments["warmup_steps"] = math.ceil(warmup * steps / all_steps)
    try:
        training_arguments = TrainingArguments(
            **{**options, **arguments},
            per_device_train_batch_size=recipe.batch_size // batches_per_step,
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.lr,
            use_cpu=device.type == "cpu",
            seed=recipe.seed,
            max_steps=steps if steps < all_steps else -1,
        )
    except (TypeError, ValueError) as error:
        why = checks.first_line(error).rstrip(".")
        raise SemvizError(
            f"arguments={checks.short_repr(arguments)}: {why}. Pass fields of transformers.TrainingArguments."
        ) from error
    # The suffix hands tensors past the model's signature, which DataParallel's replicas would not see; several GPUs
    # work through accelerate launch.
    training_arguments._n_gpu = min(training_arguments.n_gpu, 1)
    return training_arguments


def _check_types(arguments: dict[str, Any]) -> None:
    """Refuse what Trainer would fail on later: strings for numbers, and numbers for booleans."""
    for field in fields(TrainingArguments):
        if field.name in arguments and isinstance(field.default, bool):
            checks.flag(f"arguments[{field.name!r}]", arguments[field.name])
        elif field.name in arguments and isinstance(field.default, int | float):
            checks.number(f"arguments[{field.name!r}]", arguments[field.name], f"a number, such as {field.default}")


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore the random state of Python, NumPy and torch afterwards: Trainer seeds all of them."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
