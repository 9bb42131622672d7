"""`Comparison`: how each scope differs from a reference, over the same seeds and test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from semviz.common.bootstrap import seeds_and_rows
from semviz.common.errors import SemvizError
from semviz.common.scores import Score, score_named

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from semviz.experiments.measured_runs import MeasuredRuns


@dataclass(frozen=True, eq=False)
class Comparison:
    """Paired differences against a reference.

    Attributes:
        task, model: Names.
        score: `"accuracy"` or `"loss"`.
        reference: Name of the reference scope.
        table: What `frame` returns.
    """

    task: str
    model: str
    score: str
    reference: str
    table: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """One row per scope and method other than the reference.

        Returns:
            Columns name, scope, method, difference (in accuracy, or nats of loss), low, high (95 % bootstrap interval
            over paired seeds and test rows), verdict (better, worse, or undecided where the interval holds 0), seeds.
        """
        return self.table.copy()

    def figure(self) -> Figure:
        """Draw the differences with their intervals."""
        from semviz.figures import comparison

        return comparison(self)

    def __repr__(self) -> str:
        """One line: reference, and how many scopes are better, worse or undecided."""
        counts = self.table["verdict"].value_counts()
        verdicts = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in ("better", "worse", "undecided"))
        return f"Comparison(against {self.reference} on {self.task}: {verdicts})"

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.table.round(4))


def compare(runs: MeasuredRuns, reference: str) -> Comparison:
    """Compare all scopes with a reference, seed by seed and row by row.

    Args:
        runs: Runs on one task.
        reference: Name of the reference as in `Runs.table`, or one of its parts: `"full"`, `"half"`, `"k=2"`.

    Raises:
        SemvizError: If no scope has this name, or a scope shares no seed with the reference.
    """
    groups = runs.groups()
    scopes = dict(zip(groups, runs.scope_names(), strict=True))
    names = {key: scope.text for key, scope in scopes.items()}
    reference_key = next((key for key, scope in scopes.items() if scope.matches(reference)), None)
    if reference_key is None:
        raise SemvizError(f"reference={reference!r} was not run; pass one of {list(names.values())}.")
    reference_runs = {run.seed: run for run in groups[reference_key]}
    score = score_named(runs.score)
    rows = []
    for key, group in groups.items():
        if key == reference_key:
            continue
        pairs = [(run, reference_runs[run.seed]) for run in group if run.seed in reference_runs]
        if any(len(run.rows) != len(other.rows) for run, other in pairs):
            raise SemvizError(
                f"{names[key]} was scored on different rows from {names[reference_key]}; run both in one sweep."
            )
        if not pairs:
            raise SemvizError(f"{names[key]} and {names[reference_key]} share no seed; run both with the same seeds.")
        difference = np.asarray([np.asarray(run.rows) - np.asarray(other.rows) for run, other in pairs])
        low, high = seeds_and_rows(difference)
        rows.append(
            {
                "name": names[key],
                "scope": group[0].scope.label,
                "method": group[0].method,
                "difference": float(difference.mean()),
                "low": low,
                "high": high,
                "verdict": _verdict(low, high, score),
                "seeds": len(pairs),
            }
        )
    columns = ["name", "scope", "method", "difference", "low", "high", "verdict", "seeds"]
    return Comparison(runs.task, runs.model, runs.score, names[reference_key], pd.DataFrame(rows, columns=columns))


def _verdict(low: float, high: float, score: Score) -> str:
    if low <= 0 <= high:
        return "undecided"
    return "better" if score.sign * high > 0 else "worse"


def regrets(runs: MeasuredRuns, boundaries: dict[str, int]) -> pd.DataFrame:
    """Compute what each choice of a boundary loses against the best measured one.

    Args:
        runs: Runs of suffixes.
        boundaries: Boundary by the name of what chose it; `quarter` (L/4), `half` and `three quarters` are added where
            they were run.

    Returns:
        Columns choice, boundary, score, regret (best measured − measured here, in accuracy or in nats of loss; 0 is
        best), cost (training seconds against full finetuning's); ordered by regret.

    Raises:
        SemvizError: If a boundary was not run.
    """
    table = runs.table()
    table = table[(table["method"] == "full") & table["suffix"]].set_index("boundary")
    if table.empty:
        raise SemvizError("No suffix was run with method='full'; pass Scope.suffixes(model) to sweep.")
    blocks = runs.runs[0].scope.n_blocks
    fixed = {"quarter": blocks // 4, "half": blocks // 2, "three quarters": 3 * blocks // 4}
    fixed = {name: k for name, k in fixed.items() if k in table.index}
    score = score_named(runs.score)
    signed_scores = score.sign * table[score.name]
    rows = []
    for name, k in [*boundaries.items(), *fixed.items()]:
        if k not in signed_scores.index:
            raise SemvizError(f"{name} chose boundary {k}, which was not run; pass Scope.suffixes(model) to sweep.")
        rows.append(
            {
                "choice": name,
                "boundary": k,
                "score": float(table[score.name][k]),
                "regret": float(signed_scores.max() - signed_scores[k]),
                "cost": 1 / float(table["speedup"][k]),
            }
        )
    return pd.DataFrame(rows).sort_values("regret", kind="stable", ignore_index=True)
