"""`Scope`: which blocks train. The rest of the model is frozen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from semviz import formats
from semviz.errors import ScopeError
from semviz.parameters import ParameterCounts

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from semviz.models import LanguageModel


@dataclass(frozen=True)
class Scope:
    """The blocks that train, 1-based; the tail (final norm) trains with them, head and embeddings do not.

    Attributes:
        blocks: Trained blocks in ascending order.
        n_blocks: L.
        parameters: Unique parameters of the model by part.
    """

    blocks: tuple[int, ...]
    n_blocks: int
    parameters: ParameterCounts = field(repr=False)

    def __post_init__(self) -> None:
        """Check the blocks.

        Raises:
            ScopeError: If there is none, one lies outside 1…L, or they are not ascending.
        """
        if not self.blocks:
            raise ScopeError("The scope has no block, so nothing would train; pass at least one block.")
        outside = [b for b in self.blocks if not (isinstance(b, int) and 1 <= b <= self.n_blocks)]
        if outside:
            raise ScopeError(f"Blocks {outside} do not exist; pass whole numbers from 1 to {self.n_blocks}.")
        if any(a >= b for a, b in pairwise(self.blocks)):
            raise ScopeError(f"blocks={self.blocks} are not ascending and distinct; pass each block once, in order.")

    @classmethod
    def of(cls, model: LanguageModel, blocks: Iterable[int]) -> Scope:
        """Any set of blocks of a model."""
        return cls(tuple(sorted(set(blocks))), model.n_blocks, model.parameters)

    @classmethod
    def above(cls, model: LanguageModel, boundary: int) -> Scope:
        """The suffix above a boundary: blocks 1…k frozen, k+1…L trained.

        Raises:
            ScopeError: If the boundary lies outside 0…L−1.
        """
        if not isinstance(boundary, int) or not 0 <= boundary < model.n_blocks:
            raise ScopeError(f"boundary={boundary!r}; pass a whole number from 0 to {model.n_blocks - 1}.")
        return cls.of(model, range(boundary + 1, model.n_blocks + 1))

    @classmethod
    def full(cls, model: LanguageModel) -> Scope:
        """All blocks."""
        return cls.above(model, 0)

    @classmethod
    def half(cls, model: LanguageModel) -> Scope:
        """The upper half of the blocks: `freeze the bottom half` is the baseline to beat."""
        return cls.above(model, model.n_blocks // 2)

    @classmethod
    def last(cls, model: LanguageModel) -> Scope:
        """The last block only."""
        return cls.above(model, model.n_blocks - 1)

    @property
    def boundary(self) -> int:
        """k, the number of frozen blocks below the lowest trained one."""
        return self.blocks[0] - 1

    @property
    def trainable(self) -> int:
        """Unique parameters that train."""
        return sum(self.parameters.blocks[b - 1] for b in self.blocks) + self.parameters.tail

    @property
    def total(self) -> int:
        """Unique parameters of the model."""
        return self.parameters.total

    @property
    def share(self) -> float:
        """Trained share of the model's parameters, in [0, 1]."""
        return self.trainable / self.total

    @property
    def label(self) -> str:
        """`blocks 5–8 of 8`; gaps are listed."""
        runs: list[list[int]] = []
        for block in self.blocks:
            if runs and block == runs[-1][1] + 1:
                runs[-1][1] = block
            else:
                runs.append([block, block])
        parts = ", ".join(f"{a}–{b}" if a < b else f"{a}" for a, b in runs)
        return f"block{'s' if len(self.blocks) > 1 else ''} {parts} of {self.n_blocks}"

    def modules(self, model: LanguageModel) -> list[nn.Module]:
        """The modules of a model that train under this scope.

        Raises:
            ScopeError: If the scope was made for a model of another depth.
        """
        if model.n_blocks != self.n_blocks:
            raise ScopeError(
                f"The scope is for {self.n_blocks} blocks and the model has {model.n_blocks}; make it anew."
            )
        blocks = model.anatomy.blocks
        return [*(blocks[b - 1] for b in self.blocks), *model.anatomy.tail]

    def frame(self) -> pd.DataFrame:
        """One row a block: block, trained, parameters."""
        import pandas as pd

        blocks = range(1, self.n_blocks + 1)
        trained = [b in self.blocks for b in blocks]
        return pd.DataFrame({"block": blocks, "trained": trained, "parameters": self.parameters.blocks})

    def __repr__(self) -> str:
        """One line: blocks and parameters."""
        count = f"{formats.si(self.trainable)} of {formats.si(self.total)} parameters"
        return f"Scope({self.label}: {count}, {formats.percent(self.share)})"

    def _repr_html_(self) -> str:
        from semviz.html import facts

        return facts(repr(self), self.frame())
