"""Hooks on all modules of a process: recorders among them do not see the passes of private copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules import module as registry

_PLACES = ("_global_forward_pre_hooks", "_global_forward_hooks", "_global_backward_pre_hooks", "_global_backward_hooks")


def any_global_hooks() -> bool:
    """Whether there are any."""
    return any(getattr(registry, place) for place in _PLACES)


@contextmanager
def unseen_by_global_hooks(network: nn.Module) -> Iterator[None]:
    """Let hooks on all modules leave out those of a network inside the `with` block."""
    if not any_global_hooks():
        yield
        return
    own = {id(module) for module in network.modules()}
    original = {place: dict(getattr(registry, place)) for place in _PLACES}
    for place, hooks in original.items():
        getattr(registry, place).update({key: _leaving_out(own, hook) for key, hook in hooks.items()})
    try:
        yield
    finally:
        for place, hooks in original.items():
            # One that was removed meanwhile stays removed.
            current = getattr(registry, place)
            current.update({key: hook for key, hook in hooks.items() if key in current})


def _leaving_out(own: set[int], hook: Callable[..., Any]) -> Callable[..., Any]:
    def outside(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return None if id(module) in own else hook(module, *args, **kwargs)

    return outside
