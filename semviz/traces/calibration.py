"""Calibrate a model on general text: the ridge of its semantic bases, τ, and each space's mean state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held, raise_waiting_interrupt
from semviz.common.progress import progress_bar
from semviz.lm.model import check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.tasks.streaming import Batch, OnSpace, StopForward, stream
from semviz.tasks.tokenizing import Encoded, encode_texts
from semviz.traces.semantic_bases import RIDGES, SemanticBases, fidelity

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel

_POSITIONS = 2000
_TOKENS_A_TEXT = 64
_TEMPERATURES = (1e-3, 10.0)  # smallest and largest τ
_MOST_SCORES = 2**26  # positions × vocabulary held at once while τ is fitted: 256 MB


@dataclass(frozen=True, eq=False)
class Calibration:
    """A model's semantic bases and the constants fitted on general text.

    Attributes:
        bases: Semantic bases with the chosen ridge.
        temperature: τ, fitted by likelihood at space L.
        fidelity: φ of these bases, in [0, 1].
        fidelities: φ of every ridge that was tried.
        means: Mean state of each space in the output frame, float32, shape (L+1, d).
        positions: Number of positions of general text that were read.
        vocabulary_hash: `LanguageModel.vocabulary_hash`: which token each row of the bases stands for.
    """

    bases: SemanticBases
    temperature: float
    fidelity: float
    fidelities: dict[float, float]
    means: Tensor
    positions: int
    vocabulary_hash: str = ""

    def __repr__(self) -> str:
        """One line: fidelity, ridge, τ, positions."""
        tried = ", ".join(f"λ={ridge:g}: {value:.2f}" for ridge, value in self.fidelities.items())
        return (
            f"Calibration(fidelity {self.fidelity:.2f} at λ={self.bases.ridge:g}, τ={self.temperature:.3f}, "
            f"{self.positions:,} positions; tried {tried})"
        )


@on_fitting_threads
@default_surroundings()
@interrupts_held()
def calibrate(
    model: LanguageModel,
    texts: Sequence[str] | None = None,
    *,
    ridge: float | None = None,
    progress: bool = True,
) -> Calibration:
    """Read about 2,000 positions of general text and fit the constants that traces need.

    Args:
        model: A loaded model.
        texts: General text; by default the sample that comes with the model.
        ridge: λ of the semantic bases; by default the one with the highest fidelity.
        progress: Show a progress bar.

    Raises:
        SemvizError: If the text has too few positions, or the ridge is negative.
    """
    check_model(model)
    if ridge is not None:
        instead = "a number of at least 0, math.inf for the head's own rows, or None"
        ridge = checks.number("ridge", ridge, instead, fits=lambda x: x >= 0)
    general_texts = model.general_text if texts is None else checks.texts("texts", texts)
    encoded = _leading_samples(encode_texts(model, general_texts, max_tokens=_TOKENS_A_TEXT))
    head = model.anatomy.head_weight
    sums = torch.zeros(model.n_blocks + 1, head.shape[1], dtype=torch.float64)
    last_frames: list[Tensor] = []
    targets: list[Tensor] = []

    def start(batch: Batch) -> OnSpace:
        counted = encoded.counted.take(batch.rows)
        rows, positions = counted.owners[counted.flat], counted.positions[counted.flat]
        counted_index = torch.as_tensor(rows), torch.as_tensor(positions)
        batch_targets = torch.as_tensor(encoded.targets.take(batch.rows).flat[counted.flat], dtype=torch.int64)
        batch_sums = torch.zeros_like(sums)

        def on_space(space: int, states: Tensor) -> None:
            frames = model.anatomy.output_frame(states[counted_index])
            batch_sums[space] = frames.cpu().double().sum(0)
            if space == model.n_blocks:
                # Only a batch that was read to its last space counts: when memory runs out, its rows are read again in
                # two halves. So its forward pass must not go on, and fail, once it has been counted.
                sums.add_(batch_sums)
                last_frames.append(frames)
                targets.append(batch_targets)
                raise StopForward

        return on_space

    stream(model, encoded, start, label="Reading general text", progress=progress)
    frames, target = torch.cat(last_frames), torch.cat(targets)
    size = min(len(model.tokenizer), len(head))
    frames, target = frames[: _MOST_SCORES // size], target[: _MOST_SCORES // size].to(frames.device)
    with torch.no_grad():
        logits = model.anatomy.project(frames)
        directions = torch.nn.functional.normalize(frames.float(), dim=-1)
        ridges = RIDGES if ridge is None else (ridge,)
        bases, cosines, fidelities = _best_bases(head, size, directions, logits, ridges, progress)
        temperature = _fit_temperature(cosines, target)
    means = (sums / int(encoded.counted.flat.sum())).float().to(frames.device)
    return Calibration(
        bases, temperature, fidelities[bases.ridge], fidelities, means, len(target), model.vocabulary_hash
    )


# One calibration per loaded model, with the model's hash: reading the general text again would give the same numbers.
_DEFAULTS: WeakKeyDictionary[LanguageModel, tuple[str, Calibration]] = WeakKeyDictionary()


def default_calibration(model: LanguageModel, *, progress: bool = True) -> Calibration:
    """The model's calibration on its own general text, computed once and again where the model has changed."""
    model_hash, known = model.hash, _DEFAULTS.get(model)
    if known is None or known[0] != model_hash:
        known = _DEFAULTS[model] = (model_hash, calibrate(model, progress=progress))
    return known[1]


