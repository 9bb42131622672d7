"""The proof of a readout: one short forward pass of a causal LM, what its blocks pass on, what explains its logits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semviz.common.errors import ModelError
from semviz.lm.quantization import is_rounded

_SAMPLES, _TOKENS = 2, 8
_HALF = {torch.bfloat16, torch.float16}
# Entries of a config that may bound the logits; the model's own logits decide whether they do.
_SOFTCAPS = re.compile(r"^(?!.*(attn|attention|gate|router)).*soft_?cap")


@dataclass(frozen=True, eq=False)
class Observation:
    """What one forward pass of a probe has shown.

    Attributes:
        ids: The probe, shape (B, T).
        state: Output of the last block, shape (B, T, d).
        tail_input: What was passed to the tail: `state`, but the last sample's is replaced by its space 0.
        logits: What the model computed from `tail_input`, float32, shape (B, T, V).
        tail: Outermost modules called after the last block and before the head.
        entry_scale: Factor between the last block and the tail.
        outputs: How many items the last block returns, the state first; 0 where it returns the state itself.
        tolerance: Relative error allowed for the precision of the states and the head.
    """

    ids: Tensor
    state: Tensor
    tail_input: Tensor
    logits: Tensor
    tail: tuple[nn.Module, ...]
    entry_scale: float
    outputs: int
    tolerance: float


def input_state(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the state among a block's inputs."""
    state: Tensor = args[0] if args else kwargs["hidden_states"]
    return state


def output_state(output: Any) -> Tensor:
    """Return the state in a block's output."""
    state: Tensor = output[0] if isinstance(output, tuple | list) else output
    return state


def check_finite(space: int, states: Tensor, mask: Tensor | None = None) -> None:
    """Refuse states that are not finite.

    Args:
        space: Their space.
        states: Shape (B, T, d).
        mask: 1 on tokens and 0 on padding, which may hold anything, shape (B, T); all are tokens without it.

    Raises:
        ModelError: If one is not.
    """
    # One sum is much cheaper than a look at every number, and finite if all of them are (float32 rarely overflows).
    if torch.isfinite(states.sum(dtype=torch.float32)):
        return
    finite = torch.isfinite(states).all(-1)
    if bool((finite if mask is None else finite | (mask.to(finite.device) == 0)).all()):
        return
    dtype = str(states.dtype).removeprefix("torch.")
    instead = 'dtype="float32" or "bfloat16"' if states.dtype == torch.float16 else 'dtype="float32"'
    cause = "the model's weights are damaged" if states.dtype.itemsize >= 4 else f"load the model with {instead}"
    raise ModelError(f"The states of space {space} are not finite in {dtype}; {cause}.")


def probe_ids(vocabulary: int, device: torch.device) -> Tensor:
    """Return token ids of shape (B, T) from the middle of the vocabulary, since special tokens sit at its ends."""
    ids = vocabulary // 2 + torch.arange(_SAMPLES * _TOKENS, device=device)
    return ids.remainder(vocabulary).reshape(_SAMPLES, _TOKENS)


