"""The base of traces and their differences: a table of positions, and a value per metric, position and space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semviz.common import checks, formats
from semviz.common.bootstrap import bootstrap_means, interval
from semviz.common.errors import SemvizError
from semviz.common.metric_facts import MetricFacts
from semviz.common.provenance import Source
from semviz.gains.scaling_law import Law, fit_law

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from typing_extensions import Self

POOR_FIDELITY = 0.7  # below it the semantic bases represent the model's own predictions poorly
_MANY_RARE = 0.5  # share of the counted positions whose target the translators hardly know
_NAMED = 6
_BY_HEAD, _BY_BASES = ("lens", "rank"), ("semantic", "target", "virtual")  # what reads a space for each metric
COUNTED = ("answer", "next")
"""Roles of the positions that enter averages."""


@dataclass(frozen=True, eq=False)
class Deviations:
    """Values of every traced position at every space.

    Attributes:
        positions: One row per position: sample (its number in the split), position, token_id, token, target_id (−1:
            no target), target, label, role (`answer`, `next`; `context` and `special` are never averaged), predicted,
            correct.
        values: Metric key → float32 array of shape (positions, L+1); NaN where there is no target.
        nearest: Ids of the three tokens whose semantic bases are nearest, int32, shape (positions, L+1, 3); None if
            they were not computed (`semantic` over the full vocabulary computes them).
        top1: Ids of the tokens that the model's head ranks first when it reads each space, int32, shape (positions,
            L+1); None if they were not computed (`lens` or `rank` over the full vocabulary compute them).
        vocabulary: Token id → its text, for every id in the trace.
        facts: Metric key → title, unit and range.
        meta: What determined the numbers: model and its hash, task, split, τ, ridge, fidelity, …
    """

    positions: pd.DataFrame = field(repr=False)
    values: dict[str, NDArray[np.float32]] = field(repr=False)
    nearest: NDArray[np.int32] | None = field(repr=False)
    top1: NDArray[np.int32] | None = field(repr=False)
    vocabulary: dict[int, str] = field(repr=False)
    facts: dict[str, MetricFacts] = field(repr=False)
    meta: dict[str, Any]

    @property
    def source(self) -> Source:
        """Which model and task were traced."""
        meta = self.meta
        # Traces of before have a hash of the weights alone, which is not comparable.
        model_hash = meta.get("model_hash", "") if meta.get("task_hash") else ""
        return Source(meta.get("model", ""), model_hash, meta.get("task", ""), meta.get("task_hash", ""))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Keys of the metrics that were traced."""
        return tuple(self.values)

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks."""
        return next(iter(self.values.values())).shape[1] - 1

    @property
    def default_metric(self) -> str:
        """The metric that figures and gains use by default: the loss-like one that agrees best with the model's output.

        Among equals it is the one that was traced first.
        """
        loss_like = [key for key in self.values if self.facts[key].loss_like]
        return max(loss_like or self.metrics, key=self.agreement)

    def agreement(self, metric: str | None = None) -> float:
        """Share of general text's positions where a metric's scores rank the same token first as the model does.

        At the last space the head's own scores (`lens`, `rank`) always do; those of the semantic bases as often as
        their fidelity says; of other metrics it is not known, and 0.
        """
        key = self.check(metric)
        if key in _BY_HEAD:
            return 1.0
        return float(self.meta.get("fidelity", 0.0)) if key in _BY_BASES else 0.0

    def caution(self, metric: str | None = None) -> str:
        """What to know before a metric is believed; empty where nothing is.

        Its scores often disagree with the model's own output, or most targets are words that the translators hardly
        know.
        """
        key = self.check(metric)
        return " ".join(said for said in (self._fidelity_caution(key), self._rare_words_caution(key)) if said)

    def _rare_words_caution(self, key: str) -> str:
        rare = self.meta.get("rare_words", [])
        if not rare or key not in (*_BY_HEAD, *_BY_BASES) or not self.counted.any():
            return ""
        is_rare = self.positions["target"].isin(rare).to_numpy()[self.counted]
        if is_rare.mean() < _MANY_RARE:
            return ""
        words = sorted(self.positions["target"][self.counted][is_rare].str.strip().unique())
        listed = ", ".join(words[:_NAMED]) + (f" and {len(words) - _NAMED} more" if len(words) > _NAMED else "")
        return (
            f"The text that the translators were fitted on has hardly any of the words to be read ({listed}), so they "
            'may look farther away than they are; compare with readout="raw", or pass calibration=calibrate(model, '
            "texts) with texts that have them."
        )

    def _fidelity_caution(self, key: str) -> str:
        if key not in _BY_BASES or not self.agreement(key) < POOR_FIDELITY:
            return ""
        return (
            f"The semantic bases, which the {self.facts[key].title} reads, rank first what the model ranks first at "
            f"{formats.percent(self.agreement(key))} of positions only; compare it with the lens."
        )

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """Which positions enter averages, shape (positions,)."""
        return self.positions["role"].isin(COUNTED).to_numpy()

    @cached_property
    def detailed(self) -> tuple[int, ...]:
        """Numbers of the samples of which every position was traced: the first `detail` ones."""
        samples = self.positions["sample"].unique()[: self.meta["detail"]]
        return tuple(int(sample) for sample in samples)

    def check(self, metric: str | None) -> str:
        """Return a metric's key, or the default one for None.

        Raises:
            SemvizError: If the metric was not traced.
        """
        if metric is None:
            return self.default_metric
        if not isinstance(metric, str) or metric not in self.values:
            metric_keys = ", ".join(repr(key) for key in self.values)
            raise SemvizError(
                f"metric={checks.short_repr(metric)} was not traced. Pass one of {metric_keys}, or trace again with it."
            )
        return metric

    def check_counted(self) -> None:
        """Refuse to average nothing.

        Raises:
            SemvizError: If no position enters averages, as in an empty part.
        """
        if not self.counted.any():
            raise SemvizError(
                f"None of the {len(self.positions):,} positions of this trace is an answer or a next token, so there "
                "is nothing to average; take() a part with some of these."
            )

    def sample_means(self, metric: str | None = None) -> pd.DataFrame:
        """Mean of each sample over its counted positions: index sample, columns spaces 0…L.

        Raises:
            SemvizError: If the metric was not traced, or there is no counted position, as in every average.
        """
        self.check_counted()
        values = pd.DataFrame(self.values[self.check(metric)][self.counted])
        return values.groupby(self.positions["sample"].to_numpy()[self.counted]).mean()

    def profile_frame(self, metric: str | None = None, *, seed: int = 0) -> pd.DataFrame:
        """The profile: mean of each space with a 95 % bootstrap interval over samples.

        Returns:
            Columns space, mean, low, high; one row per space.
        """
        key, seed = self.check(metric), checks.whole_number("seed", seed)
        if (key, seed) not in self._profiles:
            means = self.sample_means(key).to_numpy(dtype=np.float32)
            low, high = interval(bootstrap_means(means, seed=seed))
            columns = {"space": range(means.shape[1]), "mean": means.mean(0), "low": low, "high": high}
            self._profiles[key, seed] = pd.DataFrame(columns)
        return self._profiles[key, seed].copy()

    @cached_property
    def _profiles(self) -> dict[tuple[str, int], pd.DataFrame]:
        """Profiles by metric and seed, for a picture, its text twin and the next look at both."""
        return {}

    def law(self, metric: str | None = None) -> Law | None:
        """The scaling law fitted to a profile (SALF-style, our reading); None for a metric that is not loss-like."""
        key = self.check(metric)
        return fit_law(self.mean_profile(key).astype(np.float64)) if self.facts[key].loss_like else None

    def take(self, rows: NDArray[np.bool_]) -> Self:
        """The part with the rows of `positions` that this mask selects, shape (positions,)."""
        positions = self.positions[rows].reset_index(drop=True)
        samples = positions["sample"].unique()
        return replace(
            self,
            positions=positions,
            values={key: values[rows] for key, values in self.values.items()},
            nearest=None if self.nearest is None else self.nearest[rows],
            top1=None if self.top1 is None else self.top1[rows],
            meta={
                **self.meta,
                "samples": len(samples),
                "positions": int(self.counted[rows].sum()),
                "detail": int(np.isin(samples, self.detailed).sum()),
            },
        )

    def mean_profile(self, metric: str | None = None) -> NDArray[np.float32]:
        """The profile without its interval, which takes longer: mean of each space over the samples, shape (L+1,)."""
        return np.asarray(self.sample_means(metric).to_numpy(dtype=np.float32).mean(0))

    def frame(self) -> pd.DataFrame:
        """Everything as one long table: the columns of `positions`, then space and one column per metric.

        A metric that is called like one of these columns has `_deviation` behind its name: `target` is the target's
        text, `target_deviation` the metric.
        """
        spaces = self.n_blocks + 1
        table = self.positions.loc[self.positions.index.repeat(spaces)].reset_index(drop=True)
        table["space"] = np.tile(np.arange(spaces), len(self.positions))
        for key, values in self.values.items():
            table[f"{key}_deviation" if key in table else key] = values.ravel()
        return table

    def summary(self) -> pd.DataFrame:
        """Mean of each space, one column per metric."""
        columns = {self.facts[key].title: self.mean_profile(key).astype(float).round(2) for key in self.values}
        return pd.DataFrame(columns).rename_axis("space")

    def token_heatmap(
        self,
        *,
        sample: int | None = None,
        metric: str | None = None,
        boundary: int | None = None,
        start: int | None = None,
        spaces: Literal["all"] | Sequence[int] | None = None,
        words: bool | None = None,
    ) -> Figure:
        """Draw one sample: tokens across, spaces upwards, deviation as colour, the head's first choice as words.

        Args:
            sample: Number of the sample; the first one by default.
            metric: Key of a traced metric.
            boundary: Number of frozen blocks to mark.
            start: First token shown of a sample of more than 96 tokens.
            spaces: `"all"`, or numbers of spaces to show; by default all of up to 35, and a choice of more.
            words: Words in the cells; by default where columns are wide enough. True narrows the window until they are.

        Raises:
            SemvizError: If one of them does not exist in this trace.
        """
        from semviz.figures import token_heatmap

        return token_heatmap(
            self, sample=sample, metric=metric, boundary=boundary, start=start, spaces=spaces, words=words
        )

    def sample_heatmap(
        self,
        *,
        metric: str | None = None,
        order: Literal["label", "correct", "deviation", "cluster", "index"] | None = None,
        boundary: int | None = None,
        limit: int = 200,
        spaces: Literal["all"] | Sequence[int] | None = None,
    ) -> Figure:
        """Draw all samples: a column per sample, spaces upwards, mean deviation as colour; at most `limit` columns.

        `spaces` is as in `token_heatmap`.
        """
        from semviz.figures import sample_heatmap

        return sample_heatmap(self, metric=metric, order=order, boundary=boundary, limit=limit, spaces=spaces)

    def profile(self, *, metrics: tuple[str, ...] | None = None, boundary: int | None = None) -> Figure:
        """Draw the mean of each space with its interval, metrics side by side, and the law's line where it applies."""
        from semviz.figures import profile

        return profile(self, metrics=metrics, boundary=boundary)

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.summary() if self.counted.any() else None)
