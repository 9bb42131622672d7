"""A copy of a model in which some modules have weights of their own, so that the user's model is never touched."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from semviz.lm.model import LanguageModel

HALF = (torch.bfloat16, torch.float16)


def private_copy(model: LanguageModel, own: Sequence[nn.Module] = (), *, to_train: bool = False) -> PreTrainedModel:
    """Copy a model so that only some modules have weights of their own.

    All other weights stay views of the user's tensors and take no memory. To be trained, the own ones are kept in
    float32 where the model is in half precision, since small updates vanish there. Nothing in the copy requires
    gradients but what is to be trained: the user's checkpointing flags and the hooks that come with them are left out.

    Args:
        model: The user's model; nothing of it is changed.
        own: Modules of the model that get weights of their own; a tied head among them is untied.
        to_train: Whether the own weights require gradients.
    """
    source, anatomy = model.anatomy.model, model.anatomy
    untie = anatomy.tied and any(module is anatomy.head for module in own)
    owned = {id(p) for module in own if not (untie and module is anatomy.head) for p in module.parameters()}
    memo: dict[int, Any] = {id(b): b for b in source.buffers()}
    for p in source.parameters():
        memo[id(p)] = _own(p, to_train=to_train) if id(p) in owned else nn.Parameter(p.detach(), requires_grad=False)
    made = copy.deepcopy(source, memo)
    if untie:
        head: Any = made.get_output_embeddings()
        head.weight = _own(head.weight, to_train=to_train)
        made.config.tie_word_embeddings = False
    _strip(made)
    return made


def _own(p: nn.Parameter, *, to_train: bool) -> nn.Parameter:
    data = p.detach().clone()
    return nn.Parameter(data.float() if to_train and data.dtype in HALF else data, requires_grad=to_train)


def _strip(network: PreTrainedModel) -> None:
    """Leave out what the user has set for runs of their own: it would recompute the prefix, or send gradients there.

    transformers' gradient checkpointing makes the embeddings' output require gradients, by a hook on them.
    """
    network.disable_input_require_grads()
    for module in network.modules():
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = False


def with_weights(
    model: LanguageModel, own: Sequence[nn.Module], weights: Mapping[str, Tensor], *, name: str
) -> LanguageModel:
    """A copy of a model with the weights of some modules replaced; all others are shared with it.

    Raises:
        SemvizError: If a weight does not fit the model.
    """
    made = private_copy(model, own)
    there = dict(made.named_parameters(remove_duplicate=False))
    with interrupts_held(), torch.no_grad():
        for key, value in weights.items():
            if key not in there or there[key].shape != value.shape:
                has = f"of shape {tuple(there[key].shape)}" if key in there else "nowhere"
                raise SemvizError(
                    f"The run's weight {checks.short_repr(key)} has shape {tuple(value.shape)} and the model has "
                    f"it {has}; "
                    "pass the model that the run was made with."
                )
            there[key].copy_(value)
    return model.replaced(made, name=name)
