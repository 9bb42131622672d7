"""One training loop: Hugging Face Trainer on a suffix, with the caller's random state restored."""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from transformers import PrinterCallback, ProgressCallback
from transformers.trainer_utils import SaveStrategy

from semviz.common import checks, distributed, memory
from semviz.common.errors import SemvizError
from semviz.common.files import temporary_folder
from semviz.common.interrupts import interrupts_held, raise_waiting_interrupt
from semviz.finetuning.callbacks import BlockSchedule, Pause, TrainingMonitor
from semviz.finetuning.checkpoints import last_checkpoint, read_progress
from semviz.finetuning.compiling import compile_blocks, run_as_written
from semviz.finetuning.loggers import Loggers, loggers_of
from semviz.finetuning.recipe import Recipe
from semviz.finetuning.sharding import (
    Shards,
    asks_for_shards,
    shard_errors_explained,
    shard_everywhere,
    shard_what_trains,
)
from semviz.finetuning.suffix_trainer import SuffixTrainer, best_of, unscored
from semviz.finetuning.training_arguments import build_arguments, check_optimizer

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.evaluation import SplitScores
    from semviz.finetuning.prefix_cache import SplitWithStates
    from semviz.finetuning.suffix_model import Suffix

_POINTS = 50  # of a training's curve


@dataclass(frozen=True)
class Kept:
    """What a training leaves outside the process.

    Attributes:
        name: What loggers call it.
        logs: Folder of the loggers' files; None for a temporary one.
        checkpoints: Folder of its checkpoints, and of nothing else's; None for a temporary one.
    """

    name: str
    logs: Path | None = None
    checkpoints: Path | None = None


@dataclass(frozen=True)
class TrainingOutcome:
    """The outcome of a training run.

    Attributes:
        steps: Optimizer steps.
        seconds: Without pauses; with those before it was stopped, if it was gone on with.
        tokens: That were read.
        peak_bytes: Of memory.
        curve: Loss and accuracy by step.
        first_loss: The first training loss, infinite if there is none: that of the same rows at any rate.
        stop_reason: Why it diverged, if it did.
        notes: What a reader of the result should know.
    """

    steps: int
    seconds: float
    tokens: int
    peak_bytes: int
    curve: pd.DataFrame
    first_loss: float
    stop_reason: str
    notes: tuple[str, ...] = ()


