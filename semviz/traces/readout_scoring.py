"""Compare readouts with the model's own output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from semviz.common.interrupts import raise_waiting_interrupt
from semviz.traces.readouts import ReadoutScores
from semviz.traces.translators import Translators

_MOST_LOGITS = 2**23  # positions × vocabulary compared at once: 32 MB of logits, and as much of their logarithms


def score_readout(
    frames: Sequence[Tensor], project: Callable[[Tensor], Tensor], translators: Translators | None, *, positions: int
) -> ReadoutScores:
    """Compare a readout of every space with the model's own output.

    Args:
        frames: States of each space 0…L in the output frame, each of shape (n, d).
        project: Frames → logits over the vocabulary, shape (n, V).
        translators: The maps of the translated readout; None for the raw one.
        positions: How many of the n positions divergence and agreement are computed at: they take a product with the
            whole head each.
    """
    last = frames[-1].float()
    variance = float((last - last.mean(0)).square().sum())
    read = [
        states.float() if translators is None else translators.translate(i, states) for i, states in enumerate(frames)
    ]
    explained = [1 - float((states - last).square().sum()) / variance if variance else 1.0 for states in read]
    divergence, agreement = np.zeros(len(frames)), np.zeros(len(frames))
    positions = min(positions, len(last))
    step = max(1, _MOST_LOGITS // project(last[:1]).shape[-1])
    for start in range(0, positions, step):
        part = slice(start, min(start + step, positions))
        own = project(frames[-1][part]).log_softmax(-1)
        for space, states in enumerate(read):
            raise_waiting_interrupt()
            seen = project(states[part]).log_softmax(-1)
            # A token that the model rules out adds nothing, also where the readout rules it out too.
            terms = torch.where(own.isneginf(), 0.0, own.exp() * (own - seen))
            divergence[space] += float(terms.sum())
            agreement[space] += float((own.argmax(-1) == seen.argmax(-1)).sum())
    return ReadoutScores(np.asarray(explained), divergence / positions, agreement / positions, positions)
