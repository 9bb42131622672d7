"""The frozen prefix, run once: states at the boundary are kept, and training starts from them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from semviz.encoding import NO_TARGET, Encoded, encode
from semviz.modes import evaluating
from semviz.reading import Batch, Enough, OnSpace, pad_batch, pad_id, stream

if TYPE_CHECKING:
    from semviz.models import LanguageModel
    from semviz.suffix import Suffix
    from semviz.tasks import Task


@dataclass(frozen=True, eq=False)
class PrefixCache:
    """States of one split at one boundary.

    Attributes:
        boundary: k ≥ 1; these are the states of space k.
        states: One tensor a sample, shape (T_i, d), unpadded, in the model's dtype, on the CPU.
        seconds: Time that the prefix took.
    """

    boundary: int
    states: list[Tensor]
    seconds: float

    @property
    def nbytes(self) -> int:
        """Bytes of all states."""
        return sum(s.nbytes for s in self.states)


def run_prefix(model: LanguageModel, encoded: Encoded, boundary: int, *, progress: bool = True) -> PrefixCache:
    """Run blocks 1…k once over all samples, without dropout, and keep the states of space k."""
    started = time.perf_counter()
    kept: dict[int, Tensor] = {}

    def start(batch: Batch) -> OnSpace:
        def on_space(space: int, states: Tensor) -> None:
            if space == boundary:
                for row, length, state in zip(batch.rows, batch.lengths, states.cpu(), strict=True):
                    # A copy, since a slice would keep the whole padded batch alive.
                    kept[int(row)] = state[: int(length)].clone()
                raise Enough

        return on_space

    stream(model, encoded, start, label=f"Running blocks 1–{boundary} once", progress=progress)
    return PrefixCache(boundary, [kept[row] for row in range(len(encoded))], time.perf_counter() - started)


@dataclass(frozen=True, eq=False)
class Part(Dataset[int]):
    """One split as a model trains on it: samples, and their boundary states where the prefix is cached.

    As a torch dataset it yields row numbers; the `Collator` makes batches of them.
    """

    encoded: Encoded
    cache: PrefixCache | None = None

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, row: int) -> int:
        return row


class Collator:
    """Rows of a `Part` → one right-padded batch, as `Suffix` takes it."""

    def __init__(self, part: Part, *, pad: int) -> None:
        self.part, self.pad = part, pad

    def __call__(self, rows: list[int]) -> dict[str, Tensor]:
        """Return input_ids, attention_mask and targets, shape (B, T), and states, shape (B, T, d), if cached."""
        encoded = self.part.encoded
        batch = pad_batch(encoded, np.asarray(rows), pad=self.pad, device=torch.device("cpu"))
        targets = torch.full(batch.ids.shape, NO_TARGET)
        for i, row in enumerate(rows):
            counted = torch.as_tensor(encoded.counted[row])
            targets[i, : len(counted)][counted] = torch.as_tensor(encoded.targets[row]).long()[counted]
        made = {"input_ids": batch.ids, "attention_mask": batch.mask, "targets": targets}
        if self.part.cache is not None:
            states = [self.part.cache.states[row] for row in rows]
            made["states"] = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        return made


class Workbench:
    """A task's splits as one model reads them, with the prefix run at most once per boundary."""

    def __init__(self, model: LanguageModel, task: Task, *, cache: bool = True, progress: bool = True) -> None:
        """Tokenize the task.

        Args:
            model: A loaded model.
            task: The task.
            cache: Whether to cache prefixes at all.
            progress: Show progress bars.

        Raises:
            TaskError: If the task does not fit the model.
        """
        self.model, self.task, self.progress = model, task, progress
        self._caching = cache
        self._encoded = {name: _with_targets(encode(model, task, name)) for name in ("train", "validation", "test")}
        self._caches: dict[str, PrefixCache] = {}

    def part(self, split: str, boundary: int) -> Part:
        """One split with its states at a boundary; caches of other boundaries are dropped."""
        encoded = self._encoded[split]
        if boundary == 0 or not self._caching:
            return Part(encoded)
        if split not in self._caches or self._caches[split].boundary != boundary:
            self._caches[split] = run_prefix(self.model, encoded, boundary, progress=self.progress)
        return Part(encoded, self._caches[split])

    def collator(self, part: Part) -> Collator:
        """The collator for one part."""
        return Collator(part, pad=pad_id(self.model))


def _with_targets(encoded: Encoded) -> Encoded:
    """Leave out samples with nothing to learn: a text of one token has no next one."""
    rows = [row for row, counted in enumerate(encoded.counted) if counted.any()]
    return encoded if len(rows) == len(encoded) else encoded.take(rows)


@torch.no_grad()
def cache_error(model: LanguageModel, suffix: Suffix, batch: dict[str, Tensor]) -> float:
    """Largest difference between the cached suffix's logits and the model's own, relative to their size.

    A model that hands more than one tensor from block to block cannot be resumed from one state; it shows here.
    """
    device = model.device
    with evaluating(model.model):
        own = model.anatomy.model(
            input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device), use_cache=False
        ).logits[batch["targets"] != NO_TARGET]
    suffix.eval()
    cached = suffix(**{key: value.to(device) for key, value in batch.items()})["logits"]
    return float((cached - own.float()).abs().max() / own.abs().max().clamp_min(1e-6))
