"""Which tokens a label word can go on with, at each position: what the model chooses from in a classification task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from semviz.tasks.tokenizing import Encoded


@dataclass(frozen=True, eq=False)
class LabelChoices:
    """The sets of tokens that stand for labels.

    Attributes:
        sets: Token ids of each set, distinct, in the order of the labels. The first tokens of a reading's words are
            one, and so are the tokens that can follow each beginning of a word where words are scored whole.
        of_position: Which set each position of `Encoded.ids` has, shape (tokens,): a position before the answer has the
            first tokens of its sample's words.
    """

    sets: tuple[NDArray[np.int64], ...]
    of_position: NDArray[np.int32]


def label_choices(encoded: Encoded) -> LabelChoices:
    """Find the choices at every position of a classification task; no sets in language modelling."""
    if not encoded.readings:
        return LabelChoices((), np.zeros(encoded.tokens, dtype=np.int32))
    sets = list(encoded.first_tokens)
    if not encoded.whole_words:
        return LabelChoices(tuple(sets), np.repeat(encoded.reading, encoded.ids.lengths).astype(np.int32))
    sets = [np.asarray(list(dict.fromkeys(ids.tolist()))) for ids in sets]
    of_position = np.repeat(encoded.reading, encoded.ids.lengths).astype(np.int32)
    of_word: dict[tuple[int, int], list[int]] = {}
    for r, reading in enumerate(encoded.readings):
        of_beginning: dict[tuple[int, ...], int] = {(): r}
        for label, word in enumerate(reading.words):
            for end in range(1, len(word)):
                if word[:end] not in of_beginning:
                    following = [
                        other[end] for other in reading.words if other[:end] == word[:end] and len(other) > end
                    ]
                    of_beginning[word[:end]] = len(sets)
                    sets.append(np.asarray(list(dict.fromkeys(following))))
            of_word[r, label] = [of_beginning[word[:end]] for end in range(len(word))]
    for end, r, label in zip(encoded.ids.offsets[1:], encoded.reading, encoded.labels, strict=True):
        choices = of_word[int(r), int(label)]
        of_position[end - len(choices) : end] = choices
    return LabelChoices(tuple(sets), of_position)
