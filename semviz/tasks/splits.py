"""`Split`: texts and the indices of their labels, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from semviz.common import checks
from semviz.common.errors import TaskError

SPLITS = ("train", "validation", "test")


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


def check_split(key: str, part: Any, names: tuple[str, ...]) -> Split:
    """Check a validation or test split that the caller passed.

    Raises:
        TaskError: If it is not a pair of texts and labels, or as in `make_split`.
    """
    if not names:
        return make_split(part, None, names, key)
    pair = checks.as_list(key, part, "a pair (texts, labels)", error=TaskError)
    if len(pair) != 2:
        raise TaskError(f"{key} of a classification task must be a pair; pass (texts, labels).")
    labels = checks.as_list(f"the labels of {key}", pair[1], "one label for each text", error=TaskError)
    return make_split(pair[0], labels, names, key)


def make_split(texts: Iterable[Any], labels: Sequence[Any] | None, names: tuple[str, ...], argument: str) -> Split:
    """Check texts and labels and turn labels into indices.

    Raises:
        TaskError: If an item is not a text, or labels are too few, too many or unknown.
    """
    checked_texts = tuple(checks.texts(argument, texts))
    if labels is None:
        return Split(checked_texts)
    if len(labels) != len(checked_texts):
        raise TaskError(
            f"{argument} has {len(checked_texts)} texts and {len(labels)} labels; pass one label for each text."
        )
    unknown = sorted({str(label) for label in labels} - set(names))
    if unknown:
        raise TaskError(
            f"{argument} has labels {checks.short_repr(unknown)} that no training row has; pass labels from "
            f"{list(names)}."
        )
    index = {label: i for i, label in enumerate(names)}
    return Split(checked_texts, tuple(index[str(label)] for label in labels))
