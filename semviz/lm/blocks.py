"""Find the blocks of a causal LM by structure alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from semviz.common.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def find_blocks(model: PreTrainedModel, layers: str | None = None) -> tuple[str, ...]:
    """Return the dotted names of blocks 1…L.

    They are the items of a `ModuleList` in the decoder, all of which transformers treats as layers: it can checkpoint
    their gradients, or must not split them over devices. Of several such lists, those of the length that the
    config gives are preferred, then the shallowest.

    Args:
        model: A causal LM without its wrappers.
        layers: Dotted name of the list, which is then used as it is.

    Raises:
        ModelError: If no list or more than one fits; the message names the lists that can be passed as `layers`.
    """
    lists = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)
    }
    if layers is not None:
        if layers not in lists:
            raise ModelError(
                f"layers={layers!r} is not a ModuleList of {type(model).__name__}; pass one of {_describe(lists)}, or "
                "leave it out."
            )
        return _block_names(layers, lists[layers])

    fitting = _layer_lists(model, lists)
    length = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    candidates = {name: module for name, module in fitting.items() if len(module) == length} or fitting
    depth = min((name.count(".") for name in candidates), default=0)
    candidates = {name: module for name, module in candidates.items() if name.count(".") == depth}
    if len(candidates) != 1:
        reason = "several lists of layers fit" if candidates else "none of its lists is marked as layers"
        raise ModelError(
            f"Cannot tell which modules of {type(model).__name__} are its blocks: {reason}. Pass layers= with one of "
            f"{_describe(candidates or lists)}."
        )
    (name, module), *_ = candidates.items()
    return _block_names(name, module)


def _layer_lists(model: PreTrainedModel, lists: dict[str, nn.ModuleList]) -> dict[str, nn.ModuleList]:
    """Return the lists of layers in the decoder, or in the whole model where its decoder has none."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    unsplit = set(getattr(model, "_no_split_modules", None) or ())
    fitting = {
        name: module
        for name, module in lists.items()
        if all(isinstance(item, GradientCheckpointingLayer) or type(item).__name__ in unsplit for item in module)
    }
    decoder = {id(module) for module in model.get_decoder().modules()}
    return {name: module for name, module in fitting.items() if id(module) in decoder} or fitting


def _block_names(name: str, module: nn.ModuleList) -> tuple[str, ...]:
    return tuple(f"{name}.{i}" for i in range(len(module)))


def _describe(lists: dict[str, nn.ModuleList]) -> str:
    """Describe lists for an error message by path, length and classes, without lists inside other lists."""
    outer = {n: m for n, m in lists.items() if not any(n.startswith(f"{other}.") for other in lists)}
    return "; ".join(
        f"{name} ({len(module)} × {' or '.join(sorted({type(item).__name__ for item in module}))})"
        for name, module in outer.items()
    )
