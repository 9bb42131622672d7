"""Tensors of which each process of a launch keeps a share."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor of which this process has a shard; all processes must call it, in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
