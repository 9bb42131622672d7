"""Where a model comes from: its folder or hub id found, checked and loaded, with nothing of its own run.

What transformers and the hub raise is long and begins elsewhere; here it is one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from semviz.common import checks
from semviz.common.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DEMO = "demo"
_CAUSES = {
    # Gated before not found, of which it is a kind.
    "GatedRepoError": "it is gated: accept its terms on its page and log in (hf auth login).",
    "RepositoryNotFoundError": "the hub has no such repository, or it is private: look for a misspelling, or log in.",
    "RevisionNotFoundError": "the repository has no such revision=.",
    "OfflineModeIsEnabled": "it is not among the files on this machine, and HF_HUB_OFFLINE forbids to ask the hub.",
    "LocalEntryNotFoundError": "it is not among the files on this machine, and the hub cannot be reached.",
}


def locate_model(source: str | os.PathLike[str] | None) -> tuple[str, str]:
    """Turn a source into what transformers loads from, and a name for tables."""
    if source is None or source == DEMO:
        from semviz.demo.tasks import MODEL_DIR

        return str(MODEL_DIR), DEMO
    if not isinstance(source, str | os.PathLike):
        raise ModelError(
            f"{checks.named_repr('source', source)} is no model; pass None for the demo, a folder, a hub id or "
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
                f"{path} is no model folder: it has no config.json. Pass a folder that save_pretrained() wrote."
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

    where = _device(device)
    options: dict[str, Any] = {"revision": revision} if revision else {}
    options["trust_remote_code"] = trust_remote_code
    placed = {} if device_map is None else {"device_map": device_map}
    try:
        config = AutoConfig.from_pretrained(path, **options)
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(
                f"{name} ({config.model_type}) is an encoder-decoder model; semviz traces causal LMs. "
                "Pass a decoder-only model."
            )
        # transformers would ask for trust in some of these only, and fetch the others from the hub.
        if not trust_remote_code and (code := _attention_from(config)):
            raise ModelError(
                f"{name} asks for code from the repository {checks.short_repr(code)} to compute its attention with; "
                "pass trust_remote_code=True if you trust it, or a model without."
            )
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        # Weights that a file lacks are drawn at random first.
        with _loading_bar(shown=name != DEMO), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            model, loading = AutoModelForCausalLM.from_pretrained(
                path,
                config=config,
                dtype=_dtype(dtype, where),
                use_safetensors=True,
                output_loading_info=True,
                **placed,
                **options,
            )
        missing = sorted(loading["missing_keys"])
        if missing:
            raise ModelError(
                f"{name} holds no weights for {len(missing)} of its tensors ({checks.short_repr(missing)}), "
                "which would be "
                "random; pass a whole model, such as save_pretrained() writes."
            )
    except ModelError:
        raise
    except Exception as error:  # transformers and the hub raise many kinds; all of them mean: not loadable
        raise ModelError(
            f"Cannot load {checks.short_repr(name)}: {_why(error)} Pass None for the packaged demo, a folder that "
            "save_pretrained() wrote, (model, tokenizer), or a hub id that this machine can reach (gated models need "
            "a login)."
        ) from error
    return (model.eval() if placed else model.eval().to(where)), tokenizer


def _attention_from(config: PreTrainedConfig) -> str:
    """The repository whose code a model's config asks for to compute attention with; empty if there is none."""
    parts = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]
    asked = [str(getattr(part, "_attn_implementation", None)) for part in parts]
    return next((name for name in asked if "/" in name), "")


@contextmanager
def _loading_bar(*, shown: bool) -> Iterator[None]:
    """Keep transformers' bar out of notebooks where loading takes no time: the packaged model."""
    from transformers.utils import logging

    hide = not shown and logging.is_progress_bar_enabled()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def _device(device: str) -> torch.device:
    """Resolve `"auto"`."""
    if device != "auto":
        try:
            if not isinstance(device, str | torch.device):
                raise RuntimeError("no name of a device")
            # The only way to know that it is there: torch.device() takes the eighth of one GPU too.
            return torch.empty(0, device=device).device
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ModelError(
                f'{checks.named_repr("device", device)} is unknown or not there; pass "auto", "cpu", "cuda" or "mps".'
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Resolve `"auto"`: bfloat16 where the device computes in it, float32 elsewhere."""
    if isinstance(dtype, str) and dtype == "auto":
        half = device.type == "mps" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
        return torch.bfloat16 if half else torch.float32
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(
            f'{checks.named_repr("dtype", dtype)} is no floating-point dtype; pass "auto", "float32", "bfloat16" or '
            '"float16".'
        )
    return found


def _why(error: BaseException) -> str:
    """Say what went wrong, from the kind of the error or of what it came from, else in the library's own words."""
    kinds: set[str] = set()
    cause: BaseException | None = error
    while cause is not None and len(kinds) < 100:
        kinds |= {kind.__name__ for kind in type(cause).__mro__}
        cause = cause.__cause__ or cause.__context__
    if "trust_remote_code" in str(error):
        return "it needs Python code from its repository to run; trust_remote_code=True allows that, if you trust it."
    for kind, told in _CAUSES.items():
        if kind in kinds:
            return told
    line = checks.first_line(error)
    return line if line.endswith(".") else line + "."
