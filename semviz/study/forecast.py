"""`Forecast`: what can be predicted about a scope before it is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from semviz.common import formats
from semviz.finetuning.learning_rates import most_extra

if TYPE_CHECKING:
    from semviz.experiments.probes import Probes
    from semviz.finetuning.recipe import Recipe
    from semviz.finetuning.run import Run
    from semviz.scopes.costs import Cost
    from semviz.scopes.scope import Scope
    from semviz.study.opened_task import OpenedTask


class ForecastLine(NamedTuple):
    """One line of a forecast: its name, the value, and where the value comes from."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, eq=False)
class Forecast:
    """What one finetune would train, cost and improve.

    Attributes:
        scope: What trains.
        cost: FLOPs and bytes.
        benefit: Predicted share of full finetuning's improvement; NaN if nothing predicts it.
        low, high: Its 95 % interval; NaN if there is none.
        evidence: What the prediction is based on: `"probes"`, `"profile"` or `""`.
        seconds: Expected training time at its learning rate.
        clock: What the seconds are extrapolated from: finished `"runs"`, or one `"forward pass"`.
        search_seconds: The most that the search for a learning rate may take in addition; 0 where one is given.
    """

    scope: Scope
    cost: Cost
    benefit: float
    low: float
    high: float
    evidence: str
    seconds: float
    clock: str
    search_seconds: float

    def facts(self) -> list[ForecastLine]:
        """List what trains, the predicted benefit, and the costs."""
        scope, cost = self.scope, self.cost
        memory = ", ".join(f"{part} {formats.size(size)}" for part, size in cost.memory.items() if size)
        search = f"and up to {formats.seconds(self.search_seconds)} to find its learning rate. From "
        clock = "the runs so far" if self.clock == "runs" else "one forward pass"
        share = formats.percent(scope.share)
        return [
            ForecastLine("Trains", f"{formats.si(scope.trainable)} parameters", f"{share} of the model: {scope.label}"),
            self._benefit(),
            ForecastLine(
                "Compute",
                f"{formats.percent(cost.share)} of full",
                f"{formats.si(cost.flops_per_token)} FLOPs a token",
            ),
            ForecastLine("Memory", formats.size(cost.bytes), memory),
            ForecastLine(
                "Time", f"about {formats.seconds(self.seconds)}", f"{search if self.search_seconds else 'from '}{clock}"
            ),
        ]

    def _benefit(self) -> ForecastLine:
        name = "Predicted benefit"
        if not math.isfinite(self.benefit):
            return ForecastLine(name, "unknown", "press Probe: a few short runs measure it")
        source = "from the probes" if self.evidence == "probes" else "from the profile alone: a guess"
        span = f", 95 %: {formats.percent(self.low)} to {formats.percent(self.high)}" if math.isfinite(self.low) else ""
        return ForecastLine(name, f"{formats.percent(self.benefit)} of full", source + span)


def forecast(
    opening: OpenedTask,
    scope: Scope,
    recipe: Recipe,
    *,
    steps: int,
    probes: Probes | None,
    runs: Sequence[Run] = (),
) -> Forecast:
    """Predict what one finetune would train, cost and improve.

    Args:
        opening: The task.
        scope: What would train: the blocks above a boundary.
        recipe: How it would be trained.
        steps: Optimizer steps that this is.
        probes: Measured probes; their prediction is preferred to the profile's.
        runs: Finished runs; their times are preferred to that of a forward pass.
    """
    cost = opening.costs.of(scope, method=recipe.method, modules=recipe.modules, epochs=recipe.epochs)
    k = scope.boundary
    benefit = low = high = math.nan
    evidence = ""
    if probes is not None and probes.helps:
        benefit, low, high, evidence = float(probes.benefit[k]), float(probes.low[k]), float(probes.high[k]), "probes"
    elif opening.gain.applies and np.isfinite(opening.gain.benefit[k]):
        benefit, evidence = float(opening.gain.benefit[k]), "profile"
    unit_seconds, clock = opening.unit_seconds * opening.costs.tokens, "forward pass"
    measured_unit_seconds = [
        run.seconds
        / sum(opening.costs.of(run.scope, method=run.method, modules=run.modules, epochs=run.epochs).units.values())
        for run in runs
    ]
    if measured_unit_seconds:
        unit_seconds, clock = float(np.median(measured_unit_seconds)), "runs"
    seconds = unit_seconds * sum(cost.units.values())
    search_seconds = seconds * most_extra(steps) if recipe.lr == "auto" else 0.0
    return Forecast(scope, cost, benefit, low, high, evidence, seconds, clock, search_seconds)
