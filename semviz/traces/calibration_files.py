"""Calibrations on disk, by a key of all that decides them: the next trace of the same model starts at once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from semviz.common import cache_folder
from semviz.common.errors import SemvizError
from semviz.common.files import atomic_write, digest_of
from semviz.traces.readouts import ReadoutScores
from semviz.traces.semantic_bases import SemanticBases
from semviz.traces.translators import Translators
from semviz.version import __version__

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel

Fields = dict[str, Any]
"""What `Calibration` is made of, by the names of its attributes."""

_LAYOUT = 2
"""Changes with what a file holds, and with how calibrations are computed, also within one version of semviz."""
_BAD = (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError, AssertionError)


def key_of(model: LanguageModel, texts: Sequence[str], ridge: float | None, translated: bool) -> str:
    """Hash of all that decides a calibration: model, text, options, kind of device, version."""
    parts = [_LAYOUT, __version__, model.hash, model.anatomy.head_device.type, ridge, translated, *texts]
    return hashlib.blake2b(json.dumps(parts).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def find_on_disk(key: str, model: LanguageModel) -> Fields | None:
    """The fields of the calibration that was kept under a key; None if there is none, or it is damaged."""
    folder = cache_folder.cache_folder()
    path = None if folder is None else folder / f"{key}{cache_folder.SUFFIX}"
    if path is None or not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            record = json.loads(file.metadata()["semviz"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        assert record.pop("digest") == _digest(tensors, record)
        fields = _fields(record, tensors, model)
    except _BAD:
        return None  # it is computed again, and written over
    cache_folder.touch(path)
    return fields


def keep_on_disk(key: str, fields: Fields, model: LanguageModel) -> None:
    """Write a calibration to the cache folder, if there is one that can be written to."""
    folder = cache_folder.cache_folder()
    if folder is None:
        return
    tensors, record = _tensors(fields), _record(fields, model)
    if sum(tensor.nbytes for tensor in tensors.values()) > cache_folder.limit():
        return
    record["digest"] = _digest(tensors, record)
    # A cache that cannot be written costs time at most.
    with suppress(OSError, SemvizError):
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / f"{key}{cache_folder.SUFFIX}") as temporary:
            save_file(tensors, temporary, metadata={"semviz": json.dumps(record)})
        cache_folder.shrink()


def model_of(path: Path) -> str:
    """Name of the model of a file in the cache folder; empty if it cannot be read."""
    with suppress(*_BAD), safe_open(path, "pt") as file:
        return str(json.loads(file.metadata()["semviz"])["model"])
    return ""


def _tensors(fields: Fields) -> dict[str, Tensor]:
    tensors = {"means": fields["means"]}
    if fields["bases"].factor is not None:
        tensors["factor"] = fields["bases"].factor
    if fields["translators"] is not None:
        tensors |= {"weights": fields["translators"].weights, "offsets": fields["translators"].offsets}
    if fields["counts"] is not None:
        tensors["counts"] = torch.from_numpy(fields["counts"])
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _record(fields: Fields, model: LanguageModel) -> dict[str, Any]:
    translators = fields["translators"]
    return {
        "model": model.name,
        "ridge": _number(fields["bases"].ridge),
        "temperature": fields["temperature"],
        "fidelities": [[_number(ridge), value] for ridge, value in fields["fidelities"].items()],
        "positions": fields["positions"],
        "vocabulary_hash": fields["vocabulary_hash"],
        "translators": translators and {"ridges": translators.ridges.tolist(), "positions": translators.positions},
        "readouts": {readout: _lists(scores) for readout, scores in fields["readouts"].items()},
    }


def _fields(record: dict[str, Any], tensors: dict[str, Tensor], model: LanguageModel) -> Fields:
    """The calibration's fields from what was kept."""
    head, device = model.anatomy.head_weight, model.anatomy.head_device
    size = min(len(model.tokenizer), len(head))
    ridge, fidelities = float(record["ridge"]), {float(r): float(value) for r, value in record["fidelities"]}
    translators = record["translators"]
    if translators is not None:
        translators = Translators(
            tensors["weights"].to(device),
            tensors["offsets"].to(device),
            np.asarray(translators["ridges"]),
            translators["positions"],
        )
    return {
        "bases": SemanticBases.restored(head, size=size, ridge=ridge, factor=tensors.get("factor")),
        "temperature": record["temperature"],
        "fidelity": fidelities[ridge],
        "fidelities": fidelities,
        "means": tensors["means"].to(device),
        "positions": record["positions"],
        "vocabulary_hash": record["vocabulary_hash"],
        "translators": translators,
        "readouts": {
            readout: ReadoutScores(**{name: _array(value) for name, value in scores.items()})
            for readout, scores in record["readouts"].items()
        },
        "counts": None if translators is None else tensors["counts"].numpy(),
    }


def _lists(scores: ReadoutScores) -> dict[str, Any]:
    """The scores as JSON has them."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(scores).items()}


def _array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, list) else value


def _number(value: float) -> float | str:
    """An infinite ridge as a word: JSON has no infinity."""
    return "inf" if math.isinf(value) else value


def _digest(tensors: dict[str, Tensor], record: dict[str, Any]) -> str:
    """Digest of all that a file holds: a flipped bit would else be another number in a trace."""
    parts: list[bytes] = [json.dumps(record, sort_keys=True).encode()]
    for name in sorted(tensors):
        parts += [name.encode(), tensors[name].numpy().tobytes()]
    return digest_of(*parts)
