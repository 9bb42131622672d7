"""`Gain`: from deviations of spaces to gains of layers, and from gains to a boundary.

SALF-style, our reading: the paper's formulas are not public. At fixed width a scaling law N ∝ depth gives
D(n) = c·n^(−α). With β = 1/α the transform y_β(D) = (D^(−β) − 1)/β (β → 0: −ln D) is a straight line in depth, and the
gain of layer ℓ is y_β(D_ℓ) − y_β(D_{ℓ−1}). Read literally, the layer of the largest gain is frozen together with all
below it (rule `law`); in measured runs the depth surplus loses less, so it is the default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from semviz.common import checks, formats
from semviz.common.errors import ScopeError
from semviz.common.metric_facts import MetricFacts
from semviz.common.provenance import Source
from semviz.gains.scaling_law import BENEFIT, EPSILON, GOOD_FIT, PEAK, Array, Law
from semviz.lm.parts import Parts

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from semviz.gains.recommendation import Recommendation
    from semviz.scopes.scope import Scope


@dataclass(frozen=True, eq=False)
class Gain:
    """Gains of layers and the boundary that they suggest.

    Attributes:
        facts: Title and unit of the loss-like metric of the profile.
        rule: How the boundary was chosen: `law`, `drop`, `surplus` or `virtual peak`.
        deviation: D_0…D_L, shape (L+1,), in the metric's unit.
        deviation_low, deviation_high: 95 % bootstrap interval over samples, shape (L+1,).
        gains: γ_1…γ_L, shape (L,); γ_1 is NaN.
        gains_low, gains_high: 95 % bootstrap interval, shape (L,).
        law: The law of the profile, and whether it applies.
        predicted: D̂(k), predicted deviation after finetuning the blocks above k, shape (L+1,).
        candidates: Boundary that each rule suggests.
        scales: The quantity that each rule maximises, by boundary, shape (L+1,); NaN at k = 0.
        chosen_share: Share of bootstrap resamples in which the rule chooses boundary k, shape (L+1,).
        kind: Kind of the task: `"classification"` or `"language modelling"`.
        parts: Names and unique parameters of the model's parts, as `LanguageModel.parts`.
        source: Which model and task were traced, as far as it is known.
        caution: A sentence where the metric is a poor picture of what the model says; else empty.
    """

    facts: MetricFacts
    rule: str
    deviation: Array
    deviation_low: Array
    deviation_high: Array
    gains: Array
    gains_low: Array
    gains_high: Array
    law: Law
    predicted: Array
    candidates: dict[str, int]
    scales: dict[str, Array] = field(repr=False)
    chosen_share: Array
    kind: str
    parts: Parts = field(repr=False)
    source: Source = field(repr=False, default=Source())
    caution: str = ""

    @property
    def metric(self) -> str:
        """Key of the metric."""
        return self.facts.key

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks."""
        return len(self.gains)

    @property
    def boundary(self) -> int:
        """Suggested k: freeze blocks 1…k, train the rest; between 1 and L−1."""
        return self.candidates[self.rule]

    @property
    def beta(self) -> float:
        """β of the law."""
        return self.law.beta

    @property
    def r2(self) -> float:
        """R² of the law's line over spaces 1…L."""
        return self.law.r2

    @property
    def nonmonotone(self) -> float:
        """ν, share of the profile's movement that leads away from the target."""
        return self.law.nonmonotone

    @property
    def fitted(self) -> Array:
        """The law's line as a deviation per space, shape (L+1,); NaN at space 0, and where the law does not apply."""
        return self.law.line

    @property
    def applies(self) -> bool:
        """Whether the profile moves, and mostly towards the target, so that the law is informative."""
        return self.law.applies

    @property
    def flat(self) -> bool:
        """Whether the profile hardly moves over spaces 1…L, and so carries no information."""
        return self.law.flat

    @property
    def benefit(self) -> Array:
        """Predicted share of full finetuning's improvement at k = 0…L, shape (L+1,); NaN if there is none."""
        full_benefit = self.deviation[-1] - self.predicted[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(full_benefit > 0, (self.deviation[-1] - self.predicted) / full_benefit, np.nan)

    @property
    def predictions(self) -> dict[str, Array]:
        """What the profile predicts for every boundary k = 0…L; larger is better, shape (L+1,) each.

        `benefit` is the predicted share of full finetuning's improvement; for each rule, the values are the quantity
        that it maximises, NaN at k = 0.
        """
        return {BENEFIT: self.benefit, **self.scales}

    def recommend(self, *, epsilon: float = EPSILON, weight: float | None = None, epochs: float = 3) -> Recommendation:
        """Recommend a boundary from the profile alone.

        Where the law applies: the largest k whose predicted benefit keeps 1 − ε of full finetuning's, or the largest
        benefit − λ·cost. Otherwise the rule's boundary, and the recommendation says so.

        Args:
            epsilon: ε, the share of full finetuning's benefit that may be given up.
            weight: λ: choose the largest benefit − λ·cost instead.
            epochs: Passes over the training rows, for the cost.

        Raises:
            SemvizError: If ε, λ or the epochs are out of range.
        """
        from semviz.gains.recommendation import Recommendation, check_terms, choose_boundary, reason
        from semviz.scopes.cost_units import relative_costs

        epsilon, weight = check_terms(epsilon, weight)
        epochs = checks.positive("epochs", epochs)
        scopes = [self.scope(k) for k in range(self.n_blocks)]
        cost = relative_costs(scopes, epochs=epochs, everywhere=self.kind == "language modelling")
        if self.applies and np.isfinite(self.benefit).all():
            k = int(choose_boundary(self.benefit, cost, epsilon=epsilon, weight=weight))
            why, benefit = reason(epsilon, weight), float(self.benefit[k])
        else:
            k, benefit = self.boundary, np.nan
            why = f"the law does not apply to this profile; boundary of the {self.rule} rule, to be measured"
        return Recommendation("profile", scopes[k], benefit, np.nan, np.nan, float(cost[k]), why)

    @property
    def message(self) -> str:
        """What to do, and how far to trust it."""
        return f"{self._advice} {self.caution}".rstrip()

    @property
    def _advice(self) -> str:
        k = self.boundary
        source = "peak of the virtual deviation" if self.rule == PEAK else f"{self.rule} rule, {self.facts.title}"
        advice = f"Freeze {_block_range(1, k)}, train {_block_range(k + 1, self.n_blocks)} ({source})."
        if self.rule != "law":
            advice += f" The layer of the largest gain is {self.candidates['law']}."
        if self.flat:
            return f"{advice} The profile is flat, so it carries no information here: compare measured runs instead."
        if not self.applies:
            return (
                f"{advice} {formats.percent(self.nonmonotone)} of the profile's movement leads away from the target, "
                "so the scaling law does not apply here: trust measured runs instead."
            )
        # Readers take a large share for confidence in the boundary, which no number of rows can give.
        share = formats.percent(self.chosen_share[k])
        support = f"{share} of resamples of the rows choose this boundary: how steady the choice is, not how good."
        fits = "fits" if self.r2 >= GOOD_FIT else "fits poorly"
        return f"{advice} The law's line {fits} (β = {self.beta:.2f}, R² = {self.r2:.2f}). {support}"

    @cached_property
    def _normalised(self) -> Array:
        """Running maximum of the gains over layers, scaled to [0, 1]."""
        running = np.maximum.accumulate(np.nan_to_num(np.maximum(self.gains, 0)))
        return running / running[-1] if running[-1] > 0 else running

    def threshold(self, theta: float) -> int:
        """Boundary at a freeze threshold: the smallest k whose running maximum of normalised gain reaches θ.

        Args:
            theta: θ in [0, 1]; 0 freezes nothing, 1 freezes up to the layer of maximum gain. Monotone.

        Raises:
            SemvizError: If θ lies outside [0, 1].
        """
        theta = checks.number("theta", theta, "a freeze threshold between 0 and 1", fits=lambda x: 0 <= x <= 1)
        if theta == 0:
            return 0
        reached = np.flatnonzero(self._normalised >= theta)
        return int(min(reached[0] + 1, self.n_blocks - 1)) if len(reached) else 0

    def theta_of(self, boundary: int) -> float:
        """The freeze threshold that freezes this many blocks: the normalised gain reached there, in [0, 1].

        Several boundaries may share a threshold: `threshold` of the result may be smaller, never larger.

        Raises:
            ScopeError: If the boundary lies outside 0…L−1.
        """
        boundary = self._checked_boundary(boundary)
        return float(self._normalised[boundary - 1]) if boundary else 0.0

    def scope(self, boundary: int | None = None) -> Scope:
        """The scope above the suggested boundary, or above the one passed.

        Raises:
            ScopeError: If the boundary lies outside 0…L−1.
        """
        from semviz.scopes.scope import Scope

        k = self.boundary if boundary is None else self._checked_boundary(boundary)
        return Scope(tuple(range(k + 1, self.n_blocks + 1)), self.n_blocks, self.parts)

    def _checked_boundary(self, boundary: int) -> int:
        return checks.whole_number("boundary", boundary, maximum=self.n_blocks - 1, error=ScopeError)

    def frame(self) -> pd.DataFrame:
        """One row per layer: deviation before and after it, gain with interval, share of resamples that choose it."""
        return pd.DataFrame(
            {
                "block": np.arange(1, self.n_blocks + 1),
                "deviation_before": self.deviation[:-1],
                "deviation_after": self.deviation[1:],
                "gain": self.gains,
                "low": self.gains_low,
                "high": self.gains_high,
                "chosen_share": self.chosen_share[1:],
                "predicted": self.predicted[1:],
                "frozen": np.arange(1, self.n_blocks + 1) <= self.boundary,
            }
        )

    def figure(self, *, boundary: int | None = None) -> Figure:
        """Draw the profile with the law's line above the gain of each layer.

        Args:
            boundary: Number of frozen blocks to show; the suggested one by default.
        """
        from semviz.figures import gain

        return gain(self, boundary=boundary)

    def __repr__(self) -> str:
        """One line: boundary, rule, metric, fit, the other rules' boundaries."""
        others = ", ".join(f"{rule} {k}" for rule, k in self.candidates.items() if rule != self.rule)
        return (
            f"Gain(boundary {self.boundary} of {self.n_blocks} by {self.rule} on {self.metric}; β {self.beta:.2f}, "
            f"R² {self.r2:.2f}, ν {self.nonmonotone:.2f}; other rules: {others})"
        )

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(self.message, self.frame().round(3))


def _block_range(first: int, last: int) -> str:
    return f"block {first}" if first == last else f"blocks {first}–{last}"
