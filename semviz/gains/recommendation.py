"""`Recommendation`: a boundary chosen by benefit and cost, and the reason for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semviz.common import checks, formats

if TYPE_CHECKING:
    from semviz.scopes.scope import Scope

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Recommendation:
    """A boundary, and why.

    Attributes:
        evidence: `"profile"` or `"probes"`.
        scope: What to train.
        benefit: Share of full finetuning's improvement, predicted by a profile or measured by a probe; NaN where
            there is none.
        low, high: Its 95 % interval; NaN where no interval is known.
        cost: Cost of training it, as a share of full finetuning's.
        why: The reason for it, in one sentence.
        caution: What there is too little of for it, in one sentence; empty where there is enough.
    """

    evidence: str
    scope: Scope
    benefit: float
    low: float
    high: float
    cost: float
    why: str
    caution: str = ""

    @property
    def boundary(self) -> int:
        """k, the number of frozen blocks."""
        return self.scope.boundary

    def frame(self) -> pd.DataFrame:
        """One row: evidence, boundary, trainable, share, benefit, low, high, cost."""
        row = {"evidence": self.evidence, "boundary": self.boundary, "trainable": self.scope.trainable}
        row |= {"share": self.scope.share, "benefit": self.benefit, "low": self.low, "high": self.high}
        return pd.DataFrame([{**row, "cost": self.cost}])

    def __repr__(self) -> str:
        """One line: scope, predicted benefit, cost, why."""
        caution = f"{self.caution} " if self.caution else ""
        cost, share = formats.percent(self.cost), f"{formats.percent(self.benefit)} of full finetuning's benefit"
        share = f"{share} at {cost} of its cost" if math.isfinite(self.benefit) else f"{cost} of full finetuning's cost"
        return f"Recommendation({caution}train {self.scope.label} by {self.evidence}: {share}; {self.why})"

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(f"{self.caution} Train {self.scope.label}. {self.why}".strip(), self.frame().round(3))


def choose_boundary(benefit: Array, cost: Array, *, epsilon: float, weight: float | None) -> NDArray[np.int64]:
    """Choose a boundary by predicted benefit and cost.

    Args:
        benefit: Predicted share of full finetuning's improvement at k = 0…L, shape (…, L+1).
        cost: Cost of training as a share of full finetuning's at k = 0…L−1, shape (L,).
        epsilon: ε, the share of the benefit that may be given up.
        weight: λ: choose the largest benefit − λ·cost instead. None decides by ε.

    Returns:
        The largest k < L whose benefit reaches 1 − ε, or the k with the largest benefit − λ·cost; shape (…).
    """
    reachable = benefit[..., : len(cost)]
    if weight is not None:
        # Reversed: of equals, take the one with the most frozen blocks.
        return np.asarray(len(cost) - 1 - np.argmax((reachable - weight * cost)[..., ::-1], axis=-1))
    enough = reachable >= 1 - epsilon
    last = len(cost) - 1 - np.argmax(enough[..., ::-1], axis=-1)
    return np.where(enough.any(-1), last, 0)


def check_terms(epsilon: float, weight: float | None) -> tuple[float, float | None]:
    """Return ε and λ, checked.

    Raises:
        SemvizError: If ε lies outside [0, 1), or λ is negative.
    """
    share = "the share of the benefit that may be given up, such as 0.02"
    epsilon = checks.number("epsilon", epsilon, share, fits=lambda x: 0 <= x < 1)
    if weight is None:
        return epsilon, None
    worth = "how much benefit full finetuning's cost is worth, such as 0.1"
    return epsilon, checks.number("weight", weight, worth, fits=lambda x: 0 <= x < math.inf)


def reason(epsilon: float, weight: float | None, *, seen: Literal["predicted", "measured"] = "predicted") -> str:
    """How a boundary was chosen, in words."""
    if weight is None:
        return f"most frozen blocks that are {seen} to keep {formats.percent(1 - epsilon)} of the benefit"
    return f"largest {seen} benefit − {weight:g} × cost"
