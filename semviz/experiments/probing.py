"""`probe()`: a few short finetunes → the suffix law → a predicted benefit for every boundary."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semviz.common.errors import SemvizError
from semviz.experiments.budget import Deadline, as_seconds
from semviz.experiments.probes import Probes, check_boundaries, fit_probes, probe_boundaries
from semviz.experiments.sweep import sweep_scopes
from semviz.finetuning.recipe import Recipe
from semviz.lm.model import check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.scopes.scope import Scope
from semviz.tasks.task import check_task

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.gains.gain import Gain
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task


def probe(
    model: LanguageModel,
    task: Task,
    *,
    boundaries: Iterable[int] | None = None,
    lr: float | Literal["auto"] = "auto",
    epochs: float = 3,
    batch_size: int = 32,
    seed: int = 0,
    store: str | Path | None = None,
    budget: float | str | None = None,
    control: Control | None = None,
    progress: bool = True,
    **options: Any,
) -> Probes:
    """Finetune the last block, the upper half and all blocks from cached states, and predict every other boundary.

    The probes are ordinary runs: a sweep with the same store reuses them.

    Args:
        model: A loaded model; it is not changed.
        task: Trains on `train`; benefits are measured on `validation`, so test rows decide nothing.
        boundaries: Which suffixes to train, 0 among them; 0, L/2 and L−1 by default.
        lr: A rate for all, or `"auto"`: one for each.
        epochs: Passes over the training rows; fewer are faster, and say less about longer training.
        batch_size: Rows per step.
        seed: Seed of the probes.
        store: Folder of finished runs.
        budget: Seconds, or a text such as `"10 min"`, as in `sweep`.
        control: To watch the probes from another thread, and to cancel them.
        progress: Show progress bars.
        options: Further options of `sweep`.

    Raises:
        Cancelled: If asked to stop.
        SemvizError: If there are fewer than two boundaries or 0 is not among them, or as in `sweep`.
    """
    for name, instead in (("seeds", "seed="), ("scopes", "boundaries="), ("methods", "sweep() for other methods")):
        if name in options:
            raise SemvizError(f"{name}= is not for probes; pass {instead}.")
    arguments = options.pop("arguments", None)
    recipe = Recipe(
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        checkpointing=options.pop("checkpointing", False),
        arguments={} if arguments is None else arguments,
    )
    return probe_recipe(
        model,
        task,
        recipe,
        boundaries=boundaries,
        store=store,
        clock=None if budget is None else Deadline.start(as_seconds(budget)),
        control=control,
        progress=progress,
        **options,
    )


@on_fitting_threads
@default_surroundings()
def probe_recipe(
    model: LanguageModel,
    task: Task,
    recipe: Recipe,
    *,
    boundaries: Iterable[int] | None = None,
    keep_weights: bool = False,
    gain: Gain | None = None,
    store: str | Path | None = None,
    clock: Deadline | None = None,
    control: Control | None = None,
    progress: bool = True,
) -> Probes:
    """Do what `probe` does, with a checked recipe."""
    check_task(task)
    if check_model(model).n_blocks < 2:
        raise SemvizError("The model has one block, so there is no boundary to choose; pass a deeper model.")
    n_blocks = model.n_blocks
    ks = probe_boundaries(n_blocks) if boundaries is None else check_boundaries(boundaries, n_blocks)
    if 0 not in ks or len(ks) < 2:
        raise SemvizError(
            f"boundaries={ks}; pass 0 (full finetuning, which benefits are relative to) and at least one more."
        )
    runs = sweep_scopes(
        model,
        task,
        [Scope.above(model, k) for k in ks],
        recipe,
        keep_weights=keep_weights,
        gain=gain,
        store=store,
        clock=clock,
        control=control,
        progress=progress,
    )
    return fit_probes(runs)
