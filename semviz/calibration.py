"""What a trace needs to know of the model from general text: the bases' ridge, τ, and each space's mean state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from semviz.encoding import Encoded, encode_texts
from semviz.errors import SemvizError
from semviz.reading import Batch, OnSpace, stream
from semviz.semantics import RIDGES, SemanticBases, fidelity

if TYPE_CHECKING:
    from semviz.models import LanguageModel

_POSITIONS = 2000
_TOKENS_A_TEXT = 64
_MOST_SCORES = 2**26  # positions × vocabulary held at once while τ is fitted: 256 MB


@dataclass(frozen=True, eq=False)
class Calibration:
    """One model's semantic bases with the constants fitted on general text.

    Attributes:
        bases: Semantic bases with the chosen ridge.
        temperature: τ, fitted by likelihood at space L.
        fidelity: φ of these bases, in [0, 1].
        fidelities: φ by ridge, for all ridges tried.
        means: Mean state of each space in the output frame, float32, shape (L+1, d).
        positions: Number of positions of general text that were read.
    """

    bases: SemanticBases
    temperature: float
    fidelity: float
    fidelities: dict[float, float]
    means: Tensor
    positions: int

    def __repr__(self) -> str:
        """One line: fidelity, ridge, τ, positions."""
        tried = ", ".join(f"λ={ridge:g}: {value:.2f}" for ridge, value in self.fidelities.items())
        return (
            f"Calibration(fidelity {self.fidelity:.2f} at λ={self.bases.ridge:g}, τ={self.temperature:.3f}, "
            f"{self.positions:,} positions; tried {tried})"
        )


def calibrate(
    model: LanguageModel,
    texts: Sequence[str] | None = None,
    *,
    ridge: float | None = None,
    progress: bool = True,
) -> Calibration:
    """Read about 2,000 positions of general text and fit what traces need.

    Args:
        model: A loaded model.
        texts: General text; the model's own sample by default.
        ridge: λ of the semantic bases; by default the one with the highest fidelity.
        progress: Show a progress bar.

    Raises:
        SemvizError: If the text has too few positions, or the ridge is negative.
    """
    if ridge is not None and not ridge >= 0:
        raise SemvizError(f"ridge={ridge}; pass a number of at least 0, math.inf for the head's own rows, or None.")
    encoded = _first_positions(encode_texts(model, texts or model.general_text, max_tokens=_TOKENS_A_TEXT))
    sums = torch.zeros(model.n_blocks + 1, model.anatomy.head_weight.shape[1], dtype=torch.float64)
    last: list[Tensor] = []
    targets: list[Tensor] = []

    def start(batch: Batch) -> OnSpace:
        rows = np.concatenate([np.full(encoded.counted[row].sum(), i) for i, row in enumerate(batch.rows)])
        positions = np.concatenate([np.flatnonzero(encoded.counted[row]) for row in batch.rows])
        picked = torch.as_tensor(rows), torch.as_tensor(positions)
        targets.append(torch.as_tensor(np.concatenate([encoded.targets[r][encoded.counted[r]] for r in batch.rows])))

        def on_space(space: int, states: Tensor) -> None:
            frames = model.anatomy.output_frame(states[picked])
            sums[space] += frames.cpu().double().sum(0)
            if space == model.n_blocks:
                last.append(frames)

        return on_space

    stream(model, encoded, start, label="Reading general text", progress=progress)
    frames, target = torch.cat(last), torch.cat(targets)
    with torch.no_grad():
        size = min(len(model.tokenizer), len(model.anatomy.head_weight))
        frames, target = frames[: _MOST_SCORES // size], target[: _MOST_SCORES // size].to(frames.device)
        logits = model.anatomy.project(frames)
        tried = {}
        for candidate in RIDGES if ridge is None else (ridge,):
            bases = SemanticBases(model.anatomy.head_weight, size=size, ridge=candidate)
            tried[candidate] = (fidelity(bases, frames, logits), bases)
        chosen = max(tried, key=lambda key: tried[key][0])
        bases = tried[chosen][1]
        cosines = torch.nn.functional.normalize(frames.float(), dim=-1) @ bases.unit_rows().T
        temperature = _fit_temperature(cosines, target)
    count = sum(int(c.sum()) for c in encoded.counted)
    means = (sums / count).float().to(model.anatomy.head_weight.device)
    scores = {key: value for key, (value, _) in tried.items()}
    return Calibration(bases, temperature, scores[chosen], scores, means, len(target))


def _first_positions(encoded: Encoded) -> Encoded:
    """As many samples as make up the positions wanted."""
    counts = np.cumsum([counted.sum() for counted in encoded.counted])
    if counts[-1] < 50:
        raise SemvizError(f"The general text has {counts[-1]} positions; pass texts with some 2,000 tokens in all.")
    return encoded.take(range(int(np.searchsorted(counts, _POSITIONS)) + 1 if counts[-1] > _POSITIONS else len(counts)))


def _fit_temperature(cosines: Tensor, target: Tensor) -> float:
    """τ that makes the targets most likely under softmax(cos/τ)."""

    def loss(log_temperature: float) -> float:
        scores = cosines / math.exp(log_temperature)
        return float(torch.nn.functional.cross_entropy(scores, target))

    return math.exp(minimize_scalar(loss, bounds=(math.log(1e-3), math.log(10)), method="bounded").x)
