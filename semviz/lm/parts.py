"""Names and parameter counts of a model's parts, as plain data that outlives the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semviz.common.json_shapes import COUNT, TEXT, ListOf, Record

if TYPE_CHECKING:
    from torch import nn

    from semviz.lm.anatomy import Anatomy


@dataclass(frozen=True)
class Names:
    """Dotted names of a model's parts, as its own `named_modules` gives them.

    Attributes:
        blocks: Names of blocks 1…L, in order.
        tail: Names of the modules between the last block and the head; those without parameters too.
        head: Name of the head.
        linears: Names of the linear layers inside a block, relative to it (`self_attn.q_proj`): every name that occurs
            in some block, in order.
    """

    blocks: tuple[str, ...]
    tail: tuple[str, ...]
    head: str
    linears: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """Parts of a model, every tensor counted once.

    Attributes:
        blocks: Unique parameters of blocks 1…L, in order.
        tail: Unique parameters of what runs between the last block and the head.
        head: Unique parameters of the head; 0 where it is tied to the embeddings.
        embeddings: Unique parameters of all else, which is mostly the embeddings.
        tied_head: Parameters that the head would have if it were untied; 0 where it is not tied.
        names: Dotted names of the parts in the model.
    """

    blocks: tuple[int, ...]
    tail: int
    head: int
    embeddings: int
    tied_head: int
    names: Names

    @property
    def total(self) -> int:
        """All unique parameters of the model."""
        return sum(self.blocks) + self.tail + self.head + self.embeddings

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Parts:
        """Invert `dataclasses.asdict`, also after JSON."""
        names = record["names"]
        lists = {key: tuple(names[key]) for key in ("blocks", "tail", "linears")}
        return cls(**{**record, "blocks": tuple(record["blocks"]), "names": Names(head=names["head"], **lists)})


_NAMES = Record({"blocks": ListOf(TEXT), "tail": ListOf(TEXT), "head": TEXT, "linears": ListOf(TEXT)}, of=Names)
PARTS = Record(
    {
        "blocks": ListOf(COUNT),
        **dict.fromkeys(("tail", "head", "embeddings", "tied_head"), COUNT),
        "names": _NAMES,
    },
    of=Parts,
)
"""What a file holds of `Parts`."""


def parts_of(anatomy: Anatomy) -> Parts:
    """Count the unique parameters of a model's parts; quantised ones as those that they stand for."""
    from semviz.lm.merging import adapter_parameters
    from semviz.lm.quantization import true_counts

    # Adapters are merged wherever a scope trains, so they are no parts of their own.
    counted = adapter_parameters(anatomy.model)

    def count(*modules: nn.Module) -> int:
        fresh = {key: n for m in modules for key, n in true_counts(m).items() if key not in counted}
        counted.update(fresh)
        return sum(fresh.values())

    model = anatomy.model
    blocks = tuple(count(block) for block in anatomy.blocks)
    tail = count(*anatomy.tail)
    tied = anatomy.tied
    head = 0 if tied else count(anatomy.head)
    # Read after `tied`, which loads weights: offloading leaves two placeholders of the one, new ones each time.
    head_weight: Any = anatomy.head.weight
    if tied and head_weight is not getattr(model.get_input_embeddings(), "weight", None):
        counted.add(id(head_weight))
    return Parts(
        blocks=blocks,
        tail=tail,
        head=head,
        embeddings=count(model),
        tied_head=head_weight.numel() if tied else 0,
        names=_part_names(anatomy),
    )


def _part_names(anatomy: Anatomy) -> Names:
    """Return the names in the model itself, not in a PEFT wrapper around it."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    from semviz.lm.merging import adapter_modules, without_adapters
    from semviz.lm.quantization import is_quantised_layer

    adapters = adapter_modules(anatomy.model)
    names = {id(module): without_adapters(name) for name, module in anatomy.model.named_modules()}
    inner = [
        (without_adapters(name), module)
        for block in anatomy.blocks
        for name, module in block.named_modules()
        if id(module) not in adapters
    ]
    return Names(
        blocks=anatomy.block_names,
        tail=tuple(names[id(module)] for module in anatomy.tail),
        head=names[id(anatomy.head)],
        linears=tuple(
            dict.fromkeys(name for name, m in inner if isinstance(m, nn.Linear | Conv1D) or is_quantised_layer(m))
        ),
    )
