"""Sequences of different lengths, concatenated in one array, which takes less memory than many small arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ragged(Sequence[NDArray[Any]]):
    """n sequences of different lengths; an item is a view.

    Attributes:
        flat: The sequences, concatenated.
        offsets: Where each begins, and the length of `flat` at the end, shape (n + 1,).
    """

    flat: NDArray[Any]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[NDArray[Any]]) -> Ragged:
        """Concatenate sequences."""
        return cls(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each sequence, shape (n,)."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """Index of the sequence that each entry of `flat` belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Position of each entry of `flat` in its sequence."""
        return np.arange(len(self.flat)) - np.repeat(self.offsets[:-1], self.lengths)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Ragged:
        """Return the sequences of these rows, in that order."""
        return Ragged.of([self[int(row)] for row in rows])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, row: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[NDArray[Any]]: ...
    def __getitem__(self, row: int | slice) -> NDArray[Any] | Sequence[NDArray[Any]]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        return self.flat[self.offsets[row] : self.offsets[row + 1]]
