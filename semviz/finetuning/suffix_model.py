"""The trained part of a model as a module of its own, which Hugging Face Trainer trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.common.errors import ScopeError, SemvizError
from semviz.finetuning.isolation_check import check_isolation
from semviz.lm.block_parts import PARTS, check_parts, modules_of_parts, parameters_of
from semviz.lm.callables import find_extras
from semviz.lm.copies import HALF, private_copy
from semviz.lm.copy_proof import Probe, copy_error, default_probe, tolerance
from semviz.lm.global_hooks import any_global_hooks, unseen_by_global_hooks
from semviz.lm.position_state import PositionState
from semviz.lm.quantization import first_quantised
from semviz.lm.readout_proof import input_state
from semviz.lm.shards import whole
from semviz.lm.truncation import replace_prefix
from semviz.tasks.neighbours import Reading, groups
from semviz.tasks.tokenizing import NO_TARGET

if TYPE_CHECKING:
    from semviz.common.training_methods import TrainingMethod
    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope


class _HeadAtTargets(nn.Module):
    """The head, run only where there is a target: most positions of a batch have none."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.has_target: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        """Answer as the head itself, whose weight some models read."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("head"), name)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.head(frames[self.has_target])
        return logits


class Suffix(nn.Module):
    """A copy of a model in which one scope trains, with or without the frozen prefix cached.

    Called with a batch from `prefix_cache.Collator`, it returns `{"loss": …, "logits": …}`: the mean cross-entropy in
    nats and the logits at the positions that have a target, shape (n, V).

    Attributes:
        network: The copy.
        trained: Its trained blocks.
        cached: Whether the state at the boundary is taken from the batch.
        trainable_parameters: What trains, each once: the scope's own parameters or the adapters in its blocks.
        is_sharded: Whether FSDP has cut what trains, so that each process keeps a share of it.
        mixed_dtype: What a model in full precision computes in, where Trainer does not see to that.
        label_smoothing: Share of each training target that is spread over the vocabulary.
        n_correct, n_targets: Targets ranked first, and all targets, in the training batches since `take_hits`.
    """

    accepts_loss_kwargs = True  # tells Trainer to count targets over all the batches of a step

    def __init__(
        self,
        model: LanguageModel,
        scope: Scope,
        *,
        cached: bool,
        own_weights: bool = True,
        parts: Sequence[str] | None = None,
        reading: Reading = Reading.TOGETHER,
        probe: Probe | None = None,
    ) -> None:
        """Copy the model.

        Args:
            model: The user's model; nothing of it is changed.
            scope: The blocks that train.
            cached: Take the state at the boundary from the batch instead of running the prefix.
            own_weights: Give the scope's modules weights of their own; adapters do not need them.
            parts: Which parts of the blocks train, of `semviz.lm.block_parts.PARTS`; all of them by default.
            reading: Which rows may be read together.
            probe: Some of the texts, on which the copy is compared with the model if hooks or adapters are on it.
        """
        super().__init__()
        self.cached = cached and scope.boundary > 0
        anatomy = model.anatomy
        if parts is not None:
            check_parts(anatomy, scope.blocks, parts, scope.label)
        self.network = private_copy(
            model, scope.modules(model), own_weights=own_weights, parts=parts, to_train=True, probe=probe
        )
        # Those that change numbers are part of the model.
        self._unseen = any_global_hooks() and copy_error(
            model, self.network, probe or default_probe(model)
        ) <= tolerance(model)
        self.trained = nn.ModuleList(self.network.get_submodule(name) for name in scope.block_names(model.parts.names))
        self._entry = replace_prefix(self.network, anatomy, scope.boundary) if self.cached else None
        self._boundary = scope.boundary
        self.trained[0].register_forward_pre_hook(self._refuse_leak, with_kwargs=True)
        # The modules that a method may change. Without weights of their own these are the blocks, which get adapters;
        # norm and head, which come last, stay as they are.
        names = scope.module_names(model.parts.names)
        self._module_names = names if own_weights else names[: len(scope.blocks)]
        self._parts, self._n_blocks = parts, len(scope.blocks)
        own = self._modules_that_train() if own_weights and parts is not None else []
        entire = self._module_names if own_weights and parts is None else []
        self.trainable_parameters = _distinct(
            [p for module in own for p in module.parameters(recurse=False)]
            + [p for name in entire for p in self.network.get_submodule(name).parameters()]
        )
        if own:  # merged adapters of the user's train elsewhere in these modules
            self.network.requires_grad_(False)
            for p in self.trainable_parameters:
                p.requires_grad_(True)
        # By name, since not every model supports set_output_embeddings.
        parent, _, leaf = model.parts.names.head.rpartition(".")
        self.head = _HeadAtTargets(self.network.get_submodule(model.parts.names.head))
        setattr(self.network.get_submodule(parent), leaf, self.head)
        self._dtype = model.model.dtype
        self._half_dtype = model.model.dtype if model.model.dtype in HALF else None
        self.is_sharded = False
        self.mixed_dtype: torch.dtype | None = None
        self.label_smoothing = 0.0
        self.n_correct: Tensor | int = 0
        self.n_targets = 0
        # Not modules' own registries: nothing of the user's is a parameter of this module.
        self._is_patched = any_global_hooks() or any(extra.optional for extra in find_extras(anatomy.model))
        self._users = dict(model.anatomy.model.named_parameters())
        self._proven: set[int] = set()
        self._reading = reading
        self._positions = PositionState(self.network)
        # A new module is in training mode: the frozen part must not be.
        self.train(False)

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """What several processes must not overwrite in each other: everything that is the user's own."""
        own = {id(p) for p in self.trainable_parameters}
        frozen = [name for name, p in self.named_parameters(remove_duplicate=False) if id(p) not in own]
        return [*frozen, *(name for name, _ in self.named_buffers(remove_duplicate=False))]

    def train(self, mode: bool = True) -> Suffix:
        """Switch the trained blocks only: dropout in a frozen block would freeze one random draw into its cache."""
        if mode != self.training or mode != self.trained.training:
            super().train(mode)
            self.network.eval()
            self.trained.train(mode)
        return self

    def prepare(self, method: TrainingMethod, *, seed: int) -> None:
        """Let a training method choose what trains.

        Args:
            method: The method; the suffix has weights of its own where these train.
            seed: Seed of the first weights of what it adds.

        Raises:
            SemvizError: If the method finds nothing to train, or cannot be used with this model.
        """
        if method.prepare is None:
            return
        modules = [self._module(name) for name in self._module_names]
        modules = modules if self._parts is None else self._modules_that_train()
        of_parts = None if self._parts is None else {id(p) for p in self.trainable_parameters}
        parameters = _distinct(method.prepare(self.network, modules, seed))
        if of_parts and method.own_weights:
            parameters = [p for p in parameters if id(p) in of_parts]
        if not parameters:
            raise SemvizError(
                f'method="{method.key}" finds nothing to train in the blocks of this scope; pass method="full".'
            )
        self.requires_grad_(False)
        for p in parameters:
            p.requires_grad_(True)
        self.trainable_parameters = parameters

    def _modules_that_train(self) -> list[nn.Module]:
        """The modules of the scope whose own parameters are of its parts; those outside of the blocks train whole."""
        modules = [self._module(name) for name in self._module_names]
        parts = self._parts or PARTS
        inside = [owner for block in modules[: self._n_blocks] for owner in modules_of_parts(block, parts)]
        beyond = parts if "norm" in parts else PARTS
        return inside + [owner for other in modules[self._n_blocks :] for owner in modules_of_parts(other, beyond)]

    def checkpoint(self) -> None:
        """Recompute the trained blocks' activations in the backward pass instead of keeping them."""
        network: Any = self.network
        enable = getattr(network, "activation_checkpointing_enable", network.gradient_checkpointing_enable)
        # The variant that does not need an input with gradients: a cached state has none.
        enable({"use_reentrant": False})
        network.disable_input_require_grads()
        inside = {id(m) for m in self.trained.modules()}
        for module in network.modules():
            if id(module) not in inside and hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = False

    def add_noise(self, alpha: float) -> None:
        """Add noise to the embeddings while training, uniform in ±α/√(T·d) (NEFTune, arXiv 2310.05914).

        Raises:
            SemvizError: If the state at the boundary is cached: it was computed without noise.
        """
        if self.cached:
            raise SemvizError("neftune_noise_alpha needs the embeddings, and the prefix is cached; pass cache=False.")

        def noisy(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            if not self.training:
                return output
            bound = alpha / math.sqrt(output.shape[1] * output.shape[2])
            return output + torch.zeros_like(output).uniform_(-bound, bound)

        self.network.get_input_embeddings().register_forward_hook(noisy)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, unseen by hooks that record what all modules of the process do."""
        with unseen_by_global_hooks(self) if self._unseen else nullcontext():
            return super().__call__(*args, **kwargs)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        states: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> dict[str, Tensor]:
        """Run the suffix.

        Args:
            input_ids: Shape (B, T).
            attention_mask: Shape (B, T).
            labels: The target of each position, shape (B, T), `NO_TARGET` where there is none; not shifted further.
            states: Cached states at the boundary, shape (B, T, d).
            num_items_in_batch: Targets in all batches of one step, if several are accumulated.
        """
        has_target = labels != NO_TARGET
        with self._precision(input_ids.device):
            logits = self._logits(input_ids, attention_mask, has_target, states)
        targets = labels[has_target]
        smoothing = self.label_smoothing if self.training else 0.0
        loss = nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
        if self.training:
            self._check_gradients(loss, lambda: self._logits(input_ids, attention_mask, has_target, states))
            # Kept on the device: reading the number would synchronize the GPU at every step.
            self.n_correct = self.n_correct + (logits.detach().argmax(-1) == targets).sum()
            self.n_targets += len(targets)
        return {"loss": loss / (len(logits) if num_items_in_batch is None else num_items_in_batch), "logits": logits}

    def _logits(self, input_ids: Tensor, attention_mask: Tensor, has_target: Tensor, states: Tensor | None) -> Tensor:
        """Return the logits at the targets, in their order in the batch, float32, shape (n, V)."""
        if self._reading is Reading.TOGETHER:
            with self._passing(has_target, states):
                logits = self.network(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
            return logits.float()
        lengths = attention_mask.sum(1)
        places = torch.arange(has_target.numel(), device=has_target.device).view_as(has_target)
        parts: list[Tensor] = []
        at: list[Tensor] = []
        for rows in groups(lengths, self._reading):
            length = int(lengths[rows].max())
            ids, mask, wanted = (x[rows, :length] for x in (input_ids, attention_mask, has_target))
            self._positions.restart()
            with self._passing(wanted, None if states is None else states[rows, :length]):
                parts.append(self.network(input_ids=ids, attention_mask=mask, use_cache=False).logits)
            at.append(places[rows, :length][wanted])
        return torch.cat(parts).float()[torch.cat(at).argsort()]

    def _check_gradients(self, loss: Tensor, again: Callable[[], Any]) -> None:
        """Check what the backward pass will change, whenever it may be something else than before.

        Raises:
            SemvizError: If that is not exactly what is meant to train, or if the model's numbers are not finite.
        """
        active = {id(p) for p in self.trainable_parameters if p.requires_grad}
        if active <= self._proven or not torch.is_grad_enabled():
            return
        if not self._proven and not torch.isfinite(loss):
            half = self._half_dtype is not None
            instead = 'load the model with dtype="float32"' if half else "the model's weights are damaged"
            dtype = str(self._dtype).removeprefix("torch.")
            raise SemvizError(f"The loss is not finite before the first step, in {dtype}; {instead}.")
        own = {name: p for name, p in self.named_parameters() if id(p) in active}
        # A shard is no leaf of the graph: the whole tensor that was gathered for this pass is.
        if not self.is_sharded:
            check_isolation(
                loss, own, self._users, again, copied=self.network.parameters(), is_patched=self._is_patched
            )
        self._proven |= active

    def take_hits(self) -> tuple[float, int]:
        """Return how many targets were ranked first since the last call, each before its batch's step, of how many."""
        hits = float(self.n_correct), self.n_targets
        self.n_correct, self.n_targets = 0, 0
        return hits

    def weights(self, method: TrainingMethod) -> dict[str, Tensor]:
        """Return the scope's current tensors by their name in the model, on the CPU, with adapters merged in.

        Those of adapters themselves where the scope has quantised weights, which merging would round anew.
        """
        tensors: dict[str, Tensor] = {}
        if self.stays_unmerged:
            trained = {id(p) for p in self.trainable_parameters}
            named = self.network.named_parameters()
            return {name: whole(p.detach()).to("cpu", copy=True) for name, p in named if id(p) in trained}
        for i, name in enumerate(self._module_names):
            module = self._module(name)
            module = module if method.merged is None else method.merged(module)
            parts = self._parts if i < self._n_blocks or "norm" in (self._parts or ()) else None
            kept = {id(p) for p in parameters_of(module, parts)}
            named = ((inner, p) for inner, p in module.named_parameters() if id(p) in kept)
            tensors |= {f"{name}.{inner}": whole(p.detach()).to("cpu", copy=True) for inner, p in named}
        return tensors

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over what `weights` returned; the suffix has weights of its own.

        Raises:
            SemvizError: If they are not of this model.
        """
        own = {
            f"{name}.{inner}": p for name in self._module_names for inner, p in self._module(name).named_parameters()
        }
        for name, value in weights.items():
            if name not in own or own[name].shape != value.shape:
                raise SemvizError(
                    f"The model has no weight {name} of shape {tuple(value.shape)}; pass the one that the run was made "
                    "with."
                )
            own[name].copy_(value)

    @property
    def stays_unmerged(self) -> bool:
        """Whether adapters stay beside quantised weights."""
        return bool(first_quantised(self._module(name) for name in self._module_names))

    def _module(self, name: str) -> nn.Module:
        module = self.network.get_submodule(name)
        return module.head if isinstance(module, _HeadAtTargets) else module

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """Compute in the model's half precision, if it has one; otherwise Trainer's own setting holds."""
        dtype = self._half_dtype or self.mixed_dtype
        return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)

    @contextmanager
    def _passing(self, has_target: Tensor, states: Tensor | None) -> Iterator[None]:
        """Hand tensors to the modules that need them, past the model's own signature, and take them back."""
        self.head.has_target = has_target
        if self._entry is not None:
            self._entry.states = states
        try:
            yield
        finally:
            self.head.has_target = None
            if self._entry is not None:
                self._entry.states = None

    def _refuse_leak(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Stop a run whose gradients would flow into the frozen prefix: that is slower, and not what was requested."""
        if self._boundary and input_state(args, kwargs).requires_grad:
            raise ScopeError(
                f"The state that enters block {self._boundary + 1} requires gradients, so they would flow into the "
                "frozen prefix. Remove hooks that call requires_grad_() on the embeddings' output, such as those of "
                "enable_input_require_grads(), from the model."
            )


def _distinct(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Remove duplicates: blocks may share parameters."""
    return list({id(p): p for p in parameters}.values())
