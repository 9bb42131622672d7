"""A configuration of peft's as a training method: placed on a scope's blocks, named, and written into a run's file."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import ModelError, SemvizError
from semviz.common.files import digest_of
from semviz.common.training_methods import METHODS, ConfiguredMethod, Mark, TrainingMethod
from semviz.scopes.methods import peft_adapters, peft_kinds

if TYPE_CHECKING:
    from torch import nn

    from semviz.scopes.methods.peft_adapters import Places

# What decides nothing of a training's result: where a configuration was made, how peft saves and shows, and
# fan_in_fan_out, which is told by the layers.
_DECIDES_NOTHING = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision"),
        *("task_type", "runtime_config", "megatron_core", "progressbar", "runtime_offload_base_weight"),
        "fan_in_fan_out",
    }
)
# What of the adapters is in their file, which a run keeps: told where it is not as by default.
_SAVED = ("save_indices", "save_only_topk_weights", "save_precomputed_indices", "save_projection")
_UNORDERED = ("exclude_modules", "feedforward_modules", "layers_to_transform", "target_modules")
_AS_THE_SCOPE = ("layers_pattern", "layers_to_transform")  # refused where they say something else than it
_ALL_LINEAR = "all-linear"
_EMPTY: tuple[Any, ...] = (None, [], {}, "")
_LONGEST = 70  # characters of a method's name


def as_method(method: Any, name: str = "method") -> str:
    """Check what `method=` is passed: a registered key, or a configuration of peft's, which becomes a method.

    Args:
        method: What was passed; it is not changed.
        name: The argument's name, for messages.

    Raises:
        SemvizError: If it is neither, or a configuration that cannot train a scope.
    """
    if isinstance(method, ConfiguredMethod):
        return method
    if "peft" in sys.modules:
        from peft import PeftConfig

        if isinstance(method, PeftConfig):
            return _of_config(method, name)
    if isinstance(method, str) or not hasattr(method, "peft_type"):
        return checks.one_of(name, method, METHODS)
    raise SemvizError(
        f"{checks.named_repr(name, method)} is no configuration of peft's; pass LoraConfig() or the like."
    )


def from_texts(texts: Mapping[str, str]) -> ConfiguredMethod:
    """Make the method of a configuration that a run's file holds, also where peft is not installed.

    Args:
        texts: JSON texts by field, as in `ConfiguredMethod.config`.

    Raises:
        ValueError: If they are no such texts.
    """
    values = {name: json.loads(text) for name, text in texts.items()}
    kind, text = values.pop("peft_type", None), values.pop("name", None)
    if not isinstance(kind, str) or not isinstance(text, str):
        raise ValueError("the configuration of its adapters has no peft_type or no name")
    return _method(kind, text, values)


def config_of(method: str) -> Any:
    """Make peft's configuration of a configured method anew, as the user passed it; None for another method."""
    if not isinstance(method, ConfiguredMethod):
        return None
    values = {name: json.loads(text) for name, text in method.config.items() if name != "name"}
    return _config(values.pop("peft_type"), values)


def code_of_config(method: object) -> str:
    """Write a configured method as the code that makes it, such as `peft.LoraConfig(r=16)`; empty for others."""
    if not isinstance(method, ConfiguredMethod):
        return ""
    config = config_of(method)
    fields = {f.name: f for f in dataclasses.fields(config)}
    values = {key: json.loads(text) for key, text in method.config.items() if key in fields}
    plain = {key: _plain(_default(fields[key]), key, "") for key in values}
    told = [f"{key}={value!r}" for key, value in values.items() if key != "peft_type" and not _alike(value, plain[key])]
    return f"peft.{type(config).__name__}({', '.join(told)})"


