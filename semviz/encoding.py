"""A task's texts as one model reads them: token ids, targets, and which positions count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semviz.errors import TaskError
from semviz.tasks import Split, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from semviz.models import LanguageModel

NO_TARGET = -100  # what torch's cross-entropy ignores


@dataclass(frozen=True)
class Encoded:
    """n samples as token ids.

    Attributes:
        ids: n arrays of token ids, int64, ragged, special tokens included, never padded.
        targets: n arrays of the same shapes: the token to predict at each position, `NO_TARGET` where there is none.
        counted: n boolean arrays: positions that enter averages (`answer`, or `next` without special tokens).
        labels: Label index of each sample, shape (n,), -1 for language modelling.
        label_ids: Vocabulary id of each label word's first token, shape (C,); empty for language modelling.
    """

    ids: list[NDArray[np.int64]]
    targets: list[NDArray[np.int64]]
    counted: list[NDArray[np.bool_]]
    labels: NDArray[np.int64]
    label_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Tokens in all samples."""
        return sum(len(ids) for ids in self.ids)

    def take(self, rows: Sequence[int]) -> Encoded:
        """The samples asked for, in that order."""
        return Encoded(
            [self.ids[i] for i in rows],
            [self.targets[i] for i in rows],
            [self.counted[i] for i in rows],
            self.labels[list(rows)],
            self.label_ids,
        )


def encode(model: LanguageModel, task: Task, split: str) -> Encoded:
    """Tokenize one split of a task and find its targets.

    In a classification task the target at the last prompt position is the first token of the label word; earlier
    positions have the next token of the prompt as target and are not counted.

    Raises:
        TaskError: If two label words share their first token, a label word is unknown to the tokenizer, or a text is
            longer than the model's context.
    """
    part = task.split(split)
    ids, special = _tokenize(model, task, part)
    label_ids = _label_ids(model.tokenizer, task)
    targets, counted = [], []
    for row, (tokens, is_special) in enumerate(zip(ids, special, strict=True)):
        target = np.append(tokens[1:], NO_TARGET)
        # Neither what a special token predicts nor the prediction of one says anything about language.
        target[np.append(is_special[1:], False)] = NO_TARGET
        if part.labels:
            target[-1] = label_ids[part.labels[row]]
            count = np.arange(len(tokens)) == len(tokens) - 1
        else:
            count = (target != NO_TARGET) & ~is_special
        targets.append(target)
        counted.append(count)
    if not any(count.any() for count in counted):
        raise TaskError(f"No text of task {task.name!r} has a token to predict; pass texts of at least two tokens.")
    labels = np.asarray(part.labels if part.labels else [-1] * len(part), dtype=np.int64)
    return Encoded(ids, targets, counted, labels, label_ids)


def encode_texts(model: LanguageModel, texts: Sequence[str], *, max_tokens: int) -> Encoded:
    """Tokenize plain texts for reading at every position, cut to `max_tokens`."""
    limit = min(max_tokens, model.context)
    task = Task("general text", "{text}", (), (), {"train": Split(tuple(texts))}, limit)
    return encode(model, task, "train")


def _tokenize(model: LanguageModel, task: Task, part: Split) -> tuple[list[NDArray[np.int64]], list[NDArray[np.bool_]]]:
    """Token ids and special-token masks of every prompt of a split, cut or refused where too long."""
    tokenizer, limit = model.tokenizer, min(task.max_tokens or model.context, model.context)
    prompts = [_prompt(task, text) for text in part.texts]
    # A classification prompt must not end in <eos>, which some tokenizers add.
    encoded = [_without_end(tokenizer, ids) for ids in tokenizer(prompts)["input_ids"]] if prompts else []
    for row, tokens in enumerate(encoded):
        if len(tokens) <= limit:
            continue
        if task.max_tokens is None:
            raise TaskError(
                f"Sample {row} of task {task.name!r} has {len(tokens):,} tokens and the model reads {limit:,}; "
                "pass shorter texts, or max_tokens= to cut them."
            )
        encoded[row] = _cut(tokenizer, task, part.texts[row], len(tokens) - limit, limit)
    specials = set(tokenizer.all_special_ids)
    ids = [np.asarray(tokens, dtype=np.int64) for tokens in encoded]
    return ids, [np.asarray([int(t) in specials for t in tokens], dtype=bool) for tokens in ids]


def _prompt(task: Task, text: str) -> str:
    # str.format would read braces in people's texts as fields.
    return task.prompt.replace("{text}", text)


def _without_end(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids


def _cut(tokenizer: PreTrainedTokenizerBase, task: Task, text: str, excess: int, limit: int) -> list[int]:
    """Shorten the text, not the prompt around it, until the whole fits."""
    if task.prompt == "{text}":
        return _without_end(tokenizer, tokenizer(text)["input_ids"])[:limit]
    kept = tokenizer(text, add_special_tokens=False)["input_ids"]
    while len(kept) > excess > 0:
        kept = kept[:-excess]
        ids = _without_end(tokenizer, tokenizer(_prompt(task, tokenizer.decode(kept)))["input_ids"])
        if len(ids) <= limit:
            return ids
        excess = len(ids) - limit
    raise TaskError(f"max_tokens={limit} leaves no room for the text beside the prompt {task.prompt!r}; pass more.")


def _label_ids(tokenizer: PreTrainedTokenizerBase, task: Task) -> NDArray[np.int64]:
    """The token by which each label word begins after the prompt; all must differ."""
    found: dict[str, int] = {}
    # Read after the prompt itself, since tokenizers spell a word differently at the start of a text.
    prompt = _prompt(task, "")
    before = _without_end(tokenizer, tokenizer(prompt)["input_ids"])
    for word in task.words:
        glue = "" if prompt.endswith((" ", "\n")) else " "
        after = _without_end(tokenizer, tokenizer(prompt + glue + word)["input_ids"])
        if len(after) <= len(before) or after[: len(before)] != before:
            raise TaskError(
                f"The tokenizer joins the end of the prompt {task.prompt!r} with the label word {word!r}; "
                "end the prompt with a word or a colon, without a space after it."
            )
        token = int(after[len(before)])
        if token == tokenizer.unk_token_id:
            raise TaskError(
                f"The tokenizer does not know the label word {word!r}; pass words={{label: word}} with words it knows."
            )
        for other, taken in found.items():
            if taken == token:
                raise TaskError(
                    f"The label words {other!r} and {word!r} begin with the same token "
                    f"{tokenizer.convert_ids_to_tokens(token)!r}; pass words={{label: word}} with words that differ "
                    "in their first token."
                )
        found[word] = token
    return np.asarray(list(found.values()), dtype=np.int64)
