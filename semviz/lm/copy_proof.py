"""The proof that a copy computes what the model computes, and which hooks and patches it needs for that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.common import checks, memory
from semviz.common.errors import SemvizError
from semviz.lm.callables import Extra, Twins, attach, detach, find_extras
from semviz.lm.eval_mode import evaluating
from semviz.lm.global_hooks import any_global_hooks, unseen_by_global_hooks
from semviz.lm.offloading import execution_device
from semviz.lm.position_state import fresh_positions
from semviz.lm.quantization import is_rounded
from semviz.lm.random_numbers import own_random_numbers
from semviz.lm.readout_proof import probe_ids

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel

_TOKENS = 64
_TEXTS = 2
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
_TOLERANCE_HALF = 5e-2


@dataclass(frozen=True, eq=False)
class Probe:
    """Some texts, padded on the right.

    Attributes:
        ids: Token ids, shape (B, T).
        mask: 1 on tokens and 0 on padding, shape (B, T).
    """

    ids: Tensor
    mask: Tensor


def default_probe(model: LanguageModel) -> Probe:
    """Two general texts, or two made-up ones where these are too short."""
    device = execution_device(model.anatomy.model.get_input_embeddings())
    texts = [model.tokenizer(text)["input_ids"] for text in model.general_text[:_TEXTS]]
    length = min([_TOKENS, model.context, *map(len, texts)])
    vocabulary = len(model.anatomy.model.get_input_embeddings().weight)
    if not texts or length < 2 or max(map(max, texts)) >= vocabulary:
        ids = probe_ids(vocabulary, device)
    else:
        ids = torch.tensor([text[:length] for text in texts], device=device)
    return Probe(ids, torch.ones_like(ids))


def take_extras_along(
    source: nn.Module,
    network: nn.Module,
    memo: Mapping[int, Any],
    trained: Sequence[str],
    probe: Probe,
    *,
    dtype: torch.dtype,
) -> list[Extra]:
    """Put twins of a model's hooks and patches onto a copy: those that change what it computes, and what libraries put.

    An extra stays behind if logits, in training mode too, and gradients are the same without it, bit by bit.

    Args:
        source: The user's model.
        network: The copy, which has none of them.
        memo: Of the deepcopy.
        trained: Names of the modules that will train.
        probe: Some texts.
        dtype: Of the model.

    Returns:
        All the extras of the user's that were found.

    Raises:
        SemvizError: If the copy fails with them.
    """
    extras = find_extras(source)
    if not extras:
        return []
    twins = Twins(memo)
    made = [(extra, twins.of(extra.value)) for extra in extras]
    optional = [pair for pair in made if pair[0].optional]
    dropped: set[int] = set()
    if optional:
        dropped = _without_effect(network, made, optional, trained, probe, dtype)
    for extra, _ in made:
        detach(network, extra)
    for extra, twin in made:
        if id(extra) not in dropped:
            attach(network, extra, twin)
    return [extra for extra, _ in optional]


_Pairs = Sequence[tuple[Extra, Any]]


def _without_effect(
    network: nn.Module, made: _Pairs, optional: _Pairs, trained: Sequence[str], probe: Probe, dtype: torch.dtype
) -> set[int]:
    """Python ids of the extras that change nothing; those with the same code are judged together."""
    codes: dict[Any, int] = {}
    order = [codes.setdefault(extra.code, len(codes)) for extra, _ in optional]
    groups = [
        [pair for _, pair in group]
        for _, group in groupby(sorted(zip(order, optional, strict=True), key=lambda item: item[0]), key=lambda x: x[0])
    ]

    def behaviour(present: set[int]) -> list[Tensor]:
        for extra, _ in made:
            detach(network, extra)
        for extra, twin in made:
            if not extra.optional or id(extra) in present:
                attach(network, extra, twin)
        return _behaviour(network, trained, probe, dtype)

    present = {id(extra) for extra, _ in optional}
    try:
        every = behaviour(present)
        if _equal(behaviour(set()), every):
            return present
        for group in groups:
            fewer = present - {id(extra) for extra, _ in group}
            if _equal(behaviour(fewer), every):
                present = fewer
    except Exception as error:  # whatever the user's code does
        if memory.is_out_of_memory(error):
            raise
        raise SemvizError(
            f"The hooks and forwards that you have set on {_names([extra for extra, _ in optional])} fail in a copy of "
            f"the model ({type(error).__name__}: {checks.first_line(error)}); take them off first."
        ) from error
    return {id(extra) for extra, _ in optional} - present


def _behaviour(network: nn.Module, trained: Sequence[str], probe: Probe, dtype: torch.dtype) -> list[Tensor]:
    """Logits of a copy; for training also those in training mode, and the gradients of what trains."""
    with unseen_by_global_hooks(network), fresh_positions(network), evaluating(network):
        with torch.no_grad(), own_random_numbers():
            found = [_logits(network, probe)]
        if not trained:
            return found
        for name in trained:
            network.get_submodule(name).train()
        parameters = [p for p in network.parameters() if p.requires_grad]
        with torch.inference_mode(False), torch.enable_grad(), _precision(probe, dtype), own_random_numbers():
            logits = _logits(network, probe)
            found.append(logits.detach())
            if parameters and logits.requires_grad:
                gradients = torch.autograd.grad(logits.square().mean(), parameters, allow_unused=True)
                found += [torch.zeros(()) if gradient is None else gradient for gradient in gradients]
    return found


def _precision(probe: Probe, dtype: torch.dtype) -> AbstractContextManager[Any]:
    half = dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(probe.ids.device.type, dtype=dtype) if half else nullcontext()


def _logits(network: nn.Module, probe: Probe) -> Tensor:
    logits: Tensor = network(input_ids=probe.ids, attention_mask=probe.mask, use_cache=False).logits
    return logits.float()[probe.mask.bool()]


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one, other, strict=True)
    )


def tolerance(model: LanguageModel) -> float:
    """Return how much a copy's logits may differ from the model's, relative to their size."""
    return _TOLERANCE_HALF if is_rounded(model.model) else _TOLERANCE.get(model.model.dtype, _TOLERANCE_HALF)


def copy_error(model: LanguageModel, network: nn.Module, probe: Probe, *, seen: bool = False) -> float:
    """Return by how much a copy's logits differ from the model's, relative to their size.

    Args:
        model: The user's model.
        network: The copy.
        probe: Some texts.
        seen: Let hooks on all modules of the process run on the copy too.
    """
    user: nn.Module = model.model
    with torch.no_grad():
        with evaluating(user), fresh_positions(user):
            wanted = _logits(user, probe)
        with (
            nullcontext() if seen else unseen_by_global_hooks(network),
            evaluating(network),
            fresh_positions(network),
            _precision(probe, model.model.dtype),
        ):
            found = _logits(network, probe)
    if not torch.isfinite(wanted).all():
        return 0.0  # refused where it is read
    error = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-6))
    return error if math.isfinite(error) else math.inf


def prove_copy(
    model: LanguageModel, network: nn.Module, probe: Probe, extras: Sequence[Extra], merged: Sequence[str]
) -> None:
    """Check that a copy gives the model's logits.

    Args:
        model: The user's model.
        network: The copy.
        probe: Some texts.
        extras: The hooks and patches that were found.
        merged: Names of the modules whose adapters were merged.

    Raises:
        SemvizError: If it does not.
    """
    hidden = copy_error(model, network, probe)
    if hidden <= tolerance(model) or (
        any_global_hooks() and copy_error(model, network, probe, seen=True) <= tolerance(model)
    ):
        return
    error = hidden
    causes = []
    if merged:
        causes.append(f"its adapters are merged ({', '.join(merged[:3])}); pass what merge_and_unload() returns")
    if extras:
        causes.append(f"hooks or forwards that you have set are copied (on {_names(extras)}); take them off first")
    raise SemvizError(
        f"A private copy of the model gives other logits, by {error:.2g} of their size, where {', or '.join(causes)}."
    )


def _names(extras: Sequence[Extra]) -> str:
    names = list(dict.fromkeys(extra.name or "the model itself" for extra in extras))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
