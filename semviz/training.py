"""One training loop: Hugging Face Trainer on a suffix, with live progress, and the caller's random state given back."""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psutil
import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from semviz.progress import progress_bar

if TYPE_CHECKING:
    from semviz.prefix import Part, Workbench
    from semviz.suffix import Suffix

_WARMUP = 0.1  # share of the steps


@dataclass(frozen=True)
class Recipe:
    """What a training run is, beside its scope.

    Attributes:
        lr: Peak learning rate of AdamW, after a linear warm-up and before a cosine decay to 0.
        epochs: Passes over the training rows.
        batch_size: Rows a step.
        seed: Seed of data order and dropout.
    """

    lr: float
    epochs: float
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """What a training run was like: steps, seconds, tokens, peak bytes, loss curve, and whether it diverged."""

    steps: int
    seconds: float
    tokens: int
    peak_bytes: int
    curve: pd.DataFrame
    diverged: bool


class _Watch(TrainerCallback):
    """Keeps the loss curve, moves the progress bar, measures memory and stops a run that has diverged."""

    def __init__(self, label: str, device: torch.device, progress: bool) -> None:
        self.label, self.device, self.progress = label, device, progress
        self.curve: list[tuple[int, float]] = []
        self.diverged = False
        self.process = psutil.Process()
        self.before = self.process.memory_info().rss
        self.peak = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar = progress_bar(state.max_steps, self.label, unit="steps", show=self.progress)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update()
        self.peak = max(self.peak, self.process.memory_info().rss - self.before)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        self.curve.append((state.global_step, float(loss)))
        self.bar.set_postfix_str(f"loss {float(loss):.3f}")
        if not math.isfinite(float(loss)):
            self.diverged = True
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self.device)


def fit(suffix: Suffix, bench: Workbench, part: Part, recipe: Recipe, *, label: str, progress: bool) -> Trained:
    """Train the suffix's trainable parameters on one split.

    The same seed gives the same data order whatever the scope, so that scopes differ in nothing else.
    """
    steps = max(1, math.ceil(len(part) / recipe.batch_size * recipe.epochs))
    watch = _Watch(label, bench.model.device, progress)
    with tempfile.TemporaryDirectory() as folder, preserved_random_state():
        args = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=recipe.batch_size,
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.lr,
            lr_scheduler_type="cosine",
            warmup_steps=math.ceil(_WARMUP * steps),
            weight_decay=0.0,
            logging_steps=max(1, steps // 50),
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=bench.model.device.type == "cuda",
            use_cpu=bench.model.device.type == "cpu",
            seed=recipe.seed,
        )
        suffix.to(bench.model.device)
        trainer = Trainer(
            model=suffix, args=args, train_dataset=part, data_collator=bench.collator(part), callbacks=[watch]
        )
        # They print and draw on their own; the watch above does it once.
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        done = trainer.state.global_step
    tokens = round(part.encoded.tokens * done * recipe.batch_size / max(1, len(part)))
    curve = pd.DataFrame(watch.curve, columns=["step", "loss"])
    return Trained(done, seconds, tokens, watch.peak, curve, watch.diverged)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Give back the random state of python, numpy and torch: Trainer seeds all of them."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
