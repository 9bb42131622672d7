"""The word that stands for each label of a task, as its maker wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semviz.common import checks
from semviz.common.errors import TaskError


def words_of_labels(words: Mapping[str, str] | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """The word that stands for each label; words that differ only by the blanks around them are refused."""
    if words is None:
        same = _same_but_for_blanks(names)
        if same:
            raise TaskError(
                f"The labels {same[0]!r} and {same[1]!r} differ only by the blanks around them; strip the labels "
                "(label.strip()), or pass words={label: word} with words that differ otherwise."
            )
        return names
    if not isinstance(words, Mapping) or set(words) != set(names):
        raise TaskError(
            f"{checks.named_repr('words', words)}; pass one word for each label of {list(names)}, as a mapping."
        )
    label_words = tuple(checks.one_text(f"words[{label!r}]", words[label]) for label in names)
    same = _same_but_for_blanks(label_words)
    if same and same[0] != same[1]:
        raise TaskError(f"words has {same[0]!r} and {same[1]!r}, which differ only by blanks; pass other words.")
    return label_words


def _same_but_for_blanks(words: Sequence[str]) -> tuple[str, str] | None:
    """The first two words that are equal without the blanks around them."""
    seen: dict[str, str] = {}
    for word in words:
        if word.strip() in seen:
            return seen[word.strip()], word
        seen[word.strip()] = word
    return None
