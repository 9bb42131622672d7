"""A causal LM's parts, found by structure and proven by the model's own logits.

Blocks 1…L, spaces 0…L (space 0 is the input of block 1, space ℓ the output of block ℓ before the final norm),
the *tail* (what the model itself runs between its last block and its head) and the *head*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Config entries by which model families scale their logits. Some multiply and some divide under similar names, so
# both directions are tried and the model's own logits decide.
_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier_scale")
_SOFTCAPS = ("final_logit_softcapping",)
_PROBE_TOKENS = 8


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of one causal LM that a trace reads and a finetune trains.

    Attributes:
        model: The model itself, a `transformers.PreTrainedModel` with a language-modelling head.
        block_names: Dotted module names of blocks 1…L.
        tail: Modules between the last block and the head, in calling order.
        head: The output projection, weight of shape (V, d).
        scale: Factor on the head's output.
        softcap: Bound of the logits, `softcap · tanh(logits / softcap)`, or None.
        tuple_output: Whether blocks return a tuple whose first item is the state.
        error: Largest |readout − logits| seen in the proof, relative to the logits' own size.
    """

    model: PreTrainedModel
    block_names: tuple[str, ...]
    tail: tuple[nn.Module, ...]
    head: nn.Module
    scale: float = 1.0
    softcap: float | None = None
    tuple_output: bool = False
    error: float = field(default=math.nan)

    @property
    def blocks(self) -> list[nn.Module]:
        """Blocks 1…L in order."""
        return [self.model.get_submodule(name) for name in self.block_names]

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks; there are L+1 spaces."""
        return len(self.block_names)

    @property
    def head_weight(self) -> Tensor:
        """The head's weight, shape (V, d)."""
        return self.head.weight  # type: ignore[return-value]

    def output_frame(self, states: Tensor) -> Tensor:
        """Carry states of any space into the frame that the head reads: tail(h).

        Args:
            states: Block inputs or outputs, shape (…, d).

        Returns:
            Shape (…, d'), where d' is the head's input width.
        """
        states = states.to(self.head_weight.device)
        for module in self.tail:
            states = module(states)
        return states

    def project(self, frames: Tensor, ids: Tensor | None = None) -> Tensor:
        """Logits of states that are already in the output frame: softcap(scale · head(f)).

        Args:
            frames: Shape (…, d').
            ids: Vocabulary ids of shape (C,) to restrict the head to; all V without it.

        Returns:
            float32 logits, shape (…, V) or (…, C).
        """
        if ids is None:
            logits = self.head(frames)
        else:
            bias = getattr(self.head, "bias", None)
            logits = nn.functional.linear(frames, self.head_weight[ids], None if bias is None else bias[ids])
        logits = logits.float() * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def readout(self, states: Tensor) -> Tensor:
        """Logits that the model would give if its last block had returned these states, float32, shape (…, V)."""
        return self.project(self.output_frame(states))

    @contextmanager
    def tap(self, on_space: Callable[[int, Tensor], None]) -> Iterator[None]:
        """Call `on_space(ℓ, h_ℓ)` for every space of every forward pass inside the `with` block.

        States arrive as the model computes them, shape (batch, tokens, d), on the block's own device, and are not
        kept. The hooks come off on leaving, also after an exception.
        """

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            on_space(0, args[0] if args else kwargs["hidden_states"])

        def after(space: int) -> Callable[..., None]:
            return lambda _module, _args, output: on_space(space, output[0] if isinstance(output, tuple) else output)

        blocks = self.blocks
        handles = [blocks[0].register_forward_pre_hook(before, with_kwargs=True)]
        try:
            handles += [block.register_forward_hook(after(i)) for i, block in enumerate(blocks, start=1)]
            yield
        finally:
            for handle in handles:
                handle.remove()


def find_anatomy(model: PreTrainedModel, *, layers: str | None = None) -> Anatomy:
    """Find a causal LM's blocks, tail and head, and prove them on one short forward pass.

    Args:
        model: A `transformers` causal LM (PEFT wrappers are looked through).
        layers: Dotted name of the `ModuleList` of blocks, for models where several could be meant.

    Raises:
        ModelError: If the model is an encoder-decoder or has no head, if its blocks cannot be told, or if the
            readout of its last block's output does not equal its logits (1e-3 in float32, 3e-2 in half precision).
    """
    if getattr(model, "get_base_model", None) is not None and hasattr(model, "peft_config"):
        model = model.get_base_model()
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{type(model).__name__} is an encoder-decoder model; semviz traces causal LMs. "
            "Pass a decoder-only model, for example one that AutoModelForCausalLM loads."
        )
    head = model.get_output_embeddings()
    if head is None or not hasattr(head, "weight"):
        raise ModelError(
            f"{type(model).__name__} has no language-modelling head; load it with AutoModelForCausalLM, not AutoModel."
        )
    names = _block_names(model, layers)
    return _prove(model, names, head)


