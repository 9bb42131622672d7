"""Options of `load_model`: device and dtype by name, and what is handed on to transformers or answered by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch

from semviz.common import checks
from semviz.common.errors import ModelError

HANDED_ON = (
    "attn_implementation",
    "cache_dir",
    "experts_implementation",
    "force_download",
    "local_files_only",
    "max_memory",
    "offload_buffers",
    "offload_folder",
    "proxies",
    "quantization_config",
    "subfolder",
    "token",
    "variant",
)
"""Options of transformers' `from_pretrained` that `load_model` hands on."""
OF_FILES = ("cache_dir", "force_download", "local_files_only", "proxies", "subfolder", "token")
"""Those of them that say where files lie, of the tokenizer's and the config's too."""
_BITS = "pass quantization_config=BitsAndBytesConfig({}=True), from transformers"
_INSTEAD = {
    "load_in_4bit": _BITS.format("load_in_4bit"),
    "load_in_8bit": _BITS.format("load_in_8bit"),
    "low_cpu_mem_usage": "leave it out: weights are always loaded one by one",
    "use_safetensors": "leave it out: semviz loads safetensors only",
    "weights_only": "leave it out: semviz loads safetensors only",
    "use_flash_attention_2": 'pass attn_implementation="flash_attention_2"',
    "use_auth_token": "pass token=",
    "adapter": "pass the adapter's folder as the first argument, and base=",
    "config": "save the config with the model, and pass the folder",
    "state_dict": "load it into the model yourself, and pass (model, tokenizer)",
    "tp_plan": "leave it out: a trace reads whole states; device_map= spreads a large model over devices",
    "tp_size": "leave it out: a trace reads whole states; device_map= spreads a large model over devices",
    "use_cache": "leave it out: semviz does not cache keys and values",
    "output_hidden_states": "leave it out: semviz reads the states itself",
    "num_labels": "leave it out: labels are words of the vocabulary; Task.from_texts(…, words=) names them",
    "pretrained_model_name_or_path": "pass it as the first argument",
    "model": "pass it as the first argument",
    "model_name": "pass it as the first argument",
    "path": "pass it as the first argument",
    "name": "pass it as the first argument",
    "max_seq_length": "pass max_tokens= to the task",
    "gguf": "pass gguf_file=",
    "trust_code": "pass trust_remote_code=",
}
_DTYPES = {
    "bf16": torch.bfloat16,
    "bfloat": torch.bfloat16,
    "fp16": torch.float16,
    "half": torch.float16,
    "fp32": torch.float32,
    "float": torch.float32,
    "single": torch.float32,
    "fp64": torch.float64,
    "double": torch.float64,
}


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that transformers gets.

    Raises:
        ModelError: If one is unknown or has another name here; the message says what to pass.
    """
    for name in options:
        if name in HANDED_ON:
            continue
        if name in _INSTEAD:
            raise ModelError(f"load_model has no option {name}=; {_INSTEAD[name]}.")
        known = [*HANDED_ON, "tokenizer", "base", "device", "device_map", "dtype", "revision", "layers", "general_text"]
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}=? It" if near else "it"
        raise ModelError(
            f"load_model has no option {checks.short_repr(name)[1:-1]}=; {meant} takes those of its signature, and of "
            f"from_pretrained's {', '.join(HANDED_ON)}. For others, load the model yourself and pass "
            "(model, tokenizer)."
        )
    return {name: value for name, value in options.items() if value is not None}


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that a name means; `"auto"` takes CUDA, then MPS, then the CPU.

    Raises:
        ModelError: If it is unknown or not there.
    """
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


def resolve_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype that a name means; `"auto"` is bfloat16 where the device computes in it, float32 elsewhere.

    Raises:
        ModelError: If it is not the name of a floating-point dtype.
    """
    resolved: Any = dtype
    if isinstance(dtype, str):
        word = dtype.strip().lower().removeprefix("torch.")
        if word == "auto":
            half = device.type == "mps" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
            return torch.bfloat16 if half else torch.float32
        resolved = _DTYPES.get(word) or getattr(torch, word, None)
    if not isinstance(resolved, torch.dtype) or not resolved.is_floating_point or resolved.itemsize < 2:
        raise ModelError(
            f'{checks.named_repr("dtype", dtype)} is not a floating-point dtype; pass "auto", "float32", "bfloat16" or '
            '"float16".'
        )
    return resolved


def one_dtype(dtype: Any, options: dict[str, Any]) -> Any:
    """Take `torch_dtype`, the name that transformers had before, out of the options; return the dtype that is meant.

    Raises:
        ModelError: If both names are passed and differ.
    """
    older = options.pop("torch_dtype", None)
    if older is None or (isinstance(older, str) and older == "auto"):
        return dtype
    if dtype == "auto":
        return older
    cpu = torch.device("cpu")
    if resolve_dtype(dtype, cpu) != resolve_dtype(older, cpu):
        raise ModelError(
            f"Got dtype={checks.short_repr(dtype)} and torch_dtype={checks.short_repr(older)}, which are two names of "
            "one option; pass dtype= alone."
        )
    return dtype


def check_unused(source: object, model: Any, device: Any, dtype: Any, others: Mapping[str, Any]) -> None:
    """Refuse options of loading with a model that is in memory already, where they would do nothing.

    Raises:
        ModelError: If one asks for something else than the model is.
    """
    what = f"The {type(source).__name__} is in memory already"
    for name, value in others.items():
        if value is not None and value is not False:
            raise ModelError(f"{what}, so {name}= would do nothing; leave it out, or pass a folder or hub id.")
    first = next(model.parameters())
    if device != "auto" and resolve_device(device).type != first.device.type:
        raise ModelError(f"{what}, on {first.device}; move it with model.to({device!r}) first, and leave device= out.")
    if dtype != "auto" and (wanted := resolve_dtype(dtype, first.device)) != getattr(model, "dtype", wanted):
        raise ModelError(f"{what}, in {model.dtype}; convert it with model.to({wanted}) first, and leave dtype= out.")
