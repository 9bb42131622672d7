"""Make some modules of the model itself trainable for a while, and restore everything afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from semviz.common.errors import ScopeError
from semviz.common.interrupts import interrupts_held
from semviz.lm.eval_mode import evaluating
from semviz.lm.quantization import first_quantised, is_quantised

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel


@contextmanager
def temporarily_trainable(model: LanguageModel, modules: Sequence[nn.Module]) -> Iterator[nn.Module]:
    """Train only these modules inside the `with` block; see `Scope.apply`. Keeps a copy of all weights."""
    network: nn.Module = model.model
    if any(p.is_meta for p in network.parameters()):
        raise ScopeError("The model is offloaded, so its blocks cannot be trained; load it whole, without device_map.")
    if any(p.is_inference() for p in network.parameters()):
        raise ScopeError(
            "The model was made in torch.inference_mode(), so its weights can never have gradients; make it outside."
        )
    check_floats(modules)
    # Gradients too: the user's own training may be between backward and step.
    flags = [(p, p.requires_grad, p.grad) for p in network.parameters()]
    saved = [
        (tensor, tensor.detach().clone())
        for tensor in (*network.parameters(), *network.buffers())
        if not (isinstance(tensor, nn.Parameter) and is_quantised(tensor))
    ]
    with evaluating(network), _untied(model, modules):
        try:
            network.requires_grad_(False)
            for module in modules:
                module.requires_grad_(True)
                module.train()
            yield network
        finally:
            with interrupts_held(), torch.no_grad():
                for tensor, value in saved:
                    tensor.copy_(value)
                for p, flag, gradient in flags:
                    p.requires_grad_(flag)
                    p.grad = gradient


def check_floats(modules: Iterable[nn.Module]) -> None:
    """Refuse to train weights that cannot have gradients.

    Raises:
        ScopeError: If some are quantised.
    """
    quantized = first_quantised(modules)
    if quantized:
        raise ScopeError(
            f"The scope has quantized weights ({quantized}), which cannot be trained; load the model in a "
            'floating-point dtype, or pass method="lora" to train adapters beside them.'
        )


@contextmanager
def _untied(model: LanguageModel, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Give a tied head weights of its own while it is trained, and tie it again."""
    head, tied = model.anatomy.head, model.anatomy.head.weight
    if not (model.anatomy.tied and any(module is head for module in modules)):
        yield
        return
    head.weight = nn.Parameter(tied.detach().clone())  # type: ignore[operator]
    try:
        yield
    finally:
        head.weight = tied
