"""Adapters of peft merged into plain weights of a copy, so that its modules have the names of the base model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from semviz.common import checks
from semviz.common.errors import ModelError
from semviz.lm.quantization import is_quantised_layer


def merge_adapters(network: nn.Module, within: Collection[str] | None = None) -> list[str]:
    """Replace peft's layers in a copy by plain ones that compute the same, in place.

    Active adapters are merged, inactive and disabled ones fall away. A merged layer gets weights of its own, and keeps
    its flags; sums are formed in float32. Adapters that are no layers of their own, such as those that patch attention,
    are left as they are. So are those on quantised weights, which a merge would round anew: they go on beside them.

    Args:
        network: The copy.
        within: Names of the modules in which to do so; everywhere without it.

    Returns:
        Names of the replaced modules.

    Raises:
        ModelError: If an adapter cannot be merged.
    """
    replaced: list[str] = []
    if not is_adapted(network):
        return replaced
    for parent, leaf, name in _outermost(network):
        if within is not None and not any(f"{name}.".startswith(f"{outer}.") for outer in within):
            continue
        layer: Any = parent._modules[leaf]
        if is_quantised_layer(_base(layer)):
            continue
        try:
            with torch.no_grad():
                plain = _plain(layer)
        except Exception as error:  # peft's classes raise what they like where they cannot merge
            raise ModelError(
                f"The adapter on {name} ({type(layer).__name__}) cannot be merged ({checks.first_line(error)}); pass "
                "the model that merge_and_unload() returns, or the model without its adapter."
            ) from error
        # By the registry, since a list of modules has no attribute of that name.
        parent._modules[leaf] = plain
        replaced.append(name)
    return replaced


def is_adapted(module: nn.Module) -> bool:
    """Whether peft's layers are inside a module."""
    # Without peft in the process there are none, and importing it takes a second.
    return "peft" in sys.modules and any(_is_layer(m) for m in module.modules())


def without_adapters(name: str) -> str:
    """Return the name that a module, or a weight, of an adapted model has in the base model."""
    return name.replace(".base_layer", "").replace(".original_module", "")


def adapter_parameters(module: nn.Module) -> set[int]:
    """Python ids of the parameters that fall away when the adapters inside a module are merged."""
    return _falling_away(module, nn.Module.parameters)


def adapter_modules(module: nn.Module) -> set[int]:
    """Python ids of the modules that fall away when the adapters inside a module are merged."""
    return _falling_away(module, nn.Module.modules)


def _falling_away(module: nn.Module, parts: Callable[[nn.Module], Iterable[Any]]) -> set[int]:
    """Python ids of the parts of adapted layers that are no parts of what they leave behind."""
    if not is_adapted(module):
        return set()
    every: set[int] = set()
    kept: set[int] = set()
    for parent, leaf, _ in _outermost(module):
        layer: Any = getattr(parent, leaf)
        every |= set(map(id, parts(layer)))
        kept |= set(map(id, parts(_base(layer))))
    return every - kept


def _is_layer(module: nn.Module) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)


def _outermost(module: nn.Module, prefix: str = "") -> Iterator[tuple[nn.Module, str, str]]:
    """Yield (parent, attribute, name) of peft's layers that are inside no other."""
    for leaf, child in list(module.named_children()):
        name = f"{prefix}{leaf}"
        if _is_layer(child):
            yield module, leaf, name
        else:
            yield from _outermost(child, f"{name}.")


def _base(layer: Any) -> nn.Module:
    """Return the module that a layer of peft would leave behind."""
    from peft.utils.other import ModulesToSaveWrapper

    while _is_layer(layer):
        if isinstance(layer, ModulesToSaveWrapper):
            layer = layer.original_module if _disabled(layer) else layer.modules_to_save[layer.active_adapter]
        elif hasattr(layer, "token_adapter"):
            layer = layer.token_adapter
        else:
            layer = layer.base_layer
    return layer


def _disabled(layer: Any) -> bool:
    return bool(layer.disable_adapters) or not layer.active_adapters


def _plain(layer: Any) -> nn.Module:
    """Merge one layer of peft, and those inside it, and return what is left."""
    base = _base(layer)
    before = {name: (p.dtype, p.requires_grad) for name, p in base.named_parameters()}
    _own(layer, base)
    while _is_layer(layer):
        if hasattr(layer, "modules_to_save"):
            layer = layer.original_module if _disabled(layer) else layer.modules_to_save[layer.active_adapter]
        elif hasattr(layer, "token_adapter"):
            # A wrapper that is switched off leaves its adapter switched on.
            _settle(layer.token_adapter, disabled=_disabled(layer))
            layer = layer.token_adapter.base_layer
        else:
            _settle(layer, disabled=_disabled(layer))
            layer = layer.base_layer
    # Some put another module in place of the base: the adapter itself.
    plain: nn.Module = layer
    for name, p in plain.named_parameters():
        dtype, trains = before[name]
        p.data = p.data.to(dtype)
        p.requires_grad_(trains)
    return plain


def _own(layer: nn.Module, base: nn.Module) -> None:
    """Give a layer and its base weights of their own, in float32 where they are in half precision."""
    flags = {id(p): p.requires_grad for p in base.parameters()}
    for module in layer.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            if p.is_floating_point():
                value = p.detach().clone()
                value = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
                setattr(module, name, nn.Parameter(value, requires_grad=flags.get(id(p), False)))


def _settle(layer: Any, *, disabled: bool) -> None:
    """Bring a layer's base weights to what the layer computes now."""
    if layer.merged and disabled:
        layer.unmerge()
    elif not layer.merged and not disabled:
        layer.merge()
