"""`Origin`: where a model comes from, so that another process can load it too; and how one in memory gets a folder."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import ModelError
from semviz.lm.sources import DEMO

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PLACES = ("source", "tokenizer", "base")


@dataclass(frozen=True)
class Origin:
    """How a model can be loaded anywhere that sees the same files.

    Attributes:
        arguments: Those of `load_model`; a folder is an absolute path.
    """

    arguments: Mapping[str, Any]


def origin_of(**arguments: Any) -> Origin | None:
    """Return where a model comes from; None where something of it was an object in memory.

    Args:
        arguments: Those of `load_model`.
    """
    if any(not isinstance(arguments.get(name), str | os.PathLike | None) for name in _PLACES):
        return None
    places = {name: _absolute(arguments[name]) for name in _PLACES if arguments.get(name) is not None}
    return Origin({**{name: value for name, value in arguments.items() if value is not None}, **places})


def _absolute(place: str | os.PathLike[str]) -> str:
    text = os.fspath(place)
    return os.path.abspath(text) if text != DEMO and os.path.exists(text) else text


def save_whole(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a model in memory as safetensors, with its tokenizer; nothing is done where the folder is there.

    Raises:
        ModelError: If it cannot be saved as a whole; the message says what to pass.
    """
    if folder.is_dir():
        return
    if hasattr(network, "peft_config"):
        raise ModelError(
            "The model carries adapters and was not loaded from a folder, so other processes cannot load it; save the "
            "adapter and pass load_model(its folder), or pass what merge_and_unload() returns."
        )
    # Not by mkdtemp, whose folders are private: workers may belong to somebody else.
    temporary = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        temporary.mkdir(parents=True)
        network.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        os.replace(temporary, folder)
    except Exception as error:  # of many libraries
        if not folder.is_dir():  # else another process was faster
            raise ModelError(
                f"The model is in memory only and cannot be saved for other processes ({checks.first_line(error)}); "
                "save it yourself, and pass load_model(its folder)."
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
