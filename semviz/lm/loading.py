"""Locate, check and load a model from a folder or the hub, running its own code only where that is allowed.

Errors of transformers and the hub are long and seldom begin with the cause; here each becomes one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from semviz.common import checks
from semviz.common.errors import ModelError
from semviz.lm.random_numbers import own_random_numbers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DEMO = "demo"
_CAUSES = {
    # Gated comes before not found, which is its base class.
    "GatedRepoError": "it is gated: accept its terms on its page and log in (hf auth login).",
    "RepositoryNotFoundError": "the hub has no such repository, or it is private: look for a misspelling, or log in.",
    "RevisionNotFoundError": "the repository has no such revision=.",
    "OfflineModeIsEnabled": "it is not among the files on this machine, and HF_HUB_OFFLINE forbids asking the hub.",
    "LocalEntryNotFoundError": "it is not among the files on this machine, and the hub cannot be reached.",
}


def locate_model(source: str | os.PathLike[str] | None) -> tuple[str, str]:
    """Return the path or hub id that transformers loads a source from, and a name for tables."""
    if source is None or source == DEMO:
        from semviz.demo.tasks import MODEL_DIR

        return str(MODEL_DIR), DEMO
    if not isinstance(source, str | os.PathLike):
        raise ModelError(
            f"{checks.named_repr('source', source)} is not a model; pass None for the demo, a folder, a hub id or "
            "(model, tokenizer)."
        )
    if isinstance(os.fspath(source), bytes) or not os.fspath(source).strip():
        raise ModelError(
            f"{checks.named_repr('source', source)} names no model; pass None for the demo, a folder or a hub id."
        )
    path = checks.as_path("source", source)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{path} is not a model folder: it has no config.json. Pass a folder that save_pretrained() wrote."
            )
        if not list(path.glob("*.safetensors")):
            raise ModelError(
                f"{path} holds no safetensors weights. semviz does not load pickled weights; convert them with "
                "model.save_pretrained(folder) first."
            )
        return str(path), path.resolve().name
    if path.is_file() or os.fspath(source).startswith((".", "~", os.sep)) or os.fspath(source).count("/") > 1:
        raise ModelError(f"There is no model folder at {os.fspath(source)!r}; pass the folder with config.json in it.")
    return os.fspath(source), os.fspath(source)


def load_from_files(
    path: str,
    name: str,
    device: str,
    device_map: str | dict[str, Any] | None,
    dtype: str | torch.dtype,
    revision: str | None,
    trust_remote_code: bool,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load model and tokenizer through transformers' Auto classes, safetensors only."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    target_device = _resolve_device(device)
    options: dict[str, Any] = {"revision": revision} if revision else {}
    options["trust_remote_code"] = trust_remote_code
    placement = {} if device_map is None else {"device_map": device_map}
    try:
        config = AutoConfig.from_pretrained(path, **options)
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(
                f"{name} ({config.model_type}) is an encoder-decoder model; semviz traces causal LMs. "
                "Pass a decoder-only model."
            )
        # transformers would ask for trust in some of these only, and fetch the others from the hub.
        if not trust_remote_code and (repository := _attention_repository(config)):
            raise ModelError(
                f"{name} asks for code from the repository {checks.short_repr(repository)} to compute its attention; "
                "pass trust_remote_code=True if you trust it, or a model that does not need it."
            )
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        # Weights that the files lack are initialized at random first, which must not touch the random state.
        with _loading_bar(shown=name != DEMO), own_random_numbers():
            model, loading = AutoModelForCausalLM.from_pretrained(
                path,
                config=config,
                dtype=_resolve_dtype(dtype, target_device),
                use_safetensors=True,
                output_loading_info=True,
                **placement,
                **options,
            )
        missing = sorted(loading["missing_keys"])
        if missing:
            raise ModelError(
                f"{name} has no weights for {len(missing)} of its tensors ({checks.short_repr(missing)}), which would "
                "be random; pass a complete model, such as save_pretrained() writes."
            )
    except ModelError:
        raise
    except Exception as error:  # transformers and the hub raise many classes, which all mean that loading failed
        raise ModelError(
            f"Cannot load {checks.short_repr(name)}: {_explain(error)} Pass None for the packaged demo, a folder that "
            "save_pretrained() wrote, (model, tokenizer), or a hub id that this machine can reach (gated models need "
            "a login)."
        ) from error
    return (model.eval() if placement else model.eval().to(target_device)), tokenizer


def _attention_repository(config: PreTrainedConfig) -> str:
    """Return the repository whose code a model's config asks for to compute attention, or an empty string."""
    parts = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]
    implementations = [str(getattr(part, "_attn_implementation", None)) for part in parts]
    return next((name for name in implementations if "/" in name), "")


@contextmanager
def _loading_bar(*, shown: bool) -> Iterator[None]:
    """Hide transformers' progress bar where loading takes no time: for the packaged model."""
    from transformers.utils import logging

    hide = not shown and logging.is_progress_bar_enabled()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def _resolve_device(device: str) -> torch.device:
    """Return the device that a name means; `"auto"` takes CUDA, then MPS, then the CPU."""
    if device != "auto":
        try:
            if not isinstance(device, str | torch.device):
                raise RuntimeError("not the name of a device")
            # The only way to know that it exists: torch.device() accepts "cuda:7" on machines with one GPU too.
            return torch.empty(0, device=device).device
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ModelError(
                f'{checks.named_repr("device", device)} is unknown or unavailable; pass "auto", "cpu", "cuda" or "mps".'
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _resolve_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype that a name means; `"auto"` is bfloat16 where the device computes in it, float32 elsewhere."""
    if isinstance(dtype, str) and dtype == "auto":
        half = device.type == "mps" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
        return torch.bfloat16 if half else torch.float32
    resolved = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(resolved, torch.dtype) or not resolved.is_floating_point:
        raise ModelError(
            f'{checks.named_repr("dtype", dtype)} is not a floating-point dtype; pass "auto", "float32", "bfloat16" or '
            '"float16".'
        )
    return resolved


def _explain(error: BaseException) -> str:
    """Explain an error by its class or the class of one of its causes, or else in the library's own words."""
    class_names: set[str] = set()
    cause: BaseException | None = error
    while cause is not None and len(class_names) < 100:
        class_names |= {cls.__name__ for cls in type(cause).__mro__}
        cause = cause.__cause__ or cause.__context__
    if "trust_remote_code" in str(error):
        return "it needs Python code from its repository; trust_remote_code=True runs that code, if you trust it."
    for class_name, explanation in _CAUSES.items():
        if class_name in class_names:
            return explanation
    line = checks.first_line(error)
    return line if line.endswith(".") else line + "."
