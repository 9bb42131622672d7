"""A task's texts as one model reads them: token ids, targets, and which positions count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semviz.common.checks import short_repr
from semviz.common.errors import TaskError
from semviz.common.ragged import Ragged
from semviz.tasks.splits import Split
from semviz.tasks.task import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from semviz.lm.model import LanguageModel

_TEXTS_AT_ONCE = 1000
NO_TARGET = -100  # label that torch's cross-entropy ignores


@dataclass(frozen=True)
class Encoded:
    """n samples as token ids.

    Attributes:
        ids: Token ids of each sample, int32, special tokens included, never padded.
        targets: Shaped as `ids`: the token to predict at each position, `NO_TARGET` where there is none.
        counted: Shaped as `ids`, boolean: whether the position enters averages (`answer`, or `next` without special
            tokens).
        labels: Label index of each sample, shape (n,), -1 for language modelling.
        label_ids: Vocabulary id of each label word's first token, shape (C,); empty for language modelling.
    """

    ids: Ragged
    targets: Ragged
    counted: Ragged
    labels: NDArray[np.int64]
    label_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Number of tokens in all samples."""
        return len(self.ids.flat)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Encoded:
        """These samples, in this order."""
        indices = np.asarray(rows, dtype=np.int64)
        return Encoded(
            self.ids.take(indices),
            self.targets.take(indices),
            self.counted.take(indices),
            self.labels[indices],
            self.label_ids,
        )


def encode(model: LanguageModel, task: Task, split: str) -> Encoded:
    """Tokenize one split of a task and find its targets.

    In a classification task the target at the last prompt position is the first token of the label word; earlier
    positions have the next token of the prompt as their target and are not counted.

    Raises:
        TaskError: If the split is empty, two label words share their first token, a label word is unknown to the
            tokenizer, a text has no tokens, one is longer than the model's context, or the model has no embedding or
            logit for a token.
    """
    part = task.split(split)
    if not len(part):
        raise TaskError(f"Task {task.name!r} has no rows in its {split} split; pass another split.")
    ids = _tokenize(model, task, part)
    label_ids = _label_ids(model.tokenizer, task)
    embeddings: Any = model.anatomy.model.get_input_embeddings()
    _check_ids(model.tokenizer, ids.flat, len(embeddings.weight), "embeddings")
    _check_ids(model.tokenizer, label_ids, model.anatomy.vocabulary, "logits")
    special = np.isin(ids.flat, model.tokenizer.all_special_ids)
    last = ids.offsets[1:] - 1
    targets = np.append(ids.flat[1:], NO_TARGET).astype(np.int32)
    # Predictions of special tokens, and predictions made at them, say nothing about language.
    targets[np.append(special[1:], False)] = NO_TARGET
    _check_ids(model.tokenizer, targets, model.anatomy.vocabulary, "logits")
    targets[last] = label_ids[list(part.labels)] if part.labels else NO_TARGET
    if part.labels:
        counted = np.zeros(len(targets), dtype=bool)
        counted[last] = True
    else:
        counted = (targets != NO_TARGET) & ~special
    if not counted.any():
        raise TaskError(f"No text of task {task.name!r} has a token to predict; pass texts of at least two tokens.")
    labels = np.asarray(part.labels if part.labels else [-1] * len(part), dtype=np.int64)
    return Encoded(ids, Ragged(targets, ids.offsets), Ragged(counted, ids.offsets), labels, label_ids)


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


def encode_texts(model: LanguageModel, texts: Sequence[str], *, max_tokens: int) -> Encoded:
    """Tokenize plain texts to be read at every position, truncated to `max_tokens`."""
    limit = min(max_tokens, model.context)
    task = Task("general text", "{text}", (), (), {"train": Split(tuple(texts))}, limit)
    return encode(model, task, "train")


