"""Run texts through a model's body, batch by batch, and hand every space to a callback while it is there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate.utils.memory import release_memory
from numpy.typing import NDArray
from torch import Tensor

from semviz.common import memory
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held, raise_waiting_interrupt
from semviz.common.progress import Progress, progress_bar
from semviz.lm.eval_mode import evaluating

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.lm.model import LanguageModel
    from semviz.tasks.tokenizing import Encoded

# Padded tokens in one batch: enough to keep the cores busy, few enough for a layer's activations to stay in cache.
_BATCH_TOKENS = {"cpu": 4096}
_BATCH_TOKENS_GPU = 32768

OnSpace = Callable[[int, Tensor], None]


class Enough(Exception):  # noqa: N818 (nothing is wrong: it ends a pass)
    """Raised by a callback that needs no higher space; ends the batch's forward pass."""


@dataclass(frozen=True)
class Batch:
    """Some samples, padded on the right (left padding would move learned positions).

    Attributes:
        rows: Which samples, shape (B,).
        lengths: Their lengths in tokens, shape (B,).
        ids: Token ids, shape (B, T).
        mask: 1 on tokens and 0 on padding, shape (B, T).
    """

    rows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    ids: Tensor
    mask: Tensor


def by_length(encoded: Encoded, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Rows (all by default) longest first: padding is then small, and a batch that is too large fails at once."""
    rows = np.arange(len(encoded)) if rows is None else rows
    return rows[np.argsort(-encoded.ids.lengths[rows], kind="stable")]


def batches(encoded: Encoded, *, device: torch.device) -> Iterator[NDArray[np.int64]]:
    """Rows of each batch, the longest samples first."""
    left, budget = by_length(encoded), batch_tokens(device)
    while len(left):
        rows = _next_batch(encoded, left, budget)
        yield rows
        left = left[len(rows) :]


def batch_tokens(device: torch.device) -> int:
    """Padded tokens in one batch."""
    return _BATCH_TOKENS.get(device.type, _BATCH_TOKENS_GPU)


def _next_batch(encoded: Encoded, left: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """The first of these rows that make up a batch: `left` begins with its longest."""
    return left[: max(1, budget // int(encoded.ids.lengths[left[0]]))]


def pad_batch(encoded: Encoded, rows: NDArray[np.int64], *, pad: int, device: torch.device) -> Batch:
    """Stack samples of different lengths, padded on the right."""
    lengths = encoded.ids.lengths[rows]
    ids = np.full((len(rows), lengths.max()), pad, dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : lengths[i]] = encoded.ids[row]
    mask = torch.as_tensor(np.arange(lengths.max()) < lengths[:, None])
    return Batch(rows, lengths, torch.as_tensor(ids).to(device), mask.long().to(device))


def pad_id(model: LanguageModel) -> int:
    """Any id will do under the mask; the tokenizer's own where it has one that the model can embed."""
    own, embeddings = model.tokenizer.pad_token_id, model.anatomy.model.get_input_embeddings()
    return own if own is not None and own < len(embeddings.weight) else 0


@interrupts_held()
@torch.no_grad()
def stream(
    model: LanguageModel,
    encoded: Encoded,
    start: Callable[[Batch], OnSpace],
    *,
    label: str,
    rows: NDArray[np.int64] | None = None,
    control: Control | None = None,
    progress: bool = True,
) -> None:
    """Read samples once and give every space of every batch to a callback.

    Out of memory halves the batch and goes on, with a warning; the rows of the batch that failed are then read again,
    so a callback must not keep anything of a batch before its last space.

    Args:
        model: The model; its mode and hooks are as before afterwards.
        encoded: Samples.
        start: Called with each batch; returns the callback `on_space(ℓ, h_ℓ)` with h_ℓ of shape (B, T, d). The
            callback may raise `Enough` to skip the spaces above.
        label: What the progress bar says.
        rows: Which samples to read; all by default.
        control: To watch the pass and to stop it.
        progress: Show a progress bar.

    Raises:
        Cancelled: If asked to stop.
        KeyboardInterrupt: Between two spaces or batches.
        SemvizError: If one sample alone does not fit into memory.
    """
    left, device = by_length(encoded, rows), model.anatomy.input_device
    budget = batch_tokens(device)
    done, total = 0, int(encoded.ids.lengths[left].sum())
    with evaluating(model.model), progress_bar(total, label, unit="tokens", show=progress) as bar:
        while len(left):
            rows = _next_batch(encoded, left, budget)
            try:
                batch = pad_batch(encoded, rows, pad=pad_id(model), device=device)
                _read(model, batch, start(batch))
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
            else:
                left = left[len(rows) :]
                bar.update(int(batch.lengths.sum()))
                done += int(batch.lengths.sum())
                if control is not None:
                    control.tell(Progress(label, done, total))
                    control.check()
                raise_waiting_interrupt()
                continue
            # Here and not in the except clause, where the exception would keep the failed batch's tensors alive.
            budget = _halve(encoded, rows)


def _read(model: LanguageModel, batch: Batch, on_space: OnSpace) -> None:
    """One forward pass through the body."""

    def heard(space: int, states: Tensor) -> None:
        raise_waiting_interrupt()
        on_space(space, states)

    with model.anatomy.tap(heard), suppress(Enough):
        model.anatomy.body(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)


def _halve(encoded: Encoded, rows: NDArray[np.int64]) -> int:
    """The budget of tokens after a batch that did not fit."""
    longest = int(encoded.ids.lengths[rows].max())
    if len(rows) == 1:
        raise SemvizError(
            f"Out of memory on a single sample of {longest:,} tokens; pass shorter texts (max_tokens=), or a smaller "
            "dtype or another device to load_model."
        )
    release_memory()
    budget = max(1, len(rows) // 2) * longest
    warnings.warn(f"Out of memory: going on with batches of {budget:,} tokens.", RuntimeWarning, stacklevel=2)
    return budget
