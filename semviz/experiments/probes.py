"""`Probes`: a few measured suffixes, the suffix law fitted to them, and the benefit it predicts for every boundary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semviz.common import checks, formats
from semviz.common.bootstrap import interval, means_over_seeds_and_rows
from semviz.common.errors import ScopeError, SemvizError
from semviz.common.intervals import ASSUMED_SEEDS, spreads
from semviz.common.provenance import Source
from semviz.common.scores import score_named
from semviz.experiments.evidence import Evidence
from semviz.experiments.suffix_law import SuffixLaw, fit_suffix_law, law_interval
from semviz.gains.recommendation import Recommendation, check_terms, choose_boundary, reason
from semviz.gains.scaling_law import EPSILON, Array
from semviz.scopes.cost_units import relative_costs
from semviz.scopes.scope import Scope

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from semviz.experiments.measured_runs import MeasuredRuns
    from semviz.finetuning.run import Run

_POOR_FIT = 0.05  # share of full finetuning's benefit
_USUAL_NOISE = 0.05  # of seeds, in standard deviations of one seed's rows: 2 points of accuracy at 80 %
_SURELY_HELPS = 0.975  # share of resamples in which full finetuning improves the model, so that its interval excludes 0


@dataclass(frozen=True, eq=False)
class Probes:
    """A few measured suffixes, and what the suffix law predicts from them.

    Benefits are shares of full finetuning's improvement on validation rows.

    Attributes:
        runs: The probes.
        law: The law fitted to them.
        benefit: Predicted benefit at k = 0…L, shape (L+1,).
        low, high: 95 % interval, shape (L+1,). It holds the law's interval and, since the truth need not follow the
            law, all that lies between the probes on either side.
        points: The measured probes: boundary, benefit, low, high (95 % bootstrap interval over validation rows, and
            over seeds: as they vary where a scope was trained with several, else by a twentieth of the standard
            deviation of the rows' scores, which is a guess: 2 points of accuracy at 80 %).
        scopes: The scope above every boundary 0…L−1.
        drawn: Benefit that the law predicts in each resample, shape (B, L+1).
        covers: What the intervals are over: `"rows, and seeds as usual"` if nothing is known of other seeds.
    """

    runs: MeasuredRuns
    law: SuffixLaw
    benefit: Array
    low: Array
    high: Array
    points: pd.DataFrame
    scopes: tuple[Scope, ...] = field(repr=False)
    drawn: Array = field(repr=False)
    covers: str = ASSUMED_SEEDS

    epsilon = EPSILON

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.runs.model

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.runs.task

    @property
    def source(self) -> Source:
        """Which model and task were probed."""
        return self.runs.source

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks."""
        return len(self.scopes)

    @property
    def seconds(self) -> float:
        """Time that the probes took, including the search for learning rates."""
        return float(sum(run.seconds + run.search_seconds for run in self.runs))

    @property
    def helps(self) -> bool:
        """Whether full finetuning improved the model, beyond noise; without a benefit there are no shares of it."""
        return bool(np.isfinite(self.benefit).all())

    @cached_property
    def recommendation(self) -> Recommendation:
        """The recommendation with the default ε."""
        return self.recommend()

    @property
    def boundary(self) -> int:
        """Recommended k with the default ε."""
        return self.recommendation.boundary

    @property
    def _is_assumed(self) -> bool:
        """Whether how much seeds vary is a guess."""
        return self.covers == ASSUMED_SEEDS

    @property
    def _fit_warning(self) -> str:
        """A warning if the law does not fit the probes."""
        if not self.law.error > _POOR_FIT:
            return ""
        miss = formats.percent(self.law.error)
        return f" The law misses the probes by {miss} of the benefit, so measure this boundary before trusting it."

    @property
    def _caution(self) -> str:
        """What to know first: few validation rows or steps (test rows decide nothing here), or a budget of time."""
        return f"{replace(Evidence.of(self.runs), test_rows=0).caution} {self.runs.budget}".strip()

    @property
    def message(self) -> str:
        """What to do, and how far to trust this."""
        return f"{self._caution} {self._advice}".lstrip()

    @property
    def _advice(self) -> str:
        """The message but for a caution."""
        if not self.helps:
            return (
                f"Full finetuning did not improve the model on {self.task} beyond noise, so there is no benefit to "
                "share out: try other learning rates, more epochs or more rows."
            )
        k = self.boundary
        share = float(np.mean(self._choices(self.epsilon, None) == k))
        seeds = "; each probe is one training, and seeds are taken to vary as usual" if self._is_assumed else ""
        if k == 0:
            return (
                f"Train all blocks: with any block frozen, less than {formats.percent(1 - self.epsilon)} of full "
                f"finetuning's benefit is predicted; {formats.percent(share)} of resamples agree{seeds}."
                f"{self._fit_warning}"
            )
        return (
            f"Train {self.scopes[k].label}: {self.recommendation.why}. The law predicts "
            f"{formats.percent(self.benefit[k])} ({formats.percent(self.low[k])} to {formats.percent(self.high[k])}) "
            f"of full finetuning's benefit; {formats.percent(share)} of resamples choose this boundary{seeds}."
            f"{self._fit_warning}"
        )

    def recommend(self, *, epsilon: float = EPSILON, weight: float | None = None) -> Recommendation:
        """Recommend a boundary to train above.

        Args:
            epsilon: ε, the share of full finetuning's benefit that may be given up.
            weight: λ: choose the largest benefit − λ·cost instead.

        Raises:
            SemvizError: If ε or λ is out of range.
        """
        epsilon, weight = check_terms(epsilon, weight)
        k = int(choose_boundary(self.benefit, self._cost, epsilon=epsilon, weight=weight)) if self.helps else 0
        why = reason(epsilon, weight) if self.helps else "full finetuning did not improve the model beyond noise"
        benefit, low, high = (float(curve[k]) for curve in (self.benefit, self.low, self.high))
        cost = float(self._cost[k])
        return Recommendation("probes", self.scopes[k], benefit, low, high, cost, why, self._caution)

    @cached_property
    def _cost(self) -> Array:
        everywhere = score_named(self.runs.score).of_every_token
        return relative_costs(self.scopes, epochs=self.runs.runs[0].epochs, everywhere=everywhere)

    def _choices(self, epsilon: float, weight: float | None) -> NDArray[np.int64]:
        return choose_boundary(self.drawn, self._cost, epsilon=epsilon, weight=weight)

    def frame(self) -> pd.DataFrame:
        """One row per boundary 0…L: predicted benefit with interval, measured benefit at the probes, cost."""
        predicted = {
            "boundary": range(self.n_blocks + 1),
            "predicted": self.benefit,
            "low": self.low,
            "high": self.high,
        }
        table = pd.DataFrame(predicted)
        measured = self.points.set_index("boundary")["benefit"]
        table["measured"] = table["boundary"].map(measured)
        return table.assign(cost=np.append(self._cost, 0.0))

    def figure(self, runs: MeasuredRuns | None = None) -> Figure:
        """Draw the predicted benefit over the boundary, with the probes, and with measured runs if there are any.

        Raises:
            SemvizError: If the runs are of another model or task.
        """
        from semviz.figures import benefit_curve

        return benefit_curve(self, runs=runs)

    def __repr__(self) -> str:
        """One line: task, probes, recommended boundary."""
        probed = ", ".join(f"k={run.scope.boundary}" for run in self.runs)
        return (
            f"Probes({self.model} on {self.task}: {probed}; boundary {self.boundary} of {self.n_blocks}, "
            f"{formats.seconds(self.seconds)})"
        )

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(self.message, self.frame().round(3))


def probe_boundaries(n_blocks: int) -> tuple[int, ...]:
    """Where to probe: all blocks, the upper half, the last block."""
    return tuple(sorted({0, n_blocks // 2, n_blocks - 1}))


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


def fit_probes(runs: MeasuredRuns, *, lenders: MeasuredRuns | None = None, seed: int = 0) -> Probes:
    """Fit the suffix law to measured suffixes of one task.

    Args:
        runs: Runs of at least two suffixes, one of them of all blocks; validation rows are used.
        lenders: Runs on the same task with several seeds, which say how much seeds vary.
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
    groups = [_validation_scores(runs_at[k]) for k in ks]
    lent = [] if lenders is None else [_validation_scores(group) for group in lenders.groups().values()]
    lent = [scores for scores in lent if scores.shape[1]]
    untrained = np.asarray(runs.untrained_rows)
    score = score_named(runs.score)
    resampled_means = means_over_seeds_and_rows(
        groups, fixed=untrained, lenders=lent, usual=_USUAL_NOISE, are_shares=score.is_share, seed=seed
    )
    covers = spreads([*groups, *lent], usual=_USUAL_NOISE)[0].covers
    benefits = _shares(score.sign * (resampled_means[:, 1:] - resampled_means[:, :1]))
    n = len(suffixes)
    defined = np.asarray(np.isfinite(benefits).all(axis=1))
    points = {"boundary": ks, "benefit": np.full(len(ks), np.nan)}
    # A share of an improvement that may be none could be any number.
    if not defined[0] or defined[1:].mean() < _SURELY_HELPS:
        nothing = np.full(n + 1, np.nan)
        table = pd.DataFrame({**points, "low": np.nan, "high": np.nan})
        law = SuffixLaw(np.nan, np.nan, np.nan)
        return Probes(runs, law, nothing, nothing, nothing, table, suffixes, np.empty((0, n + 1)), covers)
    law, curves = fit_suffix_law(n - np.asarray(ks, dtype=float), benefits[defined], n)
    below, above = interval(benefits[1:])
    low, high = law_interval(ks, (below, above), interval(curves[1:]))
    table = pd.DataFrame({**points, "benefit": benefits[0], "low": below, "high": above})
    return Probes(runs, law, curves[0], low, high, table, suffixes, curves[1:], covers)


def _validation_scores(runs: list[Run]) -> Array:
    """Score of each validation row by seed, shape (seeds, n); runs that diverged have none."""
    rows = [run.validation_rows for run in runs if not run.diverged]
    return np.asarray(rows, dtype=float) if rows else np.empty((0, 0))


def _shares(improvements: Array) -> Array:
    """Divide improvements by the first column's; NaN where that is not positive."""
    full = improvements[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: Array = np.where(full > 0, improvements / full, np.nan)
    return shares