@interrupts_held()
def fit(
    suffix: Suffix,
    encoded_task: EncodedTask,
    part: SplitWithStates,
    recipe: Recipe,
    *,
    steps: int | None = None,
    pause: Pause | None = None,
    validate: Callable[[], SplitScores] | None = None,
    kept: Kept | None = None,
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
        validate: Scores the validation rows, for recipes that ask for scores on the way.
        kept: What it leaves outside the process; nothing by default.
        label: What is trained, in words.
        control: To watch, and to stop within one step.
        progress: Show a progress bar.

    Raises:
        Cancelled: If asked to stop; within one step.
        SemvizError: If an argument of Trainer cannot be used, or the optimizer would train something else.
    """
    device, kept = encoded_task.model.device, kept or Kept(label)
    all_steps = recipe.steps(len(part))
    steps = steps or all_steps
    assert recipe.lr != "auto"  # each rate that is tried gets its own recipe
    arguments = recipe.arguments
    monitor = TrainingMonitor(
        suffix,
        label,
        recipe.lr,
        device,
        every=max(1, steps // _POINTS),
        as_logged=any(name.startswith("logging_s") or name == "logging_first_step" for name in arguments),
        control=control,
        progress=progress,
    )
    schedule = recipe.training_method.schedule
    block_schedules = [BlockSchedule(suffix, schedule(len(suffix.trained), steps, recipe.seed))] if schedule else []
    if recipe.checkpointing:
        suffix.checkpoint()
    suffix.label_smoothing = float(arguments.get("label_smoothing_factor", 0.0))
    if arguments.get("neftune_noise_alpha"):
        suffix.add_noise(float(arguments["neftune_noise_alpha"]))
    started, before = time.perf_counter(), 0.0

    def seconds() -> float:
        return before + time.perf_counter() - started - (pause.seconds if pause else 0.0)

    with ExitStack() as stack:
        own_folder = stack.enter_context(temporary_folder("training"))
        temporary = distributed.gather(own_folder)[0]  # where the first process writes, the others read
        stack.enter_context(preserved_random_state())
        loggers = Loggers(loggers_of(arguments), str(kept.logs or temporary), kept.name)
        stack.callback(loggers.close)
        stack.enter_context(_in_words(recipe, control))
        suffix.to(device)
        notes = [compile_blocks(suffix, arguments)]
        stack.callback(run_as_written, suffix)
        folder = kept.checkpoints or Path(temporary)
        training_arguments = build_arguments(recipe, steps, all_steps, str(folder), device, run_name=kept.name)
        if kept.checkpoints is None and not (arguments.get("load_best_model_at_end") or recipe.callbacks):
            training_arguments.save_strategy = SaveStrategy.NO  # of a trial, or for nobody
        check_optimizer(arguments, training_arguments, suffix)
        shards: list[Shards] = []
        if asks_for_shards(arguments):
            shard_what_trains(training_arguments, suffix)
            shards = [Shards(suffix)]
        trainer = SuffixTrainer(
            monitor=monitor,
            validate=validate,
            seconds=seconds,
            model=suffix,
            args=training_arguments,
            train_dataset=part,
            eval_dataset=part,  # Trainer wants one; the validation rows are scored by `validate`
            data_collator=encoded_task.collator(part),
            callbacks=[
                *shards,
                monitor,
                *block_schedules,
                *([pause] if pause else []),
                *(noted.fresh() for noted in recipe.callbacks),
            ],
        )
        if shards:
            shard_everywhere(trainer, suffix)
        # These print and draw too; the monitor above already does.
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        if pause is None:
            loggers.attach(trainer)
        else:
            pause.then = lambda: loggers.attach(trainer)
        # What a pause decides, a training that goes on behind it could not be asked.
        checkpoint = last_checkpoint(folder, before=pause.step if pause else None)
        started = time.perf_counter()
        try:
            if checkpoint is not None:
                before = read_progress(checkpoint)["seconds"]
                notes.append(f"It went on from {checkpoint.name}.")
            if checkpoint is None or trainer.go_on_from(checkpoint):
                with shard_errors_explained(arguments):
                    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        finally:
            monitor.close()
        if callable(getattr(trainer.optimizer, "eval", None)):  # schedule-free ones keep two sets of weights
            trainer.optimizer.eval()
        taken, steps_done = seconds(), trainer.state.global_step
    for error in (trainer.error, pause.error if pause else None):
        if error is not None:
            raise error
    control.check()
    raise_waiting_interrupt()
    if pause is not None and pause.ends and kept.checkpoints is not None:
        shutil.rmtree(kept.checkpoints, ignore_errors=True)  # of a training that nobody will go on with
    if best := best_of(trainer):
        notes.append(
            "Its weights are those after step {step}, the best {metric} of {scores} on validation rows.".format(**best)
        )
    elif training_arguments.eval_strategy != "no" and not monitor.stop_reason and not (pause and pause.ends):
        notes.append(unscored(trainer))
    if steps_done < steps and not monitor.stop_reason and not (pause and pause.ends):
        notes.append(f"A callback stopped it after {steps_done} of {steps} steps.")
    tokens = round(part.encoded.tokens * steps_done * recipe.batch_size / max(1, len(part)))
    curve = pd.DataFrame(monitor.curve, columns=["step", "loss", "accuracy"])
    first = monitor.losses[0] if monitor.losses else math.inf
    return TrainingOutcome(
        steps_done, taken, tokens, monitor.peak_bytes, curve, first, monitor.stop_reason, tuple(filter(None, notes))
    )


@contextmanager
def _in_words(recipe: Recipe, control: Control) -> Iterator[None]:
    """Say which arguments a training failed with, where it is Trainer, a library or a compiler that fails."""
    try:
        yield
    except SemvizError:
        raise
    except Exception as error:
        if (
            not recipe.arguments
            or memory.is_out_of_memory(error)
            or _is_from([control, *(noted.callback for noted in recipe.callbacks)], error)
        ):
            raise
        shown = {name: value for name, value in recipe.arguments.items() if "token" not in name}
        why = checks.first_line(error).rstrip(".")
        raise SemvizError(
            f"arguments={checks.short_repr(shown)}: {why}. Leave out what this is about, or pass another value of it."
        ) from error


def _is_from(callers: Sequence[Any], error: BaseException) -> bool:
    """Whether an error was raised by code of the caller's, which these call."""
    trace = error.__traceback__
    while trace is not None:
        if any(type(trace.tb_frame.f_locals.get("self")) is type(caller) for caller in callers):
            return True
        trace = trace.tb_next
    return False


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
