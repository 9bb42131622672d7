"""From the hidden states of a batch to one number a metric, position and space; nothing larger is kept.

`Plan` says what is read, `Table` at which positions, `Reducer` holds the results. A batch is cut into parts of bounded
size; each part reads its positions at every space while the model runs, and hands its numbers over after the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semviz.common.arc import PathKind
from semviz.common.errors import SemvizError
from semviz.tasks.tokenizing import NO_TARGET, Encoded
from semviz.traces.metrics import METRICS, View
from semviz.traces.virtual_path import Arc, plane
from semviz.traces.vocabulary_scores import best_of, rows_at_once

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.streaming import Batch, OnSpace
    from semviz.traces.calibration import Calibration

# Positions whose states are read at once where no candidates are scored.
_MOST_POSITIONS = {"cpu": 1024}
_MOST_POSITIONS_GPU = 2**16
_NEAREST = 3


@dataclass(frozen=True)
class PositionTable:
    """The positions that are read, one entry each.

    Attributes:
        sample: Which sample, shape (n,), ascending.
        position: Position in the sample, shape (n,).
        target: Token to predict, `NO_TARGET` where there is none, shape (n,).
        counted: Whether the position enters averages, shape (n,).
        first: Index of each sample's first entry, and n at the end, shape (samples + 1,).
        detailed: The first so many entries belong to samples of which every position is read.
    """

    sample: NDArray[np.int64]
    position: NDArray[np.int64]
    target: NDArray[np.int64]
    counted: NDArray[np.bool_]
    first: NDArray[np.int64]
    detailed: int


def position_table(encoded: Encoded, detail: int) -> PositionTable:
    """All positions of the first `detail` samples, and those that count of the others."""
    counted = encoded.counted
    wanted = counted.flat | (counted.owners < detail)
    sample = counted.owners[wanted]
    first = np.searchsorted(sample, np.arange(len(encoded) + 1))
    return PositionTable(
        sample=sample,
        position=counted.positions[wanted],
        target=encoded.targets.flat[wanted].astype(np.int64),
        counted=counted.flat[wanted],
        first=first,
        detailed=int(first[min(detail, len(encoded))]),
    )


@dataclass(frozen=True, eq=False)
class Plan:
    """What is read at every space."""

    model: LanguageModel
    calibration: Calibration
    keys: tuple[str, ...]
    label_words: NDArray[np.int64]
    labels_only: bool
    path: PathKind
    centre: bool

    @property
    def spaces(self) -> int:
        """L+1."""
        return self.model.n_blocks + 1

    @cached_property
    def device(self) -> torch.device:
        """Where states are read: the head's."""
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
        """The nearest tokens come almost free with the semantic deviation over the whole vocabulary."""
        return "semantic" in self.keys and not self.labels_only

    @property
    def keeps_top1(self) -> bool:
        """So does the head's first choice with the lens or the rank."""
        return bool({"lens", "rank"} & set(self.keys)) and not self.labels_only

    @cached_property
    def size(self) -> int:
        """C, the number of candidates that the head scores."""
        return len(self.label_words) if self.labels_only else self.model.anatomy.vocabulary

    def read(self, frames: Tensor, columns: slice | Tensor) -> Tensor:
        """Logits of some of the candidates, float32, shape (n, c)."""
        rows = columns if self.candidate_ids is None else self.candidate_ids[columns]
        return self.model.anatomy.project(frames, rows)

    @property
    def part(self) -> int:
        """Positions in one part of a batch."""
        if not self.labels_only and any(METRICS[key].scores_candidates for key in self.keys):
            return rows_at_once(self.size, self.device)
        return _MOST_POSITIONS.get(self.device.type, _MOST_POSITIONS_GPU)

    def nbytes(self, table: PositionTable) -> int:
        """Bytes that the results hold: the arrays, and about 100 a row for the table in words."""
        numbers = len(self.keys) + _NEAREST * self.keeps_nearest + self.keeps_top1
        return len(table.sample) * (4 * self.spaces * numbers + 100) + 8 * self.spaces * table.detailed


