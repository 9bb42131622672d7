"""`trace()`: one forward pass over a task → a `Trace` of every position × space."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from semviz import transitions
from semviz.calibration import Calibration, calibrate
from semviz.encoding import NO_TARGET, Encoded, encode
from semviz.errors import SemvizError
from semviz.metrics import METRICS, View, resolve
from semviz.reading import Batch, OnSpace, stream
from semviz.tasks import Task
from semviz.tokens import decode
from semviz.traces import Trace
from semviz.version import __version__

if TYPE_CHECKING:
    from semviz.models import LanguageModel

_MOST_SCORES = 2**24  # positions × candidates scored at once: 64 MB
_NEAREST = 3


def trace(
    model: LanguageModel,
    task: Task,
    *,
    metrics: Sequence[str] | str | None = None,
    split: str = "train",
    samples: int | None = None,
    vocab: Literal["full", "labels"] = "full",
    path: transitions.Path = "slerp",
    centre: bool = False,
    detail: int = 16,
    calibration: Calibration | None = None,
    progress: bool = True,
) -> Trace:
    """Trace how hidden states travel towards their targets, in one forward pass over a task's split.

    SALF-style, our reading: the deviation metrics are those of `semviz.metrics`, the bases those of
    `semviz.semantics`.

    Args:
        model: A loaded model; nothing of it is changed.
        task: Where texts and targets come from.
        metrics: Keys of `semviz.metrics.METRICS`; all of them by default.
        split: `"train"` by default: choosing a boundary on test rows would leak them.
        samples: Trace so many samples, drawn at random with a fixed seed; all by default.
        vocab: Compare with the whole vocabulary, or with the task's label words only.
        path: Virtual transition along the great circle (`"slerp"`) or the straight line (`"lerp"`).
        centre: Subtract each space's mean state over general text, against anisotropy.
        detail: So many samples keep every position, so that `token_heatmap` can show them.
        calibration: Bases, τ and means; made from general text by default. Pass the same one to compare two traces.
        progress: Show progress bars.

    Returns:
        A `Trace`.

    Raises:
        SemvizError: If an argument is unknown or the task does not fit the model; the message says what to pass.
    """
    started = time.perf_counter()
    keys = resolve(metrics)
    if vocab not in ("full", "labels"):
        raise SemvizError(f'vocab={vocab!r} is unknown; pass "full" or "labels".')
    if vocab == "labels" and not task.labels:
        raise SemvizError(f'Task {task.name!r} has no labels; pass vocab="full".')
    if path not in ("slerp", "lerp"):
        raise SemvizError(f'path={path!r} is unknown; pass "slerp" or "lerp".')
    if detail < 0:
        raise SemvizError(f"detail={detail}; pass a number of samples of at least 0.")
    encoded = encode(model, task, split)
    if samples is not None:
        if samples < 1:
            raise SemvizError(f"samples={samples}; pass a number of at least 1, or None for all.")
        if samples < len(encoded):
            rows = sorted(random.Random(0).sample(range(len(encoded)), samples))
            encoded = encoded.take(rows)
    calibration = calibration or calibrate(model, progress=progress)
    reader = _Reader(model, encoded, calibration, keys, vocab == "labels", path, centre, detail)
    stream(model, encoded, reader.start, label=f"Tracing {task.name}", progress=progress)
    positions, vocabulary = _describe(model, task, encoded, reader)
    return Trace(
        positions=positions,
        values=reader.values,
        nearest=reader.nearest,
        vocabulary=vocabulary,
        meta={
            "model": model.name,
            "model_hash": model.hash,
            "parameters": asdict(model.parameters),
            "task": task.name,
            "kind": task.kind,
            "split": split,
            "samples": len(encoded),
            "positions": int(reader.counted.sum()),
            "vocab": vocab,
            "ridge": calibration.bases.ridge,
            "tau": calibration.temperature,
            "fidelity": calibration.fidelity,
            "path": path,
            "centred": centre,
            "detail": min(detail, len(encoded)),
            "semviz": __version__,
            "seconds": time.perf_counter() - started,
        },
    )


class _Reader:
    """Reduces each space of each batch to one number per metric and position, and keeps nothing else."""

    def __init__(
        self,
        model: LanguageModel,
        encoded: Encoded,
        calibration: Calibration,
        keys: tuple[str, ...],
        labels_only: bool,
        path: transitions.Path,
        centre: bool,
        detail: int,
    ) -> None:
        self.model, self.encoded, self.calibration = model, encoded, calibration
        self.keys, self.path, self.centre = keys, path, centre
        wanted = [np.ones_like(c) if row < detail else c for row, c in enumerate(encoded.counted)]
        self.sample = np.concatenate([np.full(w.sum(), row) for row, w in enumerate(wanted)])
        self.position = np.concatenate([np.flatnonzero(w) for w in wanted])
        self.target = np.concatenate([t[w] for t, w in zip(encoded.targets, wanted, strict=True)])
        self.counted = np.concatenate([c[w] for c, w in zip(encoded.counted, wanted, strict=True)])
        self.first = np.concatenate([[0], np.cumsum([w.sum() for w in wanted])])
        spaces = model.n_blocks + 1
        self.values = {key: np.full((len(self.sample), spaces), np.nan, dtype=np.float32) for key in keys}
        self.predicted = np.full(len(self.sample), -1, dtype=np.int64)
        # The nearest tokens come almost free with the semantic deviation over the whole vocabulary, and cost a
        # full matrix product without it.
        full = "semantic" in keys and not labels_only
        self.nearest = np.full((len(self.sample), spaces, _NEAREST), -1, dtype=np.int32) if full else None
        device = model.anatomy.head_weight.device
        self.label_ids = torch.as_tensor(encoded.label_ids, device=device) if len(encoded.label_ids) else None
        self.candidate_ids = self.label_ids if labels_only else None
        width = len(encoded.label_ids) if labels_only else len(model.anatomy.head_weight)
        self.chunk = max(1, _MOST_SCORES // width)

    def start(self, batch: Batch) -> OnSpace:
        """Prepare the positions of a batch; returns the callback for its spaces."""
        table = np.concatenate([np.arange(self.first[row], self.first[row + 1]) for row in batch.rows])
        order = np.repeat(np.arange(len(batch.rows)), self.first[batch.rows + 1] - self.first[batch.rows])
        picked = torch.as_tensor(order), torch.as_tensor(self.position[table])
        begun: list[Tensor] = []

        def on_space(space: int, states: Tensor) -> None:
            frames = self.model.anatomy.output_frame(states[picked])
            if space == 0:
                begun.append(self._placed(frames, 0))
            for part in torch.split(torch.arange(len(table)), self.chunk):
                self._reduce(space, frames[part], begun[0][part], table[part.numpy()])

        return on_space

    def _placed(self, frames: Tensor, space: int) -> Tensor:
        """States as the geometric metrics see them: float32, centred if asked."""
        return frames.float() - self.calibration.means[space] if self.centre else frames.float()

    def _reduce(self, space: int, frames: Tensor, begun: Tensor, table: NDArray[np.int64]) -> None:
        """Write one space's values of some positions, and at the last space the model's own choice."""
        anatomy, bases = self.model.anatomy, self.calibration.bases
        ids = self.target[table]
        known = ids != NO_TARGET
        target = torch.as_tensor(np.where(known, ids, 0), device=frames.device)
        basis = bases.unit_rows(target)
        index = target
        if self.candidate_ids is not None:
            # A context position's next token is rarely a label word; it then has no value over the labels.
            matches = target.unsqueeze(-1) == self.candidate_ids
            index, known = matches.int().argmax(-1), known & matches.any(-1).cpu().numpy()
        view = View(
            space=space,
            states=self._placed(frames, space),
            virtual=transitions.virtual(begun, basis, space / self.model.n_blocks, path=self.path),
            basis=basis,
            target=index,
            candidates=lambda: bases.unit_rows(self.candidate_ids),
            temperature=self.calibration.temperature,
            read=lambda: anatomy.project(frames, self.candidate_ids),
        )
        for key in self.keys:
            values = METRICS[key].function(view).float().cpu().numpy()
            self.values[key][table[known], space] = values[known]
        if self.nearest is not None:
            self.nearest[table, space] = view.cosines.topk(_NEAREST).indices.cpu().numpy()
        if space == self.model.n_blocks:
            self.predicted[table] = self._choice(frames, view).cpu().numpy()

    def _choice(self, frames: Tensor, view: View) -> Tensor:
        """The model's own top choice: among the labels in a classification task, else among all tokens."""
        if self.label_ids is not None:
            return self.label_ids[self.model.anatomy.project(frames, self.label_ids).argmax(-1)]
        return view.logits.argmax(-1)


