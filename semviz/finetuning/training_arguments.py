"""Trainer's arguments, built from a recipe and what the caller passes in addition."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.finetuning.argument_checks import schedule_options
from semviz.finetuning.compiling import FIELDS as COMPILE
from semviz.finetuning.sharding import with_own_config
from semviz.finetuning.trainer_arguments import word_of
from semviz.finetuning.trainer_defaults import OWN_DEFAULTS, as_usual

if TYPE_CHECKING:
    import torch

    from semviz.finetuning.recipe import Recipe
    from semviz.finetuning.suffix_model import Suffix

_WARMUP = 0.1  # share of the steps
# What the suffix does itself; Trainer would look for it in a PreTrainedModel.
_BY_SUFFIX = ("label_smoothing_factor", "neftune_noise_alpha", *COMPILE)
_ADAM = {"adam_beta1": "betas", "adam_beta2": "betas", "adam_epsilon": "eps"}


def build_arguments(
    recipe: Recipe, steps: int, all_steps: int, folder: str, device: torch.device, *, run_name: str
) -> TrainingArguments:
    """Build Trainer's arguments.

    Args:
        recipe: With a number as its rate.
        steps: Of this training.
        all_steps: Of a whole training.
        folder: Of its checkpoints.
        device: Where it trains.
        run_name: What loggers call it.

    Raises:
        SemvizError: If the batches of a step are no whole number, or transformers refuses a value.
    """
    arguments = {name: value for name, value in with_own_config(recipe.arguments).items() if name != "output_dir"}
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
    _shorten(arguments, steps / all_steps)
    _complete(arguments, recipe)
    given = {name: value for name, value in arguments.items() if name not in _BY_SUFFIX}
    try:
        training_arguments = TrainingArguments(
            **{**options, **given, "run_name": run_name, "report_to": "none"},  # loggers are attached by hand
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


def _shorten(arguments: dict[str, Any], share: float) -> None:
    """Shrink steps that are counted in those of a whole training to those of a shorter one."""
    if arguments.get("warmup_steps", 0) >= 1:
        arguments["warmup_steps"] = math.ceil(arguments["warmup_steps"] * share)
    if arguments.get("lr_scheduler_kwargs"):
        options = schedule_options(arguments)
        for name, value in options.items():
            if name.startswith("num_") and name.endswith("_steps") and checks.is_whole(value):
                options[name] = math.ceil(value * share)
        arguments["lr_scheduler_kwargs"] = options


def _complete(arguments: dict[str, Any], recipe: Recipe) -> None:
    """Add what follows from other arguments: the best weights are found among those that are saved with a score."""
    if arguments.get("load_best_model_at_end"):
        arguments.setdefault("save_strategy", arguments.get("eval_strategy"))
        if "eval_steps" in arguments and word_of(arguments["save_strategy"]) == "steps":
            arguments.setdefault("save_steps", arguments["eval_steps"])
    stops = any(isinstance(noted.callback, EarlyStoppingCallback) for noted in recipe.callbacks)
    if stops or word_of(arguments.get("save_strategy")) == "best":
        arguments.setdefault("metric_for_best_model", "loss")


def check_optimizer(arguments: Mapping[str, Any], built: TrainingArguments, suffix: Suffix) -> None:
    """Refuse options that the optimizer would not read.

    Raises:
        SemvizError: If there is one.
    """
    given = [name for name in (*_ADAM, "optim_args") if name in arguments and not as_usual(name, arguments[name])]
    if not given:
        return
    optimizer, text = word_of(built.optim), str(arguments.get("optim_args") or "")
    pairs = [pair.split("=") for pair in text.replace(" ", "").split(",")]
    if text and any(len(pair) != 2 for pair in pairs):
        raise SemvizError(f"{checks.named_repr('optim_args', text)}; pass names and values, such as momentum=0.9.")
    options = Trainer.get_optimizer_cls_and_kwargs(built, suffix)[1]
    for name in given:
        if name in _ADAM and _ADAM[name] not in options:
            raise SemvizError(f'{name} does nothing with optim="{optimizer}"; leave it out.')
    try:
        for name, _ in pairs if text else ():
            # One that is read changes what is made of it, or cannot be read as "@".
            changed = ",".join(f"{key}={'@' if key == name else value}" for key, value in pairs)
            built.optim_args = changed
            try:
                is_read = Trainer.get_optimizer_cls_and_kwargs(built, suffix)[1] != options
            except (ValueError, TypeError, AttributeError):
                is_read = True
            if not is_read:
                raise SemvizError(f'optim_args={text!r}: {name} is not read by optim="{optimizer}"; leave it out.')
    finally:
        built.optim_args = text or None


def lasting_folder(arguments: Mapping[str, Any]) -> str | None:
    """The folder that the caller has named for what lasts."""
    folder = arguments.get("output_dir")
    return None if folder is None else os.path.abspath(os.path.expanduser(os.fspath(folder)))