def _tokenize(model: LanguageModel, task: Task, part: Split) -> Ragged:
    """Token ids of every prompt of a split; prompts that are too long are truncated or refused."""
    tokenizer, limit = model.tokenizer, min(task.max_tokens or model.context, model.context)
    chunks: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    # In chunks: what a tokenizer returns is many times larger than the ids that are kept.
    for start in range(0, len(part), _TEXTS_AT_ONCE):
        prompts = [_prompt(task, text) for text in part.texts[start : start + _TEXTS_AT_ONCE]]
        # Not verbose: it would warn about texts that are truncated or refused below.
        encoding = tokenizer(prompts, return_attention_mask=False, return_token_type_ids=False, verbose=False)
        # A classification prompt must not end in <eos>, which some tokenizers add.
        rows = [_without_eos(tokenizer, tokens) for tokens in encoding["input_ids"]]
        for row, tokens in enumerate(rows):
            if not tokens:
                raise TaskError(f"Sample {start + row} of task {task.name!r} has no tokens; leave out empty texts.")
            if len(tokens) > limit:
                if task.max_tokens is None:
                    raise TaskError(
                        f"Sample {start + row} of task {task.name!r} has {len(tokens):,} tokens and the model reads "
                        f"{limit:,}; pass shorter texts, or max_tokens= to cut them."
                    )
                rows[row] = _truncate(tokenizer, task, part.texts[start + row], len(tokens) - limit, limit)
        lengths += map(len, rows)
        chunks.append(np.fromiter(chain.from_iterable(rows), dtype=np.int32))
    return Ragged(np.concatenate(chunks), np.cumsum([0, *lengths]))


def _prompt(task: Task, text: str) -> str:
    # str.format would read braces in a text as fields.
    return task.prompt.replace("{text}", text)


def _without_eos(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids


def _truncate(tokenizer: PreTrainedTokenizerBase, task: Task, text: str, excess: int, limit: int) -> list[int]:
    """Truncate the text, not the prompt around it, until both fit into the limit."""
    if task.prompt == "{text}":
        return _without_eos(tokenizer, tokenizer(text, verbose=False)["input_ids"])[:limit]
    text_ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    while len(text_ids) > excess > 0:
        text_ids = text_ids[:-excess]
        ids = _without_eos(tokenizer, tokenizer(_prompt(task, tokenizer.decode(text_ids)))["input_ids"])
        if len(ids) <= limit:
            return ids
        excess = len(ids) - limit
    raise TaskError(
        f"max_tokens={limit} leaves no room for the text beside the prompt {task.prompt!r}; pass a larger number."
    )


def _label_ids(tokenizer: PreTrainedTokenizerBase, task: Task) -> NDArray[np.int64]:
    """The first token of each label word after the prompt; all must differ."""
    first_tokens: dict[str, int] = {}
    # Encoded after the prompt, since tokenizers encode a word differently at the start of a text.
    prompt = _prompt(task, "")
    prompt_ids = _without_eos(tokenizer, tokenizer(prompt)["input_ids"])
    for word in task.words:
        space = "" if prompt.endswith((" ", "\n")) else " "
        ids = _without_eos(tokenizer, tokenizer(prompt + space + word)["input_ids"])
        if len(ids) <= len(prompt_ids) or ids[: len(prompt_ids)] != prompt_ids:
            raise TaskError(
                f"The tokenizer joins the end of the prompt {task.prompt!r} with the label word {word!r}; "
                "end the prompt with a word or a colon, without a space after it."
            )
        token = int(ids[len(prompt_ids)])
        if token == tokenizer.unk_token_id:
            raise TaskError(
                f"The tokenizer does not know the label word {word!r}; pass words={{label: word}} with words it knows."
            )
        for other, other_token in first_tokens.items():
            if other_token == token:
                raise TaskError(
                    f"The label words {other!r} and {word!r} begin with the same token "
                    f"{tokenizer.convert_ids_to_tokens(token)!r}; pass words={{label: word}} with words that differ "
                    "in their first token."
                )
        first_tokens[word] = token
    return np.asarray(list(first_tokens.values()), dtype=np.int64)
