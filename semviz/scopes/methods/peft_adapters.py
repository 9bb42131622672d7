"""What training methods share that put peft's adapters on layers of blocks."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupts_held
from semviz.common.training_methods import MethodPrice

if TYPE_CHECKING:
    from torch import nn

PRICE = MethodPrice(gradient_flops=0.0, copies=0.0, gradients=0.0, moments=0.0)
"""The blocks' own weights need neither gradients nor a copy."""
_INJECTED, _TUNER = "_semviz_injected", "_semviz_tuner"


@dataclass(frozen=True)
class Places:
    """Where adapters may go.

    Attributes:
        root: Holds the blocks of the scope alone, under the names that they have in the network.
        modules: The modules in them that may get adapters, by name.
    """

    root: nn.Module
    modules: Mapping[str, nn.Module]

    @property
    def linear_layers(self) -> dict[str, nn.Module]:
        """The linear layers among them, also quantised ones."""
        from semviz.lm.quantization import is_quantised_layer

        classes = _linear_classes()
        return {n: m for n, m in self.modules.items() if isinstance(m, classes) or is_quantised_layer(m)}


def make_prepare(
    key: str, config: Callable[[nn.Module, Mapping[str, nn.Module]], Any]
) -> Callable[[nn.Module, Sequence[nn.Module], int], Iterable[nn.Parameter]]:
    """Make a method's `prepare`, which puts adapters on the linear layers of blocks and freezes all other weights.

    Args:
        key: The method's key, for messages.
        config: Called with the network and the linear layers by their name in it: returns peft's configuration.
    """

    def prepare(network: nn.Module, modules: Sequence[nn.Module], seed: int) -> list[nn.Parameter]:
        def of_places(places: Places) -> Any:
            linear_layers = places.linear_layers
            if not linear_layers:
                raise SemvizError(f'The blocks have no linear layer for method={key!r}; pass method="full".')
            return config(network, linear_layers)

        return put_adapters(network, modules, seed, config=of_places, name=f"method={key!r}")

    return prepare


def put_adapters(
    network: nn.Module, modules: Sequence[nn.Module], seed: int, *, config: Callable[[Places], Any], name: str
) -> list[nn.Parameter]:
    """Put peft's adapters on layers of some modules of a network, and freeze all other weights.

    Args:
        network: A copy of a model.
        modules: Its modules that may get adapters, or hold those that may.
        seed: Seed of the adapters' first weights.
        config: Called with the places: returns peft's configuration.
        name: What the method is called in messages.

    Returns:
        What trains; all of it has memory of its own, in float32.

    Raises:
        SemvizError: If peft is missing or cannot do this, or the model has adapters that cannot be merged.
    """
    try:
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    except ImportError as error:
        raise SemvizError(f'{name} needs peft; run: pip install "semviz[peft]".') from error
    from semviz.lm.merging import is_adapted
    from semviz.lm.random_numbers import own_random_numbers

    places = _places(network, modules)
    if is_adapted(places.root):
        raise SemvizError(
            "The blocks of this scope carry an adapter beside quantised weights, into which it cannot be merged "
            "without rounding them anew; pass the model without it, or one that was loaded in a floating-point "
            "dtype."
        )
    made = config(places)
    quantised = _describe_quantised(places.root, network)
    network.requires_grad_(False)
    users = {id(p) for p in network.parameters()}
    with interrupts_held(), own_random_numbers(seed), warnings.catch_warnings():
        # What peft says of layers that are no linear ones, or of extensions that it would like to compile.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"peft\.")
        try:
            # The class and not `inject_adapter_in_model`, which refuses adapters that share weights between layers.
            tuner = PEFT_TYPE_TO_TUNER_MAPPING[made.peft_type](places.root, made, adapter_name="default")
        except (ValueError, TypeError, NotImplementedError, AttributeError, RuntimeError, ImportError) as error:
            why = checks.first_line(error).rstrip(".")[:200]
            if quantised:
                raise SemvizError(
                    f"peft has no adapter of {name} for the quantised layers of this model ({quantised}: {why}); load "
                    "it in a floating-point dtype, or quantised otherwise."
                ) from error
            raise SemvizError(
                f'peft cannot put {name} on these layers ({why}); pass other settings or target_modules, or "lora".'
            ) from error
    # Not as a module of the network, whose weights keep their names.
    vars(network)[_INJECTED], vars(network)[_TUNER] = made, tuner
    adapters = [p for p in network.parameters() if p.requires_grad]
    for p in adapters:
        # Biases that train with some adapters are the user's own until here.
        p.data = p.data.detach().clone().float() if id(p) in users else p.data.float()
    return adapters


