"""Small models and texts that every test can afford."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from semviz.lm.parts import Names, Parts
from semviz.tasks.task import Task

REAL = Path(__file__).parents[2] / "shared" / "real"
WORDS = (
    "the a cat dog bird tree house red blue green big small good bad not very is was and but or so it he she they "
    "ran sat ate saw liked mood yes no : . , one two three four five six seven eight nine ten sun moon rain snow"
).split()


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One word, one token; <bos> in front."""
    specials = ["<pad>", "<unk>", "<bos>", "<eos>"]
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate([*specials, *WORDS])}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    )


def tiny_llama(*, blocks: int = 4, seed: int = 0, **options) -> LlamaForCausalLM:
    """A random Llama of width 32, larger weights than usual so that its blocks do something."""
    torch.manual_seed(seed)
    small = {
        "vocab_size": 4 + len(WORDS),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": blocks,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    return LlamaForCausalLM(LlamaConfig(**{**small, **options})).eval()


def made_parts(blocks: int, *, each: int = 10, tail: int = 1, head: int = 0, embeddings: int = 5) -> Parts:
    """The parts of a model that does not exist."""
    names = Names(tuple(f"model.layers.{i}" for i in range(blocks)), ("model.norm",), "lm_head", ("self_attn.q_proj",))
    return Parts((each,) * blocks, tail, head, embeddings, tied_head=0 if head else embeddings, names=names)


def plain_text(lines: int = 60) -> list[str]:
    """Random but grammatical enough."""
    generator = torch.Generator().manual_seed(1)
    return [
        " ".join(WORDS[int(i)] for i in torch.randint(len(WORDS), (12,), generator=generator)) for _ in range(lines)
    ]


def mood_task(**options: Any) -> Task:
    """A task that one sentence decides: good things are liked."""
    texts, labels = [], []
    for i in range(80):
        thing = ("cat", "dog", "bird", "tree", "house")[i % 5]
        good = (i // 5) % 2 == 0
        texts.append(f"the {('red', 'blue', 'green')[i % 3]} {thing} was {'good' if good else 'bad'} .")
        labels.append("yes" if good else "no")
    return Task.from_texts(texts, labels, prompt="{text} mood :", name="tiny mood", **options)
