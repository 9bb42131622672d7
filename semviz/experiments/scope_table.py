"""The table of several runs: one row per scope and method, with means and intervals over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from semviz.common.intervals import Array, Interval, mean_intervals

if TYPE_CHECKING:
    from semviz.common.scores import Score
    from semviz.finetuning.run import Run


def scope_table(
    groups: Sequence[list[Run]], *, names: Sequence[str], score: Score, zero_shot: float, predicted: Array | None
) -> pd.DataFrame:
    """Tabulate runs.

    Args:
        groups: The runs of each scope and method.
        names: Their names.
        score: The score that compares the runs.
        zero_shot: Score of test rows before finetuning.
        predicted: Benefit by boundary 0…L that a profile predicts; None if its law does not apply.

    Returns:
        The columns of `Runs.table`.
    """
    # A score that is not finite is no score, whether or not training was stopped for it.
    trained = [[run for run in runs if not run.diverged and math.isfinite(run.value)] for runs in groups]
    intervals = iter(mean_intervals([np.asarray([run.rows for run in runs]) for runs in trained if runs]))
    table = pd.DataFrame(
        {
            **_facts(runs, name=name, predicted=predicted),
            **_scores(good, score, next(intervals) if good else Interval(np.nan, np.nan, "")),
            "diverged": len(runs) - len(good),
        }
        for runs, good, name in zip(groups, trained, names, strict=True)
    )
    table = table.astype({"first": "Int64", "last": "Int64"})[_ordered(score)]
    table["speedup"] = table["benefit"] = np.nan
    full = table[(table["boundary"] == 0) & (table["method"] == "full") & table["suffix"]]
    if len(full):
        best, *ends = (float(full[column].iloc[0]) for column in score.columns)
        table["speedup"] = float(full["seconds"].iloc[0]) / table["seconds"].replace(0.0, np.nan)
        # Where it may not have helped at all, a share of what it brought could be any number.
        if score.sign * (score.worst_first(*ends)[0] - zero_shot) > 0:
            table["benefit"] = (table[score.name] - zero_shot) / (best - zero_shot)
    return table


def _facts(runs: list[Run], *, name: str, predicted: Array | None) -> dict[str, object]:
    """What was trained."""
    scope = runs[0].scope
    return {
        "scope": scope.label,
        "name": name,
        "boundary": scope.boundary,
        "first": scope.blocks[0] if scope.is_range else pd.NA,
        "last": scope.blocks[-1] if scope.is_range else pd.NA,
        "suffix": scope.is_suffix,
        "method": runs[0].method,
        "runs": len(runs),
        "lr": runs[0].lr if len({run.lr for run in runs}) == 1 else np.nan,
        "trainable": runs[0].trainable,
        "share": runs[0].trainable / scope.total,
        "seconds": _mean(run.seconds for run in runs),
        "predicted": float(predicted[scope.boundary]) if predicted is not None and scope.is_suffix else np.nan,
    }


def _scores(trained: list[Run], score: Score, interval: Interval) -> dict[str, object]:
    """Means over the seeds that trained, with the interval of what is compared."""
    return {
        "validation": _mean(run.validation for run in trained),
        "accuracy": _mean(run.accuracy for run in trained),
        "low": np.nan,
        "high": np.nan,
        "covers": interval.covers,
        **dict(zip(score.columns, (_mean(run.value for run in trained), interval.low, interval.high), strict=True)),
    }


def _ordered(score: Score) -> list[str]:
    """The columns in the order of `Runs.table`."""
    columns = ["scope", "name", "boundary", "first", "last", "suffix", "method", "runs", "diverged", "lr", "trainable"]
    columns += ["share", "validation", "accuracy", "low", "high", "covers", "seconds", "predicted"]
    return columns + [column for column in score.columns if column not in columns]


def _mean(values: Iterable[float]) -> float:
    """Mean of numbers, NaN of none."""
    listed = list(values)
    return float(np.mean(listed)) if listed else np.nan
