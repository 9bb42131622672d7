"""Where other trainers put adapters: each makes a configuration of peft's, which is tried on an empty model."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.scopes.config_files import AXOLOTL, LLAMA_FACTORY, PEFT, SWIFT, as_flag, as_list
from semviz.scopes.config_values import as_integer, as_integers, as_names
from semviz.scopes.weight_rules import Named, Trained

if TYPE_CHECKING:
    from torch import nn


def of_adapters(trainer: str, config: Mapping[str, Any], network: nn.Module, names: Named) -> Trained:
    """Put the adapters of a config on a model, which is changed, and say what trains.

    Raises:
        SemvizError: If peft is missing, or the kind of adapters is not known here.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise SemvizError('Adapters are checked by peft itself; run: pip install "semviz[peft]".') from error
    found = Trained("", adapted=True)
    fields = {AXOLOTL: _axolotl, LLAMA_FACTORY: _llama_factory, SWIFT: _swift, PEFT: _peft}[trainer](config, network)
    layers = fields.get("layers_to_transform")
    if isinstance(fields.get("target_modules"), str) and layers not in (None, []):
        found.warnings.append(
            "The layers to transform are refused by peft, and ignored by some of its versions, where the targets are "
            "one text; list the names of modules instead."
        )
        fields = {**fields, "layers_to_transform": None, "layers_pattern": None}
    made = _made(fields)
    found.how = f"adapters ({made.peft_type.value}" + (f" of rank {made.r})" if hasattr(made, "r") else ")")
    found.warnings += _unmatched(made, network, names)
    had_parameters = bool(getattr(made, "target_parameters", None))
    trained = _injected(made, network, found)
    found.counts = trained
    if getattr(made, "target_parameters", None) and not had_parameters:
        found.warnings.append(
            f"peft takes some of the targets for fused experts, in every block: {', '.join(made.target_parameters)}."
        )
    outside = sorted(name for name in trained if not names.block(name))
    saved = tuple(getattr(made, "modules_to_save", None) or ())
    odd = [name for name in outside if not any(f".{word}." in f".{name}" for word in saved)]
    if odd:
        found.warnings.append(f"Adapters sit outside the blocks too: {_module_of(odd[0])} and {len(odd) - 1} others.")
    return found


def _made(fields: Mapping[str, Any]) -> Any:
    from peft import PeftConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind, known = fields.get("peft_type"), sorted(str(getattr(k, "value", k)) for k in PEFT_TYPE_TO_CONFIG_MAPPING)
    if kind not in known:
        raise SemvizError(
            f"peft_type: {checks.short_repr(kind)} is none of the kinds that peft knows; it knows {', '.join(known)}."
        )
    try:
        return PeftConfig.from_peft_type(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise SemvizError(f"peft refuses these settings of adapters: {checks.first_line(error)}.") from error


def _injected(made: Any, network: nn.Module, found: Trained) -> dict[str, int]:
    """Let peft put the adapters there, and return the numbers of what then trains."""
    from peft import inject_adapter_in_model

    network.requires_grad_(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about keys that are told of here
            inject_adapter_in_model(made, network, low_cpu_mem_usage=True)
    except (ValueError, TypeError, NotImplementedError, AttributeError, re.error, OverflowError) as error:
        found.warnings.append(f"peft stops: {checks.first_line(error)}")
        return {}
    return {name: p.numel() for name, p in network.named_parameters() if p.requires_grad}


def _unmatched(made: Any, network: nn.Module, names: Named) -> list[str]:
    """Say which targets no module has, and which layers there are not."""
    modules = [name for name, _ in network.named_modules()]
    said = []
    targets = made.target_modules if hasattr(made, "target_modules") else None
    if isinstance(targets, list | set | tuple):
        for target in sorted(targets):
            if not any(name == target or name.endswith(f".{target}") for name in modules):
                said.append(f"The target {target!r} is no module of the model.")
    elif isinstance(targets, str) and targets != "all-linear":
        try:
            if not any(re.fullmatch(targets, name) for name in modules):
                said.append(f"The pattern {targets!r} matches no module: it must match whole names.")
        except re.error as error:
            raise SemvizError(f"{targets!r} is not a regular expression ({error}); mend it.") from error
    layers = getattr(made, "layers_to_transform", None)
    numbers = [layers] if isinstance(layers, int) else list(layers or ())
    absent = [number for number in numbers if not 0 <= int(number) < len(names.blocks)]
    if absent:
        said.append(f"There is no layer {absent[0]}: they are counted from 0 to {len(names.blocks) - 1}.")
    return said


def _module_of(parameter: str) -> str:
    return re.split(r"\.(lora_|ia3_|modules_to_save|vera_|hada_|lokr_|oft_|boft_)", parameter)[0]


def _axolotl(config: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    targets: Any = config.get("lora_target_modules") or []
    if not isinstance(targets, str):
        targets = as_names(config, "lora_target_modules")
    if as_flag(config.get("lora_target_linear") or False):
        targets = sorted({*([targets] if isinstance(targets, str) else targets), *_linear_leaves(network)})
    as_names(config, "lora_modules_to_save")
    return {
        "peft_type": "LORA",
        "r": 8 if config.get("lora_r") is None else as_integer(config, "lora_r", 8),
        "target_modules": targets,
        "target_parameters": config.get("lora_target_parameters") or None,
        "layers_to_transform": as_integers(config, "peft_layers_to_transform"),
        "layers_pattern": config.get("peft_layers_pattern"),
        "modules_to_save": config.get("lora_modules_to_save") or None,
        "exclude_modules": config.get("lora_exclude_modules") or None,
        "use_dora": as_flag(config.get("peft_use_dora") or False),
    }


def _llama_factory(config: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    if as_flag(config.get("use_llama_pro", False)):
        raise SemvizError("The config adds blocks to the model (use_llama_pro), which is not checked; leave it out.")
    targets = as_list(config.get("lora_target", "all"))
    return {
        "peft_type": "LORA",
        "r": as_integer(config, "lora_rank", 8),
        "target_modules": _linear_leaves(network) if targets == ["all"] else targets,
        "modules_to_save": as_list(config.get("additional_target")) or None,
        "use_dora": as_flag(config.get("use_dora", False)),
    }


def _swift(config: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    given = config.get("target_modules", "all-linear")
    words = given.split() if isinstance(given, str) else as_names(config, "target_modules")
    targets: Any = [word for word in words if word != "all-linear"]
    if "all-linear" in words:
        targets = sorted({*targets, *_linear_leaves(network)})
    return {
        "peft_type": "LORA",
        "r": as_integer(config, "lora_rank", 8),
        "target_modules": config.get("target_regex") or targets,
        "modules_to_save": as_list(config.get("modules_to_save")) or None,
        "use_dora": as_flag(config.get("use_dora", False)),
    }


def _peft(config: Mapping[str, Any], _: nn.Module) -> dict[str, Any]:
    as_integers(config, "layers_to_transform")
    as_names(config, "modules_to_save")
    return {**config, "inference_mode": False}


def _linear_leaves(network: nn.Module) -> list[str]:
    """Last parts of the names of all linear layers but the head, as trainers collect them."""
    head = network.get_output_embeddings()  # type: ignore[operator]
    kinds = [(name, module) for name, module in network.named_modules() if "Linear" in type(module).__name__]
    return sorted({name.rpartition(".")[2] for name, module in kinds if module is not head})
