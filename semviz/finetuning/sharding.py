"""What trains, sharded over the processes of a launch by FSDP2: its weights, gradients and optimizer states.

Frozen weights stay as they were loaded, once in each process: they are the user's own tensors, which nothing may cut.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError
from semviz.lm.shards import is_shard

if TYPE_CHECKING:
    from semviz.finetuning.suffix_model import Suffix

_ITEMS = ("full_shard", "shard_grad_op", "auto_wrap", "offload")  # of fsdp as a text
# Keys of fsdp_config, the values under which they do nothing, and what to pass where others are refused.
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "version": ((2, "2"), "semviz shards with FSDP2; leave it out"),
    "auto_wrap_policy": (("TRANSFORMER_BASED_WRAP",), "semviz shards block by block; leave it out"),
    "cpu_ram_efficient_loading": ((False, "false"), "each process has loaded the model already; leave it out"),
    "activation_checkpointing": ((False, "false"), "pass checkpointing=True to finetune instead"),
    "xla": ((False,), "semviz does not train on TPUs; leave it out"),
}
# Arguments beside fsdp, likewise.
_BESIDE: dict[str, tuple[Any, ...]] = {
    "save_strategy": ("no",),
    "load_best_model_at_end": (False,),
    "torch_compile": (False,),
    "deepspeed": (None,),
    "fp16": (False,),
}
_WHOLE_STAGES = 2  # of DeepSpeed's ZeRO, up to which each process keeps whole weights


def asks_for_shards(arguments: Mapping[str, Any]) -> bool:
    """Whether further arguments of Trainer ask for FSDP."""
    return bool(arguments.get("fsdp"))


def check_sharding(arguments: Mapping[str, Any], *, device: str) -> None:
    """Refuse shards that cannot be made.

    Args:
        arguments: Further arguments of Trainer.
        device: Kind of the model's device.

    Raises:
        SemvizError: If FSDP or DeepSpeed is asked for and this run cannot have it; the message says what to pass.
    """
    name = "fsdp" if asks_for_shards(arguments) else "deepspeed" if arguments.get("deepspeed") else ""
    if not name:
        return
    if name == "deepspeed":
        _check_deepspeed(arguments["deepspeed"])
        return
    if not distributed.is_distributed():
        raise SemvizError(
            "arguments={'fsdp': …} shards over several processes, and here is one; start with accelerate launch or "
            "torchrun, or leave it out."
        )
    for option, nothing in _BESIDE.items():
        if arguments.get(option, nothing[0]) not in nothing:
            raise SemvizError(f"arguments={{{option!r}: …}} cannot be combined with fsdp; leave one of them out.")
    config = with_own_config(arguments)["fsdp_config"]
    for option, (nothing, instead) in _REFUSED.items():
        if config.get(option, nothing[0]) not in nothing:
            raise SemvizError(f"fsdp_config={{{option!r}: {checks.short_repr(config[option])}}}: {instead}.")
    if config.get("cpu_offload") and device == "cpu":
        raise SemvizError("fsdp_config={'cpu_offload': True}: the model is on the CPU already; leave it out.")


def with_own_config(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with FSDP's settings as a mapping of their own, into which Trainer may write.

    Raises:
        SemvizError: If they are not what Trainer takes.
    """
    if not asks_for_shards(arguments):
        return dict(arguments)
    asked, config = arguments["fsdp"], arguments.get("fsdp_config") or {}
    items = asked.split() if isinstance(asked, str) else asked if isinstance(asked, list) else []
    if (not items and asked is not True) or any(item not in _ITEMS for item in items):
        raise SemvizError(
            f"arguments={{'fsdp': {checks.short_repr(asked)}}} is no way to shard; pass True, 'full_shard' or "
            "'shard_grad_op'."
        )
    try:
        if not isinstance(config, Mapping):
            config = json.loads(checks.as_path("fsdp_config", config).read_bytes())
        own = {str(key).removeprefix("fsdp_"): value for key, value in config.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise SemvizError(
            f"arguments={{'fsdp_config': …}} cannot be read ({checks.first_line(error)}); pass a mapping, or the path "
            "of a JSON file."
        ) from error
    if "offload" in items:
        own["cpu_offload"] = True
    if "shard_grad_op" in items:
        own.setdefault("reshard_after_forward", False)
    return {**arguments, "fsdp": True, "fsdp_config": own}


def _check_deepspeed(config: Any) -> None:
    if importlib.util.find_spec("deepspeed") is None:
        raise SemvizError("arguments={'deepspeed': …} needs a package that is missing; run: pip install deepspeed.")
    try:
        if not isinstance(config, Mapping):
            config = json.loads(checks.as_path("deepspeed", config).read_bytes())
        stage = int(config.get("zero_optimization", {}).get("stage", 0))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SemvizError(
            f"arguments={{'deepspeed': …}} is no configuration of DeepSpeed ({checks.first_line(error)}); pass a "
            "mapping, or the path of a JSON file."
        ) from error
    if stage > _WHOLE_STAGES:
        raise SemvizError(
            f"DeepSpeed's ZeRO stage {stage} cuts the weights too, which cannot be scored then; pass stage 2, or fsdp."
        )


def shard_what_trains(arguments: TrainingArguments, suffix: Suffix) -> None:
    """Say to accelerate what FSDP is to shard: what trains, a block at a time.

    Raises:
        SemvizError: If the caller names classes of blocks that are not there.
    """
    plugin: Any = arguments.fsdp_plugin_args
    plugin.setdefault("transformer_cls_names_to_wrap", ",".join(sorted({type(b).__name__ for b in suffix.trained})))
    there = {type(module).__name__ for module in suffix.modules()}
    for name in plugin["transformer_cls_names_to_wrap"].split(","):
        if name not in there:
            raise SemvizError(
                f"fsdp_config={{'transformer_layer_cls_to_wrap': …}} names {checks.short_repr(name)}, which is no "
                "class of this model; leave it out, and each trained block is sharded by itself."
            )
    trained = {id(p) for p in suffix.trainable_parameters}
    plugin["ignored_modules"] = [
        module for module in suffix.modules() if not any(id(p) in trained for p in module.parameters())
    ]


@contextmanager
def shard_errors_explained(arguments: Mapping[str, Any]) -> Iterator[None]:
    """Say in words where an operation, such as an optimizer's, cannot compute on shards.

    Raises:
        SemvizError: If there is one.
    """
    try:
        yield
    except RuntimeError as error:
        if not asks_for_shards(arguments) or "DTensor" not in str(error):
            raise
        optimizer = str(arguments.get("optim", "adamw_torch"))
        raise SemvizError(
            f"The optimizer {optimizer!r} or this model cannot compute on shards ({checks.first_line(error)}); pass "
            "optim='adamw_torch', or leave fsdp out."
        ) from error


def shard_everywhere(trainer: Trainer, suffix: Suffix) -> None:
    """Have FSDP do on every device what Trainer's arguments say.

    Where all processes compute on CPUs, accelerate passes over its plugin without a word. And its mixed precision casts
    what is sharded only, which cannot be multiplied with frozen weights then: the suffix computes in it as a whole.
    """
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    state = trainer.accelerator.state
    if state.distributed_type == DistributedType.MULTI_CPU:
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
        state.distributed_type = DistributedType.FSDP
        trainer.is_fsdp_enabled = True
    state.fsdp_plugin.mixed_precision_policy = None
    suffix.mixed_dtype = torch.bfloat16 if trainer.args.bf16 else None


class Shards(TrainerCallback):
    """Hands the suffix the shards that have taken the place of its parameters, and checks that they are shards."""

    def __init__(self, suffix: Suffix) -> None:
        trained = {id(p) for p in suffix.trainable_parameters}
        self.suffix = suffix
        self.names = [name for name, p in suffix.named_parameters() if id(p) in trained]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Replace them, before anything else asks for what trains."""
        parameters = dict(self.suffix.named_parameters())
        self.suffix.is_sharded = True
        self.suffix.trainable_parameters = [parameters[name] for name in self.names]
        uncut = [name for name in self.names if not is_shard(parameters[name])]
        if uncut:
            raise SemvizError(f"FSDP has left {len(uncut)} trained tensors whole, such as {uncut[0]}; leave fsdp out.")
