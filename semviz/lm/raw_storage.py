"""The tensors that a model's weights really are, read without changing them: of quantised ones codes, scales, tables.

bitsandbytes' own `state_dict` is not asked where it would rewrite the weights of the model that it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.lm.quantization import first_quantised, is_wrapper

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def stored_tensors(network: PreTrainedModel) -> dict[str, Tensor]:
    """Return all weights and persistent buffers by name, including those that accelerate has offloaded.

    A quantised weight has several entries: its data and what it is read with. What is no tensor is one of its text.
    """
    if any(p.is_meta for p in network.parameters()):
        from accelerate.utils.modeling import get_state_dict_offloaded_model

        return get_state_dict_offloaded_model(network)
    four_bit = any(type(p).__name__ == "Params4bit" for p in network.parameters())
    state = _without_saving(network) if four_bit else network.state_dict()
    return {key: tensor for name, value in state.items() for key, tensor in _flat(name, value)}


def stored_bytes(network: PreTrainedModel) -> int:
    """Bytes of a model's weights as they are stored, each once."""
    tensors = stored_tensors(network).values()
    return sum({(t.data_ptr(), t.nbytes): t.nbytes for t in tensors}.values())


def mean_weight_bytes(network: PreTrainedModel, parameters: int) -> float:
    """Bytes of one weight: those of the model's dtype, or the mean over so many parameters if some are quantised."""
    return stored_bytes(network) / parameters if first_quantised([network]) else network.dtype.itemsize


def storages(tensor: Tensor) -> set[int]:
    """Addresses of the memory that a tensor lies in; torchao's lies in several places."""
    if is_wrapper(tensor):
        names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
        return set().union(*(storages(getattr(tensor, name)) for name in names))
    return {tensor.untyped_storage().data_ptr()}


def _without_saving(network: nn.Module) -> dict[str, Any]:
    """What `state_dict` would hold, but that of 4-bit weights as it is: to save these, bitsandbytes unpacks them."""
    found: dict[str, Any] = {}
    for prefix, module in network.named_modules(remove_duplicate=False):
        start = f"{prefix}." if prefix else ""
        for name, p in module._parameters.items():
            if p is None:
                continue
            found[f"{start}{name}"] = p
            for key, value in vars(p).items():
                if key == "quant_state" or (isinstance(value, Tensor) and key in ("CB", "SCB")):
                    found[f"{start}{name}.{key}"] = value
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                found[f"{start}{name}"] = buffer
    return found


def _flat(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the plain tensors that a value is made of, and the text of all else in it."""
    if isinstance(value, Tensor) and is_wrapper(value):
        inner, context = value.__tensor_flatten__()  # type: ignore[attr-defined]
        for key in inner:
            yield from _flat(f"{name}.{key}", getattr(value, key))
        yield from _flat(f"{name}.context", str(context))
    elif isinstance(value, Tensor) and value.is_quantized:  # torch's own
        yield f"{name}.codes", value.int_repr()
        per_channel = value.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
        scale = [value.q_per_channel_scales(), value.q_per_channel_zero_points()] if per_channel else []
        yield from _flat(f"{name}.scale", scale or [value.q_scale(), value.q_zero_point()])
    elif isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            yield from _flat(f"{name}.{i}", item)
    elif value is not None and any(isinstance(item, Tensor) for item in getattr(value, "__dict__", {}).values()):
        for key, item in vars(value).items():  # a state of bitsandbytes', in which another may lie
            yield from _flat(f"{name}.{key}", item)
    else:
        text = _ADDRESS.sub("", str(value)).encode()
        yield name, torch.frombuffer(bytearray(text or b"-"), dtype=torch.uint8)
