"""`Trace`: what `trace()` measured, as tables of numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semviz.common.errors import SemvizError
from semviz.gains.scaling_law import PEAK
from semviz.lm.parts import Parts
from semviz.traces.deviations import POOR_FIDELITY, Deviations

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from semviz.gains.gain import Gain
    from semviz.traces.difference import TraceDifference
    from semviz.traces.groups import Groups


@dataclass(frozen=True, eq=False)
class Trace(Deviations):
    """Deviations of every traced position at every space.

    Besides the attributes of `Deviations`:

    Attributes:
        paths: The factual transition of the detailed samples' positions (the first rows of `positions`) in the plane of
            their transition map, float32, shape (m, L+1, 2): cosine with the target's semantic basis, and the direction
            across it in which the path of unit states extends most. NaN where there is no target.
        label_probabilities: Probability of each label among the labels, as read at each space, at the counted positions
            in their order; float32, shape (counted positions, L+1, C), labels as in `meta["label_names"]`. None in
            language modelling, and where label words are scored whole.
    """

    paths: NDArray[np.float32] = field(repr=False)
    label_probabilities: NDArray[np.float32] | None = field(repr=False, default=None)

    @property
    def accuracy(self) -> float:
        """Share of counted positions whose target the model itself ranks first, in language modelling.

        In classification the share of samples whose label it chooses among the labels. NaN where label words are scored
        whole: a trace reads only the sample's own word, so accuracy comes from a finetune's evaluation, which compares
        all words (`Runs.zero_shot` before training, `Run.accuracy` after it).
        """
        correct = self.positions.loc[self.counted, "correct"]
        return float(correct.mean()) if correct.notna().any() else float("nan")

    @property
    def options(self) -> dict[str, Any]:
        """The options of `semviz.trace` that produced it."""
        names = ("split", "samples", "vocab", "readout", "path", "detail")
        return {"metrics": self.metrics, "centre": self.meta["centred"], **{name: self.meta[name] for name in names}}

    def gain(
        self, metric: str | None = None, *, rule: str = "surplus", beta: float | None = None, seed: int = 0
    ) -> Gain:
        """Estimate the gain of finetuning each layer from a loss-like deviation. SALF-style, our reading.

        Args:
            metric: Key of the deviation; by default the one that agrees best with the model's own output.
            rule: `"surplus"`, `"law"`, `"drop"` or `"virtual peak"`, as in `semviz.gains.estimation.estimate_gain`.
            beta: β of the law; fitted by default.
            seed: Seed of the bootstrap.

        Raises:
            SemvizError: If the metric was not traced or is not loss-like, or an option is out of range.
        """
        from semviz.gains.estimation import estimate_gain

        key = self.check(metric)
        if not self.facts[key].loss_like:
            loss_like = [k for k in self.values if self.facts[k].loss_like]
            instead = f"pass one of {loss_like}" if loss_like else "trace again with a loss-like metric"
            raise SemvizError(f"metric={key!r} does not fall towards 0 at the target; {instead}.")
        return estimate_gain(
            self.sample_means(key).to_numpy(dtype=np.float32),
            facts=self.facts[key],
            parts=Parts.from_record(self.meta["parts"]),
            kind=str(self.meta.get("kind", "classification")),
            virtual=self.sample_means("virtual").to_numpy(dtype=np.float32) if "virtual" in self.values else None,
            rule=rule,
            beta=beta,
            seed=seed,
            source=self.source,
            caution=self.caution("virtual" if rule == PEAK and "virtual" in self.values else key),
        )

    def take(self, rows: NDArray[np.bool_]) -> Trace:
        """The part with the rows of `positions` that this mask selects, shape (positions,)."""
        labels = self.label_probabilities
        return replace(
            super().take(rows),
            paths=self.paths[rows[: len(self.paths)]],
            label_probabilities=None if labels is None else labels[rows[self.counted]],
        )

    def by(self, column: str) -> Groups[Trace]:
        """Split the trace by a column of `positions`, such as `"label"` or `"correct"`: one trace per value.

        Raises:
            SemvizError: If there is no such column, or it has no values.
        """
        from semviz.traces.groups import group

        return group(self, column)

    def __sub__(self, before: Trace) -> TraceDifference:
        """What changed from another trace of the same positions: `after - before`."""
        if not isinstance(before, Trace):
            return NotImplemented
        from semviz.traces.difference import subtract

        return subtract(self, before)

    def nearest_tokens(self, *, sample: int, position: int | None = None) -> pd.DataFrame:
        """Tabulate the tokens that one position is nearest to in every space.

        Args:
            sample: Number of the sample, as in `positions`.
            position: Position in it; by default its answer, or its last position with a target.

        Returns:
            One row per space, indexed by `space`: first, second, third (the tokens whose semantic bases are nearest by
            angle, if `"semantic"` was traced over the whole vocabulary) and head (what the model's own head ranks first
            when it reads this space, if `"lens"` or `"rank"` was).

        Raises:
            SemvizError: If neither was traced, or the position was not.
        """
        from semviz.traces.nearest_tokens import nearest_tokens

        return nearest_tokens(self, sample, position)

    def transition_map(
        self, *, sample: int | None = None, position: int | None = None, boundary: int | None = None
    ) -> Figure:
        """Draw the virtual arc and the factual path of one position of a detailed sample, space by space.

        Args:
            sample: Its number, among `detailed`; the first of them by default.
            position: Position in it; by default its answer, or its last position with a target.
            boundary: Number of frozen blocks to mark.

        Raises:
            SemvizError: If the sample was not traced in detail, or the position has no target.
        """
        from semviz.figures import transition_map

        return transition_map(self, sample=sample, position=position, boundary=boundary)

    def label_profile(self, *, sample: int | None = None, boundary: int | None = None) -> Figure:
        """Draw how probable the labels are among each other at every space, of one sample or of all.

        Args:
            sample: Number of a sample; by default each label's mean over its own samples.
            boundary: Number of frozen blocks to mark.

        Raises:
            SemvizError: If the trace has no `label_probabilities`, or there is no such sample or boundary.
        """
        from semviz.figures import label_profile

        return label_profile(self, sample=sample, boundary=boundary)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the trace as one Parquet file that pandas, polars and DuckDB read without semviz.

        One row per position: the columns of `positions`, then `lens_0` … `lens_L` and so on for each metric, `top1_0` …
        and `nearest_0` … (lists of token ids), `path_0` … (pairs), `labels_0` … (lists of
        probabilities). The rest is JSON in the schema's metadata.

        Args:
            path: Path of the file, such as `"mood.parquet"`.

        Returns:
            The path.

        Raises:
            SemvizError: If the folder is missing or cannot be written; an existing file is then left as it was. Also if
                no position enters averages: such a part cannot be read again.
        """
        self.check_counted()
        from semviz.traces.parquet import save

        return save(self, self.paths, self.label_probabilities, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a file that `save` wrote; needs neither the model nor torch.

        Raises:
            SemvizError: If there is no such file, it is not a saved trace, or a newer semviz wrote it.
        """
        from semviz.traces.parquet import load

        return cls(**load(path))

    def __repr__(self) -> str:
        """One line: model, task, sizes, fidelity."""
        meta = self.meta
        warning = ", low: trust the lens more than the angles" if meta["fidelity"] < POOR_FIDELITY else ""
        return (
            f"Trace({meta['model']} on {meta['task']}/{meta['split']}: {meta['samples']:,} samples, "
            f"{meta['positions']:,} positions × {self.n_blocks + 1} spaces; {', '.join(self.metrics)}; "
            f"{meta['readout']} readout, fidelity {meta['fidelity']:.2f}{warning}, τ {meta['tau']:.3f})"
        )
