"""Devices and weights of modules, also where accelerate has offloaded them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semviz.common.errors import ModelError


def execution_device(module: nn.Module) -> torch.device:
    """Return the device on which a module computes: where accelerate moves its weights, or where they are."""
    hook = module.__dict__.get("_hf_hook")
    if hook is not None:
        for part in getattr(hook, "hooks", (hook,)):
            device = getattr(part, "execution_device", None)
            if device is not None:
                return torch.device(device)
    return next(module.parameters()).device


def check_values(module: nn.Module) -> None:
    """Check that a module's weights have values somewhere.

    Raises:
        ModelError: If they are on the meta device and accelerate holds no values for them.
    """
    from accelerate.utils import has_offloaded_params

    if any(p.is_meta for p in module.parameters(recurse=False)) and not has_offloaded_params(module):
        raise ModelError(
            f"The weights of a {type(module).__name__} are on the meta device without values; load the model with "
            "from_pretrained(), or let accelerate offload it."
        )


def weight_rows(module: nn.Module, rows: Tensor | slice | None = None) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a projection, or some of their rows, on the device on which it computes.

    Args:
        module: A module with `weight` of shape (V, d) and perhaps `bias` of shape (V,).
        rows: Ids of shape (C,) or a slice; all V by default.

    Returns:
        Weight of shape (V, d) or (C, d), and bias of shape (V,) or (C,) or None. Weights that accelerate has offloaded
        are copied, ordinary ones are not.
    """
    weight: Tensor = module.weight  # type: ignore[assignment]
    if not weight.is_meta:
        return _rows(module, rows)

    from accelerate.utils import align_module_device

    device = execution_device(module)
    # To the CPU first, whatever the device: a few rows are then picked without moving the whole matrix.
    with align_module_device(module, torch.device("cpu")):
        weight, bias = _rows(module, rows.cpu() if isinstance(rows, Tensor) else rows)
    return weight.to(device), None if bias is None else bias.to(device)


def _rows(module: nn.Module, rows: Tensor | slice | None) -> tuple[Tensor, Tensor | None]:
    """Return rows of weights that have values."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    bias: Tensor | None = getattr(module, "bias", None)
    if rows is None:
        return weight, bias
    return weight[rows], None if bias is None else bias[rows]