def observe(wrapper: nn.Module, model: nn.Module, names: Sequence[str], head: nn.Module, ids: Tensor) -> Observation:
    """Run the probe once through the whole model and observe it.

    In the last sample the last block's output is replaced by what entered the first block, so the logits also show
    what the model itself computes from an inner space.

    Args:
        wrapper: What is run: the wrapper that the model came in, or the model itself.
        model: The model itself.
        names: Dotted names of its blocks.
        head: Its output projection.
        ids: Token ids, shape (B, T).

    Raises:
        ModelError: If the model does not run on token ids alone, if its blocks do not run once each and in order, or if
            what they pass on is not one tensor of shape (batch, tokens, width).
    """
    last = model.get_submodule(names[-1])
    ancestors = _ancestor_ids(model, last) | _ancestor_ids(model, head)
    tail: list[tuple[nn.Module, Any]] = []  # with what goes in
    running: list[nn.Module] = []  # the outermost module of the tail that is running now, if any
    record: dict[str, Any] = {}

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        if module is head:
            record["head"] = True
        elif "tail_input" in record and "head" not in record and not running and id(module) not in ancestors:
            tail.append((module, args[0] if args else None))
            running.append(module)

    def leave(module: nn.Module, _args: Any, output: Any) -> Any:
        if module is last:
            state = output_state(output)
            record["tail_input"] = torch.cat([state[:-1], spaces[0][-1:].to(state)])
            record["outputs"] = 0 if state is output else len(output)
            return (record["tail_input"], *output[1:]) if record["outputs"] else record["tail_input"]
        if running and running[-1] is module:
            running.pop()
            if not isinstance(output, Tensor) or output.shape[:-1] != ids.shape:
                tail.pop()  # beside the path to the head, such as a pooler
        return None

    handles = []
    try:
        with _checked_spaces(model, names, ids.shape) as spaces:
            for module in model.modules():
                handles.append(module.register_forward_pre_hook(enter))
                handles.append(module.register_forward_hook(leave))
            logits = wrapper(input_ids=ids, use_cache=False, return_dict=True).logits
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"A probe of {_TOKENS} tokens through {type(model).__name__} failed: {error}. Pass a causal LM that runs "
            "on input_ids alone."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    expected = (*ids.shape, len(head.weight))  # type: ignore[arg-type]
    if logits.shape != expected:
        raise ModelError(
            f"{type(model).__name__} gives logits of shape {tuple(logits.shape)} where its head has {expected[-1]} "
            f"rows for {tuple(ids.shape)} tokens; semviz reads heads with one logit per row and token."
        )
    return Observation(
        ids=ids,
        state=spaces[-1],
        tail_input=record["tail_input"],
        logits=logits.float(),
        tail=tuple(module for module, _ in tail),
        entry_scale=_factor(record["tail_input"], tail[0][1]) if tail else 1.0,
        outputs=record["outputs"],
        tolerance=3e-2 if {spaces[-1].dtype, head.weight.dtype} & _HALF or is_rounded(model) else 1e-3,
    )


def find_body(model: nn.Module, names: Sequence[str], embeddings: nn.Module, observation: Observation) -> nn.Module:
    """Find the innermost module that runs token ids through all blocks as the whole model does, padded or not.

    Args:
        model: The model itself.
        names: Dotted names of its blocks.
        embeddings: Its input embeddings.
        observation: What the probe has shown.

    Raises:
        ModelError: If no module with embeddings and blocks does, not even the model itself.
    """
    length = _TOKENS // 2
    ids, mask = observation.ids.clone(), torch.ones_like(observation.ids)
    ids[-1, length:], mask[-1, length:] = 0, 0
    ancestors = _ancestor_ids(model, embeddings)
    problem = "no module contains both them and the input embeddings"
    for body in [module for module in _ancestors(model, names[-1]) if id(module) in ancestors]:
        try:
            with _checked_spaces(model, names, ids.shape) as spaces:
                body(input_ids=ids, attention_mask=mask, use_cache=False)
        except Exception as error:
            problem = f"{type(body).__name__}: {error}"
            continue
        # The median and some slack, because a mask changes the order of sums, and rounding may send single tokens to
        # another expert; a body that treats the ids differently, or lets padding leak, moves most tokens of a sample.
        distances = (spaces[-1] - observation.state).float().norm(dim=-1) / observation.state.float().norm(dim=-1)
        distance = max(float(distances[:-1].median()), float(distances[-1, :length].median()))
        if distance <= 5 * observation.tolerance:
            return body
        problem = f"{type(body).__name__} gives states that differ by {distance:.2g} of their size"
    raise ModelError(
        f"The blocks of {type(model).__name__} do not give the same states when a text is padded on the right "
        f"({problem}); semviz reads causal LMs, in which a token's state depends only on the tokens up to it. If an "
        "adapter adds virtual tokens to the input, unload it; if other blocks are meant, pass layers=."
    )


