"""Names that transformers' `TrainingArguments` had once, and others that people take for fields of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_EVALUATION = 'pass "eval_strategy": "epoch" in arguments=, which scores the validation rows after each epoch'
_BATCH = "pass batch_size= to finetune"
_SCORED_HERE = "leave it out: semviz scores the validation rows itself, in batches that fit into memory"
_DEVICE = "pass device= to load_model"
_HALF = 'pass "bf16": True or "fp16": True in arguments=, which torch computes by itself'
_HUB = "leave it out: nothing is sent to a hub; upload what the run keeps afterwards"
_COMPILED = 'pass "torch_compile": True in arguments='
_SHARDED = 'pass "fsdp" and "fsdp_config" in arguments='
_OWN_BATCHES = "leave it out: semviz makes the batches of each process itself"
_UNREAD = "leave it out: transformers has it no longer, and semviz does not need it"
_INSTEAD = {
    # Fields with another name today.
    "evaluation_strategy": 'pass "eval_strategy" in arguments=',
    "evaluate_during_training": _EVALUATION,
    "group_by_length": 'pass "train_sampling_strategy": "group_by_length" in arguments=',
    "warmup_ratio": 'pass "warmup_steps": 0.1 in arguments=, a share of the steps',
    "adafactor": 'pass "optim": "adafactor" in arguments=',
    "use_liger": "leave it out: semviz uses no Liger kernels",
    "logging_dir": 'pass "output_dir" in arguments=, under which loggers write their files',
    "include_tokens_per_second": 'pass "include_num_input_tokens_seen": True in arguments=; Run has tokens_per_second',
    "torchdynamo": _COMPILED,
    "jit_mode_eval": _COMPILED,
    "fp16_backend": _HALF,
    "fp16_opt_level": _HALF,
    "half_precision_backend": _HALF,
    "use_ipex": _UNREAD,
    "sharded_ddp": _SHARDED,
    "fsdp_min_num_params": _SHARDED,
    "fsdp_transformer_layer_cls_to_wrap": _SHARDED,
    "mp_parameters": _SHARDED,
    "tpu_num_cores": _UNREAD,
    "tpu_metrics_debug": _UNREAD,
    "xpu_backend": 'pass "ddp_backend" in arguments=',
    "no_cuda": _DEVICE,
    "use_mps_device": _DEVICE,
    "n_gpu": "start several processes with torchrun or accelerate launch, or leave it out",
    "past_index": _UNREAD,
    "ray_scope": _UNREAD,
    "use_legacy_prediction_loop": _UNREAD,
    "save_safetensors": "leave it out: semviz always saves safetensors",
    "overwrite_output_dir": 'leave it out: pass another "output_dir" in arguments= to begin anew',
    "dispatch_batches": _OWN_BATCHES,
    "split_batches": _OWN_BATCHES,
    "include_inputs_for_metrics": _SCORED_HERE,
    "per_gpu_eval_batch_size": _SCORED_HERE,
    "eval_batch_size": _SCORED_HERE,
    "per_gpu_train_batch_size": _BATCH,
    "train_batch_size": _BATCH,
    "push_to_hub_model_id": _HUB,
    "push_to_hub_organization": _HUB,
    "push_to_hub_token": _HUB,
    # Options of finetune, of Trainer and of other trainers.
    **{
        name: f"pass {name}= to finetune"
        for name in ("batch_size", "epochs", "lr", "method", "modules", "checkpointing", "cache", "callbacks")
    },
    "optimizers": 'pass "optim" in arguments=',
    "compute_metrics": _SCORED_HERE,
    "peft_config": "pass method= to finetune",
    "max_seq_length": "pass max_tokens= to the task",
    "max_length": "pass max_tokens= to the task",
}


def instead_of(name: str, known: Iterable[str]) -> str:
    """What to do instead of passing a name that is no field, in words; the nearest field where the name is unknown.

    Args:
        name: What was passed.
        known: Names of fields.
    """
    if name in _INSTEAD:
        return _INSTEAD[name]
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.8)
    listed = "pass fields of transformers.TrainingArguments, which docs/arguments.md lists"
    return f'did you mean "{near[0]}"? Otherwise {listed}' if near else listed
