"""`fit_probes()`: measured suffixes → shares of full finetuning's improvement, the suffix law, and their intervals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from semviz.common import checks
from semviz.common.bootstrap import interval
from semviz.common.errors import ScopeError, SemvizError
from semviz.common.intervals import spreads
from semviz.common.scores import score_named
from semviz.experiments.kept_benefit import smoothed
from semviz.experiments.probes import Probes
from semviz.experiments.suffix_law import SuffixLaw, fit_suffix_law, law_interval
from semviz.experiments.validation_rows import USUAL_NOISE, improvements, is_beyond_noise, validation_scores
from semviz.gains.scaling_law import EPSILON, Array
from semviz.scopes.scope import Scope

if TYPE_CHECKING:
    from semviz.experiments.measured_runs import MeasuredRuns
    from semviz.finetuning.run import Run


def check_boundaries(boundaries: Iterable[int], n_blocks: int) -> tuple[int, ...]:
    """Return boundaries in ascending order, each once.

    Raises:
        ScopeError: If one is not a whole number from 0 to L−1, or they are not a list.
    """
    listed = checks.as_list("boundaries", boundaries, "a list of boundaries, such as [0, 2]", error=ScopeError)
    most = n_blocks - 1
    return tuple(
        sorted(
            {checks.whole_number(f"boundaries[{i}]", k, maximum=most, error=ScopeError) for i, k in enumerate(listed)}
        )
    )


def fit_probes(
    runs: MeasuredRuns, *, lenders: MeasuredRuns | None = None, epsilon: float = EPSILON, seed: int = 0
) -> Probes:
    """Fit the suffix law to measured suffixes of one task.

    Args:
        runs: Runs of at least two suffixes, one of them of all blocks; validation rows are used.
        lenders: Runs on the same task with several seeds, which say how much seeds vary.
        epsilon: ε of the recommendation.
        seed: Seed of the bootstrap.

    Raises:
        SemvizError: If a run is missing.
    """
    scope = runs.runs[0].scope
    blocks = scope.n_blocks
    suffixes = tuple(Scope(tuple(range(k + 1, blocks + 1)), blocks, scope.parts) for k in range(blocks))
    runs_at: dict[int, list[Run]] = {}
    for run in runs:
        if run.scope.is_suffix and run.method == "full":
            runs_at.setdefault(run.scope.boundary, []).append(run)
    ks = sorted(runs_at)
    if len(ks) < 2 or ks[0] != 0:
        raise SemvizError("The suffix law needs a run of all blocks and one of fewer; pass Scope.full(model) too.")
    diverged = [k for k in ks if any(run.diverged for run in runs_at[k])]
    if diverged:
        raise SemvizError(f"The probes at boundaries {diverged} diverged; pass a smaller lr.")
    if not runs.untrained_rows:
        raise SemvizError(
            "These runs do not know the scores of validation rows before finetuning (untrained_rows), on which probes "
            "rest; make them with sweep."
        )
    if {len(run.validation_rows) for k in ks for run in runs_at[k]} != {len(runs.untrained_rows)}:
        raise SemvizError(
            "The probes and the untrained model (untrained_rows) were not scored on the same rows; make them with one "
            "sweep."
        )
    groups = [validation_scores(runs_at[k]) for k in ks]
    probed = {id(run) for group in runs_at.values() for run in group}
    others = [] if lenders is None else [g for g in lenders.groups().values() if not probed & set(map(id, g))]
    lent = [scores for scores in map(validation_scores, others) if scores.shape[1]]
    score = score_named(runs.score)
    improved = improvements(groups, runs.untrained_rows, lenders=lent, score=score, seed=seed)
    covers = spreads([*groups, *lent], usual=USUAL_NOISE)[0].covers
    benefits = _shares(improved)
    n = len(suffixes)
    defined = np.asarray(np.isfinite(benefits).all(axis=1))
    seeds = [len(group) for group in groups]
    points = pd.DataFrame({"boundary": ks, "seeds": seeds, "benefit": np.nan, "low": np.nan, "high": np.nan})
    points["smoothed"] = np.nan
    # A share of an improvement that may be none could be any number.
    if not is_beyond_noise(improved[:, 0]):
        nothing = np.full(n + 1, np.nan)
        no_law = SuffixLaw(np.nan, np.nan, np.nan)
        no_draws = np.empty((0, n + 1)), np.empty((0, len(ks)))
        return Probes(runs, no_law, nothing, nothing, nothing, points, suffixes, *no_draws, np.nan, covers, epsilon)
    law, curves = fit_suffix_law(n - np.asarray(ks, dtype=float), benefits[defined], n)
    below, above = interval(benefits[1:])
    low, high = law_interval(ks, (below, above), interval(curves[1:]))
    curve = smoothed(benefits[0], seeds)
    points = points.assign(benefit=benefits[0], low=below, high=above, smoothed=curve / curve[0])
    one_row = 1 / (len(runs.untrained_rows) * float(improved[0, 0])) if score.is_share else 0.0
    redrawn = benefits[defined][1:]
    return Probes(runs, law, curves[0], low, high, points, suffixes, curves[1:], redrawn, one_row, covers, epsilon)


def _shares(improvements: Array) -> Array:
    """Divide improvements by the first column's; NaN where that is not positive."""
    full = improvements[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: Array = np.where(full > 0, improvements / full, np.nan)
    return shares
