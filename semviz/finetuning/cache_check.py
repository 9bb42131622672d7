"""The proof that a cached suffix is the model: its logits on one batch, and where they differ, why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.common import memory
from semviz.common.interrupts import interrupts_held
from semviz.lm.eval_mode import evaluating
from semviz.tasks.tokenizing import NO_TARGET

if TYPE_CHECKING:
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.prefix_cache import SplitWithStates
    from semviz.finetuning.suffix_model import Suffix

_ROWS = 4
_TOLERANCE = {torch.float32: 1e-4}
_TOLERANCE_HALF = 5e-2


@interrupts_held()
def why_not_cacheable(bench: EncodedTask, suffix: Suffix, part: SplitWithStates) -> str:
    """Prove a cached suffix on one batch: its logits must be the model's own.

    Returns:
        Why the cache cannot be used, in a sentence; empty if it can.

    Raises:
        MemoryError, RuntimeError: If the batch does not fit into memory.
    """
    model = bench.model
    batch = bench.collator(part)(list(range(min(_ROWS, len(part)))))
    batch = {key: value.to(model.device) for key, value in batch.items()}
    suffix.to(model.device).eval()
    entered: list[_Inputs] = []
    first = part.cache.boundary if part.cache else 0
    own_block, kept_block = model.anatomy.blocks[first], suffix.trained[0]
    with torch.no_grad(), _noting(own_block, entered), evaluating(model.model):
        own = model.anatomy.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
        ).logits[batch["labels"] != NO_TARGET]
    said = ""
    try:
        with torch.no_grad(), _noting(kept_block, entered):
            cached = suffix(**batch)["logits"]
    except Exception as error:  # whatever a model's own code does without its lower blocks
        if memory.is_out_of_memory(error):
            raise  # says nothing of the model
        said = f"without its lower blocks the model fails ({_first_line(error)})"
    else:
        gap = float((cached - own.float()).abs().max() / own.abs().max().clamp_min(1e-6))
        if gap <= _TOLERANCE.get(model.model.dtype, _TOLERANCE_HALF):
            return ""
        said = f"it changes the logits by {gap:.1g} of their size"
    if len(entered) == 2:
        carried = [name for name, value in entered[0].items() if not _same(value, entered[1].get(name, []))]
        if carried:
            said = f"block {first + 1} also takes {', '.join(carried)} from below, not one state alone"
    return f"The cached prefix was not used: {said}."


_Inputs = dict[str, list[Tensor]]


@contextmanager
def _noting(block: nn.Module, entered: list[_Inputs]) -> Iterator[None]:
    """Note the tensors that a block is called with, beside the state, by the names of its arguments."""
    names = [p.name for p in signature(block.forward).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        beside = dict(zip(names[1:], args[1:], strict=False)) | kwargs
        beside.pop("hidden_states", None)
        # Copies of the lists, since blocks may add to what they are given.
        entered.append({name: _tensors(value) for name, value in beside.items()})

    handle = block.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested lists and dictionaries."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [item for part in value for item in _tensors(part)]
    return [value] if isinstance(value, Tensor) else []


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.allclose(a.float(), b.float(), equal_nan=True)
        for a, b in zip(one, other, strict=True)
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:120]}" if text else type(error).__name__
