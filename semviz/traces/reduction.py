"""Reduce the hidden states of a batch to one number per metric, position and space; nothing larger is kept.

`Plan` says what is read, `PositionTable` at which positions, and `Reducer` holds the results. A batch is split into
parts of bounded size; each part reads its positions at every space while the model runs, and delivers its numbers after
the last one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semviz.common.errors import SemvizError
from semviz.common.virtual_arc import PathKind
from semviz.tasks.tokenizing import NO_TARGET, Encoded
from semviz.traces.metrics import METRICS, SharedProduct, View
from semviz.traces.virtual_path import Arc, plane
from semviz.traces.vocabulary_scores import best_candidates, rows_at_once

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.streaming import Batch, OnSpace
    from semviz.traces.calibration import Calibration
    from semviz.traces.label_choices import LabelChoices
    from semviz.traces.readouts import Readout
    from semviz.traces.translators import Translators

# Positions whose states are read at once if no candidates are scored.
_MOST_POSITIONS = {"cpu": 1024}
_MOST_POSITIONS_GPU = 2**16
_NEAREST = 3


@dataclass(frozen=True)
class PositionTable:
    """The positions that are read, one entry each.

    Attributes:
        sample: Index of the sample, shape (n,), ascending.
        position: Position in the sample, shape (n,).
        target: Token to predict, `NO_TARGET` where there is none, shape (n,).
        counted: Whether the position enters averages, shape (n,).
        choice: Which of the sets of label tokens the position has, shape (n,).
        first: Index of each sample's first entry, and n at the end, shape (samples + 1,).
        detailed: Number of leading entries that belong to samples of which every position is read.
    """

    sample: NDArray[np.int64]
    position: NDArray[np.int64]
    target: NDArray[np.int64]
    counted: NDArray[np.bool_]
    choice: NDArray[np.int32]
    first: NDArray[np.int64]
    detailed: int


def position_table(encoded: Encoded, detail: int, choices: LabelChoices) -> PositionTable:
    """All positions of the first `detail` samples, and the counted ones of the others."""
    counted = encoded.counted
    selected = counted.flat | (counted.owners < detail)
    sample = counted.owners[selected]
    first = np.searchsorted(sample, np.arange(len(encoded) + 1))
    return PositionTable(
        sample=sample,
        position=counted.positions[selected],
        target=encoded.targets.flat[selected].astype(np.int64),
        counted=counted.flat[selected],
        choice=choices.of_position[selected],
        first=first,
        detailed=int(first[min(detail, len(encoded))]),
    )


@dataclass(frozen=True, eq=False)
class Plan:
    """What is read at every space.

    `label_words` are those that some of the positions choose from (`label_choices`); `labels_are_tokens` says whether
    they are all of the task's labels in their order.
    """

    model: LanguageModel
    calibration: Calibration
    keys: tuple[str, ...]
    label_words: NDArray[np.int64]
    labels_are_tokens: bool
    labels_only: bool
    path: PathKind
    centre: bool
    readout: Readout

    @property
    def spaces(self) -> int:
        """L+1."""
        return self.model.n_blocks + 1

    @cached_property
    def device(self) -> torch.device:
        """The head's device, on which states are read."""
        return self.model.anatomy.head_device

    @cached_property
    def label_ids(self) -> Tensor | None:
        """Ids of the label words on the device, None in language modelling."""
        return torch.as_tensor(self.label_words, device=self.device) if len(self.label_words) else None

    @property
    def candidate_ids(self) -> Tensor | None:
        """Ids of the candidates, None for the whole vocabulary."""
        return self.label_ids if self.labels_only else None

    @cached_property
    def candidates(self) -> Tensor:
        """Unit semantic bases of all candidates, shape (C, d)."""
        return self.calibration.bases.unit_rows(self.candidate_ids)

    @property
    def keeps_nearest(self) -> bool:
        """Whether the nearest tokens are kept: they are nearly free with `semantic` over the whole vocabulary."""
        return "semantic" in self.keys and not self.labels_only

    @property
    def keeps_top1(self) -> bool:
        """Whether the head's first choice is kept: it is nearly free with `lens` or `rank`."""
        return bool({"lens", "rank"} & set(self.keys)) and not self.labels_only

    @cached_property
    def size(self) -> int:
        """C, the number of candidates that the head scores."""
        return len(self.label_words) if self.labels_only else self.model.anatomy.vocabulary

    @cached_property
    def translators(self) -> Translators | None:
        """The maps of the translated readout."""
        return self.calibration.translators if self.readout == "translated" else None

    @cached_property
    def means(self) -> Tensor:
        """Mean of each space over general text as it is read, shape (L+1, d)."""
        means = self.calibration.means
        if self.translators is None:
            return means
        return torch.stack([self.translators.translate(space, mean) for space, mean in enumerate(means)])

    @property
    def keeps_labels(self) -> bool:
        """Whether the probabilities of the label words are kept: where one token stands for each."""
        return self.label_ids is not None and self.labels_are_tokens

    def frames(self, space: int, states: Tensor) -> Tensor:
        """States in the output frame, as this readout reads them, shape (n, d)."""
        frames = self.model.anatomy.output_frame(states)
        return frames if self.translators is None else self.translators.translate(space, frames)

    def read(self, frames: Tensor, columns: slice | Tensor) -> Tensor:
        """Logits of some of the candidates, float32, shape (n, c)."""
        rows = columns if self.candidate_ids is None else self.candidate_ids[columns]
        return self.model.anatomy.project(frames, rows)

    def shared_product(self, frames: Tensor) -> SharedProduct | None:
        """One product for logits and cosines, where both are read and the bases are the head's own rows."""
        if self._norms is None:
            return None
        anatomy = self.model.anatomy
        return SharedProduct(lambda columns: anatomy.products(frames, columns), anatomy.logits_of, self._norms)

    @cached_property
    def _norms(self) -> Tensor | None:
        """Lengths of the bases; None where their cosines are no quotients of the head's products."""
        head, bases = self.model.anatomy.head, self.calibration.bases
        same = math.isinf(bases.ridge) and not self.centre and head.weight.dtype == torch.float32
        both = "semantic" in self.keys and {"lens", "rank"} & set(self.keys)
        if not (same and both and not self.labels_only and getattr(head, "bias", None) is None):
            return None
        # A calibration of another model's head, such as before finetuning it, has other rows.
        return bases.norms if bases.head_is(self.model.anatomy.head_weight) else None

    @property
    def part_size(self) -> int:
        """Positions in one part of a batch."""
        if not self.labels_only and any(METRICS[key].scores_candidates for key in self.keys):
            return rows_at_once(self.size, self.device)
        return _MOST_POSITIONS.get(self.device.type, _MOST_POSITIONS_GPU)

    def nbytes(self, table: PositionTable) -> int:
        """Bytes that the results take: the arrays, and about 100 per row for the table of positions."""
        n_values = len(self.keys) + _NEAREST * self.keeps_nearest + self.keeps_top1
        labels = len(self.label_words) * int(table.counted.sum()) if self.keeps_labels else 0
        results = len(table.sample) * (4 * self.spaces * n_values + 100) + 8 * self.spaces * table.detailed
        return results + 4 * self.spaces * labels


