"""What each block of a model costs per token, measured in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from semviz.common import interrupts
from semviz.lm.copies import private_copy
from semviz.lm.eval_mode import evaluating
from semviz.lm.quantization import features_of, is_quantised, quantised_layers
from semviz.lm.raw_storage import storages
from semviz.lm.surroundings import default_surroundings
from semviz.lm.truncation import with_network
from semviz.tasks.streaming import longest_first, pad_batch, pad_id

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.tokenizing import Encoded

_ROWS = 4


def _missing_counts() -> dict[Any, Callable[..., int]]:
    """FLOP counts that torch lacks: of fused attention on the CPU, and of grouped experts."""

    def attention(query: _Shape, key: _Shape, value: _Shape, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    def grouped(rows: _Shape, _weights: _Shape, *_: Any, out_shape: _Shape, **__: Any) -> int:
        return 2 * math.prod(out_shape) * rows[-1]

    counts: dict[str, Callable[..., int]] = {
        "_scaled_dot_product_flash_attention_for_cpu": attention,
        "_grouped_mm": grouped,
    }
    return {getattr(torch.ops.aten, name): count for name, count in counts.items() if hasattr(torch.ops.aten, name)}


_Shape = torch.Size


def _count_by_shape(layer: nn.Module, weights: set[int]) -> None:
    """Let a quantised layer of a copy cost what a plain one of its shape does, since torch knows no library's kernels.

    Args:
        layer: The layer.
        weights: Addresses of what is a weight and no activation; that of the zeros that stand in for its own is added.
    """
    features = features_of(layer)
    assert features is not None
    zeros: dict[torch.dtype, Tensor] = {}

    def forward(states: Tensor) -> Tensor:
        if states.dtype not in zeros:
            zeros[states.dtype] = states.new_zeros(1).requires_grad_()
            weights.update(storages(zeros[states.dtype]))
        return nn.functional.linear(states, zeros[states.dtype].expand(features[::-1]))

    vars(layer)["forward"] = forward


@default_surroundings()
@interrupts.interrupts_held()  # torch counts with hooks on all modules in the process
def count_flops(model: LanguageModel, encoded: Encoded) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count each block's forward FLOPs, and the bytes that autograd saves for the backward pass, per token.

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
        p.requires_grad_(not is_quantised(p))
    anatomy = with_network(model, network).anatomy
    weights = {address for p in network.parameters() for address in storages(p)}
    for _, layer in quantised_layers(network):
        _count_by_shape(layer, weights)
    counter = FlopCounterMode(display=False, custom_mapping=_missing_counts())
    flops: list[int] = []
    saved_bytes: list[int] = []
    seen: set[int] = set()
    total_bytes = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total_bytes
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights | seen:
            seen.add(storage.data_ptr())
            total_bytes += storage.nbytes()
        # Detached: its history would close a reference cycle that torch never frees.
        return tensor.detach()

    def record(_space: int, _states: Tensor) -> None:
        flops.append(counter.get_total_flops())
        saved_bytes.append(total_bytes)

    def unpack(tensor: Any) -> Any:
        return tensor

    with (
        evaluating(network),
        anatomy.tap(record),
        torch.enable_grad(),
        counter,
        torch.autograd.graph.saved_tensors_hooks(pack, unpack),
    ):
        # Held until all blocks have run: freed storages would be reused, and counted only once.
        out = anatomy.body(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    del out
    tokens = batch.ids.numel()
    return np.diff(flops) / tokens, np.diff(saved_bytes) / tokens
