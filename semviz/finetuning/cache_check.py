"""Checks on one batch that a cached suffix gives the model's own logits, and says why where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.common import memory
from semviz.common.interrupts import interrupts_held
from semviz.lm.copy_proof import tolerance
from semviz.lm.eval_mode import evaluating
from semviz.lm.position_state import fresh_positions
from semviz.tasks.neighbours import extremes, groups
from semviz.tasks.tokenizing import NO_TARGET

if TYPE_CHECKING:
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.prefix_cache import SplitWithStates
    from semviz.finetuning.suffix_model import Suffix

_ROWS = 4


@interrupts_held()
def why_not_cacheable(encoded_task: EncodedTask, suffix: Suffix, part: SplitWithStates) -> str:
    """Check a cached suffix on one batch: its logits must be the model's own.

    Returns:
        Why the cache cannot be used, in a sentence; empty if it can.

    Raises:
        MemoryError, RuntimeError: If the batch does not fit into memory.
    """
    model = encoded_task.model
    # Rows that could show it: the longest beside the shortest.
    batch = encoded_task.collator(part)(extremes(part.encoded.ids.lengths, _ROWS))
    batch = {key: value.to(model.device) for key, value in batch.items()}
    suffix.to(model.device).eval()
    block_inputs: list[_Inputs] = []
    boundary = part.cache.boundary if part.cache else 0
    model_block, suffix_block = model.anatomy.blocks[boundary], suffix.trained[0]
    with torch.no_grad(), _recording_inputs(model_block, block_inputs), evaluating(model.model):
        model_logits = _model_logits(encoded_task, batch)
    reason = ""
    try:
        with torch.no_grad(), _recording_inputs(suffix_block, block_inputs):
            suffix_logits = suffix(**batch)["logits"]
    except Exception as error:  # whatever a model's own code does without its lower blocks
        if memory.is_out_of_memory(error):
            raise  # says nothing about the model
        reason = f"without its lower blocks the model fails ({_first_line(error)})"
    else:
        difference = (suffix_logits - model_logits.float()).abs().max()
        relative = float(difference / model_logits.abs().max().clamp_min(1e-6))
        if relative <= tolerance(model):
            return ""
        reason = f"it changes the logits by {relative:.1g} of their size"
    if block_inputs and len(block_inputs) % 2 == 0:
        model_inputs, suffix_inputs = block_inputs[0], block_inputs[len(block_inputs) // 2]
        differing = [name for name, tensors in model_inputs.items() if not _close(tensors, suffix_inputs.get(name, []))]
        if differing:
            reason = f"block {boundary + 1} also takes {', '.join(differing)} from below, not only one state"
    return f"The cached prefix was not used: {reason}."


def _model_logits(encoded_task: EncodedTask, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the model's own logits at the targets, in their order in the batch, shape (n, V)."""
    network = encoded_task.model.anatomy.model
    ids, mask, has_target = batch["input_ids"], batch["attention_mask"], batch["labels"] != NO_TARGET
    lengths = mask.sum(1)
    logits: dict[int, Tensor] = {}
    with fresh_positions(network) as positions:
        for rows in groups(lengths, encoded_task.reading):
            length = int(lengths[rows].max())
            positions.restart()
            found = network(input_ids=ids[rows, :length], attention_mask=mask[rows, :length], use_cache=False).logits
            logits |= {
                row: one[wanted[:length]]
                for row, one, wanted in zip(rows.tolist(), found, has_target[rows], strict=True)
            }
    return torch.cat([logits[row] for row in range(len(ids))])


_Inputs = dict[str, list[Tensor]]


@contextmanager
def _recording_inputs(block: nn.Module, records: list[_Inputs]) -> Iterator[None]:
    """Record the tensors that a block is called with, except the state, by the names of its arguments."""
    names = [p.name for p in signature(block.forward).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = dict(zip(names[1:], args[1:], strict=False)) | kwargs
        arguments.pop("hidden_states", None)
        # New lists, since blocks may append to those they are passed.
        records.append({name: _tensors(value) for name, value in arguments.items()})

    handle = block.register_forward_pre_hook(record, with_kwargs=True)
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


def _close(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.allclose(a.float(), b.float(), equal_nan=True)
        for a, b in zip(one, other, strict=True)
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:120]}" if text else type(error).__name__
