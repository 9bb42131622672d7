"""`Comparison`: how each scope differs from a reference, over the same seeds and test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from semviz.common.errors import SemvizError
from semviz.common.intervals import ONE_SEED, Array, Interval, difference_intervals
from semviz.common.scores import Score, score_named

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from semviz.experiments.measured_runs import MeasuredRuns
    from semviz.finetuning.run import Run

UNKNOWN_SEEDS = "undecided: one seed"
"""Verdict where the scopes shared one seed and no other shows how much seeds vary."""
DIVERGED = "undecided: diverged"
"""Verdict where every run of a scope diverged."""


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
            Columns name, scope, method, difference (in accuracy, or nats of loss), low, high (95 % intervals over
            paired seeds and test rows, wide enough for all of them to hold at once), verdict, seeds (that were
            compared) and covers (what the interval is over). A verdict is better, worse, undecided where the interval
            holds 0, `"undecided: one seed"` where nothing shows how much seeds vary, or `"undecided: diverged"`.
        """
        return self.table.copy()

    def figure(self) -> Figure:
        """Draw the differences with their intervals."""
        from semviz.figures import comparison

        return comparison(self)

    def __repr__(self) -> str:
        """One line: reference, and how many scopes are better, worse or undecided."""
        counts = self.table["verdict"].value_counts()
        words = ["better", "worse", "undecided", *(why for why in (UNKNOWN_SEEDS, DIVERGED) if why in counts)]
        verdicts = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in words)
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
        SemvizError: If no scope has this name, all its runs diverged, or a scope shares no seed with it.
    """
    groups = runs.groups()
    scopes = dict(zip(groups, runs.scope_names(), strict=True))
    names = {key: scope.text for key, scope in scopes.items()}
    reference_key = next((key for key, scope in scopes.items() if scope.matches(reference)), None)
    if reference_key is None:
        raise SemvizError(f"reference={reference!r} was not run; pass one of {list(names.values())}.")
    reference_name = names[reference_key]
    if all(run.diverged for run in groups[reference_key]):
        raise SemvizError(f"{reference_name} diverged, so nothing can be compared with it; pass another reference.")
    score = score_named(runs.score)
    pairs = {
        key: _differences(group, groups[reference_key], name=names[key], reference_name=reference_name)
        for key, group in groups.items()
        if key != reference_key
    }
    measured = {key: differences for key, differences in pairs.items() if len(differences)}
    intervals = dict(zip(measured, difference_intervals(list(measured.values())), strict=True))
    rows = []
    for key, differences in pairs.items():
        found = intervals.get(key)
        rows.append(
            {
                "name": names[key],
                "scope": groups[key][0].scope.label,
                "method": groups[key][0].method,
                "difference": float(differences.mean()) if found else np.nan,
                "low": found.low if found else np.nan,
                "high": found.high if found else np.nan,
                "verdict": _verdict(found, score) if found else DIVERGED,
                "seeds": len(differences),
                "covers": found.covers if found else "",
            }
        )
    columns = ["name", "scope", "method", "difference", "low", "high", "verdict", "seeds", "covers"]
    return Comparison(runs.task, runs.model, runs.score, reference_name, pd.DataFrame(rows, columns=columns))


def _differences(group: list[Run], reference: list[Run], *, name: str, reference_name: str) -> Array:
    """Score of each row minus the reference's, for each seed that trained well in both, shape (seeds, n)."""
    others = {run.seed: run for run in reference}
    pairs = [(run, others[run.seed]) for run in group if run.seed in others]
    if any(len(run.rows) != len(other.rows) for run, other in pairs):
        raise SemvizError(f"{name} was scored on different rows from {reference_name}; run both in one sweep.")
    if not pairs:
        raise SemvizError(f"{name} and {reference_name} share no seed; run both with the same seeds.")
    trained = [(run, other) for run, other in pairs if not run.diverged and not other.diverged]
    return np.asarray([np.asarray(run.rows) - np.asarray(other.rows) for run, other in trained])


def _verdict(found: Interval, score: Score) -> str:
    if found.covers == ONE_SEED:
        return UNKNOWN_SEEDS
    if not (found.low > 0 or found.high < 0):
        return "undecided"
    return "better" if score.sign * found.high > 0 else "worse"


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
                "cost": float(1 / table["speedup"][k]) if table["speedup"][k] else np.nan,
            }
        )
    return pd.DataFrame(rows).sort_values("regret", kind="stable", ignore_index=True)
