"""`Split`: texts and the indices of their labels, checked; and how rows are held out for those that are not passed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.tasks.labels import label_name

SPLITS = ("train", "validation", "test")
_HELD_OUT = 0.15  # share of the rows held out for a validation or test split that is not passed
_HELD_OUT_MOST = 500
_NUMBER = re.compile(r"\s*[-+]?(\d+[.,]?\d*|[.,]\d+)\s*%?\s*")
_ROUNDED = 1e-6  # shares such as 0.7 and 0.3 in single precision add up to a little less or more than 1


@dataclass(frozen=True)
class Split:
    """Texts and, for classification, the index of each text's label.

    Attributes:
        texts: n texts.
        labels: n indices into `Task.labels`; empty for language modelling.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Split:
        """These rows, in this order."""
        return Split(tuple(self.texts[i] for i in rows), tuple(self.labels[i] for i in rows) if self.labels else ())


def is_share(part: Any) -> bool:
    """Whether a split is asked for as a share of the rows."""
    return isinstance(part, float | np.floating)


def refuse_no_share(name: str, part: Any, instead: str) -> None:
    """Refuse a whole number, or a number as text, where a split or a share of the rows was asked for.

    Raises:
        TaskError: If it is one; the message says what else to pass than a share.
    """
    if isinstance(part, Number) or (isinstance(part, str) and _NUMBER.fullmatch(part)):
        raise TaskError(
            f"{checks.named_repr(name, part)} is no share of the rows; pass a number between 0 and 1, such as 0.2, or "
            f"{instead}."
        )


def check_split(key: str, part: Any, names: tuple[str, ...], *, sure: bool = False) -> Split:
    """Check a validation or test split that the caller passed.

    Args:
        key: Name of the split.
        part: Texts, or `(texts, labels)`.
        names: Names of the labels; empty for language modelling.
        sure: Whether labels that are numbers with a decimal point are meant.

    Raises:
        TaskError: If it is not a pair of texts and labels, or as in `make_split`.
    """
    refuse_no_share(key, part, "a pair (texts, labels)" if names else "a list of texts")
    if not names:
        texts = checks.as_list(key, part, "a list of texts, or a share of the rows such as 0.2", error=TaskError)
        return make_split(texts, None, names, key)
    instead = "a pair (texts, labels), or a share of the rows such as 0.2"
    pair = checks.as_list(key, part, instead, error=TaskError)
    if len(pair) != 2:
        raise TaskError(f"{key} of a classification task must be a pair; pass (texts, labels).")
    labels = checks.as_list(f"the labels of {key}", pair[1], "one label for each text", error=TaskError)
    return make_split(
        pair[0], [label_name(f"labels[{i}] of {key}", label, sure=sure) for i, label in enumerate(labels)], names, key
    )


def make_split(
    texts: Iterable[Any], labels: Sequence[str] | None, names: tuple[str, ...], argument: str, *, of: str = ""
) -> Split:
    """Check texts and turn names of labels into indices.

    Raises:
        TaskError: If an item is not a text, or labels are too few, too many or unknown.
    """
    checked_texts = tuple(checks.texts(argument, texts, of=of))
    if labels is None:
        return Split(checked_texts)
    if len(labels) != len(checked_texts):
        raise TaskError(
            f"{argument}{of} has {len(checked_texts)} texts and {len(labels)} labels; pass one label for each text."
        )
    unknown = sorted(set(labels) - set(names))
    if unknown:
        raise TaskError(
            f"{argument} has labels {checks.short_repr(unknown)} that no training row has; pass labels from "
            f"{list(names)}."
        )
    index = {label: i for i, label in enumerate(names)}
    return Split(checked_texts, tuple(index[label] for label in labels))


def draw_rows(
    rows: Sequence[int], labels: Sequence[int], shares: Mapping[str, float | None], *, seed: int
) -> dict[str, list[int]]:
    """Hold rows out at random; return the rows of each asked split and those that remain, as `train`.

    Args:
        rows: The numbers of all rows.
        labels: The label of each of them, by which the splits are stratified: each split has every label in about the
            proportion of the whole, and one row of each label always remains to train on. Empty: not stratified.
        shares: The share of the rows for each split; None holds out as many as usual.
        seed: The seed.

    Raises:
        TaskError: If a share is none, the shares are all rows or more, or no row remains for a split or to train on.
    """
    counts = {name: _count(name, share, len(rows)) for name, share in shares.items()}
    asked = " and ".join(f"{key}={share}" for key, share in shares.items() if share is not None)
    if sum(share for share in shares.values() if share is not None) > 1 - _ROUNDED:
        raise TaskError(f"{asked} leave no row to train on; pass shares whose sum is below 1, such as 0.2.")
    remaining, parts = list(rows), {}
    random.Random(seed).shuffle(remaining)
    for name, count in counts.items():
        parts[name] = _stratified(remaining, labels, count) if labels else remaining[:count]
        taken = set(parts[name])
        remaining = [row for row in remaining if row not in taken]
        if not parts[name] or not remaining:
            kept = ", of which one of each label stays to train on," if labels else ""
            raise TaskError(
                f"{len(rows)} rows{kept} are too few for {asked or 'splits of their own'}; pass "
                f"{'smaller shares' if asked else 'more rows'}, or rows of their own as test= and validation=."
            )
    return {**parts, "train": sorted(remaining)}


def held_back(drawn: Mapping[str, Sequence[int]], shares: Mapping[str, float | None], rows: int) -> list[str]:
    """Say where fewer rows are held out than a share asks for, since one row of each label stays to train on.

    Args:
        drawn: What `draw_rows` returned.
        shares: What it was asked for.
        rows: The number of all rows.
    """
    if all(share is None for share in shares.values()):
        return []
    counts = {name: _count(name, share, rows) for name, share in shares.items()}
    return [
        f"{name} has {len(drawn[name]):,} rows and not {count:,}, since one row of each label stays to train on."
        for name, count in counts.items()
        if len(drawn[name]) < count
    ]


def _count(name: str, share: float | None, rows: int) -> int:
    """How many rows to hold out."""
    if share is None:
        return min(_HELD_OUT_MOST, max(1, round(_HELD_OUT * rows)))
    if not 0 < share < 1:  # NaN fails this
        raise TaskError(f"{name}={share} is no share of the rows; pass a number between 0 and 1, such as 0.2.")
    return max(1, round(share * rows))


def _stratified(rows: Sequence[int], labels: Sequence[int], count: int) -> list[int]:
    """The first so many rows, with each label in proportion (largest remainders), and never a label's last row."""
    of_label: dict[int, list[int]] = {}
    for row in rows:
        of_label.setdefault(labels[row], []).append(row)
    quotas = {label: count * len(own) / len(rows) for label, own in sorted(of_label.items())}
    taken = {label: min(int(quota), len(of_label[label]) - 1) for label, quota in quotas.items()}
    # More than one round only where some labels have too few rows.
    while sum(taken.values()) < count:
        open_labels = [label for label, own in of_label.items() if taken[label] < len(own) - 1]
        if not open_labels:
            break
        taken[max(open_labels, key=lambda label: (quotas[label] - taken[label], -label))] += 1
    chosen = {row for label, own in of_label.items() for row in own[: taken[label]]}
    return [row for row in rows if row in chosen]