def check_calibration(calibration: Calibration, model: LanguageModel) -> None:
    """Refuse a calibration of a model with other dimensions or another vocabulary.

    Those of models that have both in common pass: a model is traced before and after finetuning with one calibration.

    Raises:
        SemvizError: If it does not fit the model, or is not a `Calibration`.
    """
    checks.of_class("calibration", calibration, Calibration, "calibrate(model), or None")
    spaces, width = calibration.means.shape
    size = min(len(model.tokenizer), model.anatomy.vocabulary)
    if (spaces - 1, width, calibration.bases.size) != (model.n_blocks, model.anatomy.width, size):
        raise SemvizError(
            f"calibration is for a model of {spaces - 1} blocks, width {width} and {calibration.bases.size:,} tokens, "
            f"but this one has {model.n_blocks} blocks, width {model.anatomy.width} and {size:,} tokens; pass "
            "calibrate(model), or None."
        )
    if calibration.vocabulary_hash not in ("", model.vocabulary_hash):
        raise SemvizError(
            f"calibration is for a vocabulary of as many tokens as that of {model.name}, but other ones; pass "
            "calibrate(model), or None."
        )


def _best_bases(
    head: Tensor, size: int, directions: Tensor, logits: Tensor, ridges: Sequence[float], progress: bool
) -> tuple[SemanticBases, Tensor, dict[float, float]]:
    """The bases of highest fidelity, their cosines with the states, and the fidelity of every ridge tried."""
    best, best_cosines = SemanticBases(head, size=size, ridge=ridges[0]), None
    fidelities: dict[float, float] = {}
    with progress_bar(len(ridges), "Fitting semantic bases", unit="ridges", show=progress) as bar:
        for ridge in ridges:
            raise_waiting_interrupt()
            bases = best if ridge == best.ridge else best.with_ridge(ridge)
            cosines = bases.cosines(directions)
            fidelities[ridge] = fidelity(cosines, logits)
            if best_cosines is None or fidelities[ridge] > fidelities[best.ridge]:
                best, best_cosines = bases, cosines
            bar.update()
    assert best_cosines is not None  # at least one ridge is tried
    return best, best_cosines, fidelities


def _leading_samples(encoded: Encoded) -> Encoded:
    """The first samples that together have the required number of positions."""
    counts = np.cumsum([counted.sum() for counted in encoded.counted])
    if counts[-1] < 50:
        raise SemvizError(f"The general text has {counts[-1]} positions; pass texts with about 2,000 tokens in all.")
    return encoded.take(range(int(np.searchsorted(counts, _POSITIONS)) + 1 if counts[-1] > _POSITIONS else len(counts)))


def _fit_temperature(cosines: Tensor, target: Tensor) -> float:
    """Fit the τ that makes the targets most likely under softmax(cos/τ).

    The likelihood is concave in 1/τ, and at its maximum the expected mean cosine equals that of the targets. The
    crossing of two curves can be found with more precision than the top of a flat one.
    """
    target_cosine = float(cosines.gather(-1, target[:, None]).double().mean())

    def excess(log_temperature: float) -> float:
        shares = (cosines / math.exp(log_temperature)).softmax(-1).mul_(cosines)
        return float(shares.sum(-1).double().mean()) - target_cosine

    low, high = (math.log(bound) for bound in _TEMPERATURES)
    if excess(low) <= 0:
        return _TEMPERATURES[0]
    return _TEMPERATURES[1] if excess(high) >= 0 else math.exp(brentq(excess, low, high, xtol=1e-9))
