"""What a model is loaded from: the packaged demo, a folder, a GGUF file, an adapter's folder, or an id on the hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from semviz.common import checks
from semviz.common.errors import ModelError
from semviz.lm.model_files import GGUF, find_weights, gguf_files, has_weights

DEMO = "demo"
ADAPTER = "adapter_config.json"
_CONFIG = "config.json"
_NAMED = 3  # files or folders that a message names


@dataclass(frozen=True)
class Source:
    """Where a model lies.

    Attributes:
        path: A folder, or an id on the hub.
        name: The model's name in tables.
        kind: `"model"`, `"adapter"` of peft, or `"hub"`, of which it is not known yet.
        gguf_file: Name of the GGUF file in it, or empty.
        weights: Its files of safetensors, where they were found in a folder of the user's.
    """

    path: str
    name: str
    kind: Literal["model", "adapter", "hub"] = "model"
    gguf_file: str = ""
    weights: tuple[Path, ...] = ()


def locate(source: object, *, gguf_file: str | None = None, has_base: bool = False) -> Source:
    """Find out what a source is, and check the files that are needed.

    Args:
        source: None for the demo, a folder, a `.gguf` file or a hub id.
        gguf_file: Name of a GGUF file in the folder or repository.
        has_base: Whether a base model was passed, so that this is an adapter.

    Raises:
        ModelError: If it is none of these, or files are missing or broken; the message says what to pass.
    """
    if source is None or source == DEMO:
        from semviz.demo.tasks import MODEL_DIR

        return Source(str(MODEL_DIR), DEMO)
    path = _as_path(source)
    if path.is_file() and path.suffix.lower() == GGUF:
        if gguf_file not in (None, path.name):
            raise ModelError(
                f"source is the file {path.name} and gguf_file={gguf_file!r} another one; pass one of them."
            )
        return _in_gguf(path.parent, path.name)
    if path.is_dir():
        return _in_folder(path, gguf_file, has_base=has_base)
    text = os.fspath(source)  # type: ignore[call-overload]
    if path.is_file() or text.startswith((".", "~", os.sep)) or text.count("/") > 1:
        raise ModelError(f"There is no model folder at {text!r}; pass the folder with config.json in it.")
    return Source(text, text, "hub", gguf_file or "")


def not_a_model(source: object) -> ModelError:
    """The error for an object of another kind."""
    return ModelError(
        f"{checks.named_repr('source', source)} is not a model; pass None for the demo, a folder, a .gguf file, a "
        "hub id, a model of transformers or (model, tokenizer)."
    )


def _as_path(source: object) -> Path:
    if not isinstance(source, str | os.PathLike):
        raise not_a_model(source)
    if isinstance(os.fspath(source), bytes) or not os.fspath(source).strip():
        raise ModelError(
            f"{checks.named_repr('source', source)} names no model; pass None for the demo, a folder or a hub id."
        )
    return checks.as_path("source", source)


def _in_folder(path: Path, gguf_file: str | None, *, has_base: bool) -> Source:
    name = path.resolve().name
    if gguf_file is not None:
        return _in_gguf(path, gguf_file)
    is_model, is_adapter = (path / _CONFIG).is_file(), (path / ADAPTER).is_file()
    if is_adapter and is_model and has_weights(path) and not has_base:
        raise ModelError(
            f"{path} holds a whole model and an adapter; pass base={str(path)!r} too to load both, or move "
            f"{ADAPTER} away to load the model alone."
        )
    if is_adapter:
        return Source(str(path), name, "adapter", weights=tuple(find_weights(path, adapter=True)))
    if not is_model:
        return _in_gguf(path, _only_gguf(path)) if gguf_files(path) else _no_model(path)
    if not has_weights(path) and gguf_files(path):
        return _in_gguf(path, _only_gguf(path))
    return Source(str(path), name, weights=tuple(find_weights(path)))


def _only_gguf(path: Path) -> str:
    files = gguf_files(path)
    if len(files) > 1:
        others = ", ".join(map(repr, files[1:_NAMED]))
        raise ModelError(
            f"{path} holds {len(files)} GGUF files; pass one of them: gguf_file={files[0]!r}, or {others}."
        )
    return files[0]


def _in_gguf(path: Path, file: str) -> Source:
    if not (path / file).is_file():
        there = gguf_files(path)
        holds = f"it holds {', '.join(there[:_NAMED])}" if there else "it holds no GGUF file"
        raise ModelError(f"{path} has no file {file!r}: {holds}. Pass gguf_file= one that is there.")
    find_weights(path, gguf_file=file)
    return Source(str(path), Path(file).stem, gguf_file=file)


def _no_model(path: Path) -> Source:
    """Refuse a folder without a config, naming what it holds instead."""
    places = [f"{depth}{name}" for depth in ("*/", "*/*/") for name in (_CONFIG, ADAPTER)]
    inside = sorted({file.parent for place in places for file in path.glob(place)})
    if inside:
        named = ", ".join(str(folder) for folder in inside[:_NAMED])
        raise ModelError(
            f"{path} is not a model folder itself: it has no {_CONFIG}. It holds {len(inside)} of them; pass one: "
            f"{named}."
        )
    if (path / "params.json").is_file() or list(path.glob("consolidated*")):
        raise ModelError(
            f"{path} holds a checkpoint in its maker's own form (params.json, consolidated…); pass the version for "
            "transformers, or convert it with transformers' script for this model."
        )
    raise ModelError(f"{path} is not a model folder: it has no {_CONFIG}. Pass a folder that save_pretrained() wrote.")
