"""A task's texts as one model reads them: token ids, targets, and which positions count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semviz.common.checks import short_repr
from semviz.common.errors import TaskError
from semviz.common.ragged import Ragged
from semviz.tasks.label_words import LabelReader, Reading, check_readings
from semviz.tasks.prompts import read_prompts
from semviz.tasks.special_tokens import leading_tokens, says_unknown, with_leading
from semviz.tasks.splits import Split
from semviz.tasks.task_like import Scoring, TaskLike

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from semviz.lm.model import LanguageModel

NO_TARGET = -100  # label that torch's cross-entropy ignores


@dataclass(frozen=True)
class Encoded:
    """n samples as token ids.

    Attributes:
        ids: Token ids of each sample, int32, special tokens included, never padded. Where label words are scored whole,
            the sample's own word follows its prompt, but for its last token.
        targets: Shaped as `ids`: the token to predict at each position, `NO_TARGET` where there is none.
        counted: Shaped as `ids`, boolean: whether the position enters averages: `answer` (where a token of the label's
            word is predicted) or `next` (where there is a target).
        special: Shaped as `ids`, boolean: what the text does not say: tokens that the tokenizer puts before it, and its
            token for unknown words.
        labels: Label index of each sample, shape (n,), -1 for language modelling.
        readings: The ways in which the tokenizer reads the label words behind these samples; empty for language
            modelling. Their words are cut to what is scored: all tokens, or the first one where those tell them apart.
        reading: Which of them each sample has, shape (n,); empty for language modelling.
    """

    ids: Ragged
    targets: Ragged
    counted: Ragged
    special: Ragged
    labels: NDArray[np.int64]
    readings: tuple[Reading, ...] = ()
    reading: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Number of tokens in all samples."""
        return len(self.ids.flat)

    @property
    def whole_words(self) -> bool:
        """Whether label words are scored whole, since their first tokens do not tell them apart."""
        return any(len(word) > 1 for reading in self.readings for word in reading.words)

    @cached_property
    def first_tokens(self) -> NDArray[np.int64]:
        """Id of the first token of each label word in each reading, shape (readings, C)."""
        return np.asarray([[word[0] for word in reading.words] for reading in self.readings], dtype=np.int64)

    @property
    def label_ids(self) -> NDArray[np.int64]:
        """Id of the first token of each label word in the first reading, shape (C,); empty for language modelling."""
        return self.first_tokens[0] if self.readings else self.first_tokens

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Encoded:
        """These samples, in this order."""
        indices = np.asarray(rows, dtype=np.int64)
        return Encoded(
            self.ids.take(indices),
            self.targets.take(indices),
            self.counted.take(indices),
            self.special.take(indices),
            self.labels[indices],
            self.readings,
            self.reading[indices] if self.readings else self.reading,
        )


def encode(model: LanguageModel, task: TaskLike, split: str, rows: Sequence[int] | None = None) -> Encoded:
    """Tokenize one split of a task, or some of its rows, and find their targets.

    In a classification task the target at the last prompt position is the first token of the label word as the
    tokenizer reads it there (`semviz.tasks.label_words`); earlier positions have the next token of the prompt as their
    target and are not counted. Where the words' first tokens do not tell them apart, all their tokens are targets.

    Raises:
        TaskError: If the split is empty, a label word cannot be read behind a text, two are read alike, one is unknown
            to the tokenizer, a text has no tokens, one is longer than the model's context, or the model has no
            embedding or logit for a token.
    """
    whole_split = task.split(split)
    if not len(whole_split):
        raise TaskError(f"Task {task.name!r} has no rows in its {split} split; pass another split.")
    rows = range(len(whole_split)) if rows is None else rows
    part = whole_split.take(rows)
    tokenizer, embeddings = model.tokenizer, model.anatomy.model.get_input_embeddings()
    samples = _read_samples(model, task, split, rows)
    readings, reading = samples.readings, samples.reading
    whole = bool(readings) and _scored_whole(model, task, split, rows, readings)
    check_readings(tokenizer, task, readings, whole=whole)
    if not whole:
        readings = tuple(replace(r, words=tuple(word[:1] for word in r.words)) for r in readings)
    word_ids = np.asarray([i for r in readings for word in (r.blank, *r.words) for i in word], dtype=np.int64)
    _check_ids(tokenizer, samples.ids.flat, len(embeddings.weight), "embeddings")
    _check_ids(tokenizer, word_ids, model.anatomy.vocabulary, "logits")
    spoken = [readings[r].words[label] for r, label in zip(reading, part.labels, strict=True)] if readings else []
    ids = samples.ids
    if whole or any(r.blank for r in readings):
        ends = [(*readings[r].blank, *word[:-1]) for r, word in zip(reading, spoken, strict=True)]
        ids = Ragged.of([np.append(row, end).astype(np.int32) for row, end in zip(ids, ends, strict=True)])
    special = ids.positions < samples.leading
    if samples.unknown.any():
        special |= (ids.flat == tokenizer.unk_token_id) & np.repeat(samples.unknown, ids.lengths)
    last = ids.offsets[1:] - 1
    targets = np.append(ids.flat[1:], NO_TARGET).astype(np.int32)
    # Nothing is learnt from predicting what the text does not say, nor from predictions made at an unknown word.
    targets[np.append(special[1:], False)] = NO_TARGET
    targets[last] = [word[-1] for word in spoken] if readings else NO_TARGET
    _check_ids(tokenizer, targets, model.anatomy.vocabulary, "logits")
    if readings:
        counted = ids.positions > np.repeat(ids.lengths - 1 - np.asarray([len(word) for word in spoken]), ids.lengths)
    else:
        counted = (targets != NO_TARGET) & ~special
    if not counted.any():
        raise TaskError(f"No text of task {task.name!r} has a token to predict; pass texts of at least two tokens.")
    labels = np.asarray(part.labels if part.labels else [-1] * len(part), dtype=np.int64)
    return Encoded(
        ids,
        Ragged(targets, ids.offsets),
        Ragged(counted, ids.offsets),
        Ragged(special, ids.offsets),
        labels,
        readings,
        reading,
    )


