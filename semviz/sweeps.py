"""`sweep()`: scopes × methods × seeds → `Runs`, each scope at its own learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from semviz.errors import SemvizError
from semviz.finetuning import finetune, run_key, zero_shot
from semviz.prefix import Workbench
from semviz.progress import progress_bar
from semviz.run import Run
from semviz.runs import Runs
from semviz.scopes import Scope
from semviz.store import Store

if TYPE_CHECKING:
    from semviz.gains import Gain
    from semviz.models import LanguageModel
    from semviz.tasks import Task


def sweep(
    model: LanguageModel,
    task: Task,
    scopes: Iterable[Scope] | None = None,
    *,
    methods: Sequence[str] = ("full",),
    seeds: Sequence[int] = (0,),
    lr: float | Literal["auto"] = "auto",
    epochs: float = 3,
    batch_size: int = 32,
    gain: Gain | None = None,
    store: str | Path | None = None,
    progress: bool = True,
) -> Runs:
    """Finetune several scopes under equal conditions: same rows, steps and data order, each at its own rate.

    With `lr="auto"` a scope's rate is chosen once, with the first seed, and kept for its other seeds.

    Args:
        model: A loaded model; nothing of it is changed.
        task: Trains on `train`, chooses rates on `validation`, scores on `test`.
        scopes: Scopes to compare; every boundary 0…L−1 by default.
        methods: `"full"`, `"lora"`.
        seeds: One run a seed.
        lr: A rate for all, or `"auto"`.
        epochs: Passes over the training rows.
        batch_size: Rows a step.
        gain: Its predicted benefit is shown beside the measured one, and its boundary is named `recommended`.
        store: Folder in which every finished run is kept at once, so that a sweep that was stopped goes on.
        progress: Show progress bars.

    Returns:
        `Runs`.

    Raises:
        SemvizError: If a list is empty, or as in `finetune`.
    """
    boundaries = (Scope.above(model, k) for k in range(model.n_blocks))
    chosen = list(dict.fromkeys(boundaries if scopes is None else scopes))
    for name, given in (("scopes", chosen), ("methods", methods), ("seeds", seeds)):
        if not given:
            raise SemvizError(f"{name} is empty; pass at least one.")
    kept = Store(store) if store is not None else None
    bench = Workbench(model, task, progress=progress)
    runs: list[Run] = []
    # Boundary by boundary, so that each prefix runs once.
    plan = [(s, m) for s in sorted(chosen, key=lambda s: (s.boundary, s.blocks)) for m in methods]
    with progress_bar(len(plan) * len(seeds), f"Sweep over {task.name}", unit="runs", show=progress) as bar:
        for scope, method in plan:
            rate: float | Literal["auto"] = lr
            for seed in seeds:
                run = kept.find(run_key(model, task, scope, method, rate, epochs, batch_size, seed)) if kept else None
                if run is None:
                    run = finetune(
                        model,
                        task,
                        scope,
                        method=method,  # type: ignore[arg-type]  # finetune checks it
                        lr=rate,
                        epochs=epochs,
                        batch_size=batch_size,
                        seed=seed,
                        keep_weights=False,
                        progress=progress,
                        bench=bench,
                    )
                    if kept:
                        kept.add(run)
                runs.append(run)
                rate = run.lr
                bar.update()
    untrained = zero_shot(bench)
    score = untrained.accuracy if task.score == "accuracy" else untrained.loss
    return Runs(tuple(runs), zero_shot=score, gain=gain)