class Reducer:
    """The results: arrays over the table's positions, filled part by part."""

    def __init__(self, plan: Plan, table: PositionTable, choices: LabelChoices) -> None:
        self.plan, self.table = plan, table
        self._plans = [replace(plan, label_words=ids) for ids in choices.sets] or [plan]
        shape = len(table.sample), plan.spaces
        self.values = {key: np.full(shape, np.nan, dtype=np.float32) for key in plan.keys}
        self.predicted = np.full(shape[0], -1, dtype=np.int64)
        self.nearest = np.full((*shape, _NEAREST), -1, dtype=np.int32) if plan.keeps_nearest else None
        self.top1 = np.full(shape, -1, dtype=np.int32) if plan.keeps_top1 else None
        self.paths = np.full((table.detailed, plan.spaces, 2), np.nan, dtype=np.float32)
        # Which of the counted positions each entry is.
        self._counted_index = np.where(table.counted, np.cumsum(table.counted) - 1, -1)
        labels_shape = int(table.counted.sum()), plan.spaces, len(plan.label_words)
        self.label_probabilities = np.full(labels_shape, np.nan, dtype=np.float32) if plan.keeps_labels else None
        self._finished: list[NDArray[np.int64]] = []

    def start(self, batch: Batch) -> OnSpace:
        """Prepare the positions of a batch; returns the callback for its spaces."""
        first = self.table.first
        entries = np.concatenate([np.arange(first[row], first[row + 1]) for row in batch.rows])
        batch_rows = np.repeat(np.arange(len(batch.rows)), first[batch.rows + 1] - first[batch.rows])
        size, parts = self.plan.part_size, []
        for choice in np.unique(self.table.choice[entries]):
            alike = np.flatnonzero(self.table.choice[entries] == choice)
            for cut in (alike[i : i + size] for i in range(0, len(alike), size)):
                parts.append(_Part(self._plans[choice], self.table, entries[cut], batch_rows[cut]))

        def on_space(space: int, states: Tensor) -> None:
            for part in parts:
                part.read(space, states)
            if space == self.plan.model.n_blocks:
                for part in parts:
                    self._store(part)

        return on_space

    def _store(self, part: _Part) -> None:
        """Store the numbers of a part that was read to its last space."""
        values, has_target = part.values.cpu().numpy(), part.has_target
        for key, metric_values in zip(self.plan.keys, values, strict=True):
            self.values[key][part.entries[has_target]] = metric_values[has_target]
        self.predicted[part.entries] = part.predicted.cpu().numpy()
        if self.nearest is not None:
            self.nearest[part.entries] = part.nearest.cpu().numpy()
        if self.top1 is not None:
            self.top1[part.entries] = part.top1.cpu().numpy()
        if self.label_probabilities is not None and len(part.counted):
            answers = self._counted_index[part.entries[part.counted]]
            self.label_probabilities[answers] = torch.stack(part.label_probabilities, 1).cpu().numpy()
        if len(part.detailed):
            self.paths[part.entries[part.detailed]] = part.path().cpu().numpy()
        self._finished.append(part.entries)

    def own_share(self) -> dict[str, Any]:
        """The entries that this process has read, with their numbers, by name of the array."""
        entries = np.sort(np.concatenate(self._finished)) if self._finished else np.zeros(0, dtype=np.int64)
        inner = entries[entries < self.table.detailed]
        results: dict[str, Any] = {name: (entries, array[entries]) for name, array in self._arrays().items()}
        results["paths"] = inner, self.paths[inner]
        if self.label_probabilities is not None:
            answers = self._counted_index[entries]
            answers = answers[answers >= 0]
            results["labels"] = answers, self.label_probabilities[answers]
        return results

    def merge(self, shares: list[dict[str, Any]]) -> None:
        """Add what other processes have read."""
        arrays = self._arrays() | {"paths": self.paths}
        if self.label_probabilities is not None:
            arrays["labels"] = self.label_probabilities
        for results in shares:
            for name, (entries, numbers) in results.items():
                arrays[name][entries] = numbers

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays with an entry for every position, by name."""
        optional = {"nearest": self.nearest, "top1": self.top1}
        arrays: dict[str, NDArray[Any]] = {f"values {key}": values for key, values in self.values.items()}
        return arrays | {"predicted": self.predicted} | {name: a for name, a in optional.items() if a is not None}


class _Part:
    """Some positions of a batch, read at one space after the other."""

    def __init__(
        self, plan: Plan, table: PositionTable, entries: NDArray[np.int64], batch_rows: NDArray[np.int64]
    ) -> None:
        """Prepare the targets and allocate the numbers.

        Args:
            plan: What to read.
            table: All positions of the trace.
            entries: Indices of this part's positions in the table, shape (n,).
            batch_rows: Their row in the batch, shape (n,).
        """
        self.plan, self.entries = plan, entries
        self._batch_index = torch.as_tensor(batch_rows), torch.as_tensor(table.position[entries])
        ids = table.target[entries]
        self.has_target = ids != NO_TARGET
        # A position without a target is read like any other, and its numbers are dropped.
        target = torch.as_tensor(np.where(self.has_target, ids, 0), device=plan.device)
        unique, inverse = torch.unique(target, return_inverse=True)
        self._goal = plan.calibration.bases.unit_rows(unique)[inverse]
        self._target_index = target
        if plan.candidate_ids is not None:
            # A context position's next token is rarely a label word, and without one it has no value over the labels.
            matches = target.unsqueeze(-1) == plan.candidate_ids
            self._target_index = matches.int().argmax(-1)
            self.has_target = self.has_target & matches.any(-1).cpu().numpy()
        self.values = torch.empty(len(plan.keys), len(entries), plan.spaces, device=plan.device)
        nearest_shape = len(entries) if plan.keeps_nearest else 0, plan.spaces, _NEAREST
        self.nearest = torch.empty(nearest_shape, dtype=torch.int32, device=plan.device)
        top1_shape = len(entries) if plan.keeps_top1 else 0, plan.spaces
        self.top1 = torch.empty(top1_shape, dtype=torch.int32, device=plan.device)
        self.predicted = torch.empty(0)
        self.detailed = np.flatnonzero((entries < table.detailed) & (ids != NO_TARGET))
        self.counted = np.flatnonzero(table.counted[entries])
        self.label_probabilities: list[Tensor] = []
        self._directions: list[Tensor] = []
        self._arc: Arc

    def read(self, space: int, states: Tensor) -> None:
        """Read one space.

        Args:
            space: ℓ.
            states: The whole batch's states, shape (B, T, d).
        """
        plan = self.plan
        frames = plan.frames(space, states[self._batch_index])
        view_states = frames.float()
        if plan.centre:
            view_states = view_states - plan.means[space]
        if space == 0:
            self._arc = Arc(view_states, self._goal, plan.path)
        view = View(
            space=space,
            depth=space / plan.model.n_blocks,
            states=view_states,
            arc=self._arc,
            target=self._target_index,
            candidates=lambda: plan.candidates,
            temperature=plan.calibration.temperature,
            size=plan.size,
            read=lambda columns: plan.read(frames, columns),
            shared=plan.shared_product(frames),
        )
        for i, key in enumerate(plan.keys):
            values = METRICS[key].function(view)
            if not isinstance(values, torch.Tensor) or values.shape != view_states.shape[:1]:
                what = f"shape {tuple(values.shape)}" if isinstance(values, torch.Tensor) else type(values).__name__
                raise SemvizError(
                    f"metric {key!r} returned {what} for {len(view_states)} positions; return one value per position."
                )
            self.values[i, :, space] = values
        if plan.keeps_nearest:
            self.nearest[:, space] = view.by_basis.best
        if plan.keeps_top1:
            self.top1[:, space] = view.by_head.best[:, 0]
        if plan.keeps_labels and len(self.counted):
            logits = plan.model.anatomy.project(frames[self.counted], plan.label_ids)
            self.label_probabilities.append(logits.softmax(-1))
        if len(self.detailed):
            self._directions.append(view.directions[self.detailed])
        if space == plan.model.n_blocks:
            self.predicted = self._predict(frames, view)

    def _predict(self, frames: Tensor, view: View) -> Tensor:
        """The model's own top choice: among the labels in a classification task, else among all tokens."""
        plan = self.plan
        if plan.label_ids is not None:
            return plan.label_ids[plan.model.anatomy.project(frames, plan.label_ids).argmax(-1)]
        if "by_head" in vars(view):  # a metric has computed it
            return view.by_head.best[:, 0]
        return best_candidates(view.read, plan.size, len(frames), frames.device)

    def path(self) -> Tensor:
        """Factual transitions of the detailed positions, in the planes of their transition maps, shape (m, L+1, 2)."""
        return plane(torch.stack(self._directions, dim=1), self._goal[self.detailed])
