"""What training methods share that put peft's adapters on the linear layers of blocks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held
from semviz.common.training_methods import MethodPrice

if TYPE_CHECKING:
    from torch import nn

PRICE = MethodPrice(gradient_flops=0.0, copies=0.0, gradients=0.0, moments=0.0)
"""The blocks' own weights need neither gradients nor a copy."""


def make_prepare(
    key: str, config: Callable[[nn.Module, Mapping[str, nn.Module]], Any]
) -> Callable[[nn.Module, Sequence[nn.Module], int], Iterable[nn.Parameter]]:
    """Make a method's `prepare`, which puts adapters on the linear layers of blocks and freezes all other weights.

    Args:
        key: The method's key, for messages.
        config: Called with the network and the linear layers by their name in the list of blocks: returns peft's
            configuration.
    """

    def prepare(network: nn.Module, blocks: Sequence[nn.Module], seed: int) -> list[nn.Parameter]:
        try:
            from peft import inject_adapter_in_model
        except ImportError as error:
            raise SemvizError(f'method={key!r} needs peft; run: pip install "semviz[peft]".') from error
        from torch import nn

        from semviz.lm.random_numbers import own_random_numbers

        # The blocks alone, so that peft leaves adapters of the user's in frozen blocks as they are.
        own = nn.ModuleList(blocks)
        linear_layers = {name: m for name, m in own.named_modules() if isinstance(m, _linear_classes())}
        if not linear_layers:
            raise SemvizError(f'The blocks have no linear layer for method={key!r}; pass method="full".')
        network.requires_grad_(False)
        with interrupts_held(), own_random_numbers(seed):
            inject_adapter_in_model(config(network, linear_layers), own)
        adapters = [p for block in blocks for p in block.parameters() if p.requires_grad]
        for p in adapters:
            p.data = p.data.float()
        return adapters

    return prepare


def any_transposed(linear_layers: Mapping[str, nn.Module]) -> bool:
    """Whether one of these layers stores its weight as (in, out), as GPT-2's do."""
    _, conv1d = _linear_classes()
    return any(isinstance(module, conv1d) for module in linear_layers.values())


def merged(block: nn.Module) -> nn.Module:
    """Copy a block with its adapters merged into its weights, which keep their names."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from torch import nn

    # A copy, since merging would write into the user's own weights.
    copied = nn.ModuleList([copy.deepcopy(block)])
    for name, layer in list(copied.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(copied.get_submodule(parent), leaf, layer.get_base_layer())
    return copied[0]


def _linear_classes() -> tuple[type[nn.Module], type[nn.Module]]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return nn.Linear, Conv1D
