"""Whether a text's numbers depend on the texts beside it, proven on the rows at hand; and which rows are read together.

Rotary angles that follow the longest text of a batch (dynamic NTK, longrope) move all shorter ones; experts with a
limited capacity, and normalization over a batch, move any. Such models are read one length, or one text, at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from accelerate.utils.memory import release_memory
from numpy.typing import NDArray
from torch import Tensor

from semviz.common import memory
from semviz.common.interrupts import interrupts_held
from semviz.lm.copy_proof import tolerance
from semviz.lm.eval_mode import evaluating
from semviz.lm.position_state import PositionState, fresh_positions
from semviz.lm.quantization import is_rounded
from semviz.lm.readout_proof import check_finite

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.tokenizing import Encoded

_ROWS = 3


class Reading(IntEnum):
    """Which texts may be read in one batch."""

    TOGETHER = 0
    BY_LENGTH = 1
    ALONE = 2


# Ranges of lengths, and how they are read.
_PROVEN: WeakKeyDictionary[LanguageModel, list[tuple[int, int, Reading]]] = WeakKeyDictionary()


def how_to_read(model: LanguageModel, *splits: Encoded) -> Reading:
    """Return which rows of some splits may be read together, proven on the longest, a middle and the shortest of them.

    Proven once per model and range of lengths. A model whose numbers depend even on texts of equal length is announced
    with a warning.
    """
    known = _PROVEN.setdefault(model, [])
    strictest = max((reading for _, _, reading in known), default=Reading.TOGETHER)
    lengths = np.concatenate([split.ids.lengths for split in splits])
    if strictest or len(lengths) < 2:
        return strictest
    shortest, longest = int(lengths.min()), int(lengths.max())
    if any(low <= shortest and longest <= high for low, high, _ in known):
        return Reading.TOGETHER
    texts = [split.ids[row] for split in splits for row in extremes(split.ids.lengths, _ROWS)]
    chosen = extremes(np.asarray([len(text) for text in texts]), _ROWS)
    rows = [np.asarray(texts[i]) for i in chosen]
    while True:
        try:
            reading = _prove(model, rows)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
        else:
            known.append((shortest, longest, reading))
            return reading
        # Their beginnings, as long as fit beside each other; what reads them says so if not even one does.
        rows = [row[: len(row) // 2] for row in rows]
        release_memory()
        if min(map(len, rows)) < 2:
            return Reading.TOGETHER


def extremes(lengths: NDArray[np.int64], count: int) -> list[int]:
    """Rows that could show what depends on length: the longest first, the shortest last, others between."""
    order = np.argsort(-lengths, kind="stable")
    return [
        int(order[i]) for i in np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    ]


def groups(lengths: Tensor, reading: Reading) -> list[Tensor]:
    """Rows of a batch that are read together, as indices, the longest first.

    Args:
        lengths: Lengths of its texts, shape (B,).
        reading: How they may be read.
    """
    rows = torch.arange(len(lengths), device=lengths.device)
    if reading is Reading.TOGETHER:
        return [rows]
    if reading is Reading.ALONE:
        return [row[None] for row in rows]
    return [rows[lengths == length] for length in sorted(set(lengths.tolist()), reverse=True)]


@interrupts_held()
@torch.no_grad()
def _prove(model: LanguageModel, texts: Sequence[NDArray[np.int64]]) -> Reading:
    """Compare texts read alone with the same texts in a batch.

    Args:
        model: The model.
        texts: Token ids, the longest first.
    """
    with evaluating(model.model), fresh_positions(model.model) as positions:
        beside = _last_states(model, texts, positions)
        angles = positions.buffers()
        alone = [_last_states(model, [text], positions)[0] for text in texts[1:]]
        rounded = is_rounded(model.model)
        moved = max(_distance(one, other, rounded) for one, other in zip(alone, beside[1:], strict=True))
        # Angles that have changed move states by less than half precision shows, but do so in every text.
        if moved <= tolerance(model) and _same(angles, positions.buffers()):
            return Reading.TOGETHER
        # The same length: what follows the longest text is then the same.
        text = texts[-1]
        pair = _last_states(model, [texts[0][: len(text)], text], positions)
        moved = _distance(alone[-1], pair[-1], rounded)
        if moved <= tolerance(model):
            return Reading.BY_LENGTH
    warnings.warn(
        f"A text's states move by {moved:.2g} of their size with the texts beside it, even of equal length, so texts "
        f"are read one at a time, which is slow; {type(model.model).__name__} may limit its experts' capacity or "
        "normalize over a batch.",
        RuntimeWarning,
        stacklevel=2,
    )
    return Reading.ALONE


def _last_states(model: LanguageModel, texts: Sequence[NDArray[np.int64]], positions: PositionState) -> list[Tensor]:
    """States of space L of each text, shape (T, d), from one batch that a fresh model reads."""
    anatomy = model.anatomy
    states: list[Tensor] = []
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.as_tensor(text)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    positions.restart()

    def keep(space: int, state: Tensor) -> None:
        check_finite(space, state, mask)
        if space == anatomy.n_blocks:
            states.append(state.detach())

    with anatomy.tap(keep):
        anatomy.body(
            input_ids=ids.to(anatomy.input_device), attention_mask=mask.to(anatomy.input_device), use_cache=False
        )
    return [state[:length] for state, length in zip(states[0], lengths.tolist(), strict=True)]


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Whether buffers have the same values; tables that grow with the text are compared as far as both go."""
    return len(one) == len(other) and all(
        a.ndim == b.ndim and torch.equal(*(x[tuple(map(slice, map(min, a.shape, b.shape)))] for x in (a, b)))
        for a, b in zip(one, other, strict=True)
    )


def _distance(one: Tensor, other: Tensor, rounded: bool) -> float:
    """Return how far states moved, relative to their size: the largest distance, or the median in half precision.

    There, and where quantised layers round states, rounding may send single tokens to another expert.
    """
    distances = (one.float() - other.float()).norm(dim=-1) / one.float().norm(dim=-1).clamp_min(1e-6)
    return float(distances.median() if rounded or one.dtype.itemsize < 4 else distances.max())
