"""A model that starts at a boundary: its frozen blocks are removed, and a cached state is passed in instead.

Everything else stays the model's own code: masks, rotary angles, the final norm, the scaling of logits. So only
the state and the attention mask have to be cached.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from semviz.lm.copies import private_copy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from semviz.lm.anatomy import Anatomy
    from semviz.lm.model import LanguageModel


class PassThrough(nn.Module):
    """Takes the place of a frozen block: returns its input, or the cached state."""

    def __init__(self, block: nn.Module, *, outputs: int) -> None:
        super().__init__()
        # Model code reads plain attributes of its blocks, such as the kind of attention.
        self.__dict__.update({k: v for k, v in vars(block).items() if _is_plain(k, v)})
        self.outputs = outputs
        self.states: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the state in the form of the block's output, without running the block."""
        states = self.states
        if states is None:
            states = args[0] if args else kwargs["hidden_states"]
        return (states, *[None] * (self.outputs - 1)) if self.outputs else states


def _is_plain(key: str, value: Any) -> bool:
    """Whether an attribute says what a block is, and not what it does: a forward set on it would run the block."""
    return not key.startswith("_") and key != "training" and not callable(value)


def replace_prefix(network: nn.Module, anatomy: Anatomy, boundary: int) -> PassThrough:
    """Replace blocks 1…k of a private copy, k ≥ 1, and return the module at the boundary, whose `states` are set."""
    for name in anatomy.block_names[:boundary]:
        parent, _, index = name.rpartition(".")
        blocks: Any = network.get_submodule(parent)
        blocks[int(index)] = PassThrough(blocks[int(index)], outputs=anatomy.outputs)
    entry = network.get_submodule(anatomy.block_names[boundary - 1])
    assert isinstance(entry, PassThrough)
    return entry


def with_network(model: LanguageModel, network: PreTrainedModel) -> LanguageModel:
    """Return the model with the parts of a private copy; nothing is proven again."""
    anatomy, names = model.anatomy, {id(m): name for name, m in model.anatomy.model.named_modules()}
    copied_anatomy = replace(
        anatomy,
        model=network,
        body=network.get_submodule(names[id(anatomy.body)]),
        tail=tuple(network.get_submodule(names[id(m)]) for m in anatomy.tail),
        head=network.get_submodule(names[id(anatomy.head)]),
    )
    return replace(model, model=network, anatomy=copied_anatomy)


def without_prefix(model: LanguageModel, boundary: int) -> tuple[LanguageModel, PassThrough]:
    """Return the model without blocks 1…k, sharing all its weights, and the module that takes states of space k."""
    network = private_copy(model)
    entry = replace_prefix(network, model.anatomy, boundary)
    return with_network(model, network), entry
