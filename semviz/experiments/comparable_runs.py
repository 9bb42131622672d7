"""Which runs one table can compare, and all of them as a plain table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.finetuning.run import Run

# What all runs of a table have in common, and how people say it.
_CONDITIONS = {
    "score": "score",
    "epochs": "epochs",
    "batch_size": "batch size",
    "arguments": "further arguments",
    "modules": "modules",
}


def check_comparable(runs: Sequence[Run]) -> None:
    """Check that runs are of one model and task, trained under one set of conditions, each once.

    Raises:
        SemvizError: If there are none, or they are not.
    """
    if not runs:
        raise SemvizError("There are no runs to show; pass at least one.")
    for i, run in enumerate(runs):
        checks.of_class(f"runs[{i}]", run, Run, "what finetune() returns")
        first, pair = runs[0], f"runs[{i}] and runs[0]"
        run.source.check(f"runs[{i}]", first.source, "pass runs of one model and one task", same_rows=True)
        for name, words in _CONDITIONS.items():
            own, others = getattr(run, name), getattr(first, name)
            if own != others:
                raise SemvizError(
                    f"{pair} differ in their {words} ({checks.short_repr(own)} and {checks.short_repr(others)}), which "
                    "one table cannot compare; make one Runs of each."
                )
    _check_seeds(runs)


def _check_seeds(runs: Sequence[Run]) -> None:
    """Refuse runs of one scope and method that are not seeds of each other: one would pass for chance of the other."""
    seen: dict[tuple[object, ...], tuple[int, Run]] = {}
    firsts: dict[tuple[object, ...], tuple[int, Run]] = {}
    for i, run in enumerate(runs):
        what = f"{run.scope.label} by {run.method}"
        j, other = seen.setdefault((run.scope, run.method, run.seed), (i, run))
        if i != j:
            which = "are the same run" if run.key == other.key else f"both train {what} with seed {run.seed}"
            raise SemvizError(f"runs[{i}] and runs[{j}] {which}; pass one of them.")
        j, other = firsts.setdefault((run.scope, run.method), (i, run))
        searched = run.rates and other.rates
        if run.lr != other.lr and not searched:
            raise SemvizError(
                f"runs[{i}] and runs[{j}] train {what} at the rates {run.lr:g} and {other.lr:g}, so they are not seeds "
                "of each other; pass runs at one rate."
            )
        if run.steps != other.steps and not (run.diverged or other.diverged):
            raise SemvizError(
                f"runs[{i}] and runs[{j}] train {what} for {run.steps:,} and {other.steps:,} steps, so they are not "
                "seeds of each other; pass runs of as many steps."
            )


def frame_of(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run, comparable or not."""
    return pd.DataFrame(
        {
            "scope": run.scope.label,
            "boundary": run.scope.boundary,
            "method": run.method,
            "seed": run.seed,
            "lr": run.lr,
            "trainable": run.trainable,
            "share": run.trainable / run.scope.total,
            "accuracy": run.accuracy,
            "loss": run.loss,
            "validation": run.validation,
            "f1": run.f1,
            "auroc": run.auroc,
            "seconds": run.seconds,
            "search_seconds": run.search_seconds,
            "tokens_per_second": run.tokens_per_second,
            "peak_bytes": run.peak_bytes,
            "steps": run.steps,
            "epochs": run.epochs,
            "cached": run.cached,
        }
        for run in runs
    )
