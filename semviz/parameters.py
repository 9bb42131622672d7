"""How many parameters each part of a model has, every tensor counted once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ParameterCounts:
    """Unique parameters by part.

    Attributes:
        blocks: Of blocks 1…L, in order.
        tail: Of what runs between the last block and the head.
        head: Of the head; 0 where it is tied to the embeddings.
        embeddings: Of all else, which is mostly the embeddings.
    """

    blocks: tuple[int, ...]
    tail: int
    head: int
    embeddings: int

    @property
    def total(self) -> int:
        """All unique parameters of the model."""
        return sum(self.blocks) + self.tail + self.head + self.embeddings
