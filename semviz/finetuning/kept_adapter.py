"""`KeptAdapter`: the adapters of a run as they were trained, unmerged, in the form in which peft saves them."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from semviz.finetuning.suffix_model import Suffix
    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of every name in a file of peft's
_SHARED = "base_model."  # of those in it that belong to no layer
_LISTED = ("feedforward_modules",)  # fields that name some of the targets anew
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, eq=False)
class KeptAdapter:
    """Adapters on a model, as `peft.PeftModel.from_pretrained(base, folder)` reads them.

    Attributes:
        config: Text of `adapter_config.json`; modules have their names in the whole model.
        tensors: What `adapter_model.safetensors` holds, by name, on the CPU.
    """

    config: str
    tensors: Mapping[str, Tensor] = field(repr=False)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of the configuration."""
        settings: dict[str, Any] = json.loads(self.config)
        return settings

    def on(self, base: str) -> KeptAdapter:
        """Return the same adapter with another name or folder of its base model; empty for none."""
        return replace(self, config=json.dumps(self.settings | {"base_model_name_or_path": base or None}, indent=2))


def keep_adapter(suffix: Suffix, model: LanguageModel, scope: Scope) -> KeptAdapter | None:
    """Keep the adapters of a trained suffix; None if it has none of peft's, or peft saves them from its wrapper only.

    Args:
        suffix: What was trained.
        model: The model.
        scope: What was trained in it.
    """
    from semviz.lm.merging import is_adapted
    from semviz.scopes.methods.peft_adapters import injected_config

    config = injected_config(suffix.network)
    # Adapters on top of the model's own belong to a base that is nowhere to be loaded from.
    if config is None or is_adapted(model.anatomy.model):
        return None
    names = scope.block_names(model.parts.names)
    try:
        return KeptAdapter(
            _text_of(_for_whole_model(config, suffix.network, names, base_of(model))),
            _tensors(suffix.network, config, names),
        )
    except (ValueError, KeyError, AttributeError, TypeError, NotImplementedError):
        return None  # some kinds keep what layers share in the wrapper; the training must not be lost for that


def base_of(model: LanguageModel) -> str:
    """Return the folder or hub id that a model was loaded from; empty if it is not known."""
    place = str(getattr(model.anatomy.model, "name_or_path", "") or "")
    if place and Path(place).is_dir():
        return str(Path(place).resolve())
    return place if _HUB_ID.fullmatch(place) else ""


def _tensors(network: nn.Module, config: Any, names: list[str]) -> dict[str, Tensor]:
    """Return the adapters' tensors as peft collects them for its own files."""
    from peft import get_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    from semviz.scopes.methods.peft_adapters import shared_state

    inside = tuple(f"{name}." for name in names)
    # As in a model that peft wraps, which holds beside the layers what they share.
    shared = shared_state(network)
    state = network.state_dict() | shared
    holder: Any = network
    holder.peft_config = {"default": config}
    try:
        found = get_peft_model_state_dict(holder, state_dict=state, save_embedding_layers=False)
    finally:
        del holder.peft_config
    tuner = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
    # Some kinds leave it to the wrapper to collect what layers share.
    found = {tuner._remove_adapter_name_from_key(name, "default"): value for name, value in shared.items()} | found
    return {
        (name if name.startswith(_SHARED) else f"{_PREFIX}{name}"): value.detach().to("cpu", copy=True).contiguous()
        for name, value in found.items()
        if name.startswith((*inside, _SHARED))
    }


def _for_whole_model(config: Any, network: nn.Module, names: list[str], base: str) -> Any:
    """Return a configuration that names the layers with adapters one by one, and so fits no other block."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    targets = [
        f"{name}.{inner}" if inner else name
        for name in names
        for inner, module in network.get_submodule(name).named_modules()
        if isinstance(module, BaseTunerLayer) and ".base_layer" not in inner
    ]
    made = copy.deepcopy(config)
    for key, value in vars(made).items():
        if isinstance(value, dict) and value and key.endswith("_pattern"):
            setattr(made, key, _resolved(value, targets))
        elif key in _LISTED and value:
            setattr(made, key, [name for name in targets if _is_named(name, value)])
        elif isinstance(value, set | tuple):
            setattr(made, key, sorted(value))
    made.target_modules = targets
    for key in ("exclude_modules", "layers_to_transform", "layers_pattern"):
        if hasattr(made, key):
            setattr(made, key, None)
    made.task_type, made.base_model_name_or_path, made.inference_mode = "CAUSAL_LM", base or None, True
    return made


def _is_named(name: str, listed: str | Iterable[str]) -> bool:
    """Whether a module is in a list of names, or fits an expression, by peft's rule."""
    if isinstance(listed, str):
        return re.fullmatch(listed, name) is not None
    return any(name.endswith(one) for one in listed)


def _resolved(pattern: Mapping[str, Any], targets: list[str]) -> dict[str, Any]:
    """Say for each module what peft finds in a pattern for it."""
    found: dict[str, Any] = {}
    for name in targets:
        key = next((key for key in pattern if re.fullmatch(rf"(.*\.)?({key})", name)), None)
        if key is not None:
            found[re.escape(name)] = pattern[key]
    return found


def _text_of(config: Any) -> str:
    """Return the text that peft writes for a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        return Path(folder, CONFIG_FILE).read_text(encoding="utf-8")
