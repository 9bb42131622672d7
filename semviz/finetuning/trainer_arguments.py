"""What `arguments=` does with each field of transformers' `TrainingArguments`: the table that code and docs read.

A field that is not in the table is one of a newer transformers: it is refused, and a test fails, until somebody
decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from semviz.common.errors import SemvizError
from semviz.finetuning.older_arguments import instead_of
from semviz.finetuning.trainer_defaults import OWN_DEFAULTS, as_usual

Counts = Literal["always", "evaluation", "never"]
"""When a field is part of a run's key: always, where evaluation on the way decides something, or never."""


@dataclass(frozen=True)
class Passed:
    """A field that works.

    Attributes:
        what: What it does here, in words.
        counts: When it is part of a run's key.
        needs: It does nothing unless one of these is passed too; `"callbacks"` is that option of `finetune`.
    """

    what: str
    counts: Counts = "always"
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Elsewhere:
    """A field that semviz sets from an option of its own.

    Attributes:
        option: The option, and how it is called, as after "pass".
    """

    option: str


@dataclass(frozen=True)
class Refused:
    """A field that would do nothing here, or something that must not be.

    Attributes:
        why: Why, and what to do instead.
    """

    why: str


_NOTHING_PUSHED = (
    "nothing is sent to a hub while a scope trains; leave it out, and upload what the run keeps afterwards"
)
_SCORED_HERE = (
    "semviz scores the validation rows itself, in batches that fit into memory and in the model's dtype; leave it out"
)
_SCRIPTS = (
    "it is a switch of example scripts; finetune always trains, chooses on validation and scores test. Leave it out"
)
_READERS = ("report_to", "callbacks")
_JUDGES = ("load_best_model_at_end", "lr_scheduler_type", "save_strategy", "callbacks")
_PROCESSES = "for several processes (torchrun, accelerate launch)"
_SHARDS = "shards what trains over several processes; only with cache=False"

