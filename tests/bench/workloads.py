"""What the benchmarks read: models, and rows of token ids at answer or at next positions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

import semviz as sv
from semviz.common.ragged import Ragged
from semviz.tasks.label_words import Reading
from semviz.tasks.tokenizing import NO_TARGET, Encoded

REAL = Path(__file__).parents[3] / "shared" / "real"
SMOLLM2 = Path(os.environ.get("SEMVIZ_REAL", Path("~/.cache/semviz-real").expanduser())) / "smollm2-135m-instruct"
LABELS = np.asarray([11, 42, 97, 110, 131, 300])


def demo() -> sv.LanguageModel:
    return sv.load_model()


def stories() -> sv.LanguageModel:
    return sv.load_model(REAL / "stories260K-llama")


@cache
def smollm2() -> sv.LanguageModel:
    return sv.load_model(SMOLLM2, dtype="float32")


def available(*makes: Callable[[], sv.LanguageModel]) -> list[Callable[[], sv.LanguageModel]]:
    """These makers of models, without SmolLM2's where its folder is not there."""
    return [make for make in makes if make is not smollm2 or SMOLLM2.is_dir()]


def gpt2_small() -> sv.LanguageModel:
    """GPT-2 small's shape with random weights."""
    return _random(GPT2Config(), "random GPT-2 small")


def gpt2_small_on_stories() -> tuple[sv.LanguageModel, sv.Task]:
    """GPT-2 small's shape with random weights, reading real stories through the tokenizer of stories260K."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GPT2Config()).eval()
    model.name_or_path = "random GPT-2 small"
    tokenizer = AutoTokenizer.from_pretrained(REAL / "stories260K-llama")
    lines = (REAL / "tinystories_text" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[:60]]
    task = sv.Task.from_texts(texts[:48], test=texts[48:], max_tokens=64, name="stories")
    return sv.load_model((model, tokenizer)), task


def llama_1b() -> sv.LanguageModel:
    """A Llama of a billion parameters with random weights, in bfloat16 on the GPU."""
    shape = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    config = LlamaConfig(**shape, num_key_value_heads=8, vocab_size=128_256, tie_word_embeddings=True)
    return _random(config, "random Llama 1B", dtype=torch.bfloat16, device="cuda")


def _random(config, name, *, dtype=torch.float32, device="cpu") -> sv.LanguageModel:
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    words = {"<pad>": 0, "<unk>": 1} | {f"t{i}": i for i in range(2, config.vocab_size)}
    inner = Tokenizer(WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>")
    text = np.random.default_rng(1).integers(2, config.vocab_size, (40, 60))
    model.name_or_path = name
    return sv.load_model((model, tokenizer), general_text=[" ".join(f"t{i}" for i in row) for row in text])


def rows(model: sv.LanguageModel, *, samples: int, tokens: int, where: str) -> Encoded:
    """Random token ids; one `answer` position a sample, or every position but the last (`next`)."""
    size = min(len(model.tokenizer), len(model.anatomy.head_weight))
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, size, tokens) for _ in range(samples)]
    targets, counted = [], []
    for row in ids:
        target, count = np.append(row[1:], NO_TARGET), np.arange(tokens) < tokens - 1
        if where == "answer":
            target[-1], count = rng.choice(LABELS), ~count
        targets.append(target)
        counted.append(count)
    labels = np.searchsorted(LABELS, [target[-1] for target in targets]) if where == "answer" else [-1] * samples
    ids, targets, counted = (Ragged.of(rows) for rows in (ids, targets, counted))
    special = Ragged(np.zeros(len(ids.flat), dtype=bool), ids.offsets)
    if where != "answer":
        return Encoded(ids, targets, counted, special, np.asarray(labels))
    reading = Reading(" ", (), tuple((int(label),) for label in LABELS))
    return Encoded(ids, targets, counted, special, np.asarray(labels), (reading,), np.zeros(samples, dtype=np.int64))


def threads(count: int) -> None:
    """How many cores torch uses, here and in processes started from here."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    torch.set_num_threads(count)
