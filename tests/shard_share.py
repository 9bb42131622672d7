"""One of two processes that shard what they train; `test_sharding.py` starts them, and runs the same alone.

Run as `shard_share.py FOLDER`; what each process saw is left in FOLDER as `shards-<number>.pt`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from train_share import SGD, kept, labelled, load, message, ragged, trained

import semviz as sv
from semviz.common import distributed
from semviz.finetuning import sharding

FSDP = {"fsdp": True}
ADAM = {"lr": 3e-3, "arguments": {}}
# Each is one finetune with the prefix not cached: task, how it is sharded, and options.
RUNS = {
    "half of the blocks": (ragged, FSDP, {}),
    "Adam": (ragged, FSDP, ADAM),
    "all blocks": (ragged, FSDP, {"scope": "full"}),
    "the head too": (ragged, FSDP, {"scope": "head"}),
    "lora": (ragged, FSDP, {"method": "lora"}),
    "accumulated": (ragged, FSDP, {"arguments": {**SGD, "gradient_accumulation_steps": 2}}),
    "recomputed": (ragged, FSDP, {"checkpointing": True}),
    "kept after the forward pass": (ragged, {"fsdp": "shard_grad_op"}, {}),
    "rate searched": (labelled, FSDP, {"lr": "auto", "arguments": {}, "epochs": 12}),
}
REFUSED = {
    "version": {"fsdp": True, "fsdp_config": {"version": 1}},
    "hybrid_shard": {"fsdp": "hybrid_shard"},
    "'fsdp': 3": {"fsdp": 3},
    "cpu_offload": {"fsdp": "full_shard offload"},
    "auto_wrap_policy": {"fsdp": True, "fsdp_config": {"auto_wrap_policy": "SIZE_BASED_WRAP"}},
    "transformer_layer_cls_to_wrap": {"fsdp": True, "fsdp_config": {"transformer_layer_cls_to_wrap": "NoLayer"}},
    "activation_checkpointing": {"fsdp": True, "fsdp_config": {"fsdp_activation_checkpointing": True}},
    "cpu_ram_efficient_loading": {"fsdp": True, "fsdp_config": {"cpu_ram_efficient_loading": True}},
    "cannot be read": {"fsdp": True, "fsdp_config": "missing.json"},
    "torch_compile": {"fsdp": True, "torch_compile": True},
    "save_strategy": {"fsdp": True, "save_strategy": "epoch"},
    "fp16": {"fsdp": True, "fp16": True},
    "adafactor": {"fsdp": True, "optim": "adafactor"},
}


def run(name: str, *, is_sharded: bool) -> sv.Run:
    task, fsdp, given = RUNS[name]
    model, options = load(), dict(given)
    scopes = {"full": sv.Scope.full(model), "head": sv.Scope.above(model, 3, tail=True, head=True)}
    scope = scopes.get(options.pop("scope", ""), sv.Scope.half(model))
    arguments = {**options.pop("arguments", SGD), **(fsdp if is_sharded else {})}
    rows = (40,) if task is ragged else ()
    return trained(task(*rows), model=model, scope=scope, cache=False, arguments=arguments, **options)


class Looking(sharding.Shards):
    """Notes what this process keeps of what trains: in its weights, their gradients and the optimizer."""

    seen: dict

    def on_train_begin(self, *args, **objects) -> None:
        super().on_train_begin(*args, **objects)
        trained = self.suffix.trainable_parameters
        Looking.seen = {
            "all": sum(p.numel() for p in trained),
            "weights": sum(p.to_local().untyped_storage().nbytes() // 4 for p in trained),
            "frozen": {type(p) for p in self.suffix.parameters() if not p.requires_grad},
        }

    def on_pre_optimizer_step(self, *args, optimizer=None, **_) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        Looking.seen["gradients"] = sum(grad.to_local().numel() for grad in grads)

    def on_train_end(self, *args, optimizer=None, **_) -> None:
        moments = [v for state in optimizer.state.values() for key, v in state.items() if key == "exp_avg"]
        Looking.seen["moments"] = sum(v.to_local().numel() for v in moments if isinstance(v, DTensor))


def main(folder: Path) -> None:
    from semviz.finetuning import training

    number, several = distributed.join()
    assert several == 2
    training.Shards = Looking
    seen: dict = {"runs": {}, "kept": {}}
    for name in RUNS:
        seen["runs"][name] = kept(run(name, is_sharded=True))
        seen["kept"][name] = Looking.seen

    model = load()
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    edits = [p._version for p in model.model.parameters()]
    config: dict = {"reshard_after_forward": True}
    arguments = {**SGD, "fsdp": True, "fsdp_config": config}
    trained(ragged(40), model=model, cache=False, arguments=arguments)
    seen["same"] = all(torch.equal(before[name], value) for name, value in model.model.state_dict().items())
    seen["edited"] = [p._version for p in model.model.parameters()] != edits
    seen["config"] = config

    def refused(arguments: dict) -> str:
        return message(lambda: trained(ragged(40), cache=False, arguments={**SGD, **arguments}))

    seen["refused"] = {word: refused(arguments) for word, arguments in REFUSED.items()}
    seen["cached"] = message(lambda: trained(ragged(40), arguments={**SGD, **FSDP}))
    real, training.shard_everywhere = training.shard_everywhere, lambda *_: None
    seen["uncut"] = refused(FSDP)  # as accelerate does by itself on CPUs
    training.shard_everywhere = real
    torch.save(seen, folder / f"shards-{number}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
