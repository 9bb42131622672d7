"""Tensors of which each process of a launch keeps a share."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor


def is_shard(tensor: Tensor) -> bool:
    """Whether this process has a share of a tensor only."""
    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor of which this process has a share; all processes must call it, in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
