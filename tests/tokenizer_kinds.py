"""Tokenizers of every kind, trained here on a few lines, and real ones where they are at hand."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import semviz as sv

SMOLLM2 = Path(os.environ.get("SEMVIZ_REAL", Path("~/.cache/semviz-real").expanduser())) / "smollm2-135m-instruct"
CORPUS = [
    "the film was great and positive mood, very good, not bad at all",
    "a negative bad awful thing Label: positive Review: many yes no",
    "Sentiment: negative 0 1 2 3 4 5 10 42 star stars Stars: fibre 5G It was well-made",
    "评论：很好 情感：积极 消极 坏 好。 naïve up-to-date 'quoted' (x) \"so\" user assistant",
] * 40
SPECIALS = ["<pad>", "<unk>", "<s>", "</s>"]


def _wrapped(inner: Tokenizer, before: str = "", after: str = "", **names: str) -> PreTrainedTokenizerFast:
    if before or after:
        tokens = [(token, inner.token_to_id(token)) for token in (before, after) if token]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{before} $A {after}".strip(), special_tokens=tokens
        )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", **names}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def bpe(*, meta=False, split=True, prefix_space=False, before="", after="", lower=False) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    if lower:
        inner.normalizer = normalizers.Lowercase()
    if meta:
        options = {"prepend_scheme": "always", "split": split}
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(**options), decoders.Metaspace(**options)
    else:
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
        inner.decoder = decoders.ByteLevel()
    alphabet = [] if meta else pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    return _wrapped(inner, before, after)


def digits_apart() -> PreTrainedTokenizerFast:
    """As SmolLM2's: each digit is a token of its own, and so is the blank before it."""
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    return _wrapped(inner)


def word_piece() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    inner.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    return _wrapped(inner, "[CLS]", "[SEP]", **names)


def unigram() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    inner.train_from_iterator(CORPUS, trainer)
    return _wrapped(inner, "<s>")


def word_level() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=SPECIALS, show_progress=False))
    return _wrapped(inner, "<s>")


def demo() -> PreTrainedTokenizerFast:
    return sv.load_model().tokenizer


def smollm2() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(SMOLLM2)


KINDS = {
    "byte-level": lambda: bpe(),
    "byte-level, prefix space": lambda: bpe(prefix_space=True),
    "byte-level, digits apart": digits_apart,
    "metaspace": lambda: bpe(meta=True),
    "metaspace, bos": lambda: bpe(meta=True, before="<s>"),
    "metaspace, not split": lambda: bpe(meta=True, split=False, before="<s>"),
    "bos and eos": lambda: bpe(before="<s>", after="</s>"),
    "eos": lambda: bpe(after="</s>"),
    "lower-casing": lambda: bpe(lower=True),
    "word piece, [CLS] and [SEP]": word_piece,
    "unigram": unigram,
    "word level": word_level,
    "demo": demo,
    "SmolLM2": smollm2,
}


@cache
def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    made = KINDS[kind]()
    if kind not in ("demo", "SmolLM2"):
        made.add_tokens(["<good>", "<bad>"])
    return made