def _of_config(config: Any, name: str) -> ConfiguredMethod:
    """Make a method of a configuration."""
    kind = getattr(config.peft_type, "value", config.peft_type)
    called = f"{name}={type(config).__name__}"
    if not isinstance(kind, str) or not dataclasses.is_dataclass(config):
        raise SemvizError(f"{called}(…) has no peft_type; pass a configuration of one method, such as LoraConfig().")
    fields = [f for f in dataclasses.fields(config) if f.name not in _DECIDES_NOTHING]
    raw = {f.name: _plain(getattr(config, f.name), f.name, called) for f in fields}
    refusal = peft_kinds.refusal_of(kind, raw)
    if refusal:
        raise SemvizError(f"{called}(…) {refusal}.")
    if "target_modules" in raw and raw["target_modules"] in ([], ""):
        raise SemvizError(
            f"{called}(…) has target_modules={raw['target_modules']!r}, which names no module; pass names such as "
            '["q_proj", "v_proj"], or leave it out for adapters on all that fit.'
        )
    values = {**raw, **{key: _in_order(raw[key]) for key in _UNORDERED if key in raw}}
    defaults = {f.name: _plain(_default(f), f.name, called) for f in fields}
    if isinstance(values.get("target_modules"), str) and values["target_modules"].lower() == _ALL_LINEAR:
        values["target_modules"] = None if kind not in ("IA3", "LN_TUNING") else _ALL_LINEAR
    changed = {key: value for key, value in values.items() if not _alike(value, defaults[key])}
    values = {key: value for key, value in values.items() if key in changed or key not in _SAVED}
    named = {key: value for key, value in changed.items() if key not in _AS_THE_SCOPE}
    # None where the default is empty too, so that peft says nothing of settings that are not made.
    values = {key: value for key, value in values.items() if key in changed or value not in _EMPTY}
    _check_rebuilt(config, kind, values, called)
    return _method(kind, _text(kind, values, named), values)


def _method(kind: str, text: str, values: Mapping[str, Any]) -> ConfiguredMethod:
    method = TrainingMethod(
        key=kind.lower(),
        title=text,
        own_weights=False,
        prepare=partial(_prepare, kind, dict(values)),
        merged=peft_adapters.merged,
        price=peft_adapters.PRICE,
        rate_factor=peft_kinds.rate_factor_of(kind),
        mark=Mark(fill="-open"),
    )
    texts = {key: json.dumps(value) for key, value in {"peft_type": kind, "name": text, **values}.items()}
    return ConfiguredMethod(text, method, texts)


