"""`Probes`: a few measured suffixes, the one of them to train, and the benefit that a law predicts for the others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semviz.common import formats
from semviz.common.intervals import ASSUMED_SEEDS
from semviz.common.provenance import Source
from semviz.common.scores import score_named
from semviz.experiments.evidence import Evidence
from semviz.experiments.kept_benefit import enough, smoothed
from semviz.experiments.next_boundary import bracket, open_boundary
from semviz.experiments.probes_sentence import advice
from semviz.experiments.suffix_law import SuffixLaw
from semviz.gains.recommendation import Recommendation, check_terms, reason
from semviz.gains.scaling_law import EPSILON, Array
from semviz.scopes.cost_units import relative_costs
from semviz.scopes.scope import Scope

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from semviz.experiments.measured_runs import MeasuredRuns


@dataclass(frozen=True, eq=False)
class Probes:
    """A few measured suffixes, which of them to train, and what the suffix law predicts between them.

    Benefits are shares of full finetuning's improvement on validation rows. What is recommended was measured; the law
    draws the curve.

    Attributes:
        runs: The probes.
        law: The law fitted to them.
        benefit: Predicted benefit at k = 0…L, shape (L+1,).
        low, high: 95 % interval, shape (L+1,). It holds the law's interval and, since the truth need not follow the
            law, all that lies between the probes on either side.
        points: The measured probes, ascending: boundary, seeds, benefit, low, high (95 % bootstrap interval over
            validation rows, and over seeds: as they vary where a scope was trained with several, else by a twentieth of
            the standard deviation of the rows' scores, which is a guess: 2 points of accuracy at 80 %), smoothed (the
            nearest falling curve, as a share of its start; it decides what keeps enough).
        scopes: The scope above every boundary 0…L−1.
        drawn: Benefit that the law predicts in each resample, shape (B, L+1).
        redrawn: Measured benefit of the probes in each resample, shape (B, number of probes).
        one_row: What a single validation row moves a benefit by; 0 for losses.
        covers: What the intervals are over: `"rows, and seeds as usual"` if nothing is known of other seeds.
        epsilon: ε, the share of full finetuning's benefit that may be given up for more frozen blocks.
    """

    runs: MeasuredRuns
    law: SuffixLaw
    benefit: Array
    low: Array
    high: Array
    points: pd.DataFrame
    scopes: tuple[Scope, ...] = field(repr=False)
    drawn: Array = field(repr=False)
    redrawn: Array = field(repr=False)
    one_row: float
    covers: str = ASSUMED_SEEDS
    epsilon: float = EPSILON

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
        """The recommendation with the probes' ε."""
        return self.recommend()

    @property
    def boundary(self) -> int:
        """Recommended k with the probes' ε: a boundary that was measured."""
        return self.recommendation.boundary

    @cached_property
    def kept(self) -> dict[int, bool]:
        """Whether each measured boundary keeps 1 − ε of full finetuning's benefit; empty where there is no benefit."""
        return self._kept(self.epsilon)

    @property
    def bracket(self) -> tuple[int, int]:
        """The recommended boundary, and the next measured one above it, which keeps too little; L if there is none."""
        return bracket(self.kept, self.n_blocks)

    @property
    def next_boundary(self) -> int | None:
        """The boundary whose measurement may change the answer; None where it is known to a quarter of the blocks."""
        return open_boundary(self.kept, self.n_blocks) if self.helps else None

    @cached_property
    def agreement_of_resamples(self) -> float:
        """Share of the resamples of validation rows and seeds that recommend the same boundary."""
        chosen = [np.flatnonzero(self._enough(row, self.epsilon))[-1] for row in self.redrawn]
        ks = self.points["boundary"].to_numpy()
        return float(np.mean(ks[chosen] == self.boundary))

    @property
    def caution(self) -> str:
        """What to know first: few validation rows or steps (test rows decide nothing here), or a budget of time."""
        return f"{replace(Evidence.of(self.runs), test_rows=0).caution} {self.runs.budget}".strip()

    @property
    def message(self) -> str:
        """What to do, and how far to trust this."""
        if not self.helps:
            advised = (
                f"Full finetuning did not improve the model on {self.task} beyond noise, so there is no benefit to "
                "share out: try other learning rates, more epochs or more rows."
            )
        else:
            advised = advice(
                self.points,
                scopes=self.scopes,
                cost=self.cost,
                epsilon=self.epsilon,
                bracket=self.bracket,
                following=self.next_boundary,
                agreeing=self.agreement_of_resamples,
                assumes_seeds=self.covers == ASSUMED_SEEDS,
                law_error=self.law.error,
            )
        return f"{self.caution} {advised}".lstrip()

    def recommend(self, *, epsilon: float | None = None, weight: float | None = None) -> Recommendation:
        """Recommend one of the measured boundaries to train above.

        Args:
            epsilon: ε, the share of full finetuning's benefit that may be given up; the probes' own by default, which
                they were chosen for.
            weight: λ: choose the largest benefit − λ·cost instead.

        Raises:
            SemvizError: If ε or λ is out of range.
        """
        epsilon, weight = check_terms(self.epsilon if epsilon is None else epsilon, weight)
        if not self.helps:
            why = "full finetuning did not improve the model beyond noise"
            return Recommendation("probes", self.scopes[0], np.nan, np.nan, np.nan, 1.0, why, self.caution)
        if weight is None:
            k = max(k for k, keeps in self._kept(epsilon).items() if keeps)
        else:
            worth = self.points.set_index("boundary")["smoothed"]
            # Of equals, the one with the most frozen blocks.
            k = max(worth.index, key=lambda k: (round(worth[k] - weight * self.cost[k], 12), k))
        row = self.points.set_index("boundary").loc[k]
        benefit, low, high = (float(row[column]) for column in ("benefit", "low", "high"))
        why = reason(epsilon, weight, seen="measured")
        return Recommendation("probes", self.scopes[k], benefit, low, high, float(self.cost[k]), why, self.caution)

    def _kept(self, epsilon: float) -> dict[int, bool]:
        if not self.helps:
            return {}
        keeps = self._enough(self.points["benefit"].to_numpy(), epsilon)
        return dict(zip(self.points["boundary"].tolist(), keeps.tolist(), strict=True))

    def _enough(self, benefits: Array, epsilon: float) -> NDArray[np.bool_]:
        curve = smoothed(benefits, self.points["seeds"].tolist())
        return enough(curve, float(curve[0]), epsilon=epsilon, one_row=self.one_row)

    @cached_property
    def cost(self) -> Array:
        """Cost of training above each boundary 0…L−1 as a share of full finetuning's, by parameter counts."""
        everywhere = score_named(self.runs.score).of_every_token
        return relative_costs(self.scopes, epochs=self.runs.runs[0].epochs, everywhere=everywhere)

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
        return table.assign(cost=np.append(self.cost, 0.0))

    def figure(self, runs: MeasuredRuns | None = None) -> Figure:
        """Draw the predicted benefit over the boundary, with the probes, and with measured runs if there are any.

        Raises:
            SemvizError: If the runs are of another model or task.
        """
        from semviz.figures import benefit_curve

        return benefit_curve(self, runs=runs)

    def __repr__(self) -> str:
        """One line: task, probes, recommended boundary."""
        probed = ", ".join(f"k={k}" for k in self.points["boundary"])
        return (
            f"Probes({self.model} on {self.task}: {probed}; boundary {self.boundary} of {self.n_blocks}, "
            f"{formats.seconds(self.seconds)})"
        )

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(self.message, self.frame().round(3))
