"""`Runs`: what a sweep measured, as tables, figures and one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.provenance import Source, source_of
from semviz.common.scores import score_named
from semviz.experiments.comparable_runs import check_comparable, frame_of
from semviz.experiments.scope_names import ScopeName
from semviz.finetuning.run import Run
from semviz.gains.scaling_law import EPSILON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from plotly.graph_objects import Figure

    from semviz.experiments.agreement import Agreement
    from semviz.experiments.comparison import Comparison
    from semviz.experiments.probes import Probes
    from semviz.gains.gain import Gain
    from semviz.scopes.scope import Scope


@dataclass(frozen=True, eq=False)
class Runs:
    """Finished runs on one task.

    Attributes:
        runs: The runs, one each for scope × method × seed, all of one model, task, number of epochs and batch size.
            Seeds of one scope and method have one learning rate, or searched one each.
        zero_shot: Score of the model before finetuning.
        gain: The gain that predicted them, if any.
        untrained_rows: Score of each validation row before finetuning.
        budget: Under which budget of time they were made and what it left out, in a sentence; empty without one.
    """

    runs: tuple[Run, ...]
    zero_shot: float
    gain: Gain | None = None
    untrained_rows: tuple[float, ...] = field(repr=False, default=())
    budget: str = field(repr=False, default="")

    def __post_init__(self) -> None:
        """Refuse an empty collection.

        Raises:
            SemvizError: If there are no runs, they cannot be compared, or the gain is of another model or task.
        """
        check_comparable(self.runs)
        source_of(self.gain).check("gain", self.source, "pass trace(model, task).gain() of the model and task, or None")

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def source(self) -> Source:
        """Which model and task the runs were made from."""
        return self.runs[0].source

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.runs[0].task

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.runs[0].model_name

    @property
    def score(self) -> str:
        """`"accuracy"` or `"loss"`."""
        return self.runs[0].score

    def frame(self) -> pd.DataFrame:
        """One row per run."""
        return frame_of(self.runs)

    def table(self) -> pd.DataFrame:
        """One row per scope and method, over its seeds.

        Returns:
            Columns scope, name, boundary, first and last (trained block of a contiguous range), suffix (whether it is
            one), method, runs, diverged (how many of these; they count for nothing else), lr, trainable, share,
            validation, accuracy, low, high (95 % interval), covers (what it is over: `"seeds and rows"`, `"rows, and
            seeds as in other scopes"` or `"rows, one seed"`), seconds, speedup (against full finetuning, without the
            search for learning rates), predicted and benefit (share of full finetuning's improvement: predicted by the
            profile where its law applies, and measured; NaN where full finetuning's interval holds the score before
            it). For language modelling tasks also loss, loss_low and loss_high, in nats; low and high are then NaN.
        """
        return self._table.copy()

    @cached_property
    def _table(self) -> pd.DataFrame:
        """What `table` returns, computed once for all texts and figures."""
        from semviz.experiments.scope_table import scope_table

        return scope_table(
            list(self.groups().values()),
            names=[name.text for name in self.scope_names()],
            score=score_named(self.score),
            zero_shot=self.zero_shot,
            predicted=self.gain.benefit if self.gain is not None and self.gain.applies else None,
        )

    def _may_be_noise(self, i: int) -> bool:
        """Whether what the scope of a row of the table improved on validation rows may be nothing."""
        from semviz.experiments.validation_rows import may_be_noise

        if i not in self._noise:
            groups = list(self.groups().values())
            self._noise[i] = may_be_noise(groups, i, self.untrained_rows, score=score_named(self.score))
        return self._noise[i]

    @cached_property
    def _noise(self) -> dict[int, bool]:
        """What `_may_be_noise` has found: each takes a thousand resamples."""
        return {}

    def groups(self) -> dict[tuple[Scope, str], list[Run]]:
        """The runs by scope and method, each with its seeds."""
        groups: dict[tuple[Scope, str], list[Run]] = {}
        for run in self.runs:
            groups.setdefault((run.scope, run.method), []).append(run)
        return groups

    def name_of(self, run: Run) -> str:
        """Name this scope: full, half, last, profile (the gain's boundary), or by its boundary."""
        return self._scope_name(run.scope, run.method).text

    def scope_names(self) -> list[ScopeName]:
        """Name each scope and method, in the order of the rows of `table`."""
        return [self._scope_name(scope, method) for scope, method in self.groups()]

    def _scope_name(self, scope: Scope, method: str) -> ScopeName:
        return ScopeName.of(scope, method, profile=self.gain.boundary if self.gain is not None else None)

    def pareto(self, *, trainable: int | None = None) -> Figure:
        """Draw the score against trainable parameters, with intervals and the Pareto front; `trainable` is marked."""
        from semviz.figures import pareto

        return pareto(self, trainable=trainable)

    def range_heatmap(self, *, method: str = "full") -> Figure:
        """Draw the score of every contiguous range of blocks that was run, lowest against highest trained block."""
        from semviz.figures import range_heatmap

        return range_heatmap(self, method=method, n_blocks=self.runs[0].scope.n_blocks)

    def compare(self, reference: str = "full") -> Comparison:
        """Compute paired differences of all scopes against one, by its name in `table` (`"full"`, `"half"`, `"k=2"`).

        Raises:
            SemvizError: If no scope has this name, or a scope shares no seed with it.
        """
        from semviz.experiments.comparison import compare

        return compare(self, reference)

    def regret(self, **chosen: int | Gain | Probes) -> pd.DataFrame:
        """Compute what each choice of a boundary loses against the best measured one, beside plain L/4, L/2 and 3L/4.

        Args:
            chosen: Boundaries by any name: a number, a `Gain` (all its rules) or `Probes`.

        Returns:
            As `semviz.experiments.comparison.regrets`.

        Raises:
            SemvizError: If a boundary was not run, or a gain or probes are of another model or task.
        """
        from semviz.experiments.comparison import regrets

        for name, choice in chosen.items():
            source_of(choice).check(name, self.source, "pass evidence of the model and task of the runs")
        boundaries: dict[str, int] = {}
        several = sum(hasattr(choice, "candidates") for choice in chosen.values()) > 1
        for name, choice in chosen.items():
            if hasattr(choice, "candidates"):
                boundaries |= {f"{name}: {rule}" if several else rule: k for rule, k in choice.candidates.items()}
            else:
                k = getattr(choice, "boundary", choice)
                if not checks.is_whole(k):
                    raise SemvizError(
                        f"{name}={checks.short_repr(choice)} is not a boundary; pass a whole number, a Gain or Probes."
                    )
                boundaries[name] = int(k)  # type: ignore[arg-type]
        return regrets(self, boundaries)

    def probes(self, boundaries: Iterable[int] | None = None, *, epsilon: float = EPSILON) -> Probes:
        """Read suffixes that were run as probes: which of them to train, what may lie between, what to measure next.

        Args:
            boundaries: Which of them to use, with all their seeds; every one that did not diverge by default.
            epsilon: ε, the share of full finetuning's benefit that may be given up for more frozen blocks.

        Raises:
            SemvizError: If one of them was not run, or fewer than two can be used, one of them full finetuning.
        """
        from semviz.experiments.probe_fitting import check_boundaries, fit_probes
        from semviz.gains.recommendation import check_terms

        epsilon, _ = check_terms(epsilon, None)
        suffixes = [run for run in self.runs if run.scope.is_suffix and run.method == "full"]
        trained = [run for run in suffixes if not run.diverged]
        if boundaries is not None:
            probed = set(check_boundaries(boundaries, self.runs[0].scope.n_blocks))
            missing, measured = probed - {run.scope.boundary for run in suffixes}, {r.scope.boundary for r in trained}
            if missing:
                has = sorted({run.scope.boundary for run in suffixes})
                raise SemvizError(f"Boundaries {sorted(missing)} were not run; pass boundaries= of these: {has}.")
            if probed - measured:
                raise SemvizError(f"The runs at boundaries {sorted(probed - measured)} diverged; pass a smaller lr.")
            trained = [run for run in trained if run.scope.boundary in probed]
        return fit_probes(replace(self, runs=tuple(trained or suffixes)), lenders=self, epsilon=epsilon)

    def agreement(self, gain: Gain | None = None, probes: Probes | None = None) -> Agreement:
        """Compare predicted and measured benefit at every suffix that was run, with Spearman's rank correlation.

        Args:
            gain: A profile's gain; the sweep's own by default.
            probes: Measured probes.

        Raises:
            SemvizError: If there is neither, one is of another model or task, or full finetuning was not run or did
                not help.
        """
        from semviz.experiments.agreement import measure_agreement

        for name, evidence in (("gain", gain), ("probes", probes)):
            source_of(evidence).check(name, self.source, "pass evidence of the model and task of the runs")
        gain = gain or self.gain
        predictions: dict[str, NDArray[np.float64]] = {}
        units: dict[str, str] = {}
        if gain is not None:
            predictions |= gain.predictions
            units |= dict.fromkeys(gain.scales, "the rule's own scale")
        if probes is not None:
            predictions["probes"] = probes.benefit
        if not predictions:
            raise SemvizError("There are no predictions to compare with; pass gain= or probes=.")
        return measure_agreement(self, predictions, units=units)

    def answer(self, *, epsilon: float = EPSILON) -> str:
        """Say which blocks to train, in a few sentences, with their cost and score against full finetuning.

        The scope named is the smallest that keeps 1 − ε of full finetuning's benefit on validation rows, or, where full
        finetuning does not help there beyond noise, the best one that does; the scores are those of test rows, which
        decided nothing. Too few rows or steps are said first, runs that diverged and a budget last.

        Args:
            epsilon: ε, the share of full finetuning's benefit that may be given up, as in `probes`.

        Raises:
            SemvizError: If ε is out of range.
        """
        from semviz.experiments.answer_sentence import answer
        from semviz.experiments.evidence import Evidence
        from semviz.gains.recommendation import check_terms

        epsilon, _ = check_terms(epsilon, None)
        start = float(np.mean(self.untrained_rows)) if self.untrained_rows else self.zero_shot
        said = answer(
            self._table,
            task=self.task,
            score=score_named(self.score),
            zero_shot=self.zero_shot,
            zero_shot_validation=start,
            evidence=Evidence.of(self.runs),
            epsilon=epsilon,
            may_be_noise=self._may_be_noise,
        )
        return f"{said} {self.budget}".rstrip()

    def __repr__(self) -> str:
        """One line: model, task, how many runs, the answer."""
        return f"Runs({len(self.runs)} of {self.model} on {self.task}; {self.answer()})"

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(self.answer(), self.table().round(3))