def fit_logits(raw: Tensor, logits: Tensor, config: dict[str, Any]) -> Iterator[tuple[float, float | None]]:
    """Fit how a model may compute its logits from the head's output: softcap(scale · raw).

    Families name their scales differently, and multiply or divide under the same name. So the scale is not looked up:
    it is the one number that fits the model's logits best.

    Args:
        raw: The head's output, float32, shape (…, V).
        logits: The model's logits, float32, shape (…, V).
        config: The model's config.

    Yields:
        Scale, and softcap or None; softcaps that the config names come first.
    """
    softcaps = [v for key, v in config.items() if _SOFTCAPS.search(key) and isinstance(v, int | float) and v]
    for softcap in [*map(float, softcaps), None]:
        inner, weight = logits, torch.ones_like(logits)
        if softcap is not None:
            share = (logits / softcap).clamp(-1 + 1e-6, 1 - 1e-6)
            # A saturated logit says nothing about the scale; weighted with the slope of tanh it does not count.
            inner, weight = softcap * torch.atanh(share), (1 - share.square()).square()
        scale = float((weight * raw * inner).sum() / (weight * raw * raw).sum().clamp_min(1e-30))
        # A scale of 1 up to rounding is 1, which costs nothing.
        yield (1.0 if abs(scale - 1) < 1e-3 else scale), softcap


def _factor(before: Tensor, after: Any) -> float:
    """Return the number by which one tensor was multiplied to give another, or 1 if it was not."""
    if not isinstance(after, Tensor) or after.shape != before.shape:
        return 1.0
    old, new = before.float(), after.float().to(before.device)
    factor = float((old * new).sum() / old.square().sum())
    return factor if torch.allclose(factor * old, new, rtol=1e-2, atol=1e-3 * float(new.abs().max())) else 1.0


@contextmanager
def _checked_spaces(model: nn.Module, names: Sequence[str], shape: torch.Size) -> Iterator[list[Tensor]]:
    """Check that blocks run once each, in order, and pass on one tensor of shape (*shape, width); yield the spaces."""
    visits: list[int] = []
    spaces: list[Tensor] = []

    def check(space: int, state: Any) -> None:
        if not isinstance(state, Tensor) or state.ndim != 3 or state.shape[:2] != shape:
            got = f"a tensor of shape {tuple(state.shape)}" if isinstance(state, Tensor) else type(state).__name__
            raise ModelError(
                f"Space {space} of {type(model).__name__} is {got} for {tuple(shape)} tokens; semviz reads models "
                "whose blocks pass on one tensor of shape (batch, tokens, width)."
            )
        check_finite(space, state)
        visits.append(space)
        spaces.append(state)

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        check(0, input_state(args, kwargs))

    def after(space: int) -> Callable[..., None]:
        return lambda _module, _args, output: check(space, output_state(output))

    blocks = [model.get_submodule(name) for name in names]
    handles = [blocks[0].register_forward_pre_hook(before, with_kwargs=True)]
    try:
        handles += [block.register_forward_hook(after(i)) for i, block in enumerate(blocks, start=1)]
        yield spaces
    finally:
        for handle in handles:
            handle.remove()
    if visits != list(range(len(names) + 1)):
        raise ModelError(
            f"One forward pass of {type(model).__name__} visits its spaces in the order {visits} instead of 0 to "
            f"{len(names)} once each, so its layers are not a chain of blocks. If other blocks are meant, pass layers=."
        )
    widths = sorted({state.shape[-1] for state in spaces})
    if len(widths) > 1:
        raise ModelError(
            f"The spaces of {type(model).__name__} have different widths {widths}; semviz reads one width."
        )


def _ancestor_ids(root: nn.Module, inner: nn.Module) -> set[int]:
    """Return the Python ids of the modules that contain another one."""
    names = [name for name, module in root.named_modules(remove_duplicate=False) if module is inner]
    return {id(module) for name in names for module in _ancestors(root, name)}


def _ancestors(root: nn.Module, name: str) -> list[nn.Module]:
    """Return the modules that contain the one of this name, innermost first, up to the root."""
    parts = name.split(".")
    return [root.get_submodule(".".join(parts[:depth])) for depth in reversed(range(len(parts)))]
