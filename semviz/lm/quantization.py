"""What a quantised weight or layer is, how many parameters it stands for, and how a copy of a model shares it.

Known by what they hold, without importing a library: bitsandbytes' 4- and 8-bit weights, torchao's tensors, weights of
integers or of less than two bytes, and linear layers whose packed weights are no parameters (GPTQ, AWQ, HQQ, torch's
own). Quantised weights never train, so copies share their storage. What libraries keep beside it, and write into while
a layer runs, a copy has for itself.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_REPACKS = "support_avx512bf16_for_cpu"
_FEATURES = (("in_features", "out_features"), ("infeatures", "outfeatures"))
_REGISTRIES = frozenset(vars(nn.Module()))
_TALKATIVE = "bitsandbytes.autograd._functions"


def is_quantised(p: Tensor) -> bool:
    """Whether a tensor is a quantised weight, which cannot train."""
    if _kind(p) in ("Params4bit", "Int8Params"):
        return p.itemsize < 2 or hasattr(p, "quant_state")  # Int8Params may also hold half-precision weights
    if is_wrapper(p):
        return type(p).__module__.partition(".")[0] == "torchao"
    return not (p.is_floating_point() or p.is_complex()) or p.itemsize < 2


def is_wrapper(tensor: Tensor) -> bool:
    """Whether a tensor has no memory of its own but consists of others, as torchao's do."""
    return bool(is_traceable_wrapper_subclass(tensor))


def features_of(module: nn.Module) -> tuple[int, int] | None:
    """Width of a linear layer's input and output, whatever its class; None if a module is none."""
    state = vars(module)
    for pair in _FEATURES:
        if all(isinstance(state.get(name), int) for name in pair):
            return state[pair[0]], state[pair[1]]
    return None


def is_packed(module: nn.Module) -> bool:
    """Whether a module is a linear layer by its shape that has no weight of that shape: it is packed somewhere."""
    features = features_of(module)
    # Of wrappers, such as peft's layers, what is inside counts.
    if features is None or any(features_of(child) for child in module.modules() if child is not module):
        return False
    size, own = math.prod(features), _own_tensors(module)
    if any(true_count(p) == size for p in module.parameters()) or any(
        not is_quantised(t) and t.numel() >= size for t in own
    ):
        return False
    return any(is_quantised(t) and t.ndim >= 2 for t in own) or hasattr(module, "_packed_params")


def is_quantised_layer(module: nn.Module) -> bool:
    """Whether a module is a linear layer with quantised weights."""
    return is_packed(module) or _weight_of(module) is not None


def _weight_of(layer: nn.Module) -> Any:
    """Return the quantised parameter that is a linear layer's weight, if there is one."""
    features = features_of(layer)
    own = [] if features is None else [p for p in layer._parameters.values() if p is not None and is_quantised(p)]
    return next((p for p in own if true_count(p) == math.prod(features or ())), None)