class Reducer:
    """The results: arrays over the table's positions, filled part by part."""

    def __init__(self, plan: Plan, table: PositionTable) -> None:
        self.plan, self.table = plan, table
        shape = len(table.sample), plan.spaces
        self.values = {key: np.full(shape, np.nan, dtype=np.float32) for key in plan.keys}
        self.predicted = np.full(shape[0], -1, dtype=np.int64)
        self.nearest = np.full((*shape, _NEAREST), -1, dtype=np.int32) if plan.keeps_nearest else None
        self.top1 = np.full(shape, -1, dtype=np.int32) if plan.keeps_top1 else None
        self.paths = np.full((table.detailed, plan.spaces, 2), np.nan, dtype=np.float32)
        self._read: list[NDArray[np.int64]] = []

    def start(self, batch: Batch) -> OnSpace:
        """Prepare the positions of a batch; returns the callback for its spaces."""
        first = self.table.first
        entries = np.concatenate([np.arange(first[row], first[row + 1]) for row in batch.rows])
        inside = np.repeat(np.arange(len(batch.rows)), first[batch.rows + 1] - first[batch.rows])
        size = self.plan.part
        cuts = range(0, len(entries), size)
        parts = [_Strip(self.plan, self.table, entries[i : i + size], inside[i : i + size]) for i in cuts]

        def on_space(space: int, states: Tensor) -> None:
            for part in parts:
                part.read(space, states)
            if space == self.plan.model.n_blocks:
                for part in parts:
                    self._take(part)

        return on_space

    def _take(self, part: _Strip) -> None:
        """Keep the numbers of a part that was read to its last space."""
        values, known = part.values.cpu().numpy(), part.known
        for key, found in zip(self.plan.keys, values, strict=True):
            self.values[key][part.entries[known]] = found[known]
        self.predicted[part.entries] = part.predicted.cpu().numpy()
        if self.nearest is not None:
            self.nearest[part.entries] = part.nearest.cpu().numpy()
        if self.top1 is not None:
            self.top1[part.entries] = part.top1.cpu().numpy()
        if len(part.detailed):
            self.paths[part.entries[part.detailed]] = part.path().cpu().numpy()
        self._read.append(part.entries)

    def taken(self) -> dict[str, Any]:
        """The entries that this process has read, with their numbers."""
        entries = np.sort(np.concatenate(self._read)) if self._read else np.zeros(0, dtype=np.int64)
        inner = entries[entries < self.table.detailed]
        found: dict[str, Any] = {name: (entries, array[entries]) for name, array in self._arrays().items()}
        return found | {"paths": (inner, self.paths[inner])}

    def merge(self, shares: list[dict[str, Any]]) -> None:
        """Take over what other processes have read."""
        arrays = self._arrays() | {"paths": self.paths}
        for found in shares:
            for name, (entries, numbers) in found.items():
                arrays[name][entries] = numbers

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """All results with an entry for every position."""
        some = {"nearest": self.nearest, "top1": self.top1}
        made: dict[str, NDArray[Any]] = {f"values {key}": values for key, values in self.values.items()}
        return made | {"predicted": self.predicted} | {name: a for name, a in some.items() if a is not None}


class _Strip:
    """Some positions of a batch on their way through the spaces."""

    def __init__(self, plan: Plan, table: PositionTable, entries: NDArray[np.int64], inside: NDArray[np.int64]) -> None:
        """Prepare targets and room for numbers.

        Args:
            plan: What to read.
            table: All positions of the trace.
            entries: Which of them, shape (n,).
            inside: Their row in the batch, shape (n,).
        """
        self.plan, self.entries = plan, entries
        self._at = torch.as_tensor(inside), torch.as_tensor(table.position[entries])
        ids = table.target[entries]
        self.known = ids != NO_TARGET
        # A position without a target is read like any other and its numbers are dropped.
        target = torch.as_tensor(np.where(self.known, ids, 0), device=plan.device)
        unique, inverse = torch.unique(target, return_inverse=True)
        self._goal = plan.calibration.bases.unit_rows(unique)[inverse]
        self._index = target
        if plan.candidate_ids is not None:
            # A context position's next token is rarely a label word; it then has no value over the labels.
            matches = target.unsqueeze(-1) == plan.candidate_ids
            self._index = matches.int().argmax(-1)
            self.known = self.known & matches.any(-1).cpu().numpy()
        self.values = torch.empty(len(plan.keys), len(entries), plan.spaces, device=plan.device)
        ids_at = len(entries) if plan.keeps_nearest else 0, plan.spaces, _NEAREST
        self.nearest = torch.empty(ids_at, dtype=torch.int32, device=plan.device)
        firsts_at = len(entries) if plan.keeps_top1 else 0, plan.spaces
        self.top1 = torch.empty(firsts_at, dtype=torch.int32, device=plan.device)
        self.predicted = torch.empty(0)
        self.detailed = np.flatnonzero((entries < table.detailed) & (ids != NO_TARGET))
        self._directions: list[Tensor] = []
        self._arc: Arc

    def read(self, space: int, states: Tensor) -> None:
        """Read one space.

        Args:
            space: ℓ.
            states: The whole batch's states, shape (B, T, d).
        """
        plan, anatomy = self.plan, self.plan.model.anatomy
        frames = anatomy.output_frame(states[self._at])
        placed = frames.float()
        if plan.centre:
            placed = placed - plan.calibration.means[space]
        if space == 0:
            self._arc = Arc(placed, self._goal, plan.path)
        view = View(
            space=space,
            depth=space / plan.model.n_blocks,
            states=placed,
            arc=self._arc,
            target=self._index,
            candidates=lambda: plan.candidates,
            temperature=plan.calibration.temperature,
            size=plan.size,
            read=lambda columns: plan.read(frames, columns),
        )
        for i, key in enumerate(plan.keys):
            found = METRICS[key].function(view)
            if not isinstance(found, torch.Tensor) or found.shape != placed.shape[:1]:
                what = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
                raise SemvizError(
                    f"metric {key!r} returned {what} for {len(placed)} positions; return one value a position."
                )
            self.values[i, :, space] = found
        if plan.keeps_nearest:
            self.nearest[:, space] = view.by_basis.best
        if plan.keeps_top1:
            self.top1[:, space] = view.by_head.best[:, 0]
        if len(self.detailed):
            self._directions.append(view.directions[self.detailed])
        if space == plan.model.n_blocks:
            self.predicted = self._choice(frames, view)

    def _choice(self, frames: Tensor, view: View) -> Tensor:
        """The model's own top choice: among the labels in a classification task, else among all tokens."""
        plan = self.plan
        if plan.label_ids is not None:
            return plan.label_ids[plan.model.anatomy.project(frames, plan.label_ids).argmax(-1)]
        if "by_head" in vars(view):  # some metric has asked for it
            return view.by_head.best[:, 0]
        return best_of(view.read, plan.size, len(frames), frames.device)

    def path(self) -> Tensor:
        """The detailed positions' factual transitions in the planes of their transition maps, shape (m, L+1, 2)."""
        return plane(torch.stack(self._directions, dim=1), self._goal[self.detailed])
