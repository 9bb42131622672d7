"""Read general text once, and keep of it what a calibration is fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semviz.common import formats, memory
from semviz.common.errors import SemvizError
from semviz.tasks.streaming import Batch, OnSpace, StopForward, stream
from semviz.tasks.tokenizing import Encoded, encode_texts
from semviz.traces.translators import Moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from semviz.lm.model import LanguageModel

_TOKENS_A_TEXT = 64
_POSITIONS = 2000  # for the bases, τ and means
_FITTED_A_DIRECTION = 16  # positions that translators are fitted on, where there is so much text
_EVERY = 5  # one text in so many is held out
_FEWEST_HELD_OUT = 30
_MOST_HELD_OUT, _MOST_HELD_OUT_BYTES = 2000, 2**28


@dataclass(frozen=True, eq=False)
class GeneralStates:
    """What was read.

    Attributes:
        last: f_L of the first positions of the text, shape (n, d).
        target: Their next tokens, shape (n,).
        means: Mean of each space over these positions, float32, shape (L+1, d).
        fitted: Moments of four of five texts; None where no translators are to be fitted.
        counts: How often each token id is the next token at the positions of `fitted`, int32, shape (V,).
        held_out: States of each space 0…L in the output frame at positions of every fifth text, each of shape (m, d);
            empty without translators.
    """

    last: Tensor
    target: Tensor
    means: Tensor
    fitted: Moments | None
    counts: NDArray[np.int32] | None
    held_out: list[Tensor]


def read_general_text(
    model: LanguageModel, texts: Sequence[str], *, translators: bool, progress: bool
) -> GeneralStates:
    """Read about 2,000 positions, or as many as translators of the model's width want.

    Raises:
        SemvizError: If there are fewer than 50 positions.
    """
    encoded = encode_texts(model, texts, max_tokens=_TOKENS_A_TEXT)
    counts = np.cumsum([int(counted.sum()) for counted in encoded.counted])
    if counts[-1] < 50:
        raise SemvizError(f"The general text has {counts[-1]} positions; pass texts with about 2,000 tokens in all.")
    leading = _samples_of(counts, _POSITIONS)
    width, spaces = model.anatomy.width, model.n_blocks + 1
    samples, most_held_out = leading, 0
    if translators:
        wanted = _FITTED_A_DIRECTION * width * _EVERY // (_EVERY - 1)
        samples = max(leading, _samples_of(counts, wanted))
        most_held_out = min(_MOST_HELD_OUT, max(100, _MOST_HELD_OUT_BYTES // (4 * spaces * width)))
    collector = _Collector(model, encoded.take(range(samples)), leading, translators, most_held_out)
    stream(model, collector.encoded, collector.start, label="Reading general text", progress=progress)
    return collector.result()


def _samples_of(counts: np.ndarray, positions: int) -> int:
    """The number of leading samples that together have so many positions, or all."""
    return int(np.searchsorted(counts, positions)) + 1 if counts[-1] > positions else len(counts)


def why_no_translators(model: LanguageModel, texts: Sequence[str]) -> str:
    """Why translators cannot be fitted: too little text to hold some out, or too little memory; else empty."""
    if len(texts) < _EVERY:
        return f"The general text has {len(texts)} texts, and translators take at least {_EVERY}, one of them held out"
    some = encode_texts(model, texts[: _EVERY * _FEWEST_HELD_OUT], max_tokens=_TOKENS_A_TEXT)
    held_out = sum(int(counted.sum()) for i, counted in enumerate(some.counted) if i % _EVERY == _EVERY - 1)
    if held_out < _FEWEST_HELD_OUT:
        return (
            f"Every fifth of the general texts is held out, and these have {held_out} positions, where translators "
            f"take at least {_FEWEST_HELD_OUT}"
        )
    width, spaces = model.anatomy.width, model.n_blocks
    size, free = Moments.nbytes(spaces, width), memory.free()
    if size > free and model.anatomy.head_device.type == "cpu":
        return (
            f"Translators of width {width} for {spaces} spaces take {formats.size(size)} to fit, and "
            f"{formats.size(free)} of memory are free"
        )
    return ""


class _Collector:
    """Takes states batch by batch; each batch counts once it was read to its last space."""

    def __init__(
        self, model: LanguageModel, encoded: Encoded, leading: int, translators: bool, most_held_out: int
    ) -> None:
        self.model, self.encoded, self.leading, self.translators = model, encoded, leading, translators
        self.most_held_out = most_held_out
        device = model.anatomy.head_device
        self._moments = Moments(model.n_blocks, model.anatomy.width, device=device) if translators else None
        self._sums = torch.zeros(model.n_blocks + 1, model.anatomy.width, dtype=torch.float64)
        self._last: list[Tensor] = []
        self._target: list[Tensor] = []
        self._held_out: list[list[Tensor]] = [[] for _ in range(model.n_blocks + 1)]
        self._n_held_out = 0
        self._counts = torch.zeros(len(model.anatomy.head_weight), dtype=torch.int32)

    def start(self, batch: Batch) -> OnSpace:
        """Prepare the positions of a batch; returns the callback for its spaces."""
        counted = self.encoded.counted.take(batch.rows)
        rows, positions = counted.owners[counted.flat], counted.positions[counted.flat]
        index = torch.as_tensor(rows), torch.as_tensor(positions)
        target = torch.as_tensor(self.encoded.targets.take(batch.rows).flat[counted.flat], dtype=torch.int64)
        sample = np.asarray(batch.rows)[rows]
        leads = torch.as_tensor(sample < self.leading)
        is_held_out = torch.as_tensor(sample % _EVERY == _EVERY - 1)
        spaces: list[Tensor] = []

        def on_space(space: int, states: Tensor) -> None:
            spaces.append(self.model.anatomy.output_frame(states[index]))
            if space == self.model.n_blocks:
                # When memory runs out the batch is read again in two halves, so its pass must not go on once it counts.
                self._take(spaces, target, leads, is_held_out)
                raise StopForward

        return on_space

    def _take(self, spaces: list[Tensor], target: Tensor, leads: Tensor, is_held_out: Tensor) -> None:
        for space, frames in enumerate(spaces):
            self._sums[space] += frames[leads].cpu().double().sum(0)
        self._last.append(spaces[-1][leads])
        self._target.append(target[leads])
        if self._moments is None:
            return
        self._moments.add([frames[~is_held_out] for frames in spaces])
        self._counts += torch.bincount(target[~is_held_out], minlength=len(self._counts)).int()
        room = self.most_held_out - self._n_held_out
        for kept, frames in zip(self._held_out, spaces, strict=True):
            kept.append(frames[is_held_out][:room])
        self._n_held_out += len(self._held_out[-1][-1])

    def result(self) -> GeneralStates:
        """What was kept, in one piece."""
        last, target = torch.cat(self._last), torch.cat(self._target)
        means = (self._sums / len(last)).float().to(last.device)
        held_out = [torch.cat(kept) for kept in self._held_out] if self.translators else []
        counts = self._counts.numpy() if self.translators else None
        return GeneralStates(last, target, means, self._moments, counts, held_out)
