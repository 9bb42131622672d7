"""Run texts through a model's body, batch by batch, and pass each space to a callback as it is computed."""

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
from semviz.lm.position_state import fresh_positions
from semviz.lm.readout_proof import check_finite
from semviz.tasks.neighbours import Reading, how_to_read

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.lm.model import LanguageModel
    from semviz.tasks.tokenizing import Encoded

# Padded tokens in one batch: enough to keep the cores busy, few enough for a layer's activations to stay in cache.
_BATCH_TOKENS = {"cpu": 4096}
_BATCH_TOKENS_GPU = 32768

OnSpace = Callable[[int, Tensor], None]


class StopForward(Exception):  # noqa: N818 (not an error: it ends a pass)
    """Raised by a callback that needs no higher space; ends the batch's forward pass."""


@dataclass(frozen=True)
class Batch:
    """Some samples, padded on the right (left padding would move learned positions).

    Attributes:
        rows: Row of each sample in the split, shape (B,).
        lengths: Their lengths in tokens, shape (B,).
        ids: Token ids, shape (B, T).
        mask: 1 on tokens and 0 on padding, shape (B, T).
    """

    rows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    ids: Tensor
    mask: Tensor


def longest_first(encoded: Encoded, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Rows (all by default), longest first: this keeps padding small, and a batch that is too large fails at once."""
    rows = np.arange(len(encoded)) if rows is None else rows
    return rows[np.argsort(-encoded.ids.lengths[rows], kind="stable")]


def batch_rows(encoded: Encoded, *, device: torch.device) -> Iterator[NDArray[np.int64]]:
    """Rows of each batch, the longest samples first."""
    remaining, budget = longest_first(encoded), batch_tokens(device)
    while len(remaining):
        rows = _next_batch(encoded, remaining, budget, Reading.TOGETHER)
        yield rows
        remaining = remaining[len(rows) :]


def batch_tokens(device: torch.device) -> int:
    """Padded tokens in one batch."""
    return _BATCH_TOKENS.get(device.type, _BATCH_TOKENS_GPU)


def _next_batch(encoded: Encoded, remaining: NDArray[np.int64], budget: int, reading: Reading) -> NDArray[np.int64]:
    """The leading rows that fill one batch; `remaining` is sorted longest first."""
    longest = int(encoded.ids.lengths[remaining[0]])
    rows = remaining[: 1 if reading is Reading.ALONE else max(1, budget // longest)]
    return rows if reading is Reading.TOGETHER else rows[encoded.ids.lengths[rows] == longest]


def pad_batch(encoded: Encoded, rows: NDArray[np.int64], *, pad: int, device: torch.device) -> Batch:
    """Stack samples of different lengths, padded on the right."""
    lengths = encoded.ids.lengths[rows]
    ids = np.full((len(rows), lengths.max()), pad, dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : lengths[i]] = encoded.ids[row]
    mask = torch.as_tensor(np.arange(lengths.max()) < lengths[:, None])
    return Batch(rows, lengths, torch.as_tensor(ids).to(device), mask.long().to(device))


def pad_id(model: LanguageModel) -> int:
    """Id that fills the padding: the tokenizer's own if the model can embed it, else 0, as the mask hides any id."""
    own_id, embeddings = model.tokenizer.pad_token_id, model.anatomy.model.get_input_embeddings()
    return own_id if own_id is not None and own_id < len(embeddings.weight) else 0


@interrupts_held()
@torch.no_grad()
def stream(
    model: LanguageModel,
    encoded: Encoded,
    start: Callable[[Batch], OnSpace],
    *,
    label: str,
    rows: NDArray[np.int64] | None = None,
    reading: Reading | None = None,
    control: Control | None = None,
    progress: bool = True,
) -> None:
    """Read samples once and pass every space of every batch to a callback.

    A text gives the same numbers whatever is read beside it or was read before: models in which that is not so are read
    one length, or one text, at a time.

    When memory runs out, the batch is halved and the pass continues, with a warning. The rows of the failed batch are
    then read again, so a callback must not keep anything from a batch before its last space.

    Args:
        model: The model; its mode and hooks are restored afterwards.
        encoded: The samples to read from.
        start: Called with each batch; returns the callback `on_space(ℓ, h_ℓ)` with h_ℓ of shape (B, T, d). The
            callback may raise `StopForward` to skip the spaces above.
        label: Text of the progress bar.
        rows: Which samples to read; all by default.
        reading: Which of them may be read together; proven on the samples by default.
        control: Reports progress and can stop the pass.
        progress: Show a progress bar.

    Raises:
        Cancelled: If `control` asked to stop.
        KeyboardInterrupt: Between two spaces or batches.
        SemvizError: If a single sample does not fit into memory, or a state is not finite.
    """
    reading = how_to_read(model, encoded) if reading is None else reading
    remaining, device = longest_first(encoded, rows), model.anatomy.input_device
    budget = batch_tokens(device)
    done_tokens, total_tokens = 0, int(encoded.ids.lengths[remaining].sum())
    with (
        evaluating(model.model),
        fresh_positions(model.model) as positions,
        progress_bar(total_tokens, label, unit="tokens", show=progress) as bar,
    ):
        while len(remaining):
            rows = _next_batch(encoded, remaining, budget, reading)
            if reading:
                positions.restart()
            try:
                batch = pad_batch(encoded, rows, pad=pad_id(model), device=device)
                _forward(model, batch, start(batch))
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
            else:
                remaining = remaining[len(rows) :]
                bar.update(int(batch.lengths.sum()))
                done_tokens += int(batch.lengths.sum())
                if control is not None:
                    control.tell(Progress(label, done_tokens, total_tokens))
                    control.check()
                raise_waiting_interrupt()
                continue
            # Outside the except clause, where the exception would keep the failed batch's tensors alive.
            budget = _halved_budget(encoded, rows)


def _forward(model: LanguageModel, batch: Batch, on_space: OnSpace) -> None:
    """Run one forward pass through the body."""

    def on_output(space: int, states: Tensor) -> None:
        raise_waiting_interrupt()
        check_finite(space, states, batch.mask)
        on_space(space, states)

    with model.anatomy.tap(on_output), suppress(StopForward):
        model.anatomy.body(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)


def _halved_budget(encoded: Encoded, rows: NDArray[np.int64]) -> int:
    """Token budget of the next batch after one that did not fit into memory."""
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
