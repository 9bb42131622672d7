"""`TraceDifference`: what changed between two traces of the same positions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from semviz.common.checks import short_repr
from semviz.common.errors import SemvizError
from semviz.traces.deviations import Deviations

# Settings that must agree for two traces to be comparable, and how to trace both alike.
_SETTINGS = {
    "vocab": "over the same vocabulary (vocab=)",
    "path": "along the same kind of virtual path (path=)",
    "centred": "with the same centring (centre=)",
    "readout": "with the same readout (readout=)",
}


@dataclass(frozen=True, eq=False)
class TraceDifference(Deviations):
    """Change of every deviation, after − before; negative means nearer to the target.

    Intervals are over samples of the paired differences. Besides the attributes of `Deviations` (`values` are the
    changes; everything else is taken from `after`):

    Attributes:
        before, after: The two traces, rows aligned.
    """

    before: Deviations = field(repr=False)
    after: Deviations = field(repr=False)

    @property
    def note(self) -> str:
        """What differs besides the model; empty if nothing does."""
        old, new = self.before.meta, self.after.meta
        rulers = {old.get("calibration", ""), new.get("calibration", "")}
        measured = set(self.values) if new.get("readout") == "translated" else set(self.values) - {"lens", "rank"}
        if len(rulers) == 2 and "" not in rulers and measured:
            return (
                "The traces were read with different calibrations, so part of each change is that of the ruler; pass "
                "the same calibration= to both."
            )
        if "semantic" in self.values and old["tau"] != new["tau"]:
            return (
                f"The traces have different τ ({old['tau']:.3f} and {new['tau']:.3f}), so the semantic deviation also "
                "changed its scale; pass the same calibration= to both to compare it."
            )
        return ""

    def take(self, rows: NDArray[np.bool_]) -> TraceDifference:
        """The part with the rows of `positions` that this mask selects, shape (positions,)."""
        return replace(super().take(rows), before=self.before.take(rows), after=self.after.take(rows))

    def __repr__(self) -> str:
        """One line: the two models, the task, the mean change at the last space."""
        key, old, new = self.default_metric, self.before.meta, self.after.meta
        said = [f"{self.meta['positions']:,} positions"]
        if self.counted.any():
            change = self.profile_frame(key).iloc[-1]
            said.append(
                f"{self.facts[key].title} at the last space {change['mean']:+.3f} {self.facts[key].unit}, "
                f"95 % {change['low']:+.3f} to {change['high']:+.3f}"
            )
        said += [self.note] if self.note else []
        return f"TraceDifference({new['model']} − {old['model']} on {new['task']}/{new['split']}: {'; '.join(said)})"


def subtract(after: Deviations, before: Deviations) -> TraceDifference:
    """`after - before`, position by position.

    Raises:
        SemvizError: If the traces are not of the same positions, targets, vocabulary and depth, or share no metric.
    """
    if after.n_blocks != before.n_blocks:
        raise SemvizError(
            f"The traces have {after.n_blocks} and {before.n_blocks} blocks, so their spaces do not correspond; pass "
            "traces of models with the same number of blocks, and compare others by their profiles."
        )
    for key, advice in _SETTINGS.items():
        if after.meta[key] != before.meta[key]:
            raise SemvizError(
                f"The traces have {key} {after.meta[key]!r} and {before.meta[key]!r}; trace both {advice}."
            )
    keys = [key for key in after.values if key in before.values]
    if not keys:
        raise SemvizError(
            f"The traces share no metric ({', '.join(after.values)} and {', '.join(before.values)}); trace both with "
            "the same metrics=."
        )
    rows = [trace.meta.get("rows_hash") for trace in (after, before)]  # none in files of before
    columns = ["sample", "position", "token_id", "target_id", "role"]
    after_rows, before_rows = (t.positions[columns].reset_index(drop=True) for t in (after, before))
    if (
        (all(rows) and rows[0] != rows[1])
        or not after_rows.equals(before_rows)
        or any(before.vocabulary.get(i, text) != text for i, text in after.vocabulary.items())
    ):
        raise SemvizError(
            f"The traces of {short_repr(after.meta['task'])} and {short_repr(before.meta['task'])} are not of the same "
            "positions and tokens; trace the same task, split, samples= and detail= "
            "with two models that share one tokenizer."
        )
    return TraceDifference(
        positions=after.positions,
        values={key: after.values[key] - before.values[key] for key in keys},
        nearest=after.nearest,
        top1=after.top1,
        vocabulary={**before.vocabulary, **after.vocabulary},
        facts={key: after.facts[key].change() for key in keys},
        meta=after.meta,
        before=before,
        after=after,
    )
