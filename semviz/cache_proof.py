"""The proof that a cached suffix is the model: its logits on one batch, and where they differ, why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.encoding import NO_TARGET
from semviz.modes import evaluating

if TYPE_CHECKING:
    from semviz.prefix import Part
    from semviz.suffix import Suffix
    from semviz.workbench import Workbench

_ROWS = 4
_TOLERANCE = {torch.float32: 1e-4}
_TOLERANCE_HALF = 5e-2


def refusal(bench: Workbench, suffix: Suffix, part: Part) -> str:
    """Prove a cached suffix on one batch: its logits must be the model's own.

    Returns:
        Why the cache cannot be used, in a sentence; empty if it can.
    """
    model = bench.model
    batch = bench.collator(part)(list(range(min(_ROWS, len(part)))))
    batch = {key: value.to(model.device) for key, value in batch.items()}
    suffix.to(model.device).eval()
    entered: list[dict[str, Tensor]] = []
    first = part.cache.boundary if part.cache else 0
    own_block, kept_block = model.anatomy.blocks[first], suffix.trained[0]
    try:
        with torch.no_grad(), _inputs(own_block, entered), evaluating(model.model):
            own = model.anatomy.model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
            ).logits[batch["labels"] != NO_TARGET]
        with torch.no_grad(), _inputs(kept_block, entered):
            cached = suffix(**batch)["logits"]
    except Exception as error:  # whatever a model's own code does without its lower blocks
        return f"The prefix was not cached: without its lower blocks the model fails ({_said(error)})."
    gap = float((cached - own.float()).abs().max() / own.abs().max().clamp_min(1e-6))
    if gap <= _TOLERANCE.get(model.model.dtype, _TOLERANCE_HALF):
        return ""
    said = f"The cached prefix changes the logits by {gap:.1g} of their size, so it was not used"
    carried = [name for name, value in entered[0].items() if not _same(value, entered[1].get(name))]
    if carried:
        return f"{said}: block {first + 1} also takes {', '.join(carried)} from below, not one state alone."
    return f"{said}."


@contextmanager
def _inputs(block: nn.Module, entered: list[dict[str, Tensor]]) -> Iterator[None]:
    """Note the tensors that a block is called with, beside the state."""

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        beside = {f"argument {i}": value for i, value in enumerate(args[1:], start=2)}
        beside |= {name: value for name, value in kwargs.items() if name != "hidden_states"}
        flat = {name: item for name, value in beside.items() for item in _tensors(value)[:1]}
        entered.append(flat)

    handle = block.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, tuple | list):
        return [item for part in value for item in _tensors(part)]
    return [value] if isinstance(value, Tensor) else []


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.allclose(one.float(), other.float(), equal_nan=True)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120] if str(error).strip() else ''}"
