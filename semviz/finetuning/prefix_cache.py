"""The frozen prefix, run once: states at the boundary are kept, and training starts from them."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from semviz.common import formats
from semviz.common.errors import SemvizError
from semviz.common.files import temporary_folder
from semviz.common.ragged import Ragged
from semviz.lm.global_hooks import unseen_by_global_hooks
from semviz.lm.truncation import without_prefix
from semviz.tasks.neighbours import how_to_read
from semviz.tasks.streaming import Batch, OnSpace, StopForward, pad_batch, stream
from semviz.tasks.tokenizing import NO_TARGET, Encoded

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.finetuning.spelled_words import SpelledWords
    from semviz.lm.model import LanguageModel

_CHUNK_BYTES = 2**24


@dataclass(frozen=True, eq=False)
class PrefixCache:
    """States of one split at one boundary, one row per token, never padded.

    Attributes:
        key: Hash of what decides the states: model, boundary, tokens and dtype.
        boundary: k ≥ 1; these are the states of space k.
        states: Shape (tokens, d), samples end to end, in the model's dtype, on the CPU; in memory or a mapped file.
        offsets: Where each sample begins, and the number of tokens at the end, shape (n + 1,).
        seconds: Time that its blocks took to run, from the input or from a smaller boundary's cache.
        folder: Temporary folder of the mapped file, removed with the cache; None in memory. Where the system allows it,
            the mapped file is unlinked at once, so that a process that is killed leaves no states behind.
    """

    key: str
    boundary: int
    states: Tensor
    offsets: NDArray[np.int64]
    seconds: float
    folder: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Tensor:
        """States of one sample, a view of shape (T, d)."""
        return self.states[self.offsets[row] : self.offsets[row + 1]]

    @property
    def nbytes(self) -> int:
        """Bytes of all states."""
        return self.states.nbytes


def cache_key(model: LanguageModel, encoded: Encoded, boundary: int) -> str:
    """Return sixteen hex digits of everything that decides the states at a boundary, good for this process."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{model.stamp} {boundary}".encode())
    digest.update(encoded.ids.flat.tobytes())
    digest.update(encoded.ids.offsets.tobytes())
    return digest.hexdigest()


def cache_bytes(model: LanguageModel, encoded: Encoded) -> int:
    """Estimate the bytes of one split's states at one boundary: exact where the head reads the blocks' width."""
    return encoded.tokens * model.anatomy.width * model.model.dtype.itemsize


def run_prefix(
    model: LanguageModel,
    encoded: Encoded,
    boundaries: Iterable[int],
    *,
    start: PrefixCache | None = None,
    room: float = math.inf,
    control: Control | None = None,
    progress: bool = True,
) -> dict[int, PrefixCache]:
    """Run the blocks up to the largest boundary once over all samples, without dropout, and keep states on the way.

    Args:
        model: The model.
        encoded: Samples.
        boundaries: Spaces k ≥ 1 to keep.
        start: States of a smaller boundary, from which the pass goes on.
        room: Bytes of states that may be held in memory; those beyond are kept in mapped temporary files.
        control: To watch the pass and to stop it.
        progress: Show a progress bar.

    Returns:
        A cache for each boundary. Each gets the share of the pass's time that its additional blocks took.
    """
    spaces = sorted(set(boundaries))
    caches: dict[int, PrefixCache] = {}
    keys = {space: cache_key(model, encoded, space) for space in spaces}
    reader, entry = (model, None) if start is None else without_prefix(model, start.boundary)
    lowest = 0 if start is None else start.boundary

    def begin(batch: Batch) -> OnSpace:
        if entry is not None and start is not None:
            entry.states = pad_sequence([start[int(row)] for row in batch.rows], batch_first=True).to(model.device)

        def on_space(space: int, states: Tensor) -> None:
            if space in spaces:
                if space not in caches:
                    in_memory = sum(c.nbytes for c in caches.values() if c.folder is None)
                    caches[space] = _allocate(keys[space], encoded, space, like=states, room=room - in_memory)
                for row, state in zip(batch.rows, states.cpu(), strict=True):
                    target = caches[space][int(row)]
                    target.copy_(state[: len(target)])
            if space == spaces[-1]:
                raise StopForward

        return on_space

    reading = how_to_read(model, encoded)
    started = time.perf_counter()
    label = f"Running blocks {lowest + 1}–{spaces[-1]} once"
    with nullcontext() if entry is None else unseen_by_global_hooks(reader.model):
        stream(reader, encoded, begin, label=label, reading=reading, control=control, progress=progress)
    block_seconds = (time.perf_counter() - started) / (spaces[-1] - lowest)
    below = [lowest, *spaces[:-1]]
    return {k: replace(caches[k], seconds=block_seconds * (k - b)) for k, b in zip(spaces, below, strict=True)}


