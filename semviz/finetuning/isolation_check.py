"""The proof, before the first backward pass, that what trains is the copy's own: no gradient reaches the user's model.

Read off the graph of the loss: its leaves are the tensors that the backward pass will give gradients.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from semviz.common.errors import SemvizError
from semviz.lm.random_numbers import own_random_numbers
from semviz.lm.raw_storage import storages

_OF_EXPERTS = re.compile("expert")  # those that no token was sent to have no gradient


def check_isolation(
    loss: Tensor,
    own: Mapping[str, nn.Parameter],
    users: Mapping[str, nn.Parameter],
    again: Callable[[], Any],
    *,
    copied: Iterable[nn.Parameter] = (),
    is_patched: bool,
) -> None:
    """Check that the backward pass gives gradients to the copy's own parameters, and to none of the user's.

    A parameter may stay without a gradient where the model does not use it in this batch, such as an expert that no
    token was sent to. It may not where the copy runs the user's parameters in its stead; then the pass is repeated, and
    watched. Nor may it where something that the user has set on the model keeps gradients from it.

    Args:
        loss: The loss of a batch, not yet propagated.
        own: What is meant to train now, by name.
        users: The user's parameters, by name.
        again: Runs the same forward pass again.
        copied: All parameters of the copy, also frozen ones.
        is_patched: Whether hooks or patched forwards of the user's are on the model.

    Raises:
        SemvizError: If a gradient would reach a parameter of the user's, or would miss one that is meant to train, or
            if one of these shares its memory with the user's.
    """
    names = {id(p): name for name, p in users.items()}
    leaves = {id(leaf): leaf for leaf in _leaves(loss)}
    own_ids = {id(p) for p in own.values()}
    foreign = [names[key] for key in leaves if key in names]
    if not foreign and not own_ids <= leaves.keys():
        with torch.no_grad(), own_random_numbers(), _Watching(names) as watched:
            again()
        foreign = watched.seen
    strange = [leaf for key, leaf in leaves.items() if isinstance(leaf, nn.Parameter) and key not in {*own_ids, *names}]
    if strange:
        # peft makes a parameter anew of a weight that it transposes, in the memory of the copy's frozen one.
        known = set().union(*(storages(p) for p in copied))
        strange = [leaf for leaf in strange if not storages(leaf) <= known]
    if strange:
        raise SemvizError(
            f"A hook or patched forward of the model uses a parameter of shape {tuple(strange[0].shape)} that is none "
            "of the model's, and training would give it gradients; call requires_grad_(False) on it, or take it off."
        )
    if foreign:
        raise SemvizError(
            f"The copy that trains would run weights of your own model ({_listed(foreign)}), since a function that is "
            "set on one of its modules refers to them; take it off first, or load the model anew."
        )
    if own_ids and not own_ids & leaves.keys():
        raise SemvizError(
            f"The loss depends on none of the weights that are meant to train ({_listed(own)}); take hooks and patched "
            "forwards off the model first."
        )
    missed = [name for name, p in own.items() if id(p) not in leaves and not _OF_EXPERTS.search(name)]
    if is_patched and missed:
        raise SemvizError(
            f"Some of the weights that are meant to train get no gradient ({_listed(missed)}), since a hook or patched "
            "forward on the model keeps it from them; take it off first."
        )
    taken = set().union(*(storages(p) for p in users.values() if p.numel()))
    shared = [name for name, p in own.items() if p.numel() and storages(p) & taken]
    if shared:
        raise SemvizError(
            f"The weights that are meant to train are your model's own ({_listed(shared)}); load the model anew."
        )


def _leaves(loss: Tensor) -> list[Tensor]:
    """Tensors that a backward pass gives gradients."""
    found: list[Tensor] = []
    seen: set[Any] = set()
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            found.append(variable)
        waiting += [below for below, _ in node.next_functions]
    return found


class _Watching(TorchFunctionMode):
    """Notes which of some parameters a forward pass uses."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self._names = names
        self._seen: dict[str, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, and note what it is called with."""
        for value in (*args, *(kwargs or {}).values()):
            for item in value if isinstance(value, list | tuple) else (value,):
                if id(item) in self._names:
                    self._seen[self._names[id(item)]] = None
        return func(*args, **(kwargs or {}))

    @property
    def seen(self) -> list[str]:
        """Names of the parameters, in the order of use."""
        return list(self._seen)


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")
