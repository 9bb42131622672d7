"""What modules without weights remember of earlier passes: rotary angles that follow the longest text read so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from semviz.lm.quantization import is_packed

_BASE = "original_inv_freq"  # transformers' name for the angles of a model that has read nothing yet
# Its kinds of angles that change with what is read; those of others may have been edited, and stay.
_CHANGING = ("dynamic", "longrope")


class PositionState:
    """The state of a model's modules without weights, as it is before any text has been read."""

    def __init__(self, network: nn.Module) -> None:
        """Start afresh, and remember that state.

        Args:
            network: A model; dynamic rotary embeddings in it forget what they have read.
        """
        self._modules = _silent(network)
        for module in self._modules:
            _forget(module)
        self._fresh = [_State(module) for module in self._modules]

    def restart(self) -> None:
        """Forget what has been read since."""
        for state in self._fresh:
            state.restore()

    def buffers(self) -> list[Tensor]:
        """Copies of the buffers as they are now."""
        return [b.detach().clone() for module in self._modules for b in module.buffers(recurse=False)]


@contextmanager
def fresh_positions(network: nn.Module) -> Iterator[PositionState]:
    """Let a model read as if it had read nothing yet, and give it its state back afterwards."""
    before = [_State(m) for m in _silent(network)]
    try:
        yield PositionState(network)
    finally:
        for state in before:
            state.restore()


def own_buffers(network: nn.Module) -> dict[int, Tensor]:
    """Return clones, by Python id, of the buffers of modules without weights, which forward passes may write into."""
    return {id(b): b.detach().clone() for m in _silent(network) for b in m.buffers(recurse=False)}


def _silent(network: nn.Module) -> list[nn.Module]:
    """Modules without weights; those that pack them into buffers have some."""
    return [m for m in network.modules() if not any(True for _ in m.parameters()) and not is_packed(m)]


class _State:
    """Attributes and buffers of one module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        # Not the mode, which others put back, nor hooks, which callers may set meanwhile.
        self.attributes = {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
        self.buffers = {name: (b, None if b is None else b.detach().clone()) for name, b in module._buffers.items()}
        self.volatile = set(module._non_persistent_buffers_set)

    def restore(self) -> None:
        """Put everything back that has changed."""
        state = vars(self.module)
        for key in [k for k in state if not k.startswith("_") and k != "training" and k not in self.attributes]:
            del state[key]
        state.update(self.attributes)
        buffers = self.module._buffers
        for name in [name for name in buffers if name not in self.buffers]:
            del buffers[name]
        for name, (buffer, value) in self.buffers.items():
            if buffer is not None and value is not None and not _same(buffer, value):
                buffer.data.copy_(value)
            buffers[name] = buffer
        self.module._non_persistent_buffers_set = set(self.volatile)


def _same(buffer: Tensor, value: Tensor) -> bool:
    return bool(buffer.is_meta or (buffer == value).all())


def _forget(module: Any) -> None:
    """Bring transformers' rotary angles to those of a model that has read nothing."""
    if not any(kind in str(getattr(module, "rope_type", "")) for kind in _CHANGING):
        return
    for key in [key for key in (*vars(module), *module._buffers) if key.endswith(_BASE)]:
        prefix, base = key.removesuffix(_BASE), getattr(module, key)
        current = module._buffers.get(f"{prefix}inv_freq")
        if not isinstance(base, Tensor) or current is None:
            continue
        module.register_buffer(f"{prefix}inv_freq", base.detach().clone().to(current.device), persistent=False)
        if hasattr(module, "original_max_seq_len") and hasattr(module, f"{prefix}max_seq_len_cached"):
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)
