"""What a fault must leave as it was: the user's model, random state, threads, files, and switches of torch."""

from __future__ import annotations

import gc
import hashlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import semviz as sv

PATIENCE = 10  # seconds that a thread may take to end


def surroundings(model: sv.LanguageModel, *folders: Path) -> dict[str, Any]:
    """Everything by name, as values that can be compared: weights and random states bit for bit.

    Files are those in the system's temporary folder and, where they begin with a dot, in some further folders.
    """
    network = model.model
    found: dict[str, Any] = {
        f"weights of {name}": (id(tensor), tensor.dtype, _bits(tensor), tensor._version)
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    found |= {f"requires_grad of {name}": p.requires_grad for name, p in network.named_parameters()}
    found |= {f"gradient of {name}": p.grad if p.grad is None else _bits(p.grad) for name, p in parameters(network)}
    for name, module in network.named_modules():
        found[f"hooks of {name}"] = _hooks(module)
        found[f"mode of {name}"] = module.training
        found[f"attributes of {name}"] = sorted(vars(module))
    found |= {
        "hooks of all modules": [len(h) for key, h in vars(torch_module).items() if key.endswith("_hooks")],
        "configuration": network.config.to_json_string(),
        "random state of torch": _bits(torch.get_rng_state()),
        "random state of numpy": repr([part.tolist() if hasattr(part, "tolist") else part for part in _numpy_state()]),
        "random state of python": random.getstate(),
        "gradients on": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "default dtype": torch.get_default_dtype(),
        "threads of torch": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "modes of torch": len(_get_current_dispatch_mode_stack()),
        "handler of interrupts": signal.getsignal(signal.SIGINT),
        "threads": _threads(),
        "temporary files": _files(Path(tempfile.gettempdir()), hidden=False),
        "hidden files": [name for folder in folders for name in _files(folder, hidden=True)],
        "open files": _open_files(),
    }
    return found


def parameters(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters by name, tied ones once."""
    return network.named_parameters()


def changed(before: dict[str, Any], model: sv.LanguageModel, *folders: Path) -> list[str]:
    """Names of what is not as it was; threads may take a moment to end."""
    # What an exception's traceback holds goes with the exception, and a kept one is no leak of ours.
    sys.last_value = sys.last_traceback = sys.last_exc = None  # type: ignore[attr-defined]
    gc.collect()
    until = time.monotonic() + PATIENCE
    while not set(_threads()) <= set(before["threads"]) and time.monotonic() < until:
        time.sleep(0.01)
    now = surroundings(model, *folders)
    return [
        name
        if name.startswith(("weights", "random", "configuration"))
        else f"{name} ({before.get(name)} → {now[name]})"
        for name in now
        if name not in before or before[name] != now[name]
    ]


@contextmanager
def own_temporary_folder(folder: Path) -> Iterator[Path]:
    """Let everything temporary of this process and its children lie in a folder of its own."""
    kept, given = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = kept
        os.environ.pop("TMPDIR")
        if given is not None:
            os.environ["TMPDIR"] = given


def _numpy_state() -> tuple[Any, ...]:
    return np.random.get_state()  # type: ignore[return-value]


def _bits(tensor: torch.Tensor) -> str:
    data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _hooks(module: nn.Module) -> dict[str, list[int]]:
    """Ids of the hooks in every dictionary of hooks that a module has."""
    return {
        key: [id(hook) for hook in hooks.values()]
        for key, hooks in vars(module).items()
        if "hooks" in key and isinstance(hooks, dict)
    }


def _threads() -> list[str]:
    return sorted(f"{thread.name} {thread.ident}" for thread in threading.enumerate())


def _files(folder: Path, *, hidden: bool) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(str(p) for p in folder.rglob("*") if p.name.startswith(".") or not hidden)


def _open_files() -> list[str]:
    """Regular files that this process has open or mapped, by their names; Linux only."""
    found = []
    for number in Path("/proc/self/fd").glob("*"):
        try:
            found.append(os.readlink(number))
        except OSError:  # the folder itself was open while it was listed
            continue
    mapped = Path("/proc/self/maps")
    lines = mapped.read_text().splitlines() if mapped.is_file() else []
    found += {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    folder = tempfile.gettempdir()
    return sorted(name for name in found if name.startswith(folder + os.sep))
