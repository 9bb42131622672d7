"""A model with what a run has trained: its weights, or its adapters beside weights that are quantised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from semviz.common.errors import SemvizError
from semviz.common.provenance import Source
from semviz.common.training_methods import ConfiguredMethod
from semviz.finetuning.run_like import RunLike, require_weights
from semviz.lm.block_parts import modules_of_parts
from semviz.lm.copies import HALF, with_adapters, with_weights
from semviz.lm.merging import without_adapters
from semviz.lm.quantization import is_rounded
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


def finetuned(run: RunLike, model: LanguageModel) -> LanguageModel:
    """Do what `load_run` says, with a checked model.

    Raises:
        SemvizError: As there.
    """
    require_weights(run)
    name = f"{model.name}, {run.scope.label} trained on {run.task}"
    tuned = tuned_model(
        model, run.scope, run.weights, method=run.method, parts=run.parts or None, seed=run.seed, name=name
    )
    rounded = model.model.dtype in HALF or is_rounded(model.model)
    if not rounded and run.environment.get("dtype") == str(model.model.dtype).removeprefix("torch."):
        made = replace(run.source, task="", task_hash="")
        made.check("run", Source(model.name, model.hash), "pass the model that the run was made with")
    return tuned