def _block_names(model: PreTrainedModel, layers: str | None) -> tuple[str, ...]:
    """Dotted names of the blocks: the shallowest list of layers in the decoder, by length where there are several."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    modules = dict(model.named_modules())
    if layers is not None:
        if not isinstance(modules.get(layers), nn.ModuleList):
            raise ModelError(
                f"layers={layers!r} is no ModuleList of this model; pass one of {_lists(modules)} or leave it out."
            )
        return tuple(f"{layers}.{i}" for i in range(len(modules[layers])))

    split = set(getattr(model, "_no_split_modules", None) or ())
    decoder = model.get_decoder()
    inside = {id(module) for module in decoder.modules()}
    candidates = {
        name: module
        for name, module in modules.items()
        if isinstance(module, nn.ModuleList)
        and len(module)
        and id(module) in inside
        and all(isinstance(m, GradientCheckpointingLayer) or type(m).__name__ in split for m in module)
    }
    if len(candidates) > 1:
        depth = min(name.count(".") for name in candidates)
        candidates = {name: module for name, module in candidates.items() if name.count(".") == depth}
    if len(candidates) > 1:
        wanted = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
        candidates = {name: m for name, m in candidates.items() if len(m) == wanted} or candidates
    if len(candidates) != 1:
        raise ModelError(
            f"Cannot tell which modules of {type(model).__name__} are its blocks; "
            f"pass layers= with one of {_lists(modules)}."
        )
    (name, found), *_ = candidates.items()
    return tuple(f"{name}.{i}" for i in range(len(found)))


def _lists(modules: dict[str, nn.Module]) -> list[str]:
    """Every list of modules, as a reader of an error message would look for it."""
    return [f"{name} ({len(m)})" for name, m in modules.items() if isinstance(m, nn.ModuleList)]


@torch.no_grad()
def _prove(model: PreTrainedModel, names: tuple[str, ...], head: nn.Module) -> Anatomy:
    """Watch one forward pass: which modules run after the last block, and do they explain the logits."""
    last = model.get_submodule(names[-1])
    tail: list[nn.Module] = []
    running: list[nn.Module] = []  # the outermost module of the tail that is being run now, if any
    seen: dict[str, Any] = {}

    def enter(module: nn.Module, _args: Any) -> None:
        if module is head:
            seen["head"] = True
        if "state" not in seen or "head" in seen or running:
            return
        tail.append(module)
        running.append(module)

    def leave(module: nn.Module, _args: Any, output: Any) -> None:
        if module is last:
            seen["state"] = output[0] if isinstance(output, tuple) else output
            seen["tuple"] = isinstance(output, tuple)
        elif running and running[-1] is module:
            running.pop()

    size = min(head.weight.shape[0], model.get_input_embeddings().weight.shape[0])  # type: ignore[index]
    ids = torch.arange(1, _PROBE_TOKENS + 1, device=model.device).remainder(size).unsqueeze(0)
    training = model.training
    handles = []
    try:
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
        model.eval()
        logits = model(input_ids=ids, use_cache=False).logits.float()
    except Exception as error:
        raise ModelError(
            f"A probe of {_PROBE_TOKENS} tokens through {type(model).__name__} failed: {error}. "
            "Pass a causal LM that runs on input_ids alone."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    if "state" not in seen:
        raise ModelError(f"{names[-1]} never ran in a forward pass; pass layers= with the list of the model's blocks.")

    config = model.config.get_text_config(decoder=True)
    values = [float(v) for key in _SCALES if (v := getattr(config, key, None)) not in (None, 0, 0.0)]
    scales = [1.0, *(s for v in values for s in (v, 1 / v))]
    softcaps = [None, *(float(c) for key in _SOFTCAPS if (c := getattr(config, key, None)))]
    tolerance = 1e-3 if model.dtype == torch.float32 else 3e-2
    best: Anatomy | None = None
    for scale in scales:
        for softcap in softcaps:
            anatomy = Anatomy(model, names, tuple(tail), head, scale, softcap, seen["tuple"])
            difference = (anatomy.readout(seen["state"]) - logits.to(head.weight.device)).abs().max()
            gap = float(difference / logits.abs().max().clamp_min(1e-6))
            if best is None or gap < best.error:
                best = Anatomy(model, names, tuple(tail), head, scale, softcap, seen["tuple"], gap)
    assert best is not None  # scales and softcaps are never empty
    if not best.error <= tolerance:
        raise ModelError(
            f"The readout of {type(model).__name__}'s last block differs from its logits by {best.error:.2g} of their "
            f"size (allowed {tolerance:g}), so a trace would misread it. Tail found: "
            f"{[type(m).__name__ for m in tail]}. If other blocks are meant, pass layers=."
        )
    return best
