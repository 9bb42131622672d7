"""What a trace reads (`Plan`), and at which positions (`PositionTable`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semviz.common.virtual_arc import PathKind
from semviz.tasks.tokenizing import Encoded
from semviz.traces.metrics import METRICS, SharedProduct
from semviz.traces.vocabulary_scores import rows_at_once

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.traces.calibration import Calibration
    from semviz.traces.label_choices import LabelChoices
    from semviz.traces.readouts import Readout
    from semviz.traces.translators import Translators

# Positions whose states are read at once if no candidates are scored.
_MOST_POSITIONS = {"cpu": 1024}
_MOST_POSITIONS_GPU = 2**16
NEAREST = 3


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
        n_values = len(self.keys) + NEAREST * self.keeps_nearest + self.keeps_top1
        labels = len(self.label_words) * int(table.counted.sum()) if self.keeps_labels else 0
        results = len(table.sample) * (4 * self.spaces * n_values + 100) + 8 * self.spaces * table.detailed
        return results + 4 * self.spaces * labels
