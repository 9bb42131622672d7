"""Samples whose label words are scored whole: every word is put behind every prompt, and its tokens are added up.

A word's last token need not be read to be scored, and words that differ in nothing else share what is read: "very good"
and "very bad" are both scored behind "very". So a sample takes one row for each longest beginning of its words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semviz.common.ragged import Ragged
from semviz.tasks.tokenizing import NO_TARGET, Encoded

if TYPE_CHECKING:
    from semviz.tasks.label_words import Ids, Reading


@dataclass(frozen=True)
class _Beginning:
    """What several words begin with, and what is scored behind it.

    Attributes:
        ids: The tokens that are read.
        labels: Label of each scored token.
        steps: How many of `ids` are read before it.
        tokens: Its id.
    """

    ids: Ids
    labels: NDArray[np.int64]
    steps: NDArray[np.int64]
    tokens: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SpelledWords:
    """A split with all of its label words behind each prompt.

    Attributes:
        encoded: One row for each sample and beginning; targets are counted where a token of a word is scored.
        samples: Sample of each row, shape (rows,).
        labels: Label index of each sample, shape (n,).
        lengths: Tokens of each label word in each sample, shape (n, C).
    """

    encoded: Encoded
    samples: NDArray[np.int64]
    labels: NDArray[np.int64]
    lengths: NDArray[np.int64]
    _beginnings: list[_Beginning]  # of each row

    def add_scores(self, scores: NDArray[np.float64], rows: NDArray[np.int64], logits: Tensor) -> None:
        """Add the log-probabilities of the words' tokens in some rows.

        Args:
            scores: Sum of log-probabilities of each sample's words, shape (n, C); changed.
            rows: The rows.
            logits: Logits at their counted positions, end to end, shape (positions, V).
        """
        beginnings = [self._beginnings[row] for row in rows]
        starts = np.cumsum([0, *(len(beginning.ids) + 1 for beginning in beginnings[:-1])])
        positions = np.concatenate([start + b.steps for start, b in zip(starts, beginnings, strict=True)])
        tokens = np.concatenate([b.tokens for b in beginnings])
        samples = np.repeat(self.samples[rows], [len(b.tokens) for b in beginnings])
        where = torch.as_tensor(positions, device=logits.device), torch.as_tensor(tokens, device=logits.device)
        values = logits.float().log_softmax(-1)[where].cpu().double().numpy()
        np.add.at(scores, (samples, np.concatenate([b.labels for b in beginnings])), values)


def spell_out(encoded: Encoded) -> SpelledWords:
    """Put all label words behind each prompt of a split whose words are scored whole."""
    of_reading = [_beginnings(reading) for reading in encoded.readings]
    ids, targets, beginnings, samples = [], [], [], []
    for sample, (r, label) in enumerate(zip(encoded.reading.tolist(), encoded.labels.tolist(), strict=True)):
        prompt = encoded.ids[sample][: len(encoded.ids[sample]) - len(encoded.readings[r].words[label]) + 1]
        for beginning in of_reading[r]:
            ids.append(np.asarray([*prompt, *beginning.ids], dtype=np.int32))
            targets.append(np.full(len(ids[-1]), NO_TARGET, dtype=np.int32))
            # Which token is asked for does not matter: the logits of all are read.
            targets[-1][len(prompt) - 1 :] = [*beginning.ids, beginning.tokens[-1]]
            beginnings.append(beginning)
            samples.append(sample)
    rows = np.asarray(samples)
    ragged = Ragged.of(ids)
    flat = np.concatenate(targets)
    spelled = Encoded(
        ids=ragged,
        targets=Ragged(flat, ragged.offsets),
        counted=Ragged(flat != NO_TARGET, ragged.offsets),
        special=Ragged(np.zeros(len(flat), dtype=bool), ragged.offsets),
        labels=encoded.labels[rows],
        readings=encoded.readings,
        reading=encoded.reading[rows],
    )
    lengths = np.asarray([[len(word) for word in reading.words] for reading in encoded.readings])
    return SpelledWords(spelled, rows, encoded.labels, lengths[encoded.reading], beginnings)


def _beginnings(reading: Reading) -> list[_Beginning]:
    """The longest beginnings of a reading's words, each with the words that are scored behind it."""
    contexts = {word[:-1] for word in reading.words}
    longest = [c for c in sorted(contexts) if not any(d[: len(c)] == c and len(d) > len(c) for d in contexts)]
    scored: dict[Ids, list[tuple[int, int, int]]] = {context: [] for context in longest}
    for label, word in enumerate(reading.words):
        context = next(c for c in longest if c[: len(word) - 1] == word[:-1])
        scored[context] += [(label, step, token) for step, token in enumerate(word)]
    return [_Beginning(context, *np.asarray(triples).T) for context, triples in scored.items()]
