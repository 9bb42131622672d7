"""Refuses a finetune that a limited session (Binder, a course's JupyterHub) would not survive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semviz.common import formats, memory
from semviz.common.errors import SemvizError
from semviz.scopes.costs import price_scopes

if TYPE_CHECKING:
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.recipe import Recipe
    from semviz.scopes.scope import Scope


def check_memory(encoded_task: EncodedTask, scope: Scope, recipe: Recipe, *, cache: bool) -> None:
    """Compare what training would add with what the session has left.

    Only where a limit is set, and on the processor: a hub kills a session that exceeds it, without warning.

    Raises:
        SemvizError: If it would not fit; the message names a boundary that would.
    """
    model, allowed = encoded_task.model, memory.limit()
    if allowed is None or model.device.type != "cpu":
        return
    accumulated = int(recipe.arguments.get("gradient_accumulation_steps", 1))
    rows = max(recipe.batch_size // accumulated, 1)
    costs, free = price_scopes(model, encoded_task.part("train", 0).encoded, batch_size=rows), memory.free()

    loaded = int(scope.parts.total * costs.weight_bytes)  # the model itself is in memory already

    def needed_bytes(candidate: Scope, *, searched: bool = recipe.lr == "auto") -> int:
        cost = costs.of(
            candidate,
            method=recipe.method,
            modules=recipe.modules,
            cached=cache,
            checkpointing=recipe.checkpointing,
        )
        mapped = max(cost.memory["cache"] - int(encoded_task.room), 0)  # from a file
        # While two rates are compared, one of them waits.
        waiting = cost.memory["weights"] - loaded + cost.memory["optimizer"] if searched else 0
        return cost.bytes - loaded - mapped + waiting

    needed = needed_bytes(scope)
    if needed <= free:
        return
    larger = [other for other in costs.scopes if other.boundary > scope.boundary]
    fitting = next((other for other in larger if needed_bytes(other) <= free), None)
    if needed_bytes(scope, searched=False) <= free:
        instead = "Pass a number as lr=, since the search for one keeps two trainings in memory"
    elif fitting is not None:
        size = formats.size(needed_bytes(fitting))
        instead = f"Pass sv.Scope.above(model, {fitting.boundary}), about {size}: {fitting.label}"
    else:
        instead = 'Pass a smaller batch_size=, checkpointing=True or method="lora"'
    raise SemvizError(
        f"Training {scope.label} would take about {formats.size(needed)} more memory, and of the "
        f"{formats.size(allowed)} that this session may use (MEM_LIMIT) {formats.size(free)} are left. {instead}; or "
        "run it on a machine with more memory."
    )
