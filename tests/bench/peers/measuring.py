"""What the peers' scripts share: arguments, time, memory, and the files they read and write.

Runs in each peer's own environment: needs numpy, psutil and torch, and nothing of semviz.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

Compute = Callable[[NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.float32]]]
Measured = tuple[NDArray[np.int64], dict[str, NDArray[np.float32]], dict[str, Any]]


class PeakMemory:
    """The largest resident memory of this process inside a `with` block, looked at every 5 ms.

    The peak that the system keeps (`ru_maxrss`) would not do: it covers the loading of the model too.

    Attributes:
        bytes: The peak, once the block is left.
    """

    def __enter__(self) -> PeakMemory:
        self.bytes = resident_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, resident_bytes())


def resident_bytes() -> int:
    """Resident memory of this process."""
    return psutil.Process().memory_info().rss


def parse_arguments(description: str, **options: dict[str, Any]) -> argparse.Namespace:
    """The arguments that every script takes, and its own.

    Args:
        description: What the script does.
        options: `add_argument`'s keywords for each argument of the script's own.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="a save_pretrained folder")
    parser.add_argument("--batches", type=Path, required=True, help=".npz with ids: batches, B, T")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write: ce and rank")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    for name, keywords in options.items():
        parser.add_argument(f"--{name}", **keywords)
    parsed = parser.parse_args()
    # Hugging Face's packages look at these when they are imported, so the scripts import them later.
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error")
    import torch

    torch.set_num_threads(parsed.threads)
    return parsed


def measure(arguments: argparse.Namespace, compute: Compute) -> Measured:
    """Time a peer's computing and watch its memory. The model is loaded already.

    Args:
        arguments: From `parse_arguments`.
        compute: From token ids (B, T) to cross-entropies and ranks, each of shape (B, T-1, L+1).

    Returns:
        The token ids (batches, B, T), the arrays `ce` and `rank`, and the numbers `seconds` and `extra_bytes`.
    """
    ids = np.load(arguments.batches)["ids"]
    gc.collect()
    before = resident_bytes()
    # One sequence is enough to warm up. What it leaves behind counts as extra memory: `before` is from before it.
    compute(ids[0, :1])
    seconds = []
    with PeakMemory() as peak:
        for _ in range(arguments.repeat):
            start = time.perf_counter()
            results = [compute(batch) for batch in ids]
            seconds.append(time.perf_counter() - start)
    arrays = {
        "ce": np.stack([entropies for entropies, _ in results]).astype(np.float32),
        "rank": np.stack([ranks for _, ranks in results]).astype(np.float32),
    }
    return ids, arrays, {"seconds": min(seconds), "extra_bytes": peak.bytes - before}


def write(arguments: argparse.Namespace, package: str, arrays: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write the arrays, and say the facts as JSON on the last line of stdout.

    Args:
        arguments: From `parse_arguments`.
        package: The distribution's name.
        arrays: What the `.npz` file holds.
        facts: What is said besides the package's version and the conditions.
    """
    np.savez(arguments.out, **arrays)
    said = {
        "peer": package,
        "version": version(package),
        **facts,
        "extra_bytes_is": "peak psutil RSS while computing (every 5 ms) less RSS after loading, before warming up",
        "threads": arguments.threads,
        "repeat": arguments.repeat,
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
    }
    print(json.dumps(said))