FIELDS: dict[str, Passed | Elsewhere | Refused] = {
    "output_dir": Passed(
        "The lasting folder of checkpoints and logs, a folder for each run in it; a training that was killed goes on "
        "there. A temporary folder otherwise.",
        "never",
        needs=("save_strategy", "report_to", "callbacks"),
    ),
    "per_device_train_batch_size": Elsewhere("batch_size="),
    "num_train_epochs": Elsewhere("epochs="),
    "max_steps": Elsewhere("epochs="),
    "learning_rate": Elsewhere("lr="),
    "lr_scheduler_type": Passed("The schedule of the rate; `cosine` by default."),
    "lr_scheduler_kwargs": Passed("What the schedule takes, checked by name; steps in it shrink for trials of rates."),
    "warmup_steps": Passed("Steps, or a share of them, in which the rate rises; a tenth by default."),
    "optim": Passed("The optimizer; one that is not installed is named with its pip line."),
    "optim_args": Passed("What the optimizer takes; a name that it does not read is refused.", needs=("optim",)),
    "weight_decay": Passed("0 by default."),
    "adam_beta1": Passed("For optimizers that have it."),
    "adam_beta2": Passed("For optimizers that have it."),
    "adam_epsilon": Passed("For optimizers that have it."),
    "optim_target_modules": Passed("For optimizers that project gradients (GaLore, Apollo).", needs=("optim",)),
    "gradient_accumulation_steps": Passed("Batches of a step; `batch_size` is their sum."),
    "average_tokens_across_devices": Refused(
        "the mean over the targets of all processes is what makes them train what one process trains; leave it out"
    ),
    "max_grad_norm": Passed("Gradients are cut to this norm; 0 for never."),
    "label_smoothing_factor": Passed("Smooths the training loss; scores are not smoothed."),
    "bf16": Passed("Mixed precision, on CPUs too."),
    "fp16": Passed("Mixed precision, on GPUs only."),
    "bf16_full_eval": Refused(_SCORED_HERE),
    "fp16_full_eval": Refused(_SCORED_HERE),
    "tf32": Passed("On GPUs that have it."),
    "activation_checkpointing": Elsewhere("checkpointing="),
    "activation_checkpointing_kwargs": Elsewhere("checkpointing="),
    "gradient_checkpointing": Elsewhere("checkpointing="),
    "gradient_checkpointing_kwargs": Elsewhere("checkpointing="),
    "torch_compile": Passed(
        "Compiles the trained blocks; where there is no compiler, the run says so and is not compiled."
    ),
    "torch_compile_backend": Passed("Compiles with this backend."),
    "torch_compile_mode": Passed("Compiles in this mode."),
    "use_liger_kernel": Refused(
        "its kernels replace the loss over all positions, and semviz computes it at the targets only; leave it out"
    ),
    "liger_kernel_config": Refused("semviz uses no Liger kernels; leave it out"),
    "use_cache": Refused("training reads no key-value cache; leave it out"),
    "neftune_noise_alpha": Passed("Noise on the embeddings; the prefix is then run at every step, which the run says."),
    "torch_empty_cache_steps": Passed("Steps between clearing the GPU's cache.", "never"),
    "auto_find_batch_size": Refused(
        "it would change how many rows make a step, and so the result; pass a smaller batch_size=, or "
        'arguments={"gradient_accumulation_steps": 2}'
    ),
    "logging_strategy": Passed(
        "What loggers, callbacks and `run.curve` get; every fiftieth of the steps by default.", "never"
    ),
    "logging_steps": Passed("As logging_strategy.", "never"),
    "logging_first_step": Passed("As logging_strategy.", "never"),
    "log_on_each_node": Passed(_PROCESSES.capitalize(), "never"),
    "logging_nan_inf_filter": Passed("Hides infinite losses from loggers; semviz sees them.", "never", needs=_READERS),
    "include_num_input_tokens_seen": Passed("Adds the tokens so far to what is logged.", "never", needs=_READERS),
    "log_level": Passed("transformers' verbosity while a scope trains.", "never"),
    "log_level_replica": Passed(_PROCESSES.capitalize(), "never"),
    "disable_tqdm": Elsewhere("progress="),
    "report_to": Passed("Loggers; each is given a run for each training, trials of rates marked as such.", "never"),
    "run_name": Passed("What loggers call a run, before its scope, rate and seed.", "never", needs=_READERS),
    "project": Passed("The project of trackio.", "never", needs=("report_to",)),
    "trackio_space_id": Refused(_NOTHING_PUSHED),
    "trackio_bucket_id": Refused(_NOTHING_PUSHED),
    "trackio_static_space_id": Refused(_NOTHING_PUSHED),
    "eval_strategy": Passed("Scores the validation rows on the way: loss, accuracy, F1, AUROC.", "evaluation"),
    "eval_steps": Passed("Steps, or a share of them, between scores.", "evaluation", needs=("eval_strategy",)),
    "eval_delay": Passed("Steps or epochs before the first score.", "evaluation", needs=("eval_strategy",)),
    "per_device_eval_batch_size": Refused(_SCORED_HERE),
    "prediction_loss_only": Refused(_SCORED_HERE),
    "eval_on_start": Passed("Scores before the first step.", "never", needs=_READERS),
    "eval_do_concat_batches": Refused(_SCORED_HERE),
    "eval_use_gather_object": Refused(_SCORED_HERE),
    "eval_accumulation_steps": Refused(_SCORED_HERE),
    "include_for_metrics": Refused(_SCORED_HERE),
    "batch_eval_metrics": Refused(_SCORED_HERE),
    "save_only_model": Passed(
        "Checkpoints without the optimizer; none of these is gone on from.", "never", needs=("save_strategy",)
    ),
    "save_strategy": Passed(
        "When checkpoints are written: what trains, and what it takes to go on.",
        "evaluation",
        needs=("output_dir", "load_best_model_at_end", "callbacks"),
    ),
    "save_steps": Passed("Steps, or a share of them, between checkpoints.", "evaluation", needs=("save_strategy",)),
    "save_on_each_node": Passed(_PROCESSES.capitalize(), "never"),
    "save_total_limit": Passed(
        "Older checkpoints are removed.", "never", needs=("save_strategy", "load_best_model_at_end")
    ),
    "enable_jit_checkpoint": Refused(
        'it takes over the signals of the whole process; pass save_strategy="steps" and save_steps instead'
    ),
    "push_to_hub": Refused(_NOTHING_PUSHED),
    "hub_token": Refused(_NOTHING_PUSHED),
    "hub_private_repo": Refused(_NOTHING_PUSHED),
    "hub_model_id": Refused(_NOTHING_PUSHED),
    "hub_strategy": Refused(_NOTHING_PUSHED),
    "hub_always_push": Refused(_NOTHING_PUSHED),
    "hub_revision": Refused(_NOTHING_PUSHED),
    "load_best_model_at_end": Passed(
        "Keeps the weights of the best score on the way; checkpoints are written with each score.", "evaluation"
    ),
    "metric_for_best_model": Passed("loss, accuracy, f1 or auroc on validation rows.", "evaluation", needs=_JUDGES),
    "greater_is_better": Passed("Follows from the metric.", "evaluation", needs=_JUDGES),
    "ignore_data_skip": Refused("a training that goes on must go on with the rows that come next; leave it out"),
    "restore_callback_states_from_checkpoint": Refused(
        "a training that goes on always restores its callbacks, so that its result is that of one that was not "
        "stopped; leave it out"
    ),
    "full_determinism": Passed("torch's deterministic algorithms while a scope trains."),
    "seed": Elsewhere("seed="),
    "data_seed": Elsewhere("seed="),
    "use_cpu": Elsewhere("device= of load_model"),
    "accelerator_config": Refused(
        "semviz sets accelerate up so that any number of processes trains the same; pass batch_size= and "
        'arguments={"gradient_accumulation_steps": 2} instead'
    ),
    "parallelism_config": Passed(_SHARDS),
    "dataloader_drop_last": Passed("Leaves out the rows of an epoch that do not fill a batch."),
    "dataloader_num_workers": Passed("Processes that make batches; the same batches.", "never"),
    "dataloader_pin_memory": Passed("On GPUs, where it is the default.", "never"),
    "dataloader_persistent_workers": Passed(
        "Keeps the workers between epochs.", "never", needs=("dataloader_num_workers",)
    ),
    "dataloader_prefetch_factor": Passed(
        "Batches that each worker makes ahead.", "never", needs=("dataloader_num_workers",)
    ),
    "dataloader_multiprocessing_context": Passed(
        "How workers are started.", "never", needs=("dataloader_num_workers",)
    ),
    "dataloader_in_order": Refused("the same seed must give the same order of rows; leave it out"),
    "remove_unused_columns": Refused("semviz makes the batches, which have no columns of yours; leave it out"),
    "label_names": Refused("semviz makes the batches and knows their labels; leave it out"),
    "train_sampling_strategy": Passed(
        "`random`, `sequential`, or `group_by_length`: rows of about one length together."
    ),
    "length_column_name": Refused("semviz counts the tokens of each row itself; leave it out"),
    "ddp_find_unused_parameters": Passed(_PROCESSES.capitalize(), "never"),
    "ddp_bucket_cap_mb": Passed(_PROCESSES.capitalize(), "never"),
    "ddp_broadcast_buffers": Passed(_PROCESSES.capitalize(), "never"),
    "ddp_static_graph": Passed(_PROCESSES.capitalize(), "never"),
    "ddp_backend": Passed(_PROCESSES.capitalize(), "never"),
    "ddp_timeout": Passed(_PROCESSES.capitalize(), "never"),
    "fsdp": Passed(_SHARDS, "never"),
    "fsdp_config": Passed(_SHARDS, "never"),
    "deepspeed": Passed(_SHARDS),
    "debug": Passed("`underflow_overflow` stops at the first infinite number and says where.", "never"),
    "skip_memory_metrics": Passed("False adds the memory taken to what is logged at the end.", "never", needs=_READERS),
    "do_train": Refused(_SCRIPTS),
    "do_eval": Refused(_SCRIPTS),
    "do_predict": Refused(_SCRIPTS),
    "resume_from_checkpoint": Refused(
        'a training goes on from its own checkpoints by itself; pass save_strategy="epoch" and the same output_dir'
    ),
    "local_rank": Refused("the launcher says it; start with torchrun or accelerate launch"),
}
"""Every field of the newest transformers that semviz knows."""
SHARDED = tuple(name for name, row in FIELDS.items() if isinstance(row, Passed) and row.what == _SHARDS)
"""Fields that shard what trains."""
SEVERAL = tuple(name for name, row in FIELDS.items() if isinstance(row, Passed) and row.what == _PROCESSES.capitalize())
"""Fields that only say something where several processes train."""
JUDGING_SCHEDULES = ("reduce_lr_on_plateau", "greedy")
"""Schedules that follow scores on the way."""