def _describe(
    model: LanguageModel, task: Task, encoded: Encoded, reader: _Reader
) -> tuple[pd.DataFrame, dict[int, str]]:
    """The table of positions in words, and the text of every token id in the trace."""
    ids = np.concatenate(encoded.ids)
    offsets = np.concatenate([[0], np.cumsum([len(i) for i in encoded.ids])])
    token = ids[offsets[reader.sample] + reader.position]
    target = np.where(reader.target == NO_TARGET, -1, reader.target)
    used = [token, target, reader.predicted, *([reader.nearest.ravel()] if reader.nearest is not None else [])]
    known = sorted(set(np.unique(np.concatenate(used)).tolist()) - {-1})
    vocabulary = dict(zip(known, decode(model.tokenizer, known), strict=True))
    special = np.isin(token, model.tokenizer.all_special_ids)
    counted = "answer" if task.labels else "next"
    words = {**vocabulary, -1: ""}
    labels = [task.labels[i] if i >= 0 else None for i in encoded.labels]
    positions = pd.DataFrame(
        {
            "sample": reader.sample,
            "position": reader.position,
            "token_id": token,
            "token": [words[i] for i in token.tolist()],
            "target_id": target,
            "target": [words[i] for i in target.tolist()],
            "label": [labels[i] for i in reader.sample.tolist()],
            "role": np.where(reader.counted, counted, np.where(special, "special", "context")),
            "predicted": [words[i] for i in reader.predicted.tolist()],
            "correct": pd.array(np.where(target >= 0, reader.predicted == target, None), dtype="boolean"),
        }
    )
    return positions, vocabulary
