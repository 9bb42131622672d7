"""(IA)³: learned factors on the layers that peft scales in models it knows, and on all linear layers elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from semviz.common.training_methods import Mark, TrainingMethod, register
from semviz.scopes.methods import peft_adapters

if TYPE_CHECKING:
    from torch import nn

_KEY = "ia3"


def targets_of(network: nn.Module, linear_layers: Mapping[str, nn.Module]) -> tuple[list[str], list[str]]:
    """Return the names of the layers that are scaled, and those of them that belong to the MLP."""
    from peft.utils import constants

    config: Any = network.config
    targets = constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING.get(config.model_type)
    feedforward_targets = constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(config.model_type, ())
    # With modules="attention" and the like, none of those may be there.
    chosen = [name for name in linear_layers if _ends_with(name, targets)] if targets else []
    chosen = chosen or list(linear_layers)
    return chosen, [name for name in chosen if _ends_with(name, feedforward_targets)]


def _config(network: nn.Module, linear_layers: Mapping[str, nn.Module]) -> Any:
    from peft import IA3Config

    chosen, feedforward = targets_of(network, linear_layers)
    transposed = peft_adapters.any_transposed(linear_layers)
    return IA3Config(target_modules=chosen, feedforward_modules=feedforward, fan_in_fan_out=transposed)


def _ends_with(name: str, endings: Iterable[str]) -> bool:
    return any(name.endswith(f".{ending}") for ending in endings)


register(
    TrainingMethod(
        key=_KEY,
        title="IA3",
        own_weights=False,
        prepare=peft_adapters.make_prepare(_KEY, _config),
        merged=peft_adapters.merged,
        price=peft_adapters.PRICE,
        rate_factor=10.0,
        mark=Mark(fill="-open-dot"),
        place=2,
    )
)
