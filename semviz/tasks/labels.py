"""Names of labels: what people have in a column of labels, as text, and the word that stands for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semviz.common import checks
from semviz.common.errors import TaskError

_DECIMAL = re.compile(r"\s*[-+]?\d*\.\d+([eE][-+]?\d+)?\s*")
_SAY_SO = "or words={label: word} if each number is a class of its own"


class WordsError(TaskError):
    """Words that are not one for each label.

    Attributes:
        labels: The labels.
    """

    def __init__(self, message: str, labels: Sequence[str]) -> None:
        super().__init__(message)
        self.labels = tuple(labels)


def label_name(where: str, label: Any, *, sure: bool = False) -> str:
    """Return a label's name: a text, whole number or truth value as people write it.

    Args:
        where: What a message calls it.
        label: The label.
        sure: Whether numbers with a decimal point are meant.

    Raises:
        TaskError: If it is a list, a number with a decimal point that nobody meant, or nothing that has a name.
    """
    label = _in_array(label)
    if not _shape(label) and (isinstance(label, bool | np.bool_) or checks.is_whole(label)):
        return str(label)
    if isinstance(label, float | np.floating):
        if sure and np.isfinite(label):
            return str(label)
        raise TaskError(
            f"{where} is {type(label).__name__} {label}, and a measurement is no class; pass whole numbers "
            f"(.astype(int)) or text as labels, {_SAY_SO}."
        )
    if isinstance(label, list | tuple | set | dict) or _shape(label):
        raise TaskError(
            f"{where} is {type(label).__name__} {checks.short_repr(label)}, and each text has one label; pass one task "
            "for each label, or one row for each of its labels (frame.explode)."
        )
    if not isinstance(label, str | bytes | None) and prints_as_text(label):
        label = str(label)  # a date, a member of an enum
    return checks.one_text(where, label)


def _in_array(label: Any) -> Any:
    """The one value in an array or tensor without dimensions, of any library; other labels as they are."""
    if isinstance(label, np.generic) or _shape(label) != ():
        return label
    return label.item() if callable(getattr(label, "item", None)) else label.numpy().item()


def _shape(label: Any) -> tuple[int, ...] | None:
    """The shape of an array or tensor; None for what is none."""
    if not any(callable(getattr(label, name, None)) for name in ("item", "numpy")):
        return None
    return tuple(getattr(label, "shape", ()))


def prints_as_text(value: Any) -> bool:
    """Whether a value has a text of its own, and not only the name of its class."""
    plain: Any = object
    return type(value).__str__ is not plain.__str__ or type(value).__repr__ is not plain.__repr__


def check_classes(names: Sequence[str], rows: int) -> None:
    """Ask about a column of labels that has nearly as many values as rows.

    Raises:
        TaskError: If most values occur once.
    """
    if 2 * len(names) > rows:
        raise TaskError(
            f"labels has {len(names)} different values in {rows} rows ({checks.short_repr(list(names))}), which are "
            "hardly classes; pass the column of classes as label=, leave labels out to learn the texts themselves, "
            "or pass words={label: word} if each of them is a class."
        )


def check_no_measurement(where: str, labels: Sequence[str]) -> None:
    """Ask about labels in a text file that are all written with a decimal point.

    Raises:
        TaskError: If they are.
    """
    if labels and all(_DECIMAL.fullmatch(label) for label in labels):
        raise TaskError(
            f"{where} are numbers with a decimal point, such as {labels[0]}, and a measurement is no class; pass a "
            f"column of classes, {_SAY_SO}."
        )


def words_of_labels(words: Mapping[Any, str] | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """The word that stands for each label; words that differ only by the blanks around them are refused.

    Args:
        words: Label → word; a key may be the label as it stands in the data: a number, True, or text.
        names: Names of the labels.

    Raises:
        TaskError: If there is not one word for each label, or two of them are alike.
    """
    if words is None:
        same = _same_but_for_blanks(names)
        if same:
            raise TaskError(
                f"The labels {same[0]!r} and {same[1]!r} differ only by the blanks around them; strip the labels "
                "(label.strip()), or pass words={label: word} with words that differ otherwise."
            )
        return names
    keys = {key: _meant(key, names) for key in words} if isinstance(words, Mapping) else {}
    if not isinstance(words, Mapping) or set(keys.values()) != set(names):
        raise WordsError(
            f"{checks.named_repr('words', words)}; pass one word for each label of {list(names)}, as a mapping.", names
        )
    by_name: dict[str, str] = {}
    for key, meant in keys.items():
        name, word = str(meant), checks.one_text(f"words[{key!r}]", words[key])
        if name in by_name:
            raise TaskError(f"words has two words for the label {name!r}; pass one word for each label.")
        by_name[name] = word
    label_words = tuple(by_name[name] for name in names)
    same = _same_but_for_blanks(label_words)
    if same and same[0] != same[1]:
        raise TaskError(f"words has {same[0]!r} and {same[1]!r}, which differ only by blanks; pass other words.")
    return label_words


def _meant(key: Any, names: Sequence[str]) -> str | None:
    """The label that a key means: as it is written, or else the only one that is the same but for its kind."""
    key = _in_array(key)
    if str(key) in names:
        return str(key)
    close = [name for name in names if _plain(name) == _plain(key)]
    if not close and isinstance(key, bool | np.bool_ | int | np.integer) and set(map(_plain, names)) == {"0", "1"}:
        close = [name for name in names if _plain(name) == str(int(key))]
    if not close and {_plain(name) for name in names} == {"false", "true"}:
        truth = {"0": "false", "1": "true"}.get(_plain(key))
        close = [name for name in names if _plain(name) == truth]
    return close[0] if len(close) == 1 else None


def _plain(label: Any) -> str:
    """A label without what differs between kinds of columns: blanks, upper case, and the `.0` of a whole float."""
    if isinstance(label, float | np.floating) and float(label).is_integer():
        label = int(label)
    text = str(label).strip().casefold()
    return text.removesuffix(".0") if text.removesuffix(".0").lstrip("-").isdecimal() else text


def _same_but_for_blanks(words: Sequence[str]) -> tuple[str, str] | None:
    """The first two words that are equal without the blanks around them."""
    seen: dict[str, str] = {}
    for word in words:
        if word.strip() in seen:
            return seen[word.strip()], word
        seen[word.strip()] = word
    return None
