"""Checkpoints of a training: the tensors that train, and how far it was, so that one that was killed goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.trainer import OPTIMIZER_NAME, TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from semviz.common import checks, distributed
from semviz.common.errors import SemvizError

if TYPE_CHECKING:
    from semviz.finetuning.suffix_model import Suffix

_PROGRESS = "semviz.json"


def write_checkpoint(folder: str | Path, suffix: Suffix, progress: Mapping[str, Any]) -> None:
    """Write what trains and how far the training is; Trainer adds its own files, the state of training last.

    Args:
        folder: The checkpoint's folder; made if missing.
        suffix: What trains.
        progress: What else a training needs to go on, as JSON.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().to("cpu", copy=True).contiguous() for name, p in _trained(suffix).items()}
    save_file(tensors, Path(folder, SAFE_WEIGHTS_NAME), metadata={"format": "pt"})
    Path(folder, _PROGRESS).write_text(json.dumps(progress), encoding="utf-8")


def read_weights(folder: str | Path, suffix: Suffix) -> None:
    """Set what trains to a checkpoint's tensors.

    Raises:
        SemvizError: If they are damaged, or those of something else.
    """
    trained = _trained(suffix)
    try:
        tensors = load_file(Path(folder, SAFE_WEIGHTS_NAME))
    except (OSError, SafetensorError) as error:
        raise SemvizError(
            f"The checkpoint {folder} cannot be read: {checks.first_line(error)}. Delete it, and the training goes on "
            "from the one before."
        ) from error
    if {name: t.shape for name, t in tensors.items()} != {name: p.shape for name, p in trained.items()}:
        raise SemvizError(f"The checkpoint {folder} is of something else than this scope; pass another output_dir.")
    with torch.no_grad():
        for name, tensor in tensors.items():
            trained[name].copy_(tensor)


def read_progress(folder: str | Path) -> dict[str, Any]:
    """How far the training was."""
    progress: dict[str, Any] = json.loads(Path(folder, _PROGRESS).read_text(encoding="utf-8"))
    return progress


def last_checkpoint(folder: str | Path, *, before: int | None = None) -> Path | None:
    """The last whole checkpoint of a folder; one in which a process was killed is passed over.

    Args:
        folder: Of one training; need not exist.
        before: Only checkpoints of fewer steps.
    """
    found = {}
    for path in Path(folder).glob("checkpoint-*"):
        step = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if step and (before is None or int(step[1]) < before) and _is_whole(path):
            found[int(step[1])] = path
    # Where processes see different disks, none goes on.
    steps = set(distributed.gather(max(found, default=0)))
    return found.get(steps.pop()) if len(steps) == 1 else None


def _is_whole(path: Path) -> bool:
    if not all((path / name).is_file() for name in (SAFE_WEIGHTS_NAME, OPTIMIZER_NAME, _PROGRESS, TRAINER_STATE_NAME)):
        return False
    try:
        json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        read_progress(path)
    except ValueError:
        return False
    return True


def _trained(suffix: Suffix) -> dict[str, torch.nn.Parameter]:
    trained = {id(p) for p in suffix.trainable_parameters}
    return {name: p for name, p in suffix.named_parameters() if id(p) in trained}
