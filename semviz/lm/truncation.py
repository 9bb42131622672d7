"""A model that starts at a boundary: its frozen blocks are taken out, and a kept state goes in instead.

Everything else stays the model's own code: masks, rotary angles, the final norm, the scaling of logits. That is why a
state and the attention mask are all that has to be kept.
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
    """Stands where a frozen block was: hands on its input, or the kept state."""

    def __init__(self, block: nn.Module, *, outputs: int) -> None:
        super().__init__()
        # Model code reads plain attributes of its blocks, such as the kind of attention.
        self.__dict__.update({k: v for k, v in vars(block).items() if not k.startswith("_") and k != "training"})
        self.outputs = outputs
        self.states: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the block would, without running it."""
        states = self.states
        if states is None:
            states = args[0] if args else kwargs["hidden_states"]
        return (states, *[None] * (self.outputs - 1)) if self.outputs else states


def take_out(network: nn.Module, anatomy: Anatomy, boundary: int) -> PassThrough:
    """Replace blocks 1…k of a private copy, k ≥ 1; returns the one at the boundary, whose `states` go in."""
    for name in anatomy.block_names[:boundary]:
        parent, _, index = name.rpartition(".")
        blocks: Any = network.get_submodule(parent)
        blocks[int(index)] = PassThrough(blocks[int(index)], outputs=anatomy.outputs)
    entry = network.get_submodule(anatomy.block_names[boundary - 1])
    assert isinstance(entry, PassThrough)
    return entry


def moved(model: LanguageModel, network: PreTrainedModel) -> LanguageModel:
    """The same model with the parts of a private copy; nothing is proven again."""
    anatomy, names = model.anatomy, {id(m): name for name, m in model.anatomy.model.named_modules()}
    there = replace(
        anatomy,
        model=network,
        body=network.get_submodule(names[id(anatomy.body)]),
        tail=tuple(network.get_submodule(names[id(m)]) for m in anatomy.tail),
        head=network.get_submodule(names[id(anatomy.head)]),
    )
    return replace(model, model=network, anatomy=there)


def resumed(model: LanguageModel, boundary: int) -> tuple[LanguageModel, PassThrough]:
    """The model without blocks 1…k, sharing all its weights, and the place where states of space k go in."""
    network = private_copy(model)
    entry = take_out(network, model.anatomy, boundary)
    return moved(model, network), entry
