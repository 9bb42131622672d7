"""Adapters on the linear layers of a scope's blocks, through peft: LoRA and (IA)³."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held

if TYPE_CHECKING:
    from semviz.finetuning.suffix_model import Suffix
    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope

_RANK = 8


def add_adapters(suffix: Suffix, method: str, *, seed: int) -> None:
    """Put adapters on the linear layers of the trained blocks; the blocks' own weights are frozen.

    LoRA has rank 8 and α = 16. (IA)³ scales what peft scales in models it knows, and all linear layers elsewhere.

    Args:
        suffix: A suffix without weights of its own.
        method: `"lora"` or `"ia3"`.
        seed: Seed of the adapters' first weights.

    Raises:
        SemvizError: If peft is not installed, or the blocks have no linear layer.
    """
    try:
        from peft import inject_adapter_in_model
    except ImportError as error:
        raise SemvizError(f'method={method!r} needs peft; run: pip install "semviz[peft]".') from error
    names = {id(module): name for name, module in suffix.network.named_modules()}
    linears = {
        names[id(m)]: m for block in suffix.trained for m in block.modules() if isinstance(m, nn.Linear | Conv1D)
    }
    if not linears:
        raise SemvizError(f'The blocks have no linear layer for method={method!r}; pass method="full".')
    suffix.requires_grad_(False)
    with interrupts_held(), torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(_config(suffix, method, linears), suffix.network)
    suffix.trainable_parameters = [p for block in suffix.trained for p in block.parameters() if p.requires_grad]
    for p in suffix.trainable_parameters:
        p.data = p.data.float()


def _config(suffix: Suffix, method: str, linears: dict[str, nn.Module]) -> Any:
    from peft import IA3Config, LoraConfig

    turned = any(isinstance(m, Conv1D) for m in linears.values())
    if method == "lora":
        return LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules=list(linears), fan_in_fan_out=turned)
    from peft.utils import constants

    kind = suffix.network.config.model_type
    known = constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING.get(kind)
    inner = constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(kind, ())
    chosen = [n for n in linears if _ends(n, known)] if known else list(linears)
    feedforward = [name for name in chosen if _ends(name, inner)]
    return IA3Config(target_modules=chosen, feedforward_modules=feedforward, fan_in_fan_out=turned)


def _ends(name: str, endings: Any) -> bool:
    return any(name.endswith(f".{ending}") for ending in endings)


def merged_weights(suffix: Suffix, model: LanguageModel, scope: Scope) -> dict[str, Tensor]:
    """The scope's blocks with their adapters merged in: tensors by their name in the model, on the CPU."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found: dict[str, Tensor] = {}
    for number, block in zip(scope.blocks, suffix.trained, strict=True):
        # A copy, since merging would write into weights that are the user's own.
        whole = nn.ModuleList([copy.deepcopy(block)])
        for name, layer in list(whole.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                parent, _, leaf = name.rpartition(".")
                setattr(whole.get_submodule(parent), leaf, layer.get_base_layer())
        prefix = model.parts.names.blocks[number - 1]
        found |= {f"{prefix}.{n}": p.detach().cpu() for n, p in whole[0].named_parameters()}
    return found
