"""Which loader a source needs: files, an adapter on its base, or objects that are in memory already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from semviz.common.errors import ModelError
from semviz.lm.adapter_folders import find_on_hub, load_adapter
from semviz.lm.loading import LoadOptions, load_from_files, load_tokenizer
from semviz.lm.sources import Source, locate, not_a_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PAIR = "pass (model, tokenizer), both from transformers"


def load_from_source(
    source: Any, base: Any, gguf_file: str | None, tokenizer: Any, options: LoadOptions
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str, str]:
    """Load a folder, a GGUF file, an adapter or what the hub holds.

    Returns:
        Model, tokenizer, the model's name, and a note on what was done to it.

    Raises:
        ModelError: As in `load_model`.
    """
    where = locate(source, gguf_file=gguf_file, has_base=base is not None)
    if where.kind == "hub" and not where.gguf_file:
        where = _adapter_on_hub(where, options, is_named=base is not None) or where
    if where.kind == "adapter":
        return _named(where, load_adapter(where, base, tokenizer, options))
    if base is not None:
        raise ModelError(f"{where.name} is a whole model and no adapter, so base= would do nothing; leave it out.")
    return _named(where, load_from_files(where, tokenizer, options))


def _named(where: Source, loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase, str]) -> Any:
    model, tokenizer, note = loaded
    return model, tokenizer, where.name, note


def _adapter_on_hub(where: Source, options: LoadOptions, *, is_named: bool) -> Source | None:
    """Look for an adapter in a repository without a model's config; one that cannot be asked is left to the loader."""
    from transformers.utils import cached_file

    try:
        has_config = not is_named and cached_file(
            where.path, "config.json", _raise_exceptions_for_missing_entries=False, **options.place
        )
        return None if has_config else find_on_hub(where, options)
    except ModelError:
        raise
    except Exception:  # gated, misspelt, offline: the loader that comes next explains it
        return None


def objects_in_memory(source: Any, tokenizer: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """Return a model, its tokenizer and its name, from a pair or from a model that says where it came from.

    Raises:
        ModelError: If they are of other classes, or no tokenizer is known.
    """
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    model, own = source, tokenizer
    if isinstance(source, tuple | list):
        classes = [type(item).__name__ for item in source]
        if len(source) != 2:
            raise ModelError(f"Got a {type(source).__name__} of {classes}; {_PAIR}.")
        model, own = source
        if isinstance(model, PreTrainedTokenizerBase) and isinstance(own, PreTrainedModel):
            raise ModelError(f"Got {classes}; pass the model first: (model, tokenizer).")
        if not isinstance(own, PreTrainedTokenizerBase):
            raise ModelError(f"Got a tuple of {classes}; {_PAIR}.")
        if tokenizer is not None and tokenizer is not own:
            raise ModelError("Got a tokenizer in the pair and another one as tokenizer=; pass one of them.")
    if not isinstance(model, PreTrainedModel) and not hasattr(model, "peft_config"):
        if isinstance(source, tuple | list):
            raise ModelError(f"Got a model of class {type(model).__name__}; pass a transformers or PEFT causal LM.")
        raise not_a_model(source)
    path = str(getattr(model, "name_or_path", "") or getattr(model.config, "_name_or_path", "") or "")
    name = Path(path or type(model).__name__).name
    if isinstance(own, PreTrainedTokenizerBase):
        return model, own, name
    if own is None and not path:
        raise ModelError(
            f"{type(model).__name__} does not say where it came from, so its tokenizer is unknown; "
            "pass (model, tokenizer)."
        )
    return model, load_tokenizer(Source(path, name, "hub"), own, LoadOptions()), name
