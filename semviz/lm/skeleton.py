"""A model without its weights, made from its config alone: names and shapes of all parameters, in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from semviz.common.errors import ModelError
from semviz.lm.loading import check_config, explained
from semviz.lm.sources import ADAPTER, DEMO, locate, not_a_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def skeleton_of(source: Any, *, trust_remote_code: bool = False) -> tuple[PreTrainedModel, str]:
    """Build a model on torch's meta device.

    Args:
        source: As for `load_model`: None for the packaged demo, a folder (one with only a `config.json` will do), a
            GGUF file, a hub id, or a model that is loaded.
        trust_remote_code: Run Python code from the model's repository.

    Returns:
        The model, whose parameters have no memory, and its name.

    Raises:
        ModelError: If there is no such model, or it is not a causal LM.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    from semviz.lm.model import LanguageModel

    if isinstance(source, LanguageModel):
        config, name = source.anatomy.model.config, source.name
    elif hasattr(source, "named_parameters") and hasattr(source, "config"):
        config, name = source.config, Path(str(getattr(source, "name_or_path", "") or type(source).__name__)).name
    elif not (source is None or isinstance(source, str | Path)):
        raise not_a_model(source)
    else:
        path, name, options = _place(source)
        with explained(name):
            config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code, **options)
            check_config(name, config, trust_remote_code)
    with explained(name), torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return network, name


def _place(source: str | Path | None) -> tuple[str, str, dict[str, str]]:
    """Return where a config lies, the model's name, and the options with which it is read."""
    if source is not None and source != DEMO:
        folder = Path(source)
        if (folder / "config.json").is_file():
            return str(folder), folder.resolve().name, {}
        if (folder / ADAPTER).is_file():
            raise ModelError(f"{folder} holds an adapter; pass the model that it was trained on.")
    where = locate(source)
    return where.path, where.name, {"gguf_file": where.gguf_file} if where.gguf_file else {}
