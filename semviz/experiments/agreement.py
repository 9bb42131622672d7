"""`Agreement`: what was predicted for every boundary, compared with what was measured there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from semviz.common import formats
from semviz.common.bootstrap import interval, means_over_seeds_and_rows
from semviz.common.errors import SemvizError
from semviz.common.scores import score_named
from semviz.gains.scaling_law import BENEFIT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from semviz.experiments.measured_runs import MeasuredRuns

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Predicted against measured benefit, for each source of evidence.

    Attributes:
        task, model: Names.
        table: What `frame` returns.
        ranks: What `spearman` returns.
    """

    task: str
    model: str
    table: pd.DataFrame
    ranks: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """One row per source and boundary: source, boundary, predicted, measured (benefit), low, high (95 %).

        Intervals are over test rows, and over seeds where any scope was trained with several.
        """
        return self.table.copy()

    def spearman(self) -> pd.DataFrame:
        """One row per source: source, rho (Spearman), low, high (95 %, as in `frame`), unit of prediction.

        With equal benefits everywhere, or fewer than three boundaries, it is undefined: NaN.
        """
        return self.ranks.copy()

    def figure(self) -> Figure:
        """Draw predicted against measured, one panel per source."""
        from semviz.figures import agreement

        return agreement(self)

    def __repr__(self) -> str:
        """One line: Spearman by source."""
        correlations = ", ".join(f"{row.source} {formats.number(row.rho, digits=2)}" for row in self.ranks.itertuples())
        return f"Agreement(Spearman of predicted and measured benefit on {self.task}: {correlations})"

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.ranks.round(3))


def measure_agreement(
    runs: MeasuredRuns, predictions: Mapping[str, Array], *, units: Mapping[str, str], seed: int = 0
) -> Agreement:
    """Compare predictions with the measured benefit of suffixes.

    Args:
        runs: Runs of suffixes, full finetuning among them.
        predictions: By source: a number for each boundary k = 0…L, shape (L+1,); NaN where there is none.
        units: By source: `"benefit"`, or what the numbers are instead.
        seed: Seed of the bootstrap.

    Raises:
        SemvizError: If full finetuning is missing or did not improve the model.
    """
    trained = [[run for run in group if not run.diverged] for group in runs.groups().values()]
    suffixes = [group for group in trained if group and group[0].scope.is_suffix and group[0].method == "full"]
    groups = {group[0].scope.boundary: group for group in suffixes}
    if 0 not in groups or len(groups) < 2:
        raise SemvizError("Agreement needs full finetuning and at least one other suffix; pass them to sweep.")
    ks = sorted(groups)
    row_scores = [np.asarray([run.rows for run in groups[k]]) for k in ks]
    if len({rows.shape[1] for rows in row_scores}) > 1:
        raise SemvizError("The runs were scored on different test rows; run them in one sweep.")
    resampled_means = means_over_seeds_and_rows(row_scores, are_shares=score_named(runs.score).is_share, seed=seed)
    improvements = score_named(runs.score).sign * (resampled_means - runs.zero_shot)
    if improvements[0, 0] <= 0:
        raise SemvizError("Full finetuning did not improve the model, so there is no benefit to share out.")
    with np.errstate(divide="ignore", invalid="ignore"):
        benefits = np.where(improvements[:, :1] > 0, improvements / improvements[:, :1], np.nan)
    low, high = interval(benefits[1:])
    rows, ranks = [], []
    blocks = runs.runs[0].scope.n_blocks
    for source, curve in predictions.items():
        if len(curve) != blocks + 1:
            raise SemvizError(
                f"{source} predicts {len(curve)} boundaries and the runs are of {blocks} blocks; pass evidence of the "
                "same model."
            )
        predicted = np.asarray(curve, dtype=float)[ks]
        for i, k in enumerate(ks):
            row = {"source": source, "boundary": k, "predicted": predicted[i], "measured": benefits[0, i]}
            rows.append({**row, "low": low[i], "high": high[i]})
        rho = _spearman(predicted, benefits)
        below, above = interval(rho[1:, None]) if np.isfinite(rho[1:]).any() else ([np.nan], [np.nan])
        rank = {"source": source, "rho": rho[0], "low": float(below[0]), "high": float(above[0])}
        ranks.append({**rank, "unit": units.get(source, BENEFIT)})
    return Agreement(runs.task, runs.model, pd.DataFrame(rows), pd.DataFrame(ranks))


def _spearman(predicted: Array, benefits: Array) -> Array:
    """Rank correlation of one prediction with each row of benefits, shape (B,); ties share their mean rank."""
    finite = np.isfinite(predicted)
    if finite.sum() < 3 or np.ptp(predicted[finite]) == 0:
        return np.full(len(benefits), np.nan)
    x = rankdata(predicted[finite])
    y = rankdata(benefits[:, finite], axis=1)
    x, y = x - x.mean(), y - y.mean(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho: Array = (y @ x) / np.sqrt((x**2).sum() * (y**2).sum(1))
    return np.where(np.isfinite(benefits).all(1), rho, np.nan)
