"""What each block of a model costs for one token, read off one forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from semviz.common import interrupts
from semviz.lm.copies import private_copy
from semviz.lm.eval_mode import evaluating
from semviz.lm.truncation import with_network
from semviz.tasks.streaming import longest_first, pad_batch, pad_id

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.tokenizing import Encoded

_ROWS = 4


def _uncounted() -> dict[Any, Callable[..., int]]:
    """Products that torch has no count for: fused attention on the CPU, and experts side by side."""

    def attention(query: _Shape, key: _Shape, value: _Shape, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    def grouped(rows: _Shape, _weights: _Shape, *_: Any, out_shape: _Shape, **__: Any) -> int:
        return 2 * math.prod(out_shape) * rows[-1]

    wanted: dict[str, Callable[..., int]] = {
        "_scaled_dot_product_flash_attention_for_cpu": attention,
        "_grouped_mm": grouped,
    }
    return {getattr(torch.ops.aten, name): count for name, count in wanted.items() if hasattr(torch.ops.aten, name)}


_Shape = torch.Size


@interrupts.interrupts_held()  # torch counts with hooks on all modules there are
def count_flops(model: LanguageModel, encoded: Encoded) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Forward FLOPs, and bytes that autograd keeps for the backward pass, of each block for one token.

    Measured on four samples of about median length: attention costs more in longer ones.

    Returns:
        Two arrays of shape (L,). FLOPs are those of matrix products and attention, as torch counts them.
    """
    order = longest_first(encoded)
    middle = max(0, len(order) // 2 - _ROWS // 2)
    batch = pad_batch(encoded, order[middle : middle + _ROWS], pad=pad_id(model), device=model.device)
    # A copy that shares all weights, so that the user's own keep their flags.
    network = private_copy(model)
    for p in network.parameters():
        p.requires_grad_(p.is_floating_point())  # quantized weights have none
    anatomy = with_network(model, network).anatomy
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    counter = FlopCounterMode(display=False, custom_mapping=_uncounted())
    flops: list[int] = []
    kept: list[int] = []
    seen: set[int] = set()
    held = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal held
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights | seen:
            seen.add(storage.data_ptr())
            held += storage.nbytes()
        # Without its history, which would lead in a circle that torch never frees.
        return tensor.detach()

    def note(_space: int, _states: Tensor) -> None:
        flops.append(counter.get_total_flops())
        kept.append(held)

    def unpack(tensor: Any) -> Any:
        return tensor

    with (
        evaluating(network),
        anatomy.tap(note),
        torch.enable_grad(),
        counter,
        torch.autograd.graph.saved_tensors_hooks(pack, unpack),
    ):
        # Held until all blocks are through: freed storages would be used again and counted once.
        out = anatomy.body(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    del out
    tokens = batch.ids.numel()
    return np.diff(flops) / tokens, np.diff(kept) / tokens
