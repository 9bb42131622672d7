"""What a tokenizer adds to a text by itself, told apart from what the text says.

A tokenizer puts tokens around a text (`<s>`, `[CLS]`, `[SEP]`, an end of text). Users write such tokens too: a chat
template begins with `<s>`, and a conversation ends in `<|im_end|>`. Those are text: they are read, and a model must
learn to say them. So texts are tokenized without additions, and only the leading ones are put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semviz.common.errors import TaskError

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

# Texts that every tokenizer makes a token of, if only an unknown one.
_PROBES = ("a", "the", "1")


def read(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> BatchEncoding:
    """Tokenize texts as they stand: nothing is added, and a special token is one where the text says so."""
    # Not verbose: it would warn about texts that are cut or refused later.
    return tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )


def leading_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that the tokenizer puts before every text, such as that of `<s>`; empty if there are none.

    What it puts behind is not needed: a prompt must not end in it, and nothing is predicted after it.

    Raises:
        TaskError: If the tokenizer reads texts in another way when it adds tokens.
    """
    for probe in _PROBES:
        plain: list[int] = tokenizer(probe, add_special_tokens=False)["input_ids"]
        full: list[int] = tokenizer(probe)["input_ids"]
        for start in range(len(full) - len(plain) + 1):
            if plain and full[start : start + len(plain)] == plain:
                return tuple(full[:start])
    raise TaskError(
        f"The tokenizer ({type(tokenizer).__name__}) reads a text differently with add_special_tokens=False, so its "
        "own tokens cannot be told from the text's; pass a tokenizer that only adds tokens before and after."
    )


def with_leading(leading: tuple[int, ...], ids: list[int]) -> list[int]:
    """Put the tokenizer's leading tokens before a text that does not begin with them, as chat templates do."""
    missing = next(i for i in range(len(leading) + 1) if tuple(ids[: len(leading) - i]) == leading[i:])
    return [*leading[:missing], *ids]


def says_unknown(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int]) -> bool:
    """Whether every unknown token of a text is there because the text says so, and not for a word that is unknown."""
    count = ids.count(tokenizer.unk_token_id)
    return count > 0 and text.count(str(tokenizer.unk_token)) == count
