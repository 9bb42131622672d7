"""`Runs`: what a sweep measured, as tables, pictures and one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semviz import formats
from semviz.errors import SemvizError
from semviz.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plotly.graph_objects import Figure

    from semviz.gains import Gain

_RESAMPLES = 1000
_CLOSE = 0.05  # share of full finetuning's benefit that may be given up for fewer parameters


@dataclass(frozen=True, eq=False)
class Runs:
    """Finished runs on one task.

    Attributes:
        runs: The runs, one each for scope × method × seed.
        zero_shot: Score of the model before finetuning.
        gain: The gain that predicted them, if any.
    """

    runs: tuple[Run, ...]
    zero_shot: float
    gain: Gain | None = None

    def __post_init__(self) -> None:
        """Refuse an empty collection.

        Raises:
            SemvizError: If there is no run.
        """
        if not self.runs:
            raise SemvizError("There is no run to show; pass at least one.")

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.runs[0].task

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.runs[0].model

    @property
    def score(self) -> str:
        """`"accuracy"` or `"loss"`."""
        return self.runs[0].score

    def frame(self) -> pd.DataFrame:
        """One row a run."""
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
            for run in self.runs
        )

    def table(self) -> pd.DataFrame:
        """One row a scope and method, over its seeds.

        Returns:
            Columns scope, name, boundary, method, runs, lr, trainable, share, accuracy, low, high (95 % bootstrap
            interval over seeds and test rows), seconds, speedup (against full finetuning), predicted and benefit
            (predicted and measured share of full finetuning's improvement). For language modelling tasks also loss,
            loss_low and loss_high, in nats; low and high are then NaN.
        """
        groups: dict[tuple[tuple[int, ...], str], list[Run]] = {}
        for run in self.runs:
            groups.setdefault((run.scope.blocks, run.method), []).append(run)
        rows = [self._row(runs) for runs in groups.values()]
        table = pd.DataFrame(rows)
        full = table[(table["boundary"] == 0) & (table["method"] == "full") & table["whole"]]
        value = table["accuracy" if self.score == "accuracy" else "loss"]
        if len(full):
            best = float(value[full.index[0]])
            gap = best - self.zero_shot
            table["speedup"] = float(full["seconds"].iloc[0]) / table["seconds"]
            table["benefit"] = (value - self.zero_shot) / gap if gap else np.nan
        else:
            table["speedup"] = table["benefit"] = np.nan
        return table.drop(columns="whole")

    def _row(self, runs: list[Run]) -> dict[str, object]:
        """Means over the seeds of one scope and method."""
        scope, method = runs[0].scope, runs[0].method
        low, high = _interval(np.asarray([run.rows for run in runs]))
        accuracy = self.score == "accuracy"
        suffix = scope.blocks[-1] == scope.n_blocks and len(scope.blocks) == scope.n_blocks - scope.boundary
        predicted = self.gain.benefit[scope.boundary] if self.gain is not None and suffix else np.nan
        row: dict[str, object] = {
            "scope": scope.label,
            "name": self._name(runs[0]),
            "boundary": scope.boundary,
            "whole": len(scope.blocks) == scope.n_blocks,
            "method": method,
            "runs": len(runs),
            "lr": runs[0].lr,
            "trainable": runs[0].trainable,
            "share": runs[0].trainable / scope.total,
            "validation": float(np.mean([run.validation for run in runs])),
            "accuracy": float(np.mean([run.accuracy for run in runs])),
            "low": low if accuracy else np.nan,
            "high": high if accuracy else np.nan,
            "seconds": float(np.mean([run.seconds for run in runs])),
            "predicted": float(predicted),
        }
        if not accuracy:
            row |= {"loss": float(np.mean([run.loss for run in runs])), "loss_low": low, "loss_high": high}
        return row

    def _name(self, run: Run) -> str:
        """What people call this scope: full, half, last, recommended, or its boundary."""
        scope, blocks = run.scope, run.scope.n_blocks
        names = {"full": 0, "half": blocks // 2, "last": blocks - 1}
        if self.gain is not None:
            names["recommended"] = self.gain.boundary
        suffix = scope.blocks == tuple(range(scope.boundary + 1, blocks + 1))
        known = [name for name, k in names.items() if k == scope.boundary] if suffix else []
        label = " = ".join(known) or (f"k={scope.boundary}" if suffix else scope.label)
        return label if run.method == "full" else f"{label}, {run.method}"

    def pareto(self) -> Figure:
        """Draw the score against trainable parameters, with intervals and the Pareto front."""
        from semviz.figures import pareto

        return pareto(self)

    def answer(self) -> str:
        """Which blocks to train, in one sentence, with what it costs and gives against full finetuning.

        The scope named is the smallest that keeps 95 % of full finetuning's benefit on validation rows; the scores are
        those of test rows, which chose nothing.
        """
        table = self.table()
        full_value = table.loc[table["share"].idxmax(), "validation"]
        benefit = (table["validation"] - self.zero_shot) / (full_value - self.zero_shot)
        close = table[benefit >= 1 - _CLOSE]
        best = (close if len(close) else table).sort_values("trainable", kind="stable").iloc[0]
        full = table[table["share"] == table["share"].max()].iloc[0]
        advice, count = f"On {self.task}, train {best['scope']}", formats.si(best["trainable"])
        if best["scope"] == full["scope"]:
            return (
                f"{advice} ({count} parameters): no smaller scope that was tried keeps "
                f"{formats.percent(1 - _CLOSE)} of its benefit; it reaches {self._say(best)}."
            )
        return (
            f"{advice}: {count} parameters ({formats.percent(best['share'])} of the model) reach {self._say(best)} "
            f"against {self._say(full)} with full finetuning, {best['speedup']:.1f} times faster."
        )

    def _say(self, row: pd.Series) -> str:
        accuracy = f"{formats.percent(row['accuracy'], digits=1)} accuracy"
        return accuracy if self.score == "accuracy" else f"a loss of {row['loss']:.3f} nats"

    def __repr__(self) -> str:
        """One line: model, task, how many runs, the answer."""
        return f"Runs({len(self.runs)} of {self.model} on {self.task}; {self.answer()})"

    def _repr_html_(self) -> str:
        from semviz.html import facts

        return facts(self.answer(), self.table().round(3))


def _interval(rows: NDArray[np.float64]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over seeds and test rows, both resampled.

    Args:
        rows: Score of each test row by seed, shape (seeds, n).
    """
    rng = np.random.default_rng(0)
    seeds, n = rows.shape
    means = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        drawn = rows[rng.integers(seeds, size=seeds)].mean(0)
        means[i] = drawn[rng.integers(n, size=n)].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
