"""A model with what a run has trained: its weights, or its adapters beside weights that are quantised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from semviz.common.errors import SemvizError
from semviz.common.training_methods import ConfiguredMethod
from semviz.lm.block_parts import modules_of_parts
from semviz.lm.copies import with_adapters, with_weights
from semviz.lm.merging import without_adapters
from semviz.scopes.methods import METHODS, find_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope


def tuned_model(
    model: LanguageModel,
    scope: Scope,
    weights: Mapping[str, Tensor],
    *,
    method: str,
    parts: Sequence[str] | None = None,
    seed: int,
    name: str,
) -> LanguageModel:
    """Copy a model with the trained tensors of a run; frozen ones are shared.

    Args:
        model: The model before finetuning.
        scope: What was trained.
        weights: By their name in the model.
        method: Key of the training method.
        parts: Which parts of the blocks trained; None for all.
        seed: Seed of the adapters.
        name: The copy's name.

    Raises:
        SemvizError: If they do not fit the model, or are adapters of a method that is not registered here.
    """
    modules = scope.modules(model)
    # Names of the base model: adapters that are merged anyway leave these.
    known = {without_adapters(key) for key, _ in model.anatomy.model.named_parameters(remove_duplicate=False)}
    if known.issuperset(weights):
        return with_weights(model, modules, weights, name=name)
    if method not in METHODS and not isinstance(method, ConfiguredMethod):
        raise SemvizError(f"The run keeps adapters of {method!r}, which is no method here; register it first.")
    prepare = find_method(method).prepare
    if find_method(method).own_weights or prepare is None:  # no adapters: the message says what does not fit
        return with_weights(model, modules, weights, name=name)

    def add(network: nn.Module, blocks: Sequence[nn.Module]) -> None:
        inside = blocks if parts is None else [owner for block in blocks for owner in modules_of_parts(block, parts)]
        prepare(network, inside, seed)

    return with_adapters(model, modules[: len(scope.blocks)], add, weights, name=name)
