"""Calibrate a model on general text: semantic bases, τ, each space's mean state, and translators of its spaces."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from semviz.common import cache_folder, checks
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held, raise_waiting_interrupt
from semviz.common.progress import progress_bar
from semviz.lm.model import check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.traces.calibration_files import find_on_disk, keep_on_disk, key_of
from semviz.traces.general_reading import GeneralStates, read_general_text, why_no_translators
from semviz.traces.readout_scoring import score_readout
from semviz.traces.readouts import DEFAULT, Readout, ReadoutScores
from semviz.traces.semantic_bases import RIDGES, SemanticBases, fidelity
from semviz.traces.translators import POSITIONS_A_DIRECTION, Translators, fit_translators

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from semviz.lm.model import LanguageModel

_TEMPERATURES = (1e-3, 10.0)  # smallest and largest τ
_MOST_SCORES = 2**26  # positions × vocabulary held at once while τ is fitted: 256 MB
_FEW = 3  # times that a word is the next token in the fitted text, from which on translators read it as well as others
_HARDLY_BETTER = 0.5  # of the raw readout's KL from the model's own output, at half of the blocks
_COMPARED = 128  # held-out positions at which readouts are compared with the model's own output


@dataclass(frozen=True, eq=False)
class Calibration:
    """A model's semantic bases, the translators of its spaces, and the constants fitted on general text.

    Attributes:
        bases: Semantic bases with the chosen ridge.
        temperature: τ, fitted by likelihood at space L.
        fidelity: φ of these bases, in [0, 1].
        fidelities: φ of every ridge that was tried.
        means: Mean state of each space in the output frame, float32, shape (L+1, d).
        positions: Number of positions of general text that these were fitted on.
        vocabulary_hash: `LanguageModel.vocabulary_hash`: which token each row of the bases stands for.
        key: 20 hex digits of all that decided it; equal ones are the same ruler.
        counts: How often each token id was the next token where translators were fitted, int32, shape (V,); None
            without translators.
        translators: Maps of each space to the last; None for the raw readout alone.
        readouts: How near each readout comes to the model's own output on held-out text; empty without translators.
    """

    bases: SemanticBases
    temperature: float
    fidelity: float
    fidelities: dict[float, float]
    means: Tensor
    positions: int
    vocabulary_hash: str = ""
    translators: Translators | None = None
    readouts: dict[Readout, ReadoutScores] = field(default_factory=dict)
    key: str = ""
    counts: NDArray[np.int32] | None = field(repr=False, default=None)

    @property
    def readout(self) -> Readout:
        """The readout that traces use by default."""
        return "raw" if self.translators is None else DEFAULT

    def hardly_knows(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which tokens translators may read farther away than they are: those that they were hardly fitted on.

        A translator sends a state to where general text goes on. Where it reads general text hardly better than the raw
        readout does, such tokens are what it loses. Where the raw readout is far worse, it reads these better too.

        Args:
            ids: Token ids, shape (n,).
        """
        if self.counts is None or not self.readouts:
            return np.zeros(len(ids), dtype=bool)
        halfway = (len(self.means) - 1) // 2
        raw, translated = (self.readouts[readout].divergence[halfway] for readout in ("raw", "translated"))
        return np.asarray((self.counts[ids] < _FEW) & (translated > _HARDLY_BETTER * raw))

    def frame(self) -> pd.DataFrame:
        """One row per readout and space: explained, divergence, agreement, as in `ReadoutScores`; ridge of its map.

        Raises:
            SemvizError: If it was made for the raw readout alone.
        """
        if self.translators is None:
            raise SemvizError(
                'This calibration compares no readouts, since it was made with readout="raw"; pass calibrate(model).'
            )
        tables = []
        for readout, scores in self.readouts.items():
            columns = {"explained": scores.explained, "divergence": scores.divergence, "agreement": scores.agreement}
            table = pd.DataFrame({"readout": readout, "space": range(len(scores.explained)), **columns})
            ridges = [*self.translators.ridges, math.nan]
            tables.append(table.assign(ridge=ridges if readout == "translated" else math.nan))
        return pd.concat(tables, ignore_index=True)

    def figure(self) -> Figure:
        """Draw how much of the last space each readout of every space explains, and how far it is from the output.

        Raises:
            SemvizError: If it was made for the raw readout alone.
        """
        from semviz.figures import readouts

        return readouts(self.frame())

    def __repr__(self) -> str:
        """One line: fidelity, ridge, τ, positions, what translators were fitted on."""
        tried = ", ".join(f"λ={ridge:g}: {value:.2f}" for ridge, value in self.fidelities.items())
        translated = (
            "" if self.translators is None else f"; translators fitted on {self.translators.positions:,} positions"
        )
        return (
            f"Calibration(fidelity {self.fidelity:.2f} at λ={self.bases.ridge:g}, τ={self.temperature:.3f}, "
            f"{self.positions:,} positions; tried {tried}{translated})"
        )

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), pd.DataFrame() if self.translators is None else self.frame().round(2))


