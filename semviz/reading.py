"""Run texts through a model's body, batch by batch, and hand every space to a callback while it is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semviz.progress import progress_bar

if TYPE_CHECKING:
    from semviz.encoding import Encoded
    from semviz.models import LanguageModel

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


def batches(encoded: Encoded, *, device: torch.device) -> list[NDArray[np.int64]]:
    """Rows of each batch: longest first, so that padding is small and a batch that is too large fails at once."""
    budget = _BATCH_TOKENS.get(device.type, _BATCH_TOKENS_GPU)
    lengths = np.asarray([len(ids) for ids in encoded.ids])
    order = np.argsort(-lengths, kind="stable")
    found, start = [], 0
    while start < len(order):
        size = max(1, budget // int(lengths[order[start]]))
        found.append(order[start : start + size])
        start += size
    return found


def pad_batch(encoded: Encoded, rows: NDArray[np.int64], *, pad: int, device: torch.device) -> Batch:
    """Stack samples of different lengths, padded on the right."""
    lengths = np.asarray([len(encoded.ids[row]) for row in rows])
    ids = np.full((len(rows), lengths.max()), pad, dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : lengths[i]] = encoded.ids[row]
    mask = torch.as_tensor(np.arange(lengths.max()) < lengths[:, None])
    return Batch(rows, lengths, torch.as_tensor(ids).to(device), mask.long().to(device))


def pad_id(model: LanguageModel) -> int:
    """Any id will do under the mask; the tokenizer's own where it has one."""
    return model.tokenizer.pad_token_id or 0


@torch.no_grad()
def stream(
    model: LanguageModel,
    encoded: Encoded,
    start: Callable[[Batch], OnSpace],
    *,
    label: str,
    progress: bool = True,
) -> None:
    """Read all samples once and give every space of every batch to a callback.

    Args:
        model: The model; its mode and hooks are as before afterwards.
        encoded: Samples.
        start: Called with each batch; returns the callback `on_space(ℓ, h_ℓ)` with h_ℓ of shape (B, T, d). The
            callback may raise `Enough` to skip the spaces above.
        label: What the progress bar says.
        progress: Show a progress bar.
    """
    body = model.anatomy.model.get_decoder()
    training, device, pad = model.model.training, model.device, pad_id(model)
    model.model.eval()
    try:
        with progress_bar(encoded.tokens, label, unit="tokens", show=progress) as bar:
            for rows in batches(encoded, device=device):
                batch = pad_batch(encoded, rows, pad=pad, device=device)
                with model.anatomy.tap(start(batch)), suppress(Enough):
                    body(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
                bar.update(int(batch.lengths.sum()))
    finally:
        model.model.train(training)
