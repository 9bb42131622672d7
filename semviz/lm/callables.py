"""What callers hang on a model's modules, hooks and forwards put in their place, as private twins for a copy of it.

`copy.deepcopy` leaves functions as they are, so a closure in a copy would go on running the user's own modules, and a
recorder would go on recording. A twin is the same code over the copy's modules, with containers of its own.
"""

from __future__ import annotations

import copy
import functools
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

# Hooks of these libraries belong to the model: weight norms, recorded outputs, devices.
_LIBRARIES = {"torch", "transformers", "transformers_modules", "accelerate", "peft"}
_CONTAINERS = (list, dict, set, deque, Counter, OrderedDict, defaultdict)
_CODE = (types.FunctionType, types.MethodType, types.BuiltinMethodType, functools.partial)
_HOOKS = {
    "_forward_hooks": ("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    "_forward_pre_hooks": ("_forward_pre_hooks_with_kwargs",),
}
# What callers do with gradients is their own training's; see `private_copy`.
_GRADIENT_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
_LARGE = 2**18  # elements of a tensor that is shared, since no counter is that large


@dataclass(frozen=True, eq=False)
class Extra:
    """Something callable on one module that is not of its class.

    Attributes:
        name: The module's dotted name.
        place: Name of the registry of hooks; empty for an attribute.
        key: Key in the registry, or name of the attribute.
        value: The callable, on the user's module.
        options: Registries in which a hook of this key is flagged.
        optional: Whether the module can do without: hooks, and attributes that hide a method of its class.
    """

    name: str
    place: str
    key: Any
    value: Callable[..., Any]
    options: tuple[str, ...] = ()
    optional: bool = True

    @property
    def code(self) -> Any:
        """What the same wrapper on many modules has in common."""
        value: Any = self.value
        while True:
            if isinstance(value, functools.partial):
                value = value.func
            elif isinstance(value, types.MethodType):
                value = value.__func__
            else:
                break
        return self.place, getattr(value, "__code__", type(value))


def find_extras(source: nn.Module) -> list[Extra]:
    """Find the forward hooks and the callable attributes of a model's modules."""
    return [extra for name, module in source.named_modules() for extra in _extras_of(name, module)]


def _extras_of(name: str, module: nn.Module) -> Iterator[Extra]:
    state = vars(module)
    for key, value in state.items():
        if isinstance(value, _CODE) or (callable(value) and hasattr(type(module), key)):
            if isinstance(value, type | nn.Module):
                continue
            devices = "_hf_hook" in state and key == "forward"  # accelerate's, which moves inputs
            yield Extra(name, "", key, value, optional=hasattr(type(module), key) and not devices)
    for place, flags in _HOOKS.items():
        for key, hook in state[place].items():
            options = tuple(flag for flag in flags if key in state[flag])
            yield Extra(name, place, key, hook, options, optional=not _of_library(hook))


def blanks(source: nn.Module) -> dict[int, Any]:
    """Return deepcopy's memo for what a copy must not copy: hooks, code, and tensors that modules merely keep."""
    memo: dict[int, Any] = {}
    for module in source.modules():
        state = vars(module)
        for place, flags in _HOOKS.items():
            memo.update({id(state[key]): OrderedDict() for key in (place, *flags)})
        memo.update({id(state[place]): OrderedDict() for place in _GRADIENT_HOOKS})
        for key, value in state.items():
            if key.startswith("_") and key in _REGISTRIES:
                continue
            for item in (value, *(value if isinstance(value, list | tuple | deque) else ())):
                if isinstance(item, Tensor) and not isinstance(item, nn.Parameter):
                    memo[id(item)] = item.detach()
            if isinstance(value, _CODE):
                memo[id(value)] = value
    return memo


_REGISTRIES = frozenset(vars(nn.Module()))


def detach(network: nn.Module, extra: Extra) -> None:
    """Take an extra off a copy, if it is there."""
    module = _module(network, extra.name)
    if module is None:
        return
    if not extra.place:
        vars(module).pop(extra.key, None)
        return
    for place in (extra.place, *extra.options):
        vars(module)[place].pop(extra.key, None)


def attach(network: nn.Module, extra: Extra, twin: Any) -> None:
    """Put the twin of an extra onto the module of the same name in a copy."""
    module = _module(network, extra.name)
    if module is None:
        return
    if not extra.place:
        vars(module)[extra.key] = twin
        return
    vars(module)[extra.place][extra.key] = twin
    for option in extra.options:
        vars(module)[option][extra.key] = True


def _module(network: nn.Module, name: str) -> nn.Module | None:
    """Return the module of a name, also where an adapter's layer has been merged into it."""
    from semviz.lm.merging import without_adapters

    for candidate in (name, without_adapters(name)):
        try:
            return network.get_submodule(candidate)
        except AttributeError:
            continue
    return None


def _of_library(value: Any) -> bool:
    home = getattr(value, "__module__", None) or type(value).__module__
    return str(home).partition(".")[0] in _LIBRARIES


class Twins:
    """Makes twins of callables for a copy of a model.

    Args:
        memo: Of deepcopy, after the copy: Python ids of the user's modules and parameters, and what stands for them.
    """

    def __init__(self, memo: Mapping[int, Any]) -> None:
        self._memo = memo
        self._made: dict[int, Any] = {}
        self._held: list[Any] = []  # keeps the keys of `_made` from being reused

    def of(self, value: Any) -> Any:
        """Return the twin of a callable, or of something that it holds."""
        if isinstance(value, nn.Module | nn.Parameter) and id(value) in self._memo:
            return self._memo[id(value)]
        if value is None or isinstance(value, type | types.ModuleType | str | int | float | bytes | bool):
            return value
        if id(value) not in self._made:
            self._held.append(value)
            self._made[id(value)] = value  # for circles; replaced below
            self._made[id(value)] = self._make(value)
        return self._made[id(value)]

    def _make(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return types.MethodType(self.of(value.__func__), self.of(value.__self__))
        if isinstance(value, types.BuiltinMethodType):
            owner = self.of(value.__self__)
            return value if owner is value.__self__ else getattr(owner, value.__name__)
        if isinstance(value, functools.partial):
            made = functools.partial(
                self.of(value.func),
                *(self.of(item) for item in value.args),
                **{key: self.of(item) for key, item in value.keywords.items()},
            )
            made.__dict__.update({key: self.of(item) for key, item in value.__dict__.items()})
            return made
        if isinstance(value, Tensor):
            if id(value) in self._memo:
                return self._memo[id(value)]
            return value.detach().clone() if value.numel() <= _LARGE else value.detach()
        if isinstance(value, nn.Module):
            # Beside the model, such as what a hook adds: the same weights, without gradients.
            views = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in value.parameters()}
            return copy.deepcopy(value, views)
        if type(value) in _CONTAINERS or isinstance(value, tuple):
            return self._container(value)
        return self._instance(value)

    def _container(self, value: Any) -> Any:
        if isinstance(value, tuple):
            made = tuple(self._item(item) for item in value)
            return made if type(value) is tuple else type(value)(*made)
        copied = copy.copy(value)
        if isinstance(copied, dict):
            for key, item in value.items():
                copied[key] = self._item(item)
        elif isinstance(copied, list | deque):
            for i, item in enumerate(value):
                copied[i] = self._item(item)
        return copied

    def _item(self, item: Any) -> Any:
        """Return the twin of what a container holds; recorded tensors and plain data stay."""
        return self.of(item) if isinstance(item, (nn.Module, *_CODE, *_CONTAINERS)) else item

    def _instance(self, value: Any) -> Any:
        if _of_library(value) or not hasattr(value, "__dict__"):
            return value
        try:
            copied = copy.copy(value)
            if copied is not value:
                self._made[id(value)] = copied
                home = type(value).__module__
                copied.__dict__.update({key: self._held_by(item, home) for key, item in vars(value).items()})
        except Exception:  # whatever a class does against being copied: then it stays shared
            return value
        return copied

    def _held_by(self, item: Any, home: str) -> Any:
        """Return the twin of what an object holds; objects of classes from elsewhere stay."""
        held = isinstance(item, (nn.Module, Tensor, tuple, *_CODE, *_CONTAINERS)) or type(item).__module__ == home
        return self.of(item) if held else item

    def _function(self, function: types.FunctionType) -> Any:
        cells = function.__closure__ or ()
        if _of_library(function) and not cells:
            return function
        made_cells = tuple(types.CellType() for _ in cells)
        made = types.FunctionType(
            function.__code__, self._globals(function), function.__name__, function.__defaults__, made_cells or None
        )
        self._made[id(function)] = made
        made.__kwdefaults__ = function.__kwdefaults__
        made.__module__, made.__qualname__ = function.__module__, function.__qualname__
        for cell, original in zip(made_cells, cells, strict=True):
            try:
                cell.cell_contents = self.of(original.cell_contents)
            except ValueError:  # an empty cell
                continue
        if function.__defaults__:
            made.__defaults__ = tuple(self.of(item) for item in function.__defaults__)
        if function.__kwdefaults__:
            made.__kwdefaults__ = {key: self.of(item) for key, item in function.__kwdefaults__.items()}
        made.__dict__.update({key: self.of(item) for key, item in function.__dict__.items()})
        return made

    def _globals(self, function: types.FunctionType) -> dict[str, Any]:
        """Return a function's globals with twins of those that it uses: in a notebook, recorders keep things there."""
        if _of_library(function):
            return function.__globals__
        copied = dict(function.__globals__)
        for name in _names(function.__code__):
            item = copied.get(name)
            plain = type(item).__module__ in ("__main__", function.__module__)  # an object of the caller's own class
            if plain or isinstance(item, (nn.Module, Tensor, *_CODE, *_CONTAINERS)):
                copied[name] = self.of(item)
        return copied


def _names(code: types.CodeType) -> set[str]:
    """Names that code, and the functions defined in it, may look up."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {*code.co_names, *(name for other in inner for name in _names(other))}
