"""Reduce the hidden states of a batch to one number per metric, position and space; nothing larger is kept.

`semviz.traces.trace_plan` says what is read and where; `Reducer` holds the results. A batch is split into parts of
bounded size; each part reads its positions at every space while the model runs, and delivers its numbers after the last
one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semviz.common.errors import SemvizError
from semviz.tasks.tokenizing import NO_TARGET
from semviz.traces.metrics import METRICS, View
from semviz.traces.trace_plan import NEAREST, Plan, PositionTable
from semviz.traces.virtual_path import Arc, plane
from semviz.traces.vocabulary_scores import best_candidates

if TYPE_CHECKING:
    from semviz.tasks.streaming import Batch, OnSpace
    from semviz.traces.label_choices import LabelChoices


class Reducer:
    """The results: arrays over the table's positions, filled part by part."""

    def __init__(self, plan: Plan, table: PositionTable, choices: LabelChoices) -> None:
        self.plan, self.table = plan, table
        self._plans = [replace(plan, label_words=ids) for ids in choices.sets] or [plan]
        shape = len(table.sample), plan.spaces
        self.values = {key: np.full(shape, np.nan, dtype=np.float32) for key in plan.keys}
        self.predicted = np.full(shape[0], -1, dtype=np.int64)
        self.nearest = np.full((*shape, NEAREST), -1, dtype=np.int32) if plan.keeps_nearest else None
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
        nearest_shape = len(entries) if plan.keeps_nearest else 0, plan.spaces, NEAREST
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