def _allocate(key: str, encoded: Encoded, boundary: int, *, like: Tensor, room: float) -> PrefixCache:
    """Allocate the states at one boundary, with the width and dtype of those in a batch."""
    shape = (encoded.tokens, like.shape[-1])
    offsets, size = encoded.ids.offsets, shape[0] * shape[1]
    if size * like.dtype.itemsize <= room:
        return PrefixCache(key, boundary, torch.empty(shape, dtype=like.dtype), offsets, 0.0)
    folder = temporary_folder("prefix")
    file = f"{folder.name}/states.bin"
    try:
        _reserve_disk_space(file, size * like.dtype.itemsize)
    except SemvizError:
        folder.cleanup()
        raise
    states = torch.from_file(file, shared=True, size=size, dtype=like.dtype).view(shape)
    if os.name == "posix":
        os.unlink(file)
    return PrefixCache(key, boundary, states, offsets, 0.0, folder)


def _reserve_disk_space(file: str, size: int) -> None:
    """Allocate a mapped file's disk space now: a disk that is full when a page is written kills the whole process."""
    try:
        with open(file, "wb") as opened:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(opened.fileno(), 0, size)
            else:
                for begin in range(0, size, _CHUNK_BYTES):
                    opened.write(bytes(min(_CHUNK_BYTES, size - begin)))
    except OSError as error:
        raise SemvizError(
            f"Cannot keep {formats.si(size)}B of the prefix's states on disk: {error.strerror or error}. Free space in "
            "the temporary folder, set the environment variable TMPDIR to another one, or pass cache=False."
        ) from error


@dataclass(frozen=True, eq=False)
class SplitWithStates(Dataset[int]):
    """One split as a model trains on it: samples, and their boundary states where the prefix is cached.

    As a torch dataset it yields row numbers; the `Collator` makes batches of them. Where label words are scored whole,
    a split that is scored has a row for each beginning of a word, described by `words`.
    """

    encoded: Encoded
    cache: PrefixCache | None = None
    words: SpelledWords | None = None

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, row: int) -> int:
        return row


class Collator:
    """Rows of a `SplitWithStates` → one right-padded batch, as `Suffix` takes it."""

    def __init__(self, part: SplitWithStates, *, pad: int) -> None:
        self.part, self.pad = part, pad
        encoded = part.encoded
        counted = np.where(encoded.counted.flat, encoded.targets.flat, NO_TARGET)
        self.labels = Ragged(counted, encoded.targets.offsets)

    def __call__(self, rows: list[int]) -> dict[str, Tensor]:
        """Return input_ids, attention_mask and labels, shape (B, T), and states, shape (B, T, d), if cached."""
        batch = pad_batch(self.part.encoded, np.asarray(rows), pad=self.pad, device=torch.device("cpu"))
        labels = np.full(batch.ids.shape, NO_TARGET, dtype=np.int64)
        for i, row in enumerate(rows):
            labels[i, : batch.lengths[i]] = self.labels[row]
        tensors = {"input_ids": batch.ids, "attention_mask": batch.mask, "labels": torch.from_numpy(labels)}
        if self.part.cache is not None:
            tensors["states"] = pad_sequence([self.part.cache[row] for row in rows], batch_first=True)
        return tensors
