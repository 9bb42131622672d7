"""Refuses values of Trainer's arguments on which a training would fail later, or which would do nothing."""

from __future__ import annotations

import inspect
import json
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any

from transformers import EarlyStoppingCallback, SchedulerType, TrainingArguments
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
from transformers.training_args import trainer_log_levels

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.finetuning.loggers import check_loggers
from semviz.finetuning.trainer_arguments import (
    JUDGING_SCHEDULES,
    SEVERAL,
    SHARDED,
    check_names,
    schedule_of,
    word_of,
)
from semviz.finetuning.trainer_defaults import as_usual
from semviz.lm.copies import HALF

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope
    from semviz.tasks.task import Task

METRICS = ("loss", "accuracy", "f1", "auroc")
"""What evaluation on the way measures."""
_SAMPLING = ("random", "sequential", "group_by_length")
_SHARE = (lambda x: 0 <= x < 1, "from 0 to below 1")
_NOT_NEGATIVE = (lambda x: x >= 0, "of at least 0")
_POSITIVE = (lambda x: x > 0, "above 0")
_COUNT = (lambda x: x >= 1, "of at least 1")
_Range = tuple[Callable[[float], bool], str]
_ANY: _Range = (lambda _: True, "")
_RANGES: dict[str, _Range] = {
    **dict.fromkeys(("adam_beta1", "adam_beta2", "label_smoothing_factor"), _SHARE),
    **dict.fromkeys(
        ("adam_epsilon", "weight_decay", "max_grad_norm", "neftune_noise_alpha", "warmup_steps", "eval_delay"),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(("logging_steps", "save_steps", "eval_steps"), _POSITIVE),
    "dataloader_num_workers": _NOT_NEGATIVE,
    **dict.fromkeys(
        (
            "gradient_accumulation_steps",
            "torch_empty_cache_steps",
            "save_total_limit",
            "dataloader_prefetch_factor",
            "ddp_timeout",
            "ddp_bucket_cap_mb",
        ),
        _COUNT,
    ),
}
# Schedules that take no arguments, and those that never rise.
_PLAIN_SCHEDULES = ("constant", "constant_with_warmup")
_WITHOUT_WARMUP = ("constant", *JUDGING_SCHEDULES)
_SCHEDULE_STEPS = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")


def check_values(given: Mapping[str, Any], callbacks: Sequence[TrainerCallback]) -> None:
    """Refuse values of the wrong kind or out of range, and fields that do not go together.

    Args:
        given: Arguments of Trainer.
        callbacks: Callbacks beside them.

    Raises:
        SemvizError: If there is one; the message says what to pass instead.
    """
    check_names(given, callbacks=bool(callbacks))
    arguments = {name: value for name, value in given.items() if not as_usual(name, value)}
    _check_kinds(arguments)
    if "log_level" in arguments or "log_level_replica" in arguments:
        for name in ("log_level", "log_level_replica"):
            checks.one_of(name, arguments.get(name, "warning"), trainer_log_levels)
    if "output_dir" in arguments:
        checks.as_path("output_dir", arguments["output_dir"])
    if "train_sampling_strategy" in arguments:
        checks.one_of("train_sampling_strategy", arguments["train_sampling_strategy"], _SAMPLING)
    check_loggers(arguments)
    _check_schedule(arguments)
    _check_evaluation(arguments, callbacks)
    if not distributed.is_distributed():
        for name in (name for name in SEVERAL if name in arguments):
            raise SemvizError(
                f"arguments={{{name!r}: …}} is for several processes, and this is the only one; start them with "
                "torchrun or accelerate launch, or leave it out."
            )


def check_fit(given: Mapping[str, Any], model: LanguageModel, scope: Scope, task: Task, *, cache: bool) -> None:
    """Refuse values that do not go with a model, a scope or a task.

    Raises:
        SemvizError: If there is one; the message says what to pass instead.
    """
    arguments = {name: value for name, value in given.items() if not as_usual(name, value)}
    if cache and scope.boundary:
        for name in (name for name in SHARDED if name in arguments):
            raise SemvizError(
                f"arguments={{{name!r}: …}} shards the model over processes, and the cached prefix of this scope "
                "would not be; pass cache=False to finetune, or a scope of all blocks."
            )
    for name in (name for name in ("fp16", "bf16") if name in arguments):
        dtype = str(model.model.dtype).removeprefix("torch.")
        if name == "fp16" and model.device.type == "cpu":
            raise SemvizError('fp16 needs a GPU; pass arguments={"bf16": True}, which CPUs compute too.')
        if model.model.dtype in HALF and (name, dtype) != ("bf16", "bfloat16"):
            raise SemvizError(
                f"The model is loaded in {dtype} and computes in it, so {name} would change nothing or fail; load it "
                f'with dtype="float32", or leave {name} out.'
            )
    metric = str(arguments.get("metric_for_best_model", "loss")).removeprefix("eval_")
    if metric in ("f1", "auroc") and not task.labels:
        raise SemvizError(f'metric_for_best_model="{metric}" is for tasks with labels; pass "loss" or "accuracy".')


def _check_kinds(arguments: Mapping[str, Any]) -> None:
    """Refuse what Trainer would fail on later: strings for numbers, 2.0 for 2, numbers for booleans, wrong ranges."""
    for field in fields(TrainingArguments):
        if field.name not in arguments:
            continue
        name, value = f"arguments[{field.name!r}]", arguments[field.name]
        kinds = set(typing.get_args(field.type)) or {field.type}
        default = field.default if isinstance(field.default, int | float) else 1
        if value is None and NoneType in kinds:
            continue
        fits, span = _RANGES.get(field.name, _ANY)
        if kinds <= {bool, NoneType}:
            checks.flag(name, value)
        elif kinds <= {int, NoneType}:
            instead = f"a whole number {span}".rstrip()
            if not checks.is_whole(value) or not fits(value):
                raise SemvizError(f"{checks.named_repr(name, value)}; pass {instead}, such as {int(default)}.")
        elif kinds <= {int, float, NoneType}:
            instead = f"a number {span}".rstrip()
            checks.number(name, value, f"{instead}, such as {default}", fits=partial(_is_number, fits))
        elif kinds <= {str, NoneType} and not isinstance(value, str) and field.name not in (*SHARDED, "output_dir"):
            raise SemvizError(f"{checks.named_repr(name, value)}; pass a text.")


def _is_number(fits: Callable[[float], bool], value: float) -> bool:
    return math.isfinite(value) and fits(value)


def schedule_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the schedule is passed, which may be given as JSON too.

    Raises:
        SemvizError: If it is neither.
    """
    options = arguments.get("lr_scheduler_kwargs") or {}
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except ValueError:
            options = None
    if not isinstance(options, Mapping):
        raise SemvizError(
            f"{checks.named_repr('lr_scheduler_kwargs', arguments['lr_scheduler_kwargs'])}; pass a mapping, such as "
            '{"num_cycles": 2}.'
        )
    return dict(options)


def _check_schedule(arguments: Mapping[str, Any]) -> None:
    schedule = checks.one_of("lr_scheduler_type", schedule_of(arguments), [kind.value for kind in SchedulerType])
    options = schedule_options(arguments)
    takes: list[str] = []
    if schedule not in _PLAIN_SCHEDULES:
        function = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(schedule)]
        takes = [name for name in inspect.signature(function).parameters if name not in (*_SCHEDULE_STEPS, "kwargs")]
        if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
            takes += [name for name in options if name not in takes]  # whatever torch's own class takes
    for name in options:
        if name not in takes:
            known = f"it takes {', '.join(takes)}" if takes else "it takes nothing"
            raise SemvizError(f"lr_scheduler_kwargs={{{name!r}: …}} is not for {schedule}; {known}.")
    if schedule in _WITHOUT_WARMUP and arguments.get("warmup_steps"):
        instead = 'pass lr_scheduler_type="constant_with_warmup"' if schedule == "constant" else "leave it out"
        raise SemvizError(f"warmup_steps does nothing with {schedule}; {instead}.")
    if schedule in JUDGING_SCHEDULES and "eval_strategy" not in arguments:
        raise SemvizError(
            f'lr_scheduler_type="{schedule}" follows the scores of validation rows; pass eval_strategy="epoch" with it.'
        )


def _check_evaluation(arguments: Mapping[str, Any], callbacks: Sequence[TrainerCallback]) -> None:
    metric = arguments.get("metric_for_best_model")
    if metric is not None and str(metric).removeprefix("eval_") not in METRICS:
        raise SemvizError(f"metric_for_best_model={checks.short_repr(metric)} is unknown; pass one of {list(METRICS)}.")
    metric, asked = str(metric or "loss").removeprefix("eval_"), arguments.get("greater_is_better")
    if asked is not None and asked is not (metric != "loss"):
        better = "smaller" if metric == "loss" else "greater"
        raise SemvizError(
            f"greater_is_better={asked} would keep the worst weights, since a {better} {metric} is better; leave it "
            "out."
        )
    stops = [callback for callback in callbacks if isinstance(callback, EarlyStoppingCallback)]
    needing = {
        "load_best_model_at_end": bool(arguments.get("load_best_model_at_end")),
        'save_strategy="best"': word_of(arguments.get("save_strategy")) == "best",
        "EarlyStoppingCallback": bool(stops),
    }
    for what, is_asked in needing.items():
        if is_asked and "eval_strategy" not in arguments:
            raise SemvizError(
                f'{what} needs scores on the way; pass arguments={{"eval_strategy": "epoch", …}}, which scores the '
                "validation rows after each epoch."
            )
