"""Work that is disturbed while it computes: the same tiny jobs for interrupts, exceptions and lack of memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small import mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.experiments.probes import Probes
from semviz.experiments.runs import Runs
from semviz.finetuning.run import Run
from semviz.study.opened_task import OpenedTask, open_task
from semviz.tasks import streaming
from semviz.traces.calibration import Calibration

QUICK = {"lr": 3e-3, "epochs": 1, "batch_size": 16, "progress": False}


class Jobs:
    """Jobs on one model, which looks as a user's own may: a part in training mode, a flag off, hooks, a gradient.

    Attributes:
        model: The model.
        store: Where the runs of sweeps and probes go.
        all: The jobs by name; each takes a `Control` or None.
    """

    def __init__(self, store: Path) -> None:
        self.model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
        self.task, self.store = mood_task(), store
        network = self.model.model
        network.model.layers[1].train()
        network.model.embed_tokens.requires_grad_(False)
        network.model.layers[2].register_forward_hook(lambda *_: None)
        network.model.norm.weight.grad = torch.full_like(network.model.norm.weight, 0.5)
        self.all: dict[str, Callable[[sv.Control | None], Any]] = {
            "trace": self.trace,
            "opening": self.opening,
            "finetune": self.finetune,
            "sweep": self.sweep,
            "probe": self.probe,
        }

    def seed(self, seed: int) -> None:
        """Give the random states values that no job sets."""
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)

    def trace(self, control: sv.Control | None) -> sv.Trace:
        return sv.trace(self.model, self.task, control=control, progress=False)

    def opening(self, control: sv.Control | None) -> OpenedTask:
        return open_task(self.model, self.task, control=control, progress=False)

    def finetune(self, control: sv.Control | None) -> Run:
        return sv.finetune(self.model, self.task, sv.Scope.half(self.model), control=control, **QUICK)

    def sweep(self, control: sv.Control | None) -> Runs:
        scopes = [sv.Scope.above(self.model, boundary) for boundary in (1, 2, 3)]
        return sv.sweep(
            self.model, self.task, scopes, keep_weights=True, store=self.store / "sweep", control=control, **QUICK
        )

    def probe(self, control: sv.Control | None) -> Probes:
        return sv.probe(self.model, self.task, store=self.store / "probe", control=control, **QUICK)


def numbers(result: Any) -> dict[str, np.ndarray]:
    """What a job has found, as arrays, times apart."""
    if isinstance(result, sv.Trace):
        found = {**result.values, "top1": result.top1, "nearest": result.nearest, "paths": result.paths}
        return {key: np.asarray(array) for key, array in found.items()}
    if isinstance(result, OpenedTask):
        costs = {"flops": result.costs.block_flops, "bytes": result.costs.block_bytes}
        return {**numbers(result.traces["full"]), **costs, "gain": result.gain.gains}
    if isinstance(result, Calibration):
        return {"means": result.means.numpy(), "temperature": np.asarray(result.temperature)}
    runs = result.runs if isinstance(result, Probes) else [result] if isinstance(result, Run) else result
    found = {f"rows {i}": np.asarray(run.rows) for i, run in enumerate(runs)}
    found |= {f"loss {i}": np.asarray([run.loss, run.validation_loss]) for i, run in enumerate(runs)}
    weights = {f"{name} {i}": t.numpy() for i, run in enumerate(runs) for name, t in sorted(run.weights.items())}
    return found | weights | ({"benefit": result.benefit} if isinstance(result, Probes) else {})


def same(result: Any, expected: dict[str, np.ndarray], *, within: float = 0.0) -> bool:
    """Whether a job has found what is expected: bit for bit, or within some absolute and relative difference."""
    found = numbers(result)
    return found.keys() == expected.keys() and all(
        np.allclose(found[key], wanted, rtol=within, atol=within, equal_nan=True) for key, wanted in expected.items()
    )


@contextmanager
def several_batches() -> Iterator[None]:
    """Let passes over the texts of a tiny task take several batches."""
    given = streaming._BATCH_TOKENS
    streaming._BATCH_TOKENS = {"cpu": 128}
    try:
        yield
    finally:
        streaming._BATCH_TOKENS = given