def _text(kind: str, values: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
    """Name a configuration by what it sets, as people do: `DoRA r=16 alpha=32 dropout=0.05 q_proj+v_proj`."""
    told = dict(changed)
    title = peft_kinds.title_of(kind)
    if kind == "LORA" and told.pop("use_dora", False):
        title = "DoRA"
    words = [title]
    if isinstance(values.get("r"), int):
        words.append(f"r={values['r']}")
        told.pop("r", None)
    digest = digest_of(json.dumps(told, sort_keys=True).encode())[:8]
    targets = told.pop("target_modules", None)
    for key, value in told.items():
        short = "init" if re.fullmatch(r"init_(\w+_)?weights", key) else re.sub(rf"^({kind.lower()}|use)_", "", key)
        words.append(short if value is True else f"{short}={value if isinstance(value, str) else json.dumps(value)}")
    if targets is not None:
        words.append(f"targets={targets}" if isinstance(targets, str) else "+".join(targets))
    text = " ".join(words)
    if len(text) <= _LONGEST and re.fullmatch(r"[\w=.+-]+( [\w=.+-]+)*", text.replace("LN tuning", "LN")):
        return text
    return f"{' '.join(words[: 2 if isinstance(values.get('r'), int) else 1])} #{digest}"


def _plain(value: Any, name: str, called: str) -> Any:
    """Return a setting as JSON has it; whole numbers are integers, however they are written."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    value = getattr(value, "value", value) if hasattr(type(value), "__members__") else value  # an enumeration's
    value = value.item() if hasattr(value, "item") and not isinstance(value, str) else value  # of NumPy
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, name, called) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(inner, name, called) for inner in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(inner, name, called) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise SemvizError(
        f"{called}: {checks.named_repr(name, value)} cannot be written into a run's file; pass numbers, texts or lists."
    )


def _in_order(value: Any) -> Any:
    """Return a setting whose order says nothing in one order; a single number as a list."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    return sorted(set(value), key=lambda item: (str(type(item)), item)) if isinstance(value, list) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _alike(value: Any, default: Any) -> bool:
    """Whether a setting is its default; what is empty is as good as None."""
    return (type(value) is type(default) and value == default) or (value in _EMPTY and default in _EMPTY)


def _config(kind: str, values: Mapping[str, Any]) -> Any:
    """Build peft's configuration of settings as JSON has them."""
    try:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    except ImportError as error:
        name = peft_kinds.title_of(kind)
        raise SemvizError(f'method={name} needs peft; run: pip install "semviz[peft]".') from error
    made = {getattr(key, "value", key): one for key, one in PEFT_TYPE_TO_CONFIG_MAPPING.items()}.get(kind)
    if made is None:
        raise SemvizError(f"The installed peft has no {kind}; install the version that the run was made with.")
    hints = typing.get_type_hints(made)
    try:
        return made(**{name: _typed(value, hints.get(name)) for name, value in values.items()})
    except (TypeError, ValueError) as error:
        raise SemvizError(
            f"The installed peft makes no {made.__name__} of these settings ({checks.first_line(error)}); install the "
            "version that the run was made with."
        ) from error


def _typed(value: Any, hint: Any) -> Any:
    """Turn an object of JSON into the configuration that a field is declared to hold, where it is one."""
    if not isinstance(value, Mapping):
        return value
    for one in (hint, *typing.get_args(hint)):
        if dataclasses.is_dataclass(one) and isinstance(one, type):
            return one(**value)
    return dict(value)


def _check_rebuilt(config: Any, kind: str, values: Mapping[str, Any], called: str) -> None:
    """Refuse what a configuration holds beside its fields, such as a function, which no file could hold."""
    rebuilt = _config(kind, values)
    fields = {f.name for f in dataclasses.fields(config)}
    own, made = vars(config), vars(rebuilt)
    odd = [name for name in own if name not in fields and (name not in made or own[name] != made[name])]
    if type(rebuilt) is not type(config):
        raise SemvizError(f"{called}(…) is of a class of your own; pass {type(rebuilt).__name__}(…).")
    if odd:
        raise SemvizError(f"{called}(…) has {odd[0]} set by hand, which no run's file can hold; leave it out.")


def _prepare(
    kind: str, values: Mapping[str, Any], network: nn.Module, modules: Sequence[nn.Module], seed: int
) -> list[nn.Parameter]:
    """Put a configuration's adapters on some modules; as `prepare` of a training method."""
    name = peft_kinds.title_of(kind)

    def of_places(places: Places) -> Any:
        config = _config(kind, values)
        targets = _targets(network, places, config, kind)
        config.target_modules = set(targets)
        if hasattr(config, "fan_in_fan_out"):
            config.fan_in_fan_out = peft_adapters.any_transposed(targets)
        if peft_kinds.changes_weights(values):
            for layer in targets.values():
                for p in layer.parameters():
                    p.data = p.data.clone()  # the user's
        return config

    adapters = peft_adapters.put_adapters(network, modules, seed, config=of_places, name=name)
    # One layer of each kind now, so that nothing trains for hours that cannot be merged in the end.
    layers: dict[object, nn.Module] = {}
    for module in network.modules():
        if _carries_adapter(module):
            base: Any = module.get_base_layer()  # type: ignore[operator]
            layers.setdefault((type(module), type(base), getattr(base, "bias", None) is None), module)
    for layer in layers.values():
        try:
            peft_adapters.merged(layer)
        except ModelError as error:
            why = checks.first_line(error.__cause__ or error).rstrip(".")[:200]
            raise SemvizError(
                f"peft cannot merge {name} into these layers ({why}); pass other settings, or target_modules."
            ) from error
    return adapters


def _carries_adapter(module: nn.Module) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    from semviz.lm.quantization import first_quantised

    return isinstance(module, BaseTunerLayer) and not first_quantised([module])


def _targets(network: nn.Module, places: Places, config: Any, kind: str) -> dict[str, nn.Module]:
    """Find the modules that a configuration names, by peft's own rules.

    Raises:
        SemvizError: If it names one that the scope does not have, or other layers than the scope.
    """
    matches = _matcher(kind)
    asked, layers = config.target_modules, getattr(config, "layers_to_transform", None)
    if layers is not None:
        config.layers_to_transform = None
    if asked is None and kind == "IA3":
        from semviz.scopes.methods.ia3 import targets_of

        asked, feedforward = targets_of(network, places.linear_layers)
        config.feedforward_modules = feedforward
    every: Mapping[str, nn.Module] = places.modules
    is_named = config.target_modules is not None
    if asked is None or (isinstance(asked, str) and asked.lower() == _ALL_LINEAR):
        every = _norms(places) if asked is None and kind == "LN_TUNING" else places.linear_layers
        asked, is_named = list(every), False
    excluded = getattr(config, "exclude_modules", None)
    if excluded:
        config.exclude_modules = None
    for one in ([asked] if isinstance(asked, str) else sorted(asked)) if is_named else []:
        config.target_modules = one if isinstance(asked, str) else {one}
        if not any(matches(config, name) for name in every):
            raise SemvizError(
                f"target_modules: {one!r} is no module in the blocks of this scope; pass names of modules in it, such "
                f"as {_kinds_of(places.linear_layers)}."
            )
    config.target_modules = asked if isinstance(asked, str) else set(asked)
    if excluded:
        config.exclude_modules = excluded
    found = {name: module for name, module in every.items() if matches(config, name)}
    if not found and excluded:
        raise SemvizError(
            f"exclude_modules={checks.short_repr(excluded)} leaves no module in the blocks of this scope; pass fewer, "
            f"or target_modules beside them, such as {_kinds_of(places.linear_layers)}."
        )
    if not found:
        raise SemvizError("The blocks of this scope have no layer for these adapters; pass target_modules.")
    if layers:
        _check_layers(found, [layers] if isinstance(layers, int) else layers, getattr(config, "layers_pattern", None))
    _check_patterns(found, config)
    return found


def _kinds_of(layers: Mapping[str, nn.Module]) -> str:
    """The last parts of the names of layers, as a list to choose from."""
    return ", ".join(sorted({name.rpartition(".")[2] for name in layers})) or "none: it has no linear layer"


def _check_patterns(found: Mapping[str, nn.Module], config: Any) -> None:
    """Refuse a setting for some of the targets, such as `rank_pattern`, that would come to nothing."""
    for setting, pattern in vars(config).items():
        if not (setting.endswith("_pattern") and isinstance(pattern, Mapping)):
            continue
        for key in pattern:
            if not any(re.fullmatch(rf"(.*\.)?({key})", name) for name in found):
                raise SemvizError(
                    f"{setting}: {key!r} is none of the modules that get adapters; pass names among them: "
                    f"{_kinds_of(found)}."
                )


def _matcher(kind: str) -> Callable[[Any, str], bool]:
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    (tuner,) = [one for key, one in PEFT_TYPE_TO_TUNER_MAPPING.items() if getattr(key, "value", key) == kind]

    def matches(config: Any, name: str) -> bool:
        return bool(tuner._check_target_module_exists(config, name))

    return matches


def _norms(places: Places) -> dict[str, nn.Module]:
    from semviz.lm.block_parts import is_norm

    return {name: module for name, module in places.modules.items() if is_norm(module)}


def _check_layers(found: Mapping[str, nn.Module], layers: Sequence[int], pattern: Any) -> None:
    """Refuse `layers_to_transform` that says something else than the scope."""
    patterns = [pattern] if isinstance(pattern, str) else list(pattern or [r"[^.]*"])
    numbers = set()
    for name in found:
        matched = [m for one in patterns if (m := re.match(rf"(?:^|.*?\.){one}\.(\d+)\.", name))]
        numbers |= {int(matched[0].group(1))} if matched else set()
    if numbers != set(layers):
        there = ", ".join(map(str, sorted(numbers))) or "none that layers_pattern fits"
        raise SemvizError(
            f"layers_to_transform={sorted(set(layers))} contradicts the scope, whose layers are {there} (counted from "
            "0); leave it out, since the scope says which blocks get adapters."
        )
