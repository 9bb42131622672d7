"""The frozen prefix, run once: states at the boundary are kept, and training starts from them."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Iterable
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
from semviz.lm.truncation import without_prefix
from semviz.tasks.streaming import Batch, OnSpace, StopForward, pad_batch, stream
from semviz.tasks.tokenizing import NO_TARGET, Encoded

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.lm.model import LanguageModel

_AT_ONCE = 2**24  # bytes


@dataclass(frozen=True, eq=False)
class PrefixCache:
    """States of one split at one boundary, one row a token, never padded.

    Attributes:
        key: What the states are of: model, boundary, tokens and dtype.
        boundary: k ≥ 1; these are the states of space k.
        states: Shape (tokens, d), samples end to end, in the model's dtype, on the CPU; in memory or a mapped file.
        offsets: Where each sample begins, and the number of tokens at the end, shape (n + 1,).
        seconds: Time that the blocks took which were run for it, from the input or from a smaller boundary's cache.
        folder: Temporary folder of the mapped file, removed with the cache; None in memory. Where the system lets a
            mapped file go at once, it is gone from the folder, so that a process that is killed leaves no states.
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
    """Sixteen hex digits of all that decides the states at a boundary."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{model.hash} {edits_of(model)} {boundary} {model.model.dtype}".encode())
    digest.update(encoded.ids.flat.tobytes())
    digest.update(encoded.ids.offsets.tobytes())
    return digest.hexdigest()


def edits_of(model: LanguageModel) -> int:
    """A number that changes with the weights, edited or replaced: the model's hash is read once, and would not tell."""
    return hash(tuple((p.data_ptr(), p.dtype, p._version) for p in model.model.parameters()))


def cache_bytes(model: LanguageModel, encoded: Encoded) -> int:
    """Bytes of the states of one split at one boundary, for planning: exact where the head reads the blocks' width."""
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
        A cache for each boundary. The time of the pass is shared out among them by the blocks that each took more.
    """
    wanted = sorted(set(boundaries))
    made: dict[int, PrefixCache] = {}
    reader, entry = (model, None) if start is None else without_prefix(model, start.boundary)
    first = 0 if start is None else start.boundary

    def begin(batch: Batch) -> OnSpace:
        if entry is not None and start is not None:
            entry.states = pad_sequence([start[int(row)] for row in batch.rows], batch_first=True).to(model.device)

        def on_space(space: int, states: Tensor) -> None:
            if space in wanted:
                if space not in made:
                    held = sum(c.nbytes for c in made.values() if c.folder is None)
                    made[space] = _empty(model, encoded, space, like=states, room=room - held)
                for row, state in zip(batch.rows, states.cpu(), strict=True):
                    kept = made[space][int(row)]
                    kept.copy_(state[: len(kept)])
            if space == wanted[-1]:
                raise StopForward

        return on_space

    started = time.perf_counter()
    label = f"Running blocks {first + 1}–{wanted[-1]} once"
    stream(reader, encoded, begin, label=label, control=control, progress=progress)
    a_block = (time.perf_counter() - started) / (wanted[-1] - first)
    below = [first, *wanted[:-1]]
    return {k: replace(made[k], seconds=a_block * (k - b)) for k, b in zip(wanted, below, strict=True)}


def _empty(model: LanguageModel, encoded: Encoded, boundary: int, *, like: Tensor, room: float) -> PrefixCache:
    """Room for the states at one boundary, of the width and dtype of those in a batch."""
    shape = (encoded.tokens, like.shape[-1])
    key, offsets, size = cache_key(model, encoded, boundary), encoded.ids.offsets, shape[0] * shape[1]
    if size * like.dtype.itemsize <= room:
        return PrefixCache(key, boundary, torch.empty(shape, dtype=like.dtype), offsets, 0.0)
    folder = temporary_folder("prefix")
    file = f"{folder.name}/states.bin"
    try:
        _reserve(file, size * like.dtype.itemsize)
    except SemvizError:
        folder.cleanup()
        raise
    states = torch.from_file(file, shared=True, size=size, dtype=like.dtype).view(shape)
    if os.name == "posix":
        os.unlink(file)
    return PrefixCache(key, boundary, states, offsets, 0.0, folder)


def _reserve(file: str, size: int) -> None:
    """Take the room of a mapped file now: a disk that is full when a page is written kills the whole process."""
    try:
        with open(file, "wb") as opened:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(opened.fileno(), 0, size)
            else:
                for begin in range(0, size, _AT_ONCE):
                    opened.write(bytes(min(_AT_ONCE, size - begin)))
    except OSError as error:
        raise SemvizError(
            f"Cannot keep {formats.si(size)}B of the prefix's states on disk: {error.strerror or error}. Make room in "
            "the temporary folder, pass another one as the environment variable TMPDIR, or pass cache=False."
        ) from error


@dataclass(frozen=True, eq=False)
class SplitWithStates(Dataset[int]):
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
        made = {"input_ids": batch.ids, "attention_mask": batch.mask, "labels": torch.from_numpy(labels)}
        if self.part.cache is not None:
            made["states"] = pad_sequence([self.part.cache[row] for row in rows], batch_first=True)
        return made
