"""Prompts as token ids: a task's texts in their template, cut where the task allows it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semviz.common.errors import TaskError
from semviz.tasks.special_tokens import leading_tokens, read, with_leading

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

    from semviz.tasks.splits import Split
    from semviz.tasks.task_like import TaskLike

_TEXTS_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Prompts:
    """Some prompts of a split.

    Attributes:
        split: Name of the split; empty for texts that are none.
        rows: Row of each in the split.
        texts: The prompts, as far as they are read.
        ids: Ids of each prompt's own text, without what the tokenizer adds.
        encoding: What the tokenizer returned.
        cut: Places in these lists whose text was cut; `encoding` is that of the whole text there.
    """

    split: str
    rows: Sequence[int]
    texts: list[str]
    ids: list[list[int]]
    encoding: BatchEncoding
    cut: frozenset[int]


def filled(task: TaskLike, text: str) -> str:
    """The prompt of a text."""
    # str.format would read braces in a text as fields.
    return task.prompt.replace("{text}", text)


def sample_named(task: TaskLike, split: str, row: int) -> str:
    """What messages call a sample."""
    return f"sample {row} of {f'the {split} split of ' if split else ''}task {task.name!r}"


def read_prompts(
    tokenizer: PreTrainedTokenizerBase,
    task: TaskLike,
    part: Split,
    limit: int,
    *,
    split: str = "",
    numbers: Sequence[int] | None = None,
) -> Iterator[Prompts]:
    """Tokenize the prompts of a split; those that are too long are cut or refused.

    Args:
        tokenizer: The tokenizer.
        task: The task.
        part: The rows.
        limit: The most tokens of a prompt, with those that the tokenizer puts before it.
        split: The name of these rows in messages; none by default.
        numbers: Their numbers in messages; 0, 1, … by default.

    Raises:
        TaskError: If a prompt has no tokens, or too many and the task does not say that texts are to be cut.
    """
    leading, numbers = leading_tokens(tokenizer), range(len(part)) if numbers is None else numbers
    # In chunks: what a tokenizer returns is many times larger than the ids that are kept.
    for first in range(0, len(part), _TEXTS_AT_ONCE):
        texts = list(part.texts[first : first + _TEXTS_AT_ONCE])
        prompts = [filled(task, text) for text in texts]
        encoding = read(tokenizer, prompts)
        rows: list[list[int]] = encoding["input_ids"]
        cut: set[int] = set()
        for row, ids in enumerate(rows):
            length = len(ids) + len(leading)
            if not length:
                sample = sample_named(task, split, numbers[first + row])
                raise TaskError(f"S{sample[1:]} has no tokens; leave out empty texts.")
            if length > limit and len(with_leading(leading, ids)) > limit:
                if task.max_tokens is None:
                    sample = sample_named(task, split, numbers[first + row])
                    raise TaskError(
                        f"S{sample[1:]} has {length:,} tokens and the model reads "
                        f"{limit:,}; pass shorter texts, or max_tokens= to cut them."
                    )
                prompts[row], rows[row] = _cut(tokenizer, task, texts[row], leading, limit)
                cut.add(row)
        yield Prompts(split, numbers[first : first + _TEXTS_AT_ONCE], prompts, rows, encoding, frozenset(cut))


def _cut(
    tokenizer: PreTrainedTokenizerBase, task: TaskLike, text: str, leading: tuple[int, ...], limit: int
) -> tuple[str, list[int]]:
    """Cut the text, not the prompt around it, between two of its tokens, until both fit into the limit."""
    if not tokenizer.is_fast:
        return _cut_by_characters(tokenizer, task, text, leading, limit)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    places = _places(text, encoding["offset_mapping"])
    if task.prompt == "{text}" and not task.labels:
        ids: list[int] = encoding["input_ids"]
        room = limit - len(with_leading(leading, ids)) + len(ids)
        fitting = [place for place in places if place[0] <= room]
        if fitting:
            return text[: fitting[-1][1]], ids[: fitting[-1][0]]
    most = len(encoding["input_ids"])
    while places := [place for place in places if place[0] <= most]:
        prompt, ids = _read_one(tokenizer, filled(task, text[: places[-1][1]]))
        excess = len(with_leading(leading, ids)) - limit
        if excess <= 0:
            return prompt, ids
        # Each token fewer shortens every copy of the text.
        most = places[-1][0] - max(1, excess // task.prompt.count("{text}"))
    raise _no_room(task, limit)


def _places(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where a text can be cut: after how many tokens, and after how many characters.

    A token may be a part of a character (one byte of an emoji); there is no place inside it.
    """
    starts = [*(start for start, _ in offsets[1:]), len(text)]
    ends = ((count, end) for count, (_, end) in enumerate(offsets, start=1))
    return [(count, end) for (count, end), start in zip(ends, starts, strict=True) if 0 < end <= start]


def _cut_by_characters(
    tokenizer: PreTrainedTokenizerBase, task: TaskLike, text: str, leading: tuple[int, ...], limit: int
) -> tuple[str, list[int]]:
    """The same for a tokenizer that does not say where its tokens are in the text."""

    def is_too_long(count: int) -> bool:
        return len(with_leading(leading, _read_one(tokenizer, filled(task, text[:count]))[1])) > limit

    count = bisect_left(range(1, len(text) + 1), True, key=is_too_long)
    if not count:
        raise _no_room(task, limit)
    return _read_one(tokenizer, filled(task, text[:count]))


def _read_one(tokenizer: PreTrainedTokenizerBase, prompt: str) -> tuple[str, list[int]]:
    return prompt, read(tokenizer, [prompt])["input_ids"][0]


def _no_room(task: TaskLike, limit: int) -> TaskError:
    return TaskError(
        f"max_tokens={limit} leaves no room for the text beside the prompt {task.prompt!r}; pass a larger number."
    )
