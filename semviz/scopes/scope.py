"""`Scope`: which blocks train. The rest of the model is frozen."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from semviz.common import checks, formats
from semviz.common.errors import ScopeError
from semviz.lm.parts import Names, Parts

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from semviz.lm.model import LanguageModel
    from semviz.scopes.export_settings import MeasuredRun

EXPORTS: dict[str, Callable[..., str]] = {}
"""What `Scope.export` calls with the scope, and with `ExportSettings` where `method=` or `run=` is passed; by trainer.
`semviz.scopes.exports` fills it, and other code may add to it."""


@dataclass(frozen=True)
class Scope:
    """The blocks that train, 1-based; by default the tail (final norm) trains with them. Embeddings never do.

    Attributes:
        blocks: Trained blocks in ascending order.
        n_blocks: L.
        parts: Names and unique parameters of the model's parts.
        tail: Whether the final norm trains.
        head: Whether the head trains. A tied head is untied first: it gets weights of its own.
    """

    blocks: tuple[int, ...]
    n_blocks: int
    parts: Parts = field(repr=False)
    tail: bool = True
    head: bool = False

    def __post_init__(self) -> None:
        """Check the blocks.

        Raises:
            ScopeError: If there are no blocks, one lies outside 1…L, or they are not ascending.
        """
        if not self.blocks:
            raise ScopeError("The scope has no block, so nothing would train; pass at least one block.")
        outside = [b for b in self.blocks if not (checks.is_whole(b) and 1 <= b <= self.n_blocks)]
        if outside:
            raise ScopeError(f"Blocks {outside} do not exist; pass whole numbers from 1 to {self.n_blocks}.")
        if any(a >= b for a, b in pairwise(self.blocks)):
            raise ScopeError(f"blocks={self.blocks} are not ascending and distinct; pass each block once, in order.")
        # numpy's numbers cannot be written into a run's file.
        object.__setattr__(self, "blocks", tuple(map(int, self.blocks)))

    @classmethod
    def of(
        cls, model: LanguageModel, blocks: Iterable[int], *, tail: bool = True, head: bool = False, untie: bool = False
    ) -> Scope:
        """Any set of blocks of a model.

        Args:
            model: A loaded model.
            blocks: Blocks that train, in any order.
            tail: Train the final norm.
            head: Train the head.
            untie: Allow a head that is tied to the embeddings to get weights of its own, and train those.

        Raises:
            ScopeError: If a block does not exist, or the head is tied and may not be untied.
        """
        return cls._of(_check_model(model), blocks, tail=tail, head=head, untie=untie)

    @classmethod
    def _of(
        cls, model: LanguageModel, blocks: Iterable[int], *, tail: bool = True, head: bool = False, untie: bool = False
    ) -> Scope:
        """Do what `of` does, with a checked model."""
        parts = model.parts
        if head and parts.tied_head and not untie:
            raise ScopeError(
                "The head is tied to the embeddings, so training it would change what enters block 1. Pass head=False, "
                f"or untie=True to give it weights of its own ({formats.si(parts.tied_head)} more parameters)."
            )
        listed = checks.as_list("blocks", blocks, "a list of blocks, such as [3]", error=ScopeError)
        numbers = {
            checks.whole_number(f"blocks[{i}]", b, minimum=1, maximum=model.n_blocks, error=ScopeError)
            for i, b in enumerate(listed)
        }
        return cls(tuple(sorted(numbers)), model.n_blocks, parts, tail=tail, head=head)

    @classmethod
    def above(
        cls, model: LanguageModel, boundary: int, *, tail: bool = True, head: bool = False, untie: bool = False
    ) -> Scope:
        """The suffix above a boundary: blocks 1…k frozen, k+1…L trained.

        Args:
            model: The model.
            boundary: k, from 0 (all blocks train) to L−1 (the last one does).
            tail: Whether the final norm trains too.
            head: Whether the head trains too.
            untie: Give a head that is tied to the embeddings weights of its own.

        Raises:
            ScopeError: If the boundary lies outside 0…L−1, or as in `of`.
        """
        most = _check_model(model).n_blocks - 1
        boundary = checks.whole_number("boundary", boundary, maximum=most, error=ScopeError)
        return cls._of(model, _above(model, boundary), tail=tail, head=head, untie=untie)

    @classmethod
    def full(cls, model: LanguageModel) -> Scope:
        """All blocks."""
        return cls.above(model, 0)

    @classmethod
    def half(cls, model: LanguageModel) -> Scope:
        """The upper half of the blocks: `freeze the bottom half` is the baseline to beat."""
        return cls._of(model, _above(model, _check_model(model).n_blocks // 2))

    @classmethod
    def last(cls, model: LanguageModel) -> Scope:
        """The last block only."""
        return cls._of(model, [_check_model(model).n_blocks])

    @classmethod
    def suffixes(cls, model: LanguageModel) -> list[Scope]:
        """The scope above every boundary 0…L−1."""
        return [cls._of(model, _above(model, k)) for k in range(_check_model(model).n_blocks)]

    @classmethod
    def ranges(cls, model: LanguageModel) -> list[Scope]:
        """Every contiguous range of blocks, L(L+1)/2 of them, for a start × end heatmap."""
        blocks = range(1, _check_model(model).n_blocks + 1)
        return [cls._of(model, range(a, b + 1)) for a in blocks for b in blocks if a <= b]

    @property
    def boundary(self) -> int:
        """k, the number of frozen blocks below the lowest trained one."""
        return self.blocks[0] - 1

    @property
    def is_range(self) -> bool:
        """Whether the blocks are contiguous."""
        return len(self.blocks) == self.blocks[-1] - self.boundary

    @property
    def is_suffix(self) -> bool:
        """Whether the scope is all blocks above a boundary, with the final norm and without the head."""
        return self.is_range and self.blocks[-1] == self.n_blocks and self.tail and not self.head

    @property
    def trainable(self) -> int:
        """Unique parameters that train."""
        blocks = sum(self.parts.blocks[b - 1] for b in self.blocks)
        head = (self.parts.tied_head or self.parts.head) if self.head else 0
        return blocks + head + (self.parts.tail if self.tail else 0)

    @property
    def total(self) -> int:
        """Unique parameters of the model, an untied head's own among them."""
        return self.parts.total + (self.parts.tied_head if self.head else 0)

    @property
    def share(self) -> float:
        """Trained share of the model's parameters, in [0, 1]."""
        return self.trainable / self.total

    @property
    def frozen_share(self) -> float:
        """Share of the model's blocks that do not train, in [0, 1)."""
        return 1 - len(self.blocks) / self.n_blocks

    @property
    def label(self) -> str:
        """`blocks 5–8 of 8`; gaps are shown, and so is a tail or head that differs from the default."""
        runs: list[list[int]] = []
        for block in self.blocks:
            if runs and block == runs[-1][1] + 1:
                runs[-1][1] = block
            else:
                runs.append([block, block])
        parts = ", ".join(f"{a}–{b}" if a < b else f"{a}" for a, b in runs)
        extra = ("" if self.tail else ", norm frozen") + (" and the head" if self.head else "")
        return f"block{'s' if len(self.blocks) > 1 else ''} {parts} of {self.n_blocks}{extra}"

    def module_names(self, names: Names | None = None) -> list[str]:
        """Dotted names of the modules that train: in the scope's own model, or in one with these names."""
        names = self.parts.names if names is None else names
        return [*self.block_names(names), *(names.tail if self.tail else ()), *([names.head] if self.head else [])]

    def block_names(self, names: Names | None = None) -> list[str]:
        """The `module_names` of the blocks, in the order of `blocks`."""
        names = self.parts.names if names is None else names
        return [names.blocks[b - 1] for b in self.blocks]

    def modules(self, model: LanguageModel) -> list[nn.Module]:
        """The modules of a model that train under this scope.

        Raises:
            ScopeError: If the scope was made for a model of another depth, or a trained block shares weights with a
                frozen one.
        """
        if _check_model(model).n_blocks != self.n_blocks:
            raise ScopeError(
                f"The scope is for {self.n_blocks} blocks and the model has {model.n_blocks}; pass one of this model."
            )
        anatomy = model.anatomy
        blocks = anatomy.blocks
        trained_blocks = [blocks[b - 1] for b in self.blocks]
        own = {id(p): b for b, block in zip(self.blocks, trained_blocks, strict=True) for p in block.parameters()}
        for number, block in enumerate(blocks, start=1):
            shared = next((own[id(p)] for p in block.parameters() if id(p) in own), None)
            if shared is not None and number not in self.blocks:
                raise ScopeError(
                    f"Block {number} is frozen and block {shared} trains, but they share weights; pass both or neither."
                )
        return [*trained_blocks, *(anatomy.tail if self.tail else ()), *([anatomy.head] if self.head else [])]

    def apply(self, model: LanguageModel) -> AbstractContextManager[nn.Module]:
        """Make this scope trainable on the model itself inside a `with` block, for your own training loop.

        `finetune` does not need it: it trains a copy.

        Returns:
            A context manager that gives the model: only the scope requires gradients, frozen modules are in evaluation
            mode and the trained ones in training mode. On leaving, also by an exception, every flag, mode and weight
            is as before, bit for bit; a tied head that was untied is tied again.

        Raises:
            ScopeError: If the scope was made for a model of another depth, or the model is offloaded.

        Example:
            >>> import semviz as sv
            >>> model = sv.load_model()
            >>> with sv.Scope.last(model).apply(model) as network:
            ...     sum(p.numel() for p in network.parameters() if p.requires_grad)
            198016
        """
        from semviz.lm.trainable import temporarily_trainable

        # A scope of another depth is refused before the model is touched.
        return temporarily_trainable(model, self.modules(model))

    def export(self, trainer: str, *, method: str | None = None, run: MeasuredRun | None = None) -> str:
        """Write a snippet that trains exactly these blocks in another trainer.

        Args:
            trainer: `"transformers"`, `"peft"`, `"trl"`, `"unsloth"`, `"axolotl"`, `"llama-factory"` or `"ms-swift"`.
            method: `"full"` for the blocks' own weights, `"lora"` for adapters on their linear layers (of rank 8, α 16,
                without a run). By default as the run, or else adapters for peft and unsloth and weights for the others.
            run: A run of this scope: its rate, schedule, epochs, batch size and seed, and the rank, α and dropout of
                its adapters, are written down too.

        Raises:
            ScopeError: If the trainer is unknown, or cannot express this; the message says what to pass.
        """
        write = EXPORTS[checks.one_of("trainer", trainer, EXPORTS, error=ScopeError)]
        if method is None and run is None:
            return write(self)
        from semviz.scopes.export_settings import ExportSettings

        settings = ExportSettings.of(method, run)
        if len(inspect.signature(write).parameters) < 2:
            raise ScopeError(f'The export "{trainer}" takes neither method= nor run=; leave them out.')
        return write(self, settings)

    def frame(self) -> pd.DataFrame:
        """One row per block: block, trained, parameters."""
        import pandas as pd

        blocks = range(1, self.n_blocks + 1)
        trained = [b in self.blocks for b in blocks]
        return pd.DataFrame({"block": blocks, "trained": trained, "parameters": self.parts.blocks})

    def __repr__(self) -> str:
        """One line: blocks and parameters."""
        count = f"{formats.si(self.trainable)} of {formats.si(self.total)} parameters"
        return f"Scope({self.label}: {count}, {formats.percent(self.share)})"

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.frame())


def check_scope(name: str, scope: Any) -> Scope:
    """Refuse what is not a `Scope`.

    Raises:
        ScopeError: If it is something else.
    """
    if not isinstance(scope, Scope):
        raise ScopeError(
            f"{checks.named_repr(name, scope)} is not a scope; pass Scope.above(model, k), gain.scope() or the like."
        )
    return scope


def _above(model: LanguageModel, boundary: int) -> range:
    return range(boundary + 1, model.n_blocks + 1)


def _check_model(model: LanguageModel) -> LanguageModel:
    # Imported here, so that scopes of stored runs load without torch.
    from semviz.lm.model import check_model

    return check_model(model)
