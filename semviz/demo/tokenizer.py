"""A word-level tokenizer in the Hugging Face fast format: one word is one token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

__all__ = ["BOS", "EOS", "PAD", "UNK", "build_tokenizer"]

PAD, UNK, BOS, EOS = "<pad>", "<unk>", "<bos>", "<eos>"


def build_tokenizer(texts: Iterable[str], folder: Path) -> int:
    """Build a tokenizer of all words in the texts and save it.

    Args:
        texts: Documents; all their words enter the vocabulary, the most frequent first.
        folder: Where to write ``tokenizer.json`` and ``tokenizer_config.json``.

    Returns:
        The size of the vocabulary, including special tokens.
    """
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    counts = Counter(word for text in texts for word in text.split())
    # Ties in frequency are broken by spelling, not by the order of first occurrence.
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = {word: index for index, word in enumerate([PAD, UNK, BOS, EOS, *ordered])}

    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNK))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNK,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=512,
        padding_side="right",
    )
    fast.save_pretrained(folder)
    return len(vocabulary)
