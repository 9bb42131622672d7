"""Random numbers of semviz' own, so that nothing but training touches the generators that torch keeps for the process.

`torch.random.fork_rng` saves the state of these generators and puts it back: what a training in another thread has
drawn meanwhile, it draws again. A dispatch mode belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def own_random_numbers(seed: int = 0) -> Iterator[None]:
    """Let this thread draw from generators of its own inside the `with` block, as after `torch.manual_seed(seed)`.

    Whatever code asks torch for random numbers there gets those of these generators, a user's hook or an initializer of
    a library alike; where it passes a `generator=`, it gets that one's.
    """
    with _OwnGenerators(seed):
        yield


class _OwnGenerators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands a generator to every operation that draws."""

    supports_higher_order_operators = True  # flex attention is one

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Let compiled functions be compiled: what they draw inside is theirs."""
        return True

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Likewise."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, with a generator if it draws."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in getattr(func, "tags", ()):
            return func(*args, **kwargs)
        names = _names(func)
        given = dict(zip(names, args, strict=False)) | kwargs
        device = _device(given)
        draws = given.get("dropout_p", given.get("dropout", 1.0)) and given.get("train") is not False
        if not draws or device.type == "meta" or given.get("generator") is not None:
            return func(*args, **kwargs)
        drawing = func if "generator" in names else _with_generator(func)
        if drawing is not None:
            return drawing(**(given | {"generator": self._generator(device)}))
        # Fused kernels with dropout, on a GPU, read the process's generator only: for one operation it is ours.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**31, (), generator=self._generator(torch.device("cpu")))))
            return func(*args, **kwargs)

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]


def _names(func: Any) -> list[str]:
    return [argument.name for argument in func._schema.arguments]


def _with_generator(func: Any) -> Callable[..., Any] | None:
    """Find the overload of an operation that takes a generator too, such as `rand.generator` for `rand`."""
    packet = func.overloadpacket
    overloads = (getattr(packet, name) for name in packet.overloads())
    wanted = _names(func)
    for overload in overloads:
        names = _names(overload)
        if "generator" in names and [name for name in names if name != "generator"] == wanted:
            return overload
    return None


def _device(given: dict[str, Any]) -> torch.device:
    """Return where an operation draws: where its first tensor is, else where its result will be."""
    tensor = next((value for value in given.values() if isinstance(value, Tensor)), None)
    return torch.device(given.get("device") or "cpu") if tensor is None else tensor.device
