"""LoRA: low-rank adapters beside the linear layers of the blocks, of rank 8 and with α = 16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semviz.common.training_methods import Mark, TrainingMethod, register
from semviz.scopes.methods import peft_adapters

if TYPE_CHECKING:
    from torch import nn

_KEY = "lora"
_RANK = 8


def _config(_: nn.Module, linear_layers: Mapping[str, nn.Module]) -> Any:
    from peft import LoraConfig

    transposed = peft_adapters.any_transposed(linear_layers)
    return LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules=list(linear_layers), fan_in_fan_out=transposed)


register(
    TrainingMethod(
        key=_KEY,
        title="LoRA",
        own_weights=False,
        prepare=peft_adapters.make_prepare(_KEY, _config),
        merged=peft_adapters.merged,
        price=peft_adapters.PRICE,
        rate_factor=3.0,
        mark=Mark(fill="-open"),
        place=1,
    )
)