@on_fitting_threads
@default_surroundings()
@interrupts_held()
def calibrate(
    model: LanguageModel,
    texts: Sequence[str] | None = None,
    *,
    ridge: float | None = None,
    readout: Readout | None = None,
    progress: bool = True,
) -> Calibration:
    """Read general text and fit what traces need. It is kept on disk, so the second time starts at once.

    Bases, τ and means rest on about 2,000 positions. Translators take 16 positions for each direction of the output
    frame where there is so much text; every fifth text is held out, to choose their ridges and to judge them.

    Args:
        model: A loaded model.
        texts: General text; by default the sample that comes with the model.
        ridge: λ of the semantic bases; by default the one with the highest fidelity.
        readout: `"raw"` fits no translators, which is faster. By default they are fitted, unless there are too few
            texts or too little memory, which a warning says.
        progress: Show progress bars.

    Raises:
        SemvizError: If the text has too few positions, or too few texts for the readout, or the ridge is negative.
    """
    check_model(model)
    if ridge is not None:
        instead = "a number of at least 0, math.inf for the head's own rows, or None"
        ridge = checks.number("ridge", ridge, instead, fits=lambda x: x >= 0)
    if readout is not None:
        checks.one_of("readout", readout, get_args(Readout))
    general_texts = model.general_text if texts is None else checks.texts("texts", texts)
    translated = readout != "raw"
    why_not = why_no_translators(model, general_texts) if translated else ""
    if why_not and readout is not None:
        raise SemvizError(f'{why_not}; pass readout="raw".')
    if why_not:
        warnings.warn(f"{why_not}, so spaces are read by the raw logit lens.", UserWarning, stacklevel=3)
        translated = False
    cache_folder.limit()  # a setting that is no number is said before minutes of work
    key = key_of(model, general_texts, ridge, translated)
    fields = find_on_disk(key, model)
    if fields is None:
        states = read_general_text(model, general_texts, translators=translated, progress=progress)
        fields = _fit_bases(model, states, ridge, progress) | _fit_readouts(model, states, progress)
        keep_on_disk(key, fields, model)
    calibration = Calibration(**fields, key=key)
    if calibration.translators is not None and calibration.translators.rough:
        n, width = calibration.translators.positions, model.anatomy.width
        warnings.warn(
            f"Translators of width {width} were fitted on {n:,} positions of general text and want "
            f"{POSITIONS_A_DIRECTION * width:,}; pass calibrate(model, texts) with more text as calibration=.",
            UserWarning,
            stacklevel=3,
        )
    return calibration


def _fit_bases(model: LanguageModel, states: GeneralStates, ridge: float | None, progress: bool) -> dict[str, Any]:
    """The bases and constants, by the names of the calibration's fields."""
    head = model.anatomy.head_weight
    size = min(len(model.tokenizer), len(head))
    frames = states.last[: _MOST_SCORES // size]
    with torch.no_grad():
        logits = model.anatomy.project(frames)
        directions = torch.nn.functional.normalize(frames.float(), dim=-1)
        ridges = RIDGES if ridge is None else (ridge,)
        bases, cosines, fidelities = _best_bases(head, size, directions, logits, ridges, progress)
        temperature = _fit_temperature(cosines, states.target[: len(frames)].to(frames.device))
    return {
        "bases": bases,
        "temperature": temperature,
        "fidelity": fidelities[bases.ridge],
        "fidelities": fidelities,
        "means": states.means,
        "positions": len(frames),
        "vocabulary_hash": model.vocabulary_hash,
    }


@torch.no_grad()
def _fit_readouts(model: LanguageModel, states: GeneralStates, progress: bool) -> dict[str, Any]:
    """The translators and what they are worth, by the names of the calibration's fields; none without moments."""
    if states.fitted is None:
        return {"translators": None, "readouts": {}, "counts": None}
    with progress_bar(3, "Fitting translators", unit="steps", show=progress) as bar:
        translators = fit_translators(states.fitted, states.held_out)
        bar.update()
        scores: dict[Readout, ReadoutScores] = {}
        maps_of: dict[Readout, Translators | None] = {"raw": None, "translated": translators}
        for readout, maps in maps_of.items():
            scores[readout] = score_readout(states.held_out, model.anatomy.project, maps, positions=_COMPARED)
            bar.update()
    return {"translators": translators, "readouts": scores, "counts": states.counts}


# One calibration per loaded model, with the model's hash: reading the general text again would give the same numbers.
_DEFAULTS: WeakKeyDictionary[LanguageModel, tuple[str, bool, Calibration]] = WeakKeyDictionary()


def default_calibration(model: LanguageModel, *, readout: Readout | None = None, progress: bool = True) -> Calibration:
    """The model's calibration on its own general text, computed once and again where the model has changed."""
    model_hash, known = model.hash, _DEFAULTS.get(model)
    # One that has translators serves the raw readout too, since all else in it is the same; one without them serves the
    # default where they could not be fitted.
    asked = readout != "raw"
    serves = known is not None and known[0] == model_hash and known[1] >= asked
    if not serves or (readout == "translated" and known is not None and known[2].translators is None):
        calibration = calibrate(model, readout=readout, progress=progress)
        known = _DEFAULTS[model] = model_hash, asked, calibration
    assert known is not None
    return known[2]


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
    if calibration.bases.moved:
        raise SemvizError(
            "calibration reads the head of this model, whose weights have changed since it was made, so it is no "
            "longer the same ruler; pass calibrate(model), or calibrate a copy of the model that you do not train."
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