def schedule_of(arguments: Mapping[str, Any]) -> str:
    """Name of the schedule of the rate."""
    return word_of(arguments.get("lr_scheduler_type", OWN_DEFAULTS["lr_scheduler_type"]))


def word_of(value: Any) -> str:
    """The word that stands for a value, which may be a member of one of transformers' enumerations."""
    return str(getattr(value, "value", value))


def check_names(arguments: Mapping[str, Any], *, callbacks: bool) -> None:
    """Refuse fields that are set elsewhere, would do nothing, or do not exist; no value is looked at.

    Values that a field would have anyway are no arguments.

    Raises:
        SemvizError: If one is; the message says what to pass instead, and never a value, which may be a secret.
    """
    for name, value in arguments.items():
        row = FIELDS.get(name)
        if isinstance(row, Elsewhere):
            raise SemvizError(f"arguments={{{name!r}: …}} is set elsewhere; pass {row.option} instead.")
        if row is None:
            raise SemvizError(
                f"arguments={{{name!r}: …}} is no argument that semviz knows; {instead_of(name, FIELDS)}."
            )
        if as_usual(name, value):
            continue
        if isinstance(row, Refused):
            raise SemvizError(f"arguments={{{name!r}: …}} is refused: {row.why}.")
        if row.needs and not _any_given(row.needs, arguments, callbacks=callbacks):
            others = " or ".join("callbacks=" if other == "callbacks" else other for other in row.needs)
            raise SemvizError(
                f"arguments={{{name!r}: …}} does nothing by itself; pass {others} with it, or leave it out."
            )


