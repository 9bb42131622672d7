"""Pretrain the demo LM from scratch: ``python -m semviz.demo.pretrain --out DIR``.

Everything is fixed by the seed and the number of steps (never by the clock), so two runs differ only by
floating point. 4,500 steps take about 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

# Waiting threads must go to sleep soon: spinning ones are many times slower once another program needs a core.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import torch
from tqdm import tqdm

from semviz.demo.corpus import documents, general_text
from semviz.demo.tokenizer import build_tokenizer

__all__ = ["held_out_loss", "main", "new_model", "pretrain", "unigram_loss", "windows"]

SEED = 1
WINDOW = 128
BATCH = 16
STEPS = 4500


def new_model(vocabulary: int) -> Any:
    """Return an untrained Llama of 8 narrow blocks, about 1.8 M parameters; the head is not tied to the embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        attention_dropout=0.0,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    return LlamaForCausalLM(config)


def windows(tokenizer: Any) -> Iterator[list[int]]:
    """Yield windows of 128 tokens, each beginning with a document; the last document of a window is cut off."""
    held_out = set(general_text())
    window: list[int] = []
    stream = (text for _, text in documents(SEED) if text not in held_out)
    while texts := list(islice(stream, 1000)):
        for ids in tokenizer(texts)["input_ids"]:
            window += [*ids, tokenizer.eos_token_id]
            if len(window) >= WINDOW:
                yield window[:WINDOW]
                window = []


def pretrain(out: Path, *, steps: int, rate: float = 2e-3, warmup: int = 300, save_every: int = 0) -> None:
    """Train a new model with AdamW and a cosine schedule, and save it.

    Args:
        out: Folder to write; it appears only when complete, and replaces an older one.
        steps: Number of updates, of 16 windows of 128 tokens each.
        rate: Peak learning rate.
        warmup: Steps of linear warm-up.
        save_every: Also save the unfinished model every this many steps, in folders beside `out`; 0 saves none.
    """
    from transformers import AutoTokenizer

    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    vocabulary = build_tokenizer((text for _, text in islice(documents(SEED), 60_000)), unfinished)
    tokenizer = AutoTokenizer.from_pretrained(unfinished)

    torch.manual_seed(SEED)
    model = new_model(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step, steps=steps, warmup=warmup))
    batches = windows(tokenizer)
    bar = tqdm(range(1, steps + 1), unit="step", mininterval=5)
    for step in bar:
        ids = torch.tensor(list(islice(batches, BATCH)))
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
        if save_every and step % save_every == 0 and step < steps:
            checkpoint = out.with_name(f"{out.name}.step{step}")
            shutil.copytree(unfinished, checkpoint, dirs_exist_ok=True)
            _save(model, checkpoint)
    _save(model, unfinished)
    shutil.rmtree(out, ignore_errors=True)
    unfinished.rename(out)


def _cosine(step: int, *, steps: int, warmup: int) -> float:
    """Share of the peak rate: linear warm-up, then a half cosine down to a twentieth."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _save(model: Any, folder: Path) -> None:
    """Store the weights in half precision, and a configuration that loads them in single precision."""
    copy.deepcopy(model).half().save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def held_out_loss(folder: Path, texts: list[str]) -> float:
    """Return the mean loss, in nats per token, of a saved model on texts that each begin with <bos>."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total, count = 0.0, 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        total += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return total / count


def unigram_loss(texts: list[str]) -> float:
    """Return the loss, in nats per token, of word frequencies counted on 60,000 pretraining documents."""
    counts = Counter(word for _, text in islice(documents(SEED), 60_000) for word in text.split())
    total = sum(counts.values())
    words = [word for text in texts for word in text.split()]
    return -sum(math.log((counts[word] + 1) / (total + len(counts))) for word in words) / len(words)


def main() -> None:
    """Read the command line, pretrain, and print the loss of the model on held-out text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and its tokenizer")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"number of updates (default: {STEPS})")
    parser.add_argument("--threads", type=int, default=2, help="threads for torch (default: 2)")
    parser.add_argument("--save-every", type=int, default=0, help="save the unfinished model every N steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pretrain(options.out, steps=options.steps, save_every=options.save_every)
    texts = general_text()
    print(f"held-out loss {held_out_loss(options.out, texts):.3f} nats per token, unigram {unigram_loss(texts):.3f}")


if __name__ == "__main__":
    main()
