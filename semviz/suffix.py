"""The trained part of a model as a module of its own, so that the user's model is never touched."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.encoding import NO_TARGET
from semviz.errors import SemvizError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from semviz.models import LanguageModel
    from semviz.scopes import Scope


_HALF = (torch.bfloat16, torch.float16)


def private_copy(model: LanguageModel, trained: list[nn.Module], *, to_train: bool) -> PreTrainedModel:
    """Copy a model so that only the trained modules have weights of their own.

    Frozen weights stay views of the user's tensors and take no memory; trained ones are copied. To be trained, they
    are kept in float32 where the model is in half precision, since small updates vanish there.
    """
    source = model.anatomy.model
    own = {id(p) for module in trained for p in module.parameters()}
    memo: dict[int, Any] = {id(b): b for b in source.buffers()}
    for p in source.parameters():
        if id(p) not in own:
            memo[id(p)] = nn.Parameter(p.detach(), requires_grad=False)
        else:
            data = p.detach().clone()
            data = data.float() if to_train and data.dtype in _HALF else data
            memo[id(p)] = nn.Parameter(data, requires_grad=to_train)
    made = copy.deepcopy(source, memo)
    # Checkpointing is the user's setting for the user's runs; on the copy it would recompute the prefix (and make
    # its input require gradients).
    for module in made.modules():
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = False
    return made


class _Frozen(nn.Module):
    """Stands where a frozen block of a cached prefix was: hands on its input, or the cached state."""

    def __init__(self, block: nn.Module, *, tuple_output: bool) -> None:
        super().__init__()
        # Model code reads plain attributes of its blocks, such as the kind of attention.
        self.__dict__.update({k: v for k, v in vars(block).items() if not k.startswith("_") and k != "training"})
        self.tuple_output = tuple_output
        self.states: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        states = self.states
        if states is None:
            states = args[0] if args else kwargs["hidden_states"]
        return (states, None) if self.tuple_output else states


class _Picked(nn.Module):
    """The head, run at the wanted positions only: most of a batch has no target."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.where: Tensor | None = None

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.head(frames[self.where])
        return logits


class Suffix(nn.Module):
    """A copy of a model in which one scope trains, with or without the frozen prefix cached.

    Called with a batch from `semviz.prefix.Collator`, it returns `{"loss": …, "logits": …}`: the mean cross-entropy in
    nats and the logits at the positions that have a target, shape (n, V).
    """

    def __init__(self, model: LanguageModel, scope: Scope, *, cached: bool) -> None:
        """Copy the model.

        Args:
            model: The user's model; nothing of it is changed.
            scope: The blocks that train.
            cached: Take the state at the boundary from the batch instead of running the prefix.
        """
        super().__init__()
        self.cached = cached and scope.boundary > 0
        anatomy = model.anatomy
        self.network = private_copy(model, scope.modules(model), to_train=True)
        names = [anatomy.block_names[b - 1] for b in scope.blocks]
        self.trained = nn.ModuleList([self.network.get_submodule(name) for name in names])
        self._entry: _Frozen | None = None
        if self.cached:
            for name in anatomy.block_names[: scope.boundary]:
                parent, _, index = name.rpartition(".")
                blocks: Any = self.network.get_submodule(parent)
                self._entry = _Frozen(blocks[int(index)], tuple_output=anatomy.tuple_output)
                blocks[int(index)] = self._entry
        self.head = _Picked(self.network.get_output_embeddings())
        self.network.set_output_embeddings(self.head)
        self._half = model.model.dtype if model.model.dtype in _HALF else None

    def train(self, mode: bool = True) -> Suffix:
        """Switch the trained blocks only: dropout in a frozen block would make its cache one draw of noise."""
        super().train(mode)
        self.network.eval()
        self.trained.train(mode)
        return self

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, targets: Tensor, states: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Run the suffix.

        Args:
            input_ids: Shape (B, T).
            attention_mask: Shape (B, T).
            targets: Shape (B, T), `NO_TARGET` where there is none.
            states: Cached states at the boundary, shape (B, T, d).
        """
        where = targets != NO_TARGET
        with (
            self._carrying(where, states),
            torch.autocast(input_ids.device.type, dtype=self._half, enabled=self._half is not None),
        ):
            logits = self.network(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        logits = logits.float()
        return {"loss": nn.functional.cross_entropy(logits, targets[where]), "logits": logits}

    @contextmanager
    def _carrying(self, where: Tensor, states: Tensor | None) -> Iterator[None]:
        """Hand tensors to the modules that need them, past the model's own signature, and take them back."""
        self.head.where = where
        if self._entry is not None:
            self._entry.states = states
        try:
            yield
        finally:
            self.head.where = None
            if self._entry is not None:
                self._entry.states = None


def add_lora(suffix: Suffix, *, seed: int, rank: int = 8) -> None:
    """Freeze the trained blocks' own weights and put LoRA adapters on their linear layers, through peft.

    Raises:
        SemvizError: If peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise SemvizError('method="lora" needs peft; run: pip install "semviz[peft]".') from error
    names = {id(module): name for name, module in suffix.network.named_modules()}
    targets = [names[id(m)] for block in suffix.trained for m in block.modules() if isinstance(m, nn.Linear)]
    suffix.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
        inject_adapter_in_model(config, suffix.network)


def trained_weights(suffix: Suffix, model: LanguageModel, scope: Scope) -> dict[str, Tensor]:
    """Trained tensors by their name in the model, on the CPU."""
    own = {id(p) for module in scope.modules(model) for p in module.parameters()}
    names = [name for name, p in model.anatomy.model.named_parameters() if id(p) in own]
    return {name: suffix.network.get_parameter(name).detach().to("cpu", copy=True) for name in names}