def _check_ids(tokenizer: PreTrainedTokenizerBase, ids: NDArray[Any], n_rows: int, what: str) -> None:
    """Refuse tokens that the model has no row for; torch's own error would only say that an index is out of range."""
    highest = int(ids.max(initial=-1))
    if highest >= n_rows:
        token = str(tokenizer.convert_ids_to_tokens(highest))
        raise TaskError(
            f"The tokenizer encodes {short_repr(token)} as {highest:,}, but the model only has {what} for ids below "
            f"{n_rows:,}; pass the tokenizer that belongs to the model, or add rows: "
            "model.resize_token_embeddings(len(tokenizer))."
        )


@dataclass(frozen=True)
class _PlainTexts:
    """Texts to be read as they stand."""

    texts: Split
    max_tokens: int
    name: str = "general text"
    prompt: str = "{text}"
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    scoring: Scoring = "sum"

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.texts}

    def split(self, _name: str, /) -> Split:
        return self.texts


def encode_texts(model: LanguageModel, texts: Sequence[str], *, max_tokens: int) -> Encoded:
    """Tokenize plain texts to be read at every position, truncated to `max_tokens`."""
    limit = min(max_tokens, model.context)
    return encode(model, _PlainTexts(Split(tuple(texts)), limit), "train")


@dataclass(frozen=True, eq=False)
class _Samples:
    """A split as the tokenizer reads it.

    Attributes:
        ids: Ids of each prompt, int32.
        leading: How many tokens the tokenizer puts before each.
        unknown: Whether a sample has unknown words, shape (n,).
        readings: The ways in which label words are read.
        reading: Which of them each sample has, shape (n,).
    """

    ids: Ragged
    leading: int
    unknown: NDArray[np.bool_]
    readings: tuple[Reading, ...]
    reading: NDArray[np.int64]


def _read_samples(model: LanguageModel, task: TaskLike, split: str, rows: Sequence[int]) -> _Samples:
    """Read prompts of a split, and the label words behind each; both must fit into the model's context."""
    room = 0
    while True:
        limit = min(task.max_tokens or model.context, model.context - room)
        samples = _read_within(model.tokenizer, task, split, limit, rows)
        behind = max((len(r.blank) + max(map(len, r.words)) - 1 for r in samples.readings), default=0)
        if int(samples.ids.lengths.max()) + behind <= model.context or behind <= room:
            return samples
        room = behind


def _read_within(
    tokenizer: PreTrainedTokenizerBase, task: TaskLike, split: str, limit: int, numbers: Sequence[int]
) -> _Samples:
    """Read prompts of a split, cut to a number of tokens, and the label words behind each."""
    leading, labels = leading_tokens(tokenizer), LabelReader(tokenizer, task) if task.labels else None
    chunks: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    unknown: list[bool] = []
    named = split if len(task.splits) > 1 else ""
    part = task.split(split).take(numbers)
    for prompts in read_prompts(tokenizer, task, part, limit, split=named, numbers=numbers):
        if labels is not None:
            labels.add(prompts)
        rows = [with_leading(leading, ids) for ids in prompts.ids]
        unknown += [
            tokenizer.unk_token_id in ids and not says_unknown(tokenizer, text, ids)
            for text, ids in zip(prompts.texts, prompts.ids, strict=True)
        ]
        lengths += map(len, rows)
        chunks.append(np.fromiter(chain.from_iterable(rows), dtype=np.int32))
    ids = Ragged(np.concatenate(chunks), np.cumsum([0, *lengths]))
    readings, of_rows = (tuple(labels.readings), labels.of_rows) if labels else ((), [])
    return _Samples(ids, len(leading), np.asarray(unknown), readings, np.asarray(of_rows, dtype=np.int64))


def _scored_whole(
    model: LanguageModel, task: TaskLike, split: str, rows: Sequence[int], readings: Sequence[Reading]
) -> bool:
    """Whether first tokens fail to tell the label words apart behind any text of the task, so that all splits agree."""
    if not all(reading.distinct for reading in readings):
        return True
    if len(readings) == 1 and not task.prompt.endswith("{text}"):
        return False
    others = {name: range(len(part)) for name, part in task.splits.items() if len(part)}
    if len(rows) == len(others[split]):
        del others[split]
    return not all(
        r.distinct for name, numbers in others.items() for r in _read_samples(model, task, name, numbers).readings
    )
