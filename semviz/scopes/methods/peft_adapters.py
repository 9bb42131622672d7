"""What training methods share that put peft's adapters on the linear layers of blocks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held
from semviz.common.training_methods import MethodPrice

if TYPE_CHECKING:
    from torch import nn

PRICE = MethodPrice(gradient_flops=0.0, copies=0.0, gradients=0.0, moments=0.0)
"""The blocks' own weights need neither gradients nor a copy."""
_INJECTED = "_semviz_injected"


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

        from semviz.lm.merging import is_adapted
        from semviz.lm.quantization import is_quantised_layer
        from semviz.lm.random_numbers import own_random_numbers

        # The blocks alone, so that peft leaves adapters of the user's in frozen blocks as they are.
        own = nn.ModuleList(blocks)
        if is_adapted(own):
            raise SemvizError(
                "The blocks of this scope carry an adapter beside quantised weights, into which it cannot be merged "
                "without rounding them anew; pass the model without it, or one that was loaded in a floating-point "
                "dtype."
            )
        linear_layers = {
            n: m for n, m in own.named_modules() if isinstance(m, _linear_classes()) or is_quantised_layer(m)
        }
        if not linear_layers:
            raise SemvizError(f'The blocks have no linear layer for method={key!r}; pass method="full".')
        quantised = _describe_quantised(own, network)
        network.requires_grad_(False)
        with interrupts_held(), own_random_numbers(seed):
            try:
                inject_adapter_in_model(config(network, linear_layers), own)
            except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
                if not quantised:
                    raise
                raise SemvizError(
                    f"peft has no adapter of method={key!r} for the quantised layers of this model ({quantised}: "
                    f"{checks.first_line(error)[:200]}); load it in a floating-point dtype, or quantised otherwise."
                ) from error
        vars(network)[_INJECTED] = vars(own)["peft_config"]["default"]
        adapters = [p for block in blocks for p in block.parameters() if p.requires_grad]
        for p in adapters:
            p.data = p.data.float()
        return adapters

    return prepare


def _describe_quantised(own: nn.Module, network: nn.Module) -> str:
    """Tell peft, which reads it off the model that it is given, how blocks are quantised, and check that they train.

    Returns:
        The class of the first quantised layer; empty if there is none.

    Raises:
        SemvizError: If gradients do not pass through a quantised layer.
    """
    from semviz.lm.quantization import passes_gradients, quantised_layers

    layers = [layer for _, layer in quantised_layers(own)]
    if not layers:
        return ""
    of_library = [p for layer in layers for p in layer.parameters() if type(p).__module__.startswith("bitsandbytes.")]
    kinds = {type(p).__name__ for p in of_library}
    told: dict[str, Any] = {"is_loaded_in_4bit": "Params4bit" in kinds, "is_loaded_in_8bit": "Int8Params" in kinds}
    told |= {key: getattr(network, key, None) for key in ("config", "quantization_method", "hf_quantizer")}
    vars(own).update(told)
    for layer in {type(layer): layer for layer in layers}.values():
        if not passes_gradients(layer, getattr(network, "dtype", None)):
            raise SemvizError(
                f"No gradients pass through the quantised layers of this model ({type(layer).__name__}), so adapters "
                "below them cannot train; load it in a floating-point dtype, or quantised by bitsandbytes or torchao."
            )
    return type(layers[0]).__name__


def injected_config(network: nn.Module) -> Any:
    """Return the configuration of peft's with which `prepare` has put adapters into a network; None if it has none.

    Names in it are those of the list of blocks: `0.self_attn.q_proj`.
    """
    return vars(network).get(_INJECTED)


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
