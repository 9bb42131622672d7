"""A causal LM's parts, found by structure and proven by the model's own logits.

Blocks 1…L, spaces 0…L (space 0 is the input of block 1, space ℓ the output of block ℓ before the final norm),
the *tail* (what the model itself runs between its last block and its head) and the *head*.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.common.errors import ModelError
from semviz.common.interrupts import interrupts_held
from semviz.lm.blocks import find_blocks
from semviz.lm.eval_mode import evaluating
from semviz.lm.offloading import check_values, execution_device, weight_rows
from semviz.lm.position_state import fresh_positions
from semviz.lm.prompt_learning import check_no_virtual_tokens
from semviz.lm.readout_proof import Observation, find_body, fit_logits, input_state, observe, output_state, probe_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of one causal LM that a trace reads and a finetune trains.

    Attributes:
        model: The model itself, a `transformers.PreTrainedModel` with a language-modelling head.
        body: The module that runs token ids through all blocks without the head, called with `input_ids`,
            `attention_mask` (padding on the right) and `use_cache=False`.
        block_names: Dotted module names of blocks 1…L.
        tail: Modules between the last block and the head, in calling order.
        head: The output projection, weight of shape (V, d').
        outputs: How many items blocks return, the state first; 0 where they return the state itself.
        entry_scale: Factor on a state before it enters the tail.
        scale: Factor on the head's output.
        softcap: Bound of the logits, `softcap · tanh(logits / softcap)`, or None.
        error: Largest |readout − logits| in the proof, relative to the logits' own size.
    """

    model: PreTrainedModel
    body: nn.Module
    block_names: tuple[str, ...]
    tail: tuple[nn.Module, ...]
    head: nn.Module
    outputs: int
    entry_scale: float = 1.0
    scale: float = 1.0
    softcap: float | None = None
    error: float = math.nan

    @property
    def blocks(self) -> list[nn.Module]:
        """Blocks 1…L in order."""
        return [self.model.get_submodule(name) for name in self.block_names]

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks; there are L+1 spaces."""
        return len(self.block_names)

    @property
    def most_positions(self) -> int:
        """The longest text that the config allows, in tokens."""
        config = self.model.config.get_text_config(decoder=True)
        limits = [getattr(config, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len")]
        return min((int(limit) for limit in limits if limit), default=2**31)

    @property
    def vocabulary(self) -> int:
        """V, the number of rows of the head."""
        return self._head_shape[0]

    @property
    def width(self) -> int:
        """d', the width of the output frame."""
        return self._head_shape[1]

    @property
    def _head_shape(self) -> torch.Size:
        return self.head.weight.shape  # type: ignore[return-value]

    @property
    def head_weight(self) -> Tensor:
        """The head's weight, shape (V, d'), on `head_device`; a copy where accelerate has offloaded it."""
        return weight_rows(self.head)[0]

    @property
    def tied(self) -> bool:
        """Whether the head shares its weight with the input embeddings."""
        embeddings: Any = self.model.get_input_embeddings()
        if self.head.weight is embeddings.weight:
            return True
        if not self.head.weight.is_meta or self.head.weight.shape != embeddings.weight.shape:
            return False
        # Offloading leaves two placeholders of one parameter; a few rows tell them from two parameters.
        rows = torch.arange(min(self.vocabulary, 16), device=self.head_device)
        return torch.equal(weight_rows(self.head, rows)[0], weight_rows(embeddings, rows)[0].to(self.head_device))

    @property
    def head_device(self) -> torch.device:
        """Device of frames and logits."""
        return execution_device(self.head)

    @property
    def input_device(self) -> torch.device:
        """Device of token ids."""
        return execution_device(self.model.get_input_embeddings())

    def output_frame(self, states: Tensor) -> Tensor:
        """Map states of any space into the output frame, which the head reads: tail(h).

        Args:
            states: Block inputs or outputs, shape (…, d).

        Returns:
            Shape (…, d'), where d' is the head's input width, on `head_device`.
        """
        if self.entry_scale != 1.0:
            states = states * self.entry_scale
        for module in self.tail:
            states = module(states)
        return states.to(self.head_device)

    def project(self, frames: Tensor, ids: Tensor | slice | None = None) -> Tensor:
        """Compute the logits of states that are already in the output frame: softcap(scale · head(f)).

        Args:
            frames: Shape (…, d').
            ids: Vocabulary ids of shape (C,), or a slice of the vocabulary, to restrict the head to; all V without it.

        Returns:
            float32 logits, shape (…, V) or (…, C).
        """
        return self.logits_of(self.products(frames, ids))

    def products(self, frames: Tensor, ids: Tensor | slice | None = None) -> Tensor:
        """Compute the head's own products with states in the output frame; arguments and shape as in `project`."""
        # Models whose states and head differ in precision cast here too.
        frames = frames.to(self.head.weight.dtype)  # type: ignore[arg-type]
        products = self.head(frames) if ids is None else nn.functional.linear(frames, *weight_rows(self.head, ids))
        return products.float()

    def logits_of(self, products: Tensor) -> Tensor:
        """The model's logits from the head's products: scaled and softcapped as the model does."""
        logits = products * self.scale if self.scale != 1.0 else products
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def readout(self, states: Tensor) -> Tensor:
        """Return the logits the model would give if its last block had returned these states, float32, shape (…, V)."""
        return self.project(self.output_frame(states))

    @contextmanager
    def tap(self, on_space: Callable[[int, Tensor], None]) -> Iterator[None]:
        """Call `on_space(ℓ, h_ℓ)` for every space of every forward pass inside the `with` block.

        States arrive as the model computes them, shape (batch, tokens, d), on the block's own device, and are not
        kept. The hooks come off on leaving, also after an exception. Passes of other threads are not reported: a
        model may be queried in a notebook while a background job reads it.
        """
        reading_thread = threading.get_ident()

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if threading.get_ident() == reading_thread:
                on_space(0, input_state(args, kwargs))

        def after(space: int) -> Callable[..., None]:
            def hook(_: nn.Module, _args: Any, output: Any) -> None:
                # Nothing is returned, since torch would use it as the block's new output.
                if threading.get_ident() == reading_thread:
                    on_space(space, output_state(output))

            return hook

        blocks = self.blocks
        handles = [blocks[0].register_forward_pre_hook(before, with_kwargs=True)]
        try:
            handles += [block.register_forward_hook(after(i)) for i, block in enumerate(blocks, start=1)]
            yield
        finally:
            for handle in handles:
                handle.remove()


