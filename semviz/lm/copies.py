"""Copies of a model in which some modules have weights of their own, so that the user's model is never changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held
from semviz.lm.surroundings import default_surroundings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from semviz.lm.model import LanguageModel

HALF = (torch.bfloat16, torch.float16)


def private_copy(model: LanguageModel, own: Sequence[nn.Module] = (), *, to_train: bool = False) -> PreTrainedModel:
    """Copy a model so that only some modules have weights of their own.

    All other weights stay views of the user's tensors and take no memory. For training, own weights are kept in
    float32 where the model is in half precision, since small updates vanish there. Only what is trained requires
    gradients in the copy: the user's checkpointing flags, and the hooks that come with them, are removed.

    Args:
        model: The user's model, which is not changed.
        own: Modules of the model that get weights of their own; a tied head among them is untied.
        to_train: Whether the own weights require gradients.
    """
    source, anatomy = model.anatomy.model, model.anatomy
    untie = anatomy.tied and any(module is anatomy.head for module in own)
    owned = {id(p) for module in own if not (untie and module is anatomy.head) for p in module.parameters()}
    memo: dict[int, Any] = {id(b): _usable(b) for b in source.buffers()}
    for p in source.parameters():
        is_own = id(p) in owned
        memo[id(p)] = _clone(p, to_train=to_train) if is_own else nn.Parameter(_usable(p.detach()), requires_grad=False)
    network = copy.deepcopy(source, memo)
    if untie:
        head: Any = network.get_output_embeddings()
        head.weight = _clone(head.weight, to_train=to_train)
        network.config.tie_word_embeddings = False
    _remove_checkpointing(network)
    return network


def _usable(data: Tensor) -> Tensor:
    """Copy a tensor that was made in `torch.inference_mode()`: autograd refuses to save it for a backward pass."""
    return data.clone() if data.is_inference() else data


def _clone(p: nn.Parameter, *, to_train: bool) -> nn.Parameter:
    data = p.detach().clone()
    return nn.Parameter(data.float() if to_train and data.dtype in HALF else data, requires_grad=to_train)


def _remove_checkpointing(network: PreTrainedModel) -> None:
    """Switch off gradient checkpointing that the user has set: it would recompute the prefix, or send gradients there.

    transformers' gradient checkpointing makes the embeddings' output require gradients, by a hook on them.
    """
    network.disable_input_require_grads()
    for module in network.modules():
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = False


@default_surroundings()
def with_weights(
    model: LanguageModel, own: Sequence[nn.Module], weights: Mapping[str, Tensor], *, name: str
) -> LanguageModel:
    """Copy a model with the weights of some modules replaced; all others are shared with it.

    Raises:
        SemvizError: If a weight does not fit the model.
    """
    network = private_copy(model, own)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    with interrupts_held(), torch.no_grad():
        for key, value in weights.items():
            if key not in parameters or parameters[key].shape != value.shape:
                in_model = f"has {tuple(parameters[key].shape)}" if key in parameters else "has no such weight"
                raise SemvizError(
                    f"The run's weight {checks.short_repr(key)} has shape {tuple(value.shape)}, but the model "
                    f"{in_model}; pass the model that the run was made with."
                )
            parameters[key].copy_(value)
    return model.replaced(network, name=name)