def _any_given(names: tuple[str, ...], arguments: Mapping[str, Any], *, callbacks: bool) -> bool:
    given = {name for name, value in arguments.items() if not as_usual(name, value)}
    return any(name in given for name in names) or ("callbacks" in names and callbacks)


def counting(arguments: Mapping[str, Any], *, callbacks: bool) -> dict[str, Any]:
    """The arguments that a run's result depends on."""
    judged = callbacks or bool(arguments.get("load_best_model_at_end")) or schedule_of(arguments) in JUDGING_SCHEDULES
    ignored = {"never"} if judged else {"never", "evaluation"}
    rows = {name: FIELDS.get(name) for name in arguments}
    return {
        name: value
        for name, value in arguments.items()
        if not (isinstance(row := rows[name], Passed) and row.counts in ignored)
    }


def result_only(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without all that logs, saves, or scores on the way: for a few steps that nobody should see."""
    left = {name: value for name, value in arguments.items() if not _is_aside(name)}
    if schedule_of(left) in JUDGING_SCHEDULES:
        left = {name: value for name, value in left.items() if not name.startswith("lr_scheduler")}
    return left


def _is_aside(name: str) -> bool:
    row = FIELDS.get(name)
    return isinstance(row, Passed) and row.counts != "always" and name not in SHARDED