def find_anatomy(model: PreTrainedModel, *, layers: str | None = None) -> Anatomy:
    """Find a causal LM's blocks, tail and head, and prove them on two short forward passes.

    Args:
        model: A `transformers` causal LM (PEFT wrappers are unwrapped).
        layers: Dotted name of the `ModuleList` of blocks, for models with several candidates.

    Raises:
        ModelError: If the model is an encoder-decoder or has no head, if its blocks cannot be identified or do not
            pass on single states in a chain, or if the readout of its last block's output does not equal its logits
            (1e-3 in float32, 3e-2 in half precision).
    """
    wrapper = model
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        check_no_virtual_tokens(model)
        model = model.get_base_model()
    head = _output_head(model)
    names = find_blocks(model, layers)
    # Models with weights that depend on the mode, such as RWKV's, change them in their own forward pass, not when the
    # mode is set; so they are left as any evaluation by the user would leave them.
    with interrupts_held(), torch.no_grad(), evaluating(wrapper), fresh_positions(wrapper):
        embeddings = model.get_input_embeddings()
        ids = probe_ids(min(len(head.weight), len(embeddings.weight)), execution_device(embeddings))
        observation = observe(wrapper, model, names, head, ids)
        body = find_body(model, names, embeddings, observation)
        anatomy = Anatomy(model, body, names, observation.tail, head, observation.outputs, observation.entry_scale)
        return _prove_readout(anatomy, observation)


def _output_head(model: PreTrainedModel) -> Any:
    """Return the output projection of a decoder-only LM."""
    name = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{name} is an encoder-decoder model; semviz traces causal LMs. "
            "Pass a decoder-only model, for example one that AutoModelForCausalLM loads."
        )
    head = model.get_output_embeddings()
    if head is None or not hasattr(head, "weight"):
        raise ModelError(f"{name} has no language-modelling head; load it with AutoModelForCausalLM, not AutoModel.")
    if not isinstance(head.weight, Tensor):  # torch's own int8 layers have a method of this name
        raise ModelError(
            f"The head of {name} is quantised: a {type(head).__name__} of "
            f"{type(head).__module__} and no floating-point "
            "matrix. Leave lm_head out of what is quantised."
        )
    if not head.weight.is_floating_point() or head.weight.ndim != 2:
        raise ModelError(
            f"The head of {name} is not a floating-point matrix but {head.weight.dtype} of shape "
            f"{tuple(head.weight.shape)}; load the model without quantizing its head."
        )
    check_values(head)
    return head


def _prove_readout(anatomy: Anatomy, observation: Observation) -> Anatomy:
    """Return the anatomy with the scale and softcap that explain the model's logits best; refuse it if none does."""
    name, logits = type(anatomy.model).__name__, observation.logits.to(anatomy.head_device)
    tail = [type(module).__name__ for module in anatomy.tail]
    try:
        frames = anatomy.output_frame(observation.tail_input)
        raw = anatomy.project(frames)
    except Exception as error:
        raise ModelError(
            f"The logits of {name} cannot be computed from its last block's state alone: the tail {tail} fails on it "
            f"({error}). If other blocks are meant, pass layers=."
        ) from error

    config = anatomy.model.config.to_dict() | anatomy.model.config.get_text_config(decoder=True).to_dict()
    best = anatomy
    for scale, softcap in fit_logits(raw, logits, config):
        candidate = replace(anatomy, scale=scale, softcap=softcap)
        candidate = replace(candidate, error=_relative_error(candidate.project(frames), logits))
        # At least twice as good, so that rounding does not decide against a softcap that the config names.
        if not candidate.error >= best.error / 2:
            best = candidate
    if not best.error <= observation.tolerance:
        dtype = str(anatomy.head_weight.dtype).removeprefix("torch.")
        overflown = bool(logits.isnan().any() | logits.isposinf().any())
        if overflown and torch.isfinite(observation.tail_input).all() and dtype in ("float16", "bfloat16"):
            raise ModelError(
                f"The logits of {name} are not finite in {dtype}, though the state that its head reads is; load it "
                'with dtype="float32" or "bfloat16".'
            )
        raise ModelError(
            f"The readout of {name}'s last block differs from its logits by {best.error:.2g} of their size (allowed "
            f"{observation.tolerance:g}), so a trace would misread it. Tail found: {tail}. If other blocks are meant, "
            "pass layers=."
        )
    every_third = torch.arange(anatomy.vocabulary, device=anatomy.head_device)[::3]
    if not _relative_error(best.project(frames, every_third), logits[..., every_third]) <= observation.tolerance:
        raise ModelError(
            f"The head of {name} does more than multiply by its weight; if it carries an adapter, merge the adapter "
            "first (merge_and_unload())."
        )
    return best


def _relative_error(logits: Tensor, expected: Tensor) -> float:
    """Return the largest error relative to the largest expected value of the same sample; both of shape (B, T, C)."""
    return float(((logits - expected).abs().amax((1, 2)) / expected.abs().amax((1, 2)).clamp_min(1e-6)).max())
