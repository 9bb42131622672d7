"""Adapters of peft in a folder or on the hub, put on the base model that they were trained on."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import ModelError
from semviz.lm.loading import LoadOptions, check_config, explained, load_from_files, load_tokenizer
from semviz.lm.model_files import check_headers, has_tokenizer
from semviz.lm.prompt_learning import adds_virtual_tokens, virtual_tokens_refused
from semviz.lm.random_numbers import own_random_numbers
from semviz.lm.sources import ADAPTER, Source, locate

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of the names that modules of the base have in an adapter's file


def find_on_hub(source: Source, options: LoadOptions) -> Source | None:
    """Return an adapter's own files if a repository holds one in place of a model, or None.

    Raises:
        ModelError: If it holds pickled weights only.
    """
    from transformers.utils import cached_file
    from transformers.utils.peft_utils import find_adapter_config_file

    if find_adapter_config_file(source.path, **options.place) is None:
        return None
    weights = cached_file(source.path, _WEIGHTS, _raise_exceptions_for_missing_entries=False, **options.place)
    if weights is None:
        raise ModelError(
            f"{source.name} is an adapter without {_WEIGHTS}. semviz does not load pickled weights; convert them with "
            "model.save_pretrained(folder) of peft first."
        )
    return Source(str(Path(weights).parent), source.name, "adapter", weights=(Path(weights),))


def load_adapter(
    source: Source, base: Any, tokenizer: Any, options: LoadOptions
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """Load an adapter onto its base model.

    Args:
        source: The adapter's folder.
        base: A model in memory, of which a copy is taken, `(model, tokenizer)`, or where one lies; None for the one
            that the adapter names.
        tokenizer: As in `load_from_files`; by default the adapter's own, or else the base's.
        options: How the base is loaded.

    Returns:
        The adapted model, a tokenizer, and a note that names the base.

    Raises:
        ModelError: If peft or the base is missing, or the adapter does not fit the base.
    """
    try:
        import peft
    except ImportError as error:
        raise ModelError(f'{source.name} is an adapter of peft; run: pip install "semviz[peft]".') from error
    check_headers(source.weights)
    config = _read(Path(source.path, ADAPTER))
    if str(config.get("task_type")) not in ("CAUSAL_LM", "None"):
        raise ModelError(
            f"{source.name} is an adapter for {config['task_type']}; semviz traces causal LMs. Pass one of CAUSAL_LM."
        )
    kind = str(config.get("peft_type"))
    if adds_virtual_tokens(kind):
        raise ModelError(virtual_tokens_refused(source.name, kind))
    if tokenizer is None and has_tokenizer(Path(source.path)):
        tokenizer = load_tokenizer(source, None, LoadOptions(trust_remote_code=options.trust_remote_code))
    model, found, name = _base(source, base, config, tokenizer, options)
    _fit_vocabulary(model, Path(source.path, _WEIGHTS))
    with explained(source.name), own_random_numbers(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            adapted = peft.PeftModel.from_pretrained(model, source.path, is_trainable=False)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelError(
                f"The adapter {source.name} does not fit {name} ({checks.first_line(error)}); pass the model that it "
                "was trained on: base=."
            ) from error
    for warning in told:
        if "adapter keys" in str(warning.message):
            raise ModelError(
                f"The adapter {source.name} does not fit {name}: weights of the adapter are missing in its file "
                f"({checks.first_line(warning.message)}). Pass the model that it was trained on: base=."
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    _check_all_used(adapted, source, name)
    return adapted.eval(), found, f"{config.get('peft_type', 'adapter')} adapter on {name}"


def _check_all_used(adapted: PeftModel, source: Source, name: str) -> None:
    """Refuse an adapter of whose file peft has left weights out, such as those of layers that the base does not have.

    Raises:
        ModelError: If there are such weights.
    """
    from peft import set_peft_model_state_dict
    from peft.utils.save_and_load import load_peft_weights

    # Again, since `from_pretrained` keeps to itself what it did not load; peft renames some of the weights first.
    with own_random_numbers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told already
        loaded = set_peft_model_state_dict(adapted, load_peft_weights(source.path, device="cpu"))
    # Those of prompts, and projections that are drawn anew, are no modules' of the base.
    unused = sorted(key for key in loaded.unexpected_keys if key.startswith(_PREFIX))
    if unused:
        raise ModelError(
            f"The adapter {source.name} does not fit {name}: {len(unused)} weights in its file have no place in the "
            f"model, or none by its {ADAPTER} (such as {unused[0].removeprefix(_PREFIX)}). Pass the model that it was "
            "trained on: base=; or a whole copy of the adapter."
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("not an object")
        return record
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is not an adapter's config ({checks.first_line(error)}); pass a whole copy of it."
        ) from error


def _base(
    source: Source, base: Any, config: dict[str, Any], tokenizer: Any, options: LoadOptions
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """The base model, its tokenizer and its name; a model in memory is copied, since peft puts layers into it."""
    from transformers import PreTrainedModel

    if isinstance(base, tuple) and len(base) == 2:
        base, own = base
        tokenizer = own if tokenizer is None else tokenizer
    if isinstance(base, PreTrainedModel):
        check_config(type(base).__name__, base.config, options.trust_remote_code)
        near = Source(base.name_or_path or "", Path(base.name_or_path or type(base).__name__).name, "hub")
        if tokenizer is None and not base.name_or_path:
            raise ModelError(
                f"The adapter {source.name} has no tokenizer beside it; pass tokenizer=, or base=(model, tokenizer)."
            )
        found = load_tokenizer(near, tokenizer, LoadOptions())
        return copy.deepcopy(base), found, near.name
    named = base if base is not None else config.get("base_model_name_or_path")
    if not named:
        raise ModelError(f"The adapter {source.name} does not say which model it was trained on; pass it: base=.")
    if base is None and isinstance(named, str):
        beside = Path(source.path, named)
        if not Path(named).is_dir() and named.startswith(".") and beside.is_dir():
            named = str(beside)
        if not Path(named).is_dir() and (named.startswith((".", "~", "/")) or named.count("/") > 1):
            raise ModelError(
                f"The adapter {source.name} was trained on the model in {named}, which is not there; pass it: base=."
            )
    where = locate(named)
    if where.kind == "adapter":
        raise ModelError(f"The base of {source.name}, {where.name}, is an adapter itself; pass a whole model: base=.")
    try:
        model, found, _ = load_from_files(where, tokenizer, options)
    except ModelError as error:
        if base is not None:
            raise
        raise ModelError(
            f"{source.name} is an adapter on {checks.short_repr(named)}. {error} Or pass the base that you have: base=."
        ) from error
    return model, found, where.name


def _fit_vocabulary(model: PreTrainedModel, weights: Path) -> None:
    """Give a base that was enlarged for training as many embeddings as the adapter has saved."""
    from safetensors import safe_open

    embeddings = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embeddings)
    with safe_open(weights, framework="pt") as file:
        saved = [key for key in file.keys() if name in key and key.endswith("weight") and "lora" not in key]  # noqa: SIM118
        rows = file.get_slice(saved[0]).get_shape()[0] if saved else len(embeddings.weight)
    if rows != len(embeddings.weight):
        with own_random_numbers():
            model.resize_token_embeddings(rows, mean_resizing=False)