def _places(network: nn.Module, modules: Sequence[nn.Module]) -> Places:
    """Find where adapters may go: in these modules, or in their parents where they are layers themselves."""
    from torch import nn

    names = {id(module): name for name, module in network.named_modules()}
    allowed: dict[str, nn.Module] = {}
    holders: dict[str, nn.Module] = {}
    for module in modules:
        name = names[id(module)]
        inner = {f"{name}.{leaf}": child for leaf, child in module.named_modules() if leaf}
        allowed |= inner if inner else {name: module}
        holder = name if inner else name.rpartition(".")[0]
        holders[holder] = network.get_submodule(holder)
    # Blocks alone, so that peft leaves adapters of the user's in frozen blocks as they are.
    root = nn.Module()
    for name in sorted(holders, key=lambda name: name.count(".")):
        at: nn.Module = root
        *stems, leaf = name.split(".")
        for stem in stems:
            if stem not in at._modules:
                at.add_module(stem, nn.Module())
            at = at.get_submodule(stem)
        if leaf not in at._modules:
            at.add_module(leaf, holders[name])
    return Places(root, allowed)


def _describe_quantised(own: nn.Module, network: nn.Module) -> str:
    """Tell peft, which reads it off the model that it is given, how blocks are quantised, and check that they train.

    Returns:
        The class of the first quantised layer; empty if there is none.

    Raises:
        SemvizError: If gradients do not pass through a quantised layer.
    """
    from semviz.lm.quantization import passes_gradients, quantised_layers

    layers = [layer for _, layer in quantised_layers(own)]
    if not layers:
        return ""
    of_library = [p for layer in layers for p in layer.parameters() if type(p).__module__.startswith("bitsandbytes.")]
    kinds = {type(p).__name__ for p in of_library}
    told: dict[str, Any] = {"is_loaded_in_4bit": "Params4bit" in kinds, "is_loaded_in_8bit": "Int8Params" in kinds}
    told |= {key: getattr(network, key, None) for key in ("config", "quantization_method", "hf_quantizer")}
    vars(own).update(told)
    for layer in {type(layer): layer for layer in layers}.values():
        if not passes_gradients(layer, getattr(network, "dtype", None)):
            raise SemvizError(
                f"No gradients pass through the quantised layers of this model ({type(layer).__name__}), so adapters "
                "below them cannot train; load it in a floating-point dtype, or quantised by bitsandbytes or torchao."
            )
    return type(layers[0]).__name__


def injected_config(network: nn.Module) -> Any:
    """Return the configuration of peft's with which a network got adapters from `put_adapters`; None if it has none.

    Names in it are those of the network.
    """
    return vars(network).get(_INJECTED)


def shared_state(network: nn.Module) -> dict[str, Any]:
    """Return what the adapters of `put_adapters` share, such as VeRA's projections, by its name in peft's files."""
    tuner: nn.Module | None = vars(network).get(_TUNER)
    own = {} if tuner is None else tuner.state_dict()
    return {f"base_model.{name}": value for name, value in own.items() if not name.startswith("model.")}


def any_transposed(layers: Mapping[str, nn.Module]) -> bool:
    """Whether one of these layers stores its weight as (in, out), as GPT-2's do."""
    _, conv1d = _linear_classes()
    return any(isinstance(module, conv1d) for module in layers.values())


def merged(module: nn.Module) -> nn.Module:
    """Copy a block with its adapters merged into its weights, which keep their names."""
    from torch import nn

    from semviz.lm.merging import merge_adapters

    # A copy, since merging would write into the user's own weights.
    holder = nn.ModuleList([copy.deepcopy(module)])
    merge_adapters(holder)
    return holder[0]


def _linear_classes() -> tuple[type[nn.Module], type[nn.Module]]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return nn.Linear, Conv1D