def quantised_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the linear layers with quantised weights inside a module, by name."""
    return ((name, inner) for name, inner in module.named_modules() if is_quantised_layer(inner))


def first_quantised(modules: Iterable[nn.Module]) -> str:
    """Name what is quantised in some modules, such as `torch.uint8`; empty if nothing is."""
    for module in modules:
        for inner in module.modules():
            if is_packed(inner):
                return type(inner).__name__
            for p in inner._parameters.values():
                if p is not None and is_quantised(p):
                    return _kind(p) if is_wrapper(p) else str(p.dtype)
    return ""


def true_count(p: Tensor) -> int:
    """How many parameters a tensor stands for: bitsandbytes packs two into four times two bits (peft counts so too)."""
    if _kind(p) == "Params4bit":
        shape = getattr(getattr(p, "quant_state", None), "shape", None)
        return math.prod(shape) if shape is not None else 2 * p.numel() * p.element_size()
    return p.numel()


def true_counts(module: nn.Module) -> dict[int, int]:
    """How many parameters a module stands for, by the Python id of the parameter, or of the layer that packs them."""
    counts: dict[int, int] = {}
    packed: set[int] = set()
    for inner in module.modules():
        if is_packed(inner):
            packed |= {id(tensor) for tensor in (*inner.parameters(), *inner.buffers())}
            bias = _bias_of(inner)
            counts[id(inner)] = math.prod(features_of(inner) or ()) + (0 if bias is None else bias.numel())
    for p in module.parameters():
        if id(p) not in packed:
            counts[id(p)] = true_count(p)
    return counts


def is_rounded(module: nn.Module) -> bool:
    """Whether quantised layers inside a module round what goes in, or compute in half precision.

    Then their numbers are those of half precision, whatever the model's own dtype is: bitsandbytes' 8-bit layers round
    each token's state to 8 bits, and leave out those features that are large in any text of the batch.
    """
    return any(_rounds(layer) for _, layer in quantised_layers(module))


def _rounds(layer: nn.Module) -> bool:
    weight = _weight_of(layer)
    if weight is not None and _kind(weight) == "Params4bit":
        compute = getattr(layer, "compute_dtype", None)
        return compute not in (None, torch.float32, torch.float64) or _is_repacked(weight)
    if weight is not None and is_wrapper(weight):
        return getattr(weight, "act_quant_kwargs", None) is not None
    return True


def passes_gradients(layer: nn.Module, dtype: torch.dtype | None) -> bool:
    """Whether gradients pass through a linear layer to its input; not every library's kernel has a backward pass.

    Args:
        layer: A linear layer, of a copy.
        dtype: Of the states that it reads.
    """
    features = features_of(layer)
    assert features is not None
    tensors = [*layer.parameters(), *layer.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    # Rows enough for kernels that work on several at a time.
    states = torch.ones(32, features[0], dtype=dtype, device=device, requires_grad=True)
    try:
        with torch.enable_grad():
            layer(states).float().sum().backward()
    except (RuntimeError, NotImplementedError, TypeError):
        return False
    return states.grad is not None and bool(states.grad.any())


def shared_in_copies(source: nn.Module) -> dict[int, Any]:
    """Return deepcopy's memo for a model's quantised weights: twins that share their storage.

    A twin has a flag and a state of its own, so that nothing done to the copy shows in the model, and the other way
    round: bitsandbytes repacks weights on some processors while a model runs.
    """
    memo: dict[int, Any] = {}
    for _, layer in quantised_layers(source):
        for key, value in vars(layer).items():
            if key not in _REGISTRIES and _holds_tensors(value):
                memo[id(value)] = _unpacked_state(value)
        if is_packed(layer):
            memo.update({id(b): b for b in layer.buffers()})
            # What torch packs is no tensor.
            memo.update({id(v): v for inner in layer.modules() for v in vars(inner).values() if _is_script(v)})
    for p in source.parameters():
        if is_quantised(p):
            memo[id(p)] = _twin(p, memo)
    return memo


def _twin(p: nn.Parameter, memo: dict[int, Any]) -> nn.Parameter:
    if is_wrapper(p) or not vars(p):
        return nn.Parameter(p.detach(), requires_grad=False)
    state = getattr(p, "quant_state", None)
    data = _unpacked(p.data, state) if _is_repacked(p) else p.data
    made: Any = torch.Tensor._make_subclass(type(p), data, False)
    vars(made).update(vars(p))
    if state is not None:
        made.quant_state = memo.setdefault(id(state), _unpacked_state(state))
        made.module = None  # the user's layer
    return made


def _is_repacked(p: Any) -> bool:
    return bool(getattr(getattr(p, "quant_state", None), "packing_format_for_cpu", False))


def _unpacked_state(state: Any) -> Any:
    """Copy what a library keeps beside a weight; its tensors stay shared, but for those that only inference reads."""
    made = copy.copy(state)
    if getattr(state, "packing_format_for_cpu", False):
        # Not bitsandbytes' own way back, which leaves the scales as they are, or rounds them once more.
        made.absmax = state.absmax.T.reshape(-1).float().contiguous()
        made.nested, made.state2, made.offset = False, None, None
        made.dtype, made.packing_format_for_cpu = state.original_dtype, False
    return made


def _unpacked(data: Tensor, state: Any) -> Tensor:
    """Undo how bitsandbytes repacks 4-bit weights for inference on processors with AVX512-BF16; there is no backward.

    Args:
        data: Shape (N, K/2): of 32 rows at a time, two neighbours' numbers lie in the halves of a byte.
        state: Its state.

    Returns:
        The same numbers as they were before: bytes of two neighbours in a row.
    """
    rows, width = state.shape
    halves = torch.cat([data.reshape(-1, 32) & 0xF, data.reshape(-1, 32) >> 4], dim=-1)
    codes = halves.reshape(rows // 32, width // 2, 32, 2).transpose(1, 2).reshape(-1)
    packed = (codes[::2] << 4 | codes[1::2]).reshape(state.original_qshape)
    storage = getattr(state, "original_storage_type", None)
    return packed.contiguous() if storage is None else packed.contiguous().view(storage)


def keep_as_loaded(model: nn.Module) -> None:
    """Keep bitsandbytes from repacking 4-bit weights when the model runs, and from a line a layer and pass on 8-bit.

    What it repacks on processors with AVX512-BF16 has rounded scales and no gradients.
    """
    for layer in _repacking(model):
        setattr(layer, _REPACKS, False)
    if any(_kind(p) == "Int8Params" for p in model.parameters()):
        logger = logging.getLogger(_TALKATIVE)
        if _ONCE not in logger.filters:
            logger.addFilter(_ONCE)


class _Once(logging.Filter):
    """Lets each message through once."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        is_new = message not in self._seen
        self._seen.add(message)
        return is_new


_ONCE = _Once()


@contextmanager
def not_repacked(model: nn.Module) -> Iterator[None]:
    """Keep bitsandbytes from repacking a user's 4-bit weights while semviz runs the model."""
    layers = _repacking(model)
    for layer in layers:
        setattr(layer, _REPACKS, False)
    try:
        yield
    finally:
        for layer in layers:
            setattr(layer, _REPACKS, True)


def _repacking(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if vars(module).get(_REPACKS)]


def _kind(p: Tensor) -> str:
    return type(p).__name__


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [t for t in (*module._parameters.values(), *module._buffers.values()) if t is not None]


def _bias_of(layer: nn.Module) -> Tensor | None:
    bias = getattr(layer, "bias", None)
    bias = bias() if callable(bias) and not isinstance(bias, Tensor) else bias  # torch's own layers
    return bias if isinstance(bias, Tensor) else None


def _is_script(value: Any) -> bool:
    return isinstance(value, torch.ScriptObject)


def _holds_tensors(value: Any) -> bool:
    """Whether something that a layer keeps is neither module nor tensor, and holds tensors: a state."""
    if isinstance(value, nn.Module | Tensor | type):
        return False
    held = value if isinstance(value, dict) else getattr(value, "__dict__", None)
    return isinstance(held, dict) and any(isinstance(item, Tensor) for item in held.values())
