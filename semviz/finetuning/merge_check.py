"""The check that adapters merged into a model's weights compute what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semviz.finetuning.suffix_model import Suffix
from semviz.finetuning.tuned_model import tuned_model
from semviz.finetuning.untrained_suffix import untrained_suffix
from semviz.lm.copy_proof import tolerance
from semviz.scopes.scope import Scope
from semviz.tasks.neighbours import extremes

if TYPE_CHECKING:
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.prefix_cache import SplitWithStates
    from semviz.finetuning.recipe import Recipe

_ROWS = 4


@torch.no_grad()
def merging_error(
    encoded_task: EncodedTask,
    suffix: Suffix,
    part: SplitWithStates,
    scope: Scope,
    weights: Mapping[str, Tensor],
    *,
    recipe: Recipe,
) -> str:
    """Compare the logits of what was trained with those of the model with its merged weights, on a few rows.

    They differ where something acts on a layer's output or on its weight beside the adapter: a hook, a patched forward,
    a parametrization.

    Args:
        encoded_task: The task.
        suffix: What was trained.
        part: The rows, as the suffix reads them.
        scope: What was trained in the model.
        weights: The merged weights; beside quantised ones, the adapters'.
        recipe: How it was trained.

    Returns:
        Why they are not what was trained, in a sentence; empty if they are.
    """
    model = encoded_task.model
    tuned = tuned_model(
        model, scope, weights, method=recipe.method, parts=recipe.parts, seed=recipe.seed, name=model.name
    )
    plain = untrained_suffix(tuned, encoded_task)
    rows = extremes(part.encoded.ids.lengths, _ROWS)
    logits = []
    for one in (suffix, plain):
        one.to(model.device).eval()
        batch = encoded_task.collator(part)(rows)
        if one is plain:
            batch.pop("states", None)
        logits.append(one(**{key: value.to(model.device) for key, value in batch.items()})["logits"])
    trained, merged = logits
    moved = float((merged - trained).abs().max() / trained.abs().max().clamp_min(1e-6))
    if moved <= tolerance(model):
        return ""
    put = "beside the quantised weights" if suffix.stays_unmerged else "merged into the model"
    return (
        f"Its weights were not kept: {put} they change its logits by {moved:.1g} of their size, since "
        "a hook, patched forward or parametrization acts on the layers too."
    )
