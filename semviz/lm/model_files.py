"""Files of weights: which there are, and whether they are whole; errors of the libraries below name no file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from semviz.common import checks
from semviz.common.errors import ModelError

GGUF = ".gguf"
_POINTER = b"version https://git-lfs"
_INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tokenizer_config.json",
)
_NAMED = 3


def gguf_files(folder: Path) -> list[str]:
    """Names of the GGUF files in a folder."""
    return sorted(f.name for f in folder.iterdir() if f.is_file() and f.suffix.lower() == GGUF)


def has_weights(folder: Path) -> bool:
    """Whether a folder has weights of a whole model, of any form but GGUF."""
    index, patterns = (folder / _INDEX).is_file(), ("*.safetensors", *_PICKLED)
    return index or any(not f.name.startswith("adapter_model") for p in patterns for f in folder.glob(p))


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has files that a tokenizer can be made of."""
    return any((folder / name).is_file() for name in _TOKENIZER)


def find_weights(folder: Path, *, adapter: bool = False, gguf_file: str = "") -> list[Path]:
    """Return a folder's files of weights; refuse one in which some are missing, pickled or only pointed to.

    Raises:
        ModelError: If a file is; the message names it.
    """
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.model")):
        _check_pointer(path)
    if gguf_file:
        _check_gguf(folder / gguf_file)
        return [folder / gguf_file]
    files = [folder / "adapter_model.safetensors"] if adapter else _files_of_model(folder)
    if not any(file.is_file() for file in files):
        what = "adapter weights in safetensors" if adapter else "safetensors weights"
        pickled = [f.name for pattern in _PICKLED for f in sorted(folder.glob(pattern))]
        if pickled:
            raise ModelError(
                f"{folder} holds no {what}, but {', '.join(pickled[:_NAMED])}. semviz does not load pickled weights; "
                "convert them with model.save_pretrained(folder) first."
            )
        raise ModelError(f"{folder} holds no {what}; pass a folder that save_pretrained() wrote.")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ModelError(
            f"{folder} lacks {len(missing)} of its {len(files)} files of weights: {', '.join(missing[:_NAMED])}{more}. "
            "Copy or download them into it, and pass it again."
        )
    for file in files:
        _check_pointer(file)
    return files


def _files_of_model(folder: Path) -> list[Path]:
    """The safetensors files that transformers would read: those of the index, or all."""
    index = folder / _INDEX
    if not (folder / "model.safetensors").is_file() and index.is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{index} is not an index of weights ({checks.first_line(error)}); pass a whole copy of it."
            ) from error
        return [folder / name for name in sorted(named)]
    return sorted(f for f in folder.glob("*.safetensors") if not f.name.startswith("adapter_model"))


def _check_pointer(file: Path) -> None:
    with file.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise ModelError(
                f"{file} is a pointer of Git LFS and not the file itself; run git lfs pull in its folder, or pass "
                "a folder with the file."
            )


def check_headers(files: Iterable[Path]) -> None:
    """Refuse files of safetensors that are cut off, by their headers: transformers would not say which one it is.

    Raises:
        ModelError: If one is.
    """
    from safetensors import safe_open

    for file in files:
        try:
            with safe_open(file, framework="numpy"):
                pass
        except Exception as error:  # safetensors has its own class, and the system its errors
            raise ModelError(
                f"{file} is cut off or not a file of safetensors ({checks.first_line(error)}); pass a whole copy of it."
            ) from error


def _check_gguf(file: Path) -> None:
    _check_pointer(file)
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ModelError(f"{file} is not a GGUF file: it does not begin with GGUF. Pass a whole copy of it.")
    if "-of-" in file.stem:
        raise ModelError(
            f"{file} is one part of a GGUF model in several files, which transformers does not read; join them with "
            "llama.cpp's llama-gguf-split --merge, and pass the file that it writes."
        )
