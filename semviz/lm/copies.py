"""Copies of a model in which some modules have weights of their own, so that the user's model is never changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held
from semviz.lm.block_parts import trained_in
from semviz.lm.callables import blanks
from semviz.lm.copy_proof import Probe, default_probe, prove_copy, take_extras_along
from semviz.lm.merging import merge_adapters
from semviz.lm.position_state import own_buffers
from semviz.lm.quantization import keep_as_loaded, shared_in_copies
from semviz.lm.surroundings import default_surroundings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from semviz.lm.model import LanguageModel

HALF = (torch.bfloat16, torch.float16)


def private_copy(
    model: LanguageModel,
    modules: Sequence[nn.Module] = (),
    *,
    own_weights: bool = True,
    parts: Sequence[str] | None = None,
    to_train: bool = False,
    merge_all: bool = False,
    probe: Probe | None = None,
) -> PreTrainedModel:
    """Copy a model so that only some modules have weights of their own.

    All other weights stay views of the user's tensors and take no memory. For training, own weights are kept in
    float32 where the model is in half precision, since small updates vanish there. Only what is trained requires
    gradients in the copy: the user's checkpointing flags, and the hooks that come with them, are removed.

    In these modules the user's active adapters are merged into weights of the copy's own, so names are those of the
    base model. Hooks and forwards that the user has put on modules go along as twins that run the copy's modules, but
    only those that change numbers on the probe: recorders and timers stay behind, and so do hooks on gradients, which
    belong to the user's own training.

    Args:
        model: The user's model, which is not changed.
        modules: Modules of the model that get weights of their own, or adapters; a tied head among them is untied.
        own_weights: Whether they get weights of their own.
        parts: Those of which parts do, of `semviz.lm.block_parts.PARTS`; all of them by default.
        to_train: Whether these require gradients.
        merge_all: Merge the user's adapters in all modules.
        probe: Texts on which the copy is compared with the model, if there is more to copy than weights; general text
            by default.

    Raises:
        SemvizError: If the copy cannot be made to compute what the model computes.
    """
    source, anatomy = model.anatomy.model, model.anatomy
    own = modules if own_weights else ()
    untie = anatomy.tied and any(module is anatomy.head for module in own)
    owned = {
        id(p) for module in own if not (untie and module is anatomy.head) for p in trained_in(model, module, parts)
    }
    memo: dict[int, Any] = blanks(source)
    memo |= {id(b): _usable(b) for b in source.buffers()} | own_buffers(source)
    if to_train:
        # Running statistics change in training.
        memo |= {id(b): b.detach().clone() for module in modules for b in module.buffers()}
    quantised = shared_in_copies(source)
    memo |= quantised
    for p in source.parameters():
        if id(p) in quantised:
            continue
        is_own = id(p) in owned
        memo[id(p)] = _clone(p, to_train=to_train) if is_own else nn.Parameter(_usable(p.detach()), requires_grad=False)
    network = copy.deepcopy(source, memo)
    keep_as_loaded(network)
    names = {id(module): name for name, module in source.named_modules()}
    inside = [names[id(module)] for module in modules]
    merged = merge_adapters(network, None if merge_all else inside)
    if merged and merge_all:
        # It is a plain model now, and is saved as one.
        for attribute in ("peft_config", "_hf_peft_config_loaded"):
            vars(network).pop(attribute, None)
    if untie:
        head: Any = network.get_output_embeddings()
        head.weight = _clone(head.weight, to_train=to_train)
        for config in (network.config, network.config.get_text_config()):
            config.tie_word_embeddings = False
    texts = probe or default_probe(model)
    extras = take_extras_along(source, network, memo, inside if to_train else (), texts, dtype=model.model.dtype)
    _remove_checkpointing(network)
    if extras or merged:
        prove_copy(model, network, texts, extras, merged)
    return network


@default_surroundings()
def with_adapters(
    model: LanguageModel,
    modules: Sequence[nn.Module],
    add: Callable[[nn.Module, Sequence[nn.Module]], object],
    weights: Mapping[str, Tensor],
    *,
    name: str,
) -> LanguageModel:
    """Copy a model with adapters beside the weights of some modules, which are all shared with it.

    Args:
        model: The model; it is not changed.
        modules: Its modules that get adapters.
        add: Called with the copy and its modules: puts the adapters there.
        weights: The adapters' own weights.
        name: The copy's name.

    Raises:
        SemvizError: If a weight does not fit the model.
    """
    network = private_copy(model, modules, own_weights=False)
    names = {id(module): name for name, module in model.anatomy.model.named_modules()}
    add(network, [network.get_submodule(names[id(module)]) for module in modules])
    network.requires_grad_(False)
    _fill(network, weights)
    return model.replaced(network.eval(), name=name)


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
    network = private_copy(model, own, merge_all=True)
    _fill(network, weights)
    return model.replaced(network, name=name)


def _fill(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Write weights into the parameters of these names.

    Raises:
        SemvizError: If a weight does not fit.
    """
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
