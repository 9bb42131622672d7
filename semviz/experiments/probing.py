"""`probe()`: a few short finetunes, each chosen by those before it, until the boundary to train above is measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.experiments.budget import Deadline, as_seconds
from semviz.experiments.next_boundary import costliest_path, first_boundaries, next_boundary
from semviz.experiments.probe_fitting import check_boundaries, fit_probes
from semviz.experiments.probes import Probes
from semviz.experiments.sweep import sweep_scopes
from semviz.finetuning.recipe import Recipe
from semviz.gains.recommendation import check_terms
from semviz.gains.scaling_law import EPSILON
from semviz.lm.model import check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.scopes.scope import Scope
from semviz.tasks.task import check_task

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.experiments.runs import Runs
    from semviz.gains.gain import Gain
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task

OPTIONS = ("arguments", "checkpointing", "gain", "keep_weights", "modules")
_OTHER_METHODS = "methods= to sweep() for other methods, since probes train the blocks' own weights"
INSTEAD = {"seeds": "seed=", "scopes": "boundaries=", "methods": _OTHER_METHODS, "method": _OTHER_METHODS}


def probe(
    model: LanguageModel,
    task: Task,
    *,
    boundaries: Iterable[int] | None = None,
    most: int | None = None,
    epsilon: float = EPSILON,
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
    """Measure the highest boundary that keeps enough of full finetuning's benefit, with as few finetunes as it takes.

    All blocks and the last block come first, then the upper half; if that keeps enough, the middle between it and the
    last block: two to four finetunes. What may still change the answer is named in the message, and `most=` goes on
    with it. The probes are ordinary runs: a sweep with the same store reuses them, and probes that were stopped go on
    with the same ones.

    Args:
        model: A loaded model; it is not changed.
        task: Trains on `train`; benefits are measured on `validation`, so test rows decide nothing.
        boundaries: Exactly these suffixes, 0 among them, instead of those that the measured ones lead to.
        most: The most finetunes, 2 or more, instead of the usual two to four. They also look below the half, between
            the highest boundary that keeps enough and the next one that does not, until no block lies between these.
        epsilon: ε, the share of full finetuning's benefit that may be given up for more frozen blocks.
        lr: A rate for all, or `"auto"`: one for each.
        epochs: Passes over the training rows; fewer are faster, and say less about longer training.
        batch_size: Rows per step.
        seed: Seed of the probes.
        store: Folder of finished runs.
        budget: Seconds, or a text such as `"10 min"`, as in `sweep`.
        control: To watch the probes from another thread, and to cancel them.
        progress: Show progress bars.
        options: Further options of `sweep`: `arguments`, `checkpointing`, `gain`, `keep_weights`, `modules`.

    Raises:
        Cancelled: If asked to stop.
        SemvizError: If there are fewer than two boundaries or 0 is not among them, boundaries are given together with
            `most`, or as in `sweep`.
    """
    checks.known_options(options, OPTIONS, of="probes", instead=INSTEAD)
    arguments = options.pop("arguments", None)
    recipe = Recipe(
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        checkpointing=options.pop("checkpointing", False),
        modules=options.pop("modules", "all"),
        arguments={} if arguments is None else arguments,
    )
    return probe_recipe(
        model,
        task,
        recipe,
        boundaries=boundaries,
        most=most,
        epsilon=epsilon,
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
    most: int | None = None,
    epsilon: float = EPSILON,
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
    epsilon, _ = check_terms(epsilon, None)
    if boundaries is None:
        most = None if most is None else checks.whole_number("most", most, minimum=2)
        ks = first_boundaries(n_blocks)
    else:
        if most is not None:
            raise SemvizError("boundaries= already says what to train; leave out most=, or pass most= alone.")
        ks = check_boundaries(boundaries, n_blocks)
    if 0 not in ks or len(ks) < 2:
        raise SemvizError(
            f"boundaries={ks}; pass 0 (full finetuning, which benefits are relative to) and at least one more."
        )

    def following(runs: Runs) -> Scope | None:
        probes = fit_probes(runs, epsilon=epsilon)
        k = next_boundary(probes.kept, n_blocks, most=most) if probes.helps else None
        return None if k is None else Scope.above(model, k)

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
        then=following if boundaries is None else None,
        foreseen=[Scope.above(model, k) for k in costliest_path(n_blocks, most=most)] if boundaries is None else (),
    )
    return fit_probes(runs, epsilon=epsilon)
