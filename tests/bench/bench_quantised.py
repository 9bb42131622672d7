"""SmolLM2 in 4-bit beside full precision: bytes, seconds and results of a trace and of LoRA above block 22, on the CPU.

Each base in a process of its own. From semviz's folder, after `make quantised`:

    PYTHONPATH=.venv/quantised .venv/bin/python tests/bench/bench_quantised.py
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ROWS, BOUNDARY = 100, 22
TRAINING: dict[str, Any] = {"method": "lora", "lr": 1e-3, "epochs": 1, "batch_size": 8, "progress": False}


def main() -> None:
    """Measure both bases, and print a table."""
    if len(sys.argv) > 1:
        print(json.dumps(measured(sys.argv[1])))
        return
    columns = {}
    for kind in ("full", "4-bit"):
        quiet = {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
        child = [sys.executable, __file__, kind]
        out = subprocess.run(child, env={**os.environ, **quiet}, check=True, stdout=subprocess.PIPE, text=True).stdout
        columns[kind] = json.loads(out.splitlines()[-1])
    print("| SmolLM2-135M on the CPU | float32 | 4-bit (NF4) |\n|---|---|---|")
    for row in columns["full"]:
        print(f"| {row} | {columns['full'][row]} | {columns['4-bit'][row]} |")


def measured(kind: str) -> dict[str, Any]:
    """One base: load, trace, tune."""
    warnings.simplefilter("ignore")
    import peft  # noqa: F401 - its memory is no part of the model's
    import transformers
    from pairs import load
    from workloads import SMOLLM2

    import semviz as sv
    from semviz.lm.raw_storage import stored_bytes

    options = {}
    if kind == "4-bit":
        import bitsandbytes  # noqa: F401

        config = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        options = {"quantization_config": transformers.BitsAndBytesConfig(**config)}
    _, task = load("smollm2-trec")
    del _
    before = resident()
    model = sv.load_model(SMOLLM2, dtype="float32", device="cpu", **options)
    found: dict[str, Any] = {"parameters": f"{model.parts.total / 1e6:.2f} M"}
    found["bytes of the weights"] = mebibytes(stored_bytes(model.model))
    found["resident after loading"] = mebibytes(resident() - before)
    with watched(found, f"trace of {ROWS} rows", before):
        trace = sv.trace(model, task.subset(train=ROWS), metrics="lens", readout="raw", progress=False)
    found["mean lens deviation at the last space"] = f"{trace.mean_profile('lens')[-1]:.3f}"
    few = task.subset(train=64, validation=32, test=64)
    with watched(found, f"LoRA above block {BOUNDARY}, 8 steps", before):
        run = sv.finetune(model, few, sv.Scope.above(model, BOUNDARY), **TRAINING)
    found["loss before the first and the last step"] = (
        f"{run.curve['loss'].iloc[0]:.2f}, {run.curve['loss'].iloc[-1]:.2f}"
    )
    found["test loss"] = f"{run.loss:.2f}"
    return found


@contextmanager
def watched(found: dict[str, Any], name: str, before: int) -> Iterator[None]:
    """Note the most memory above `before`, and the seconds of the processor."""
    peak, done = [resident()], threading.Event()

    def sample() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], resident(trim=False))

    watcher = threading.Thread(target=sample, daemon=True)
    started = time.process_time()
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    found[f"{name}: most resident"] = mebibytes(peak[0] - before)
    found[f"{name}: seconds"] = f"{time.process_time() - started:.0f}"


def resident(*, trim: bool = True) -> int:
    """Bytes of this process in memory, without what the allocator only keeps."""
    import psutil

    if trim:
        gc.collect()
        release: Callable[[int], int] = ctypes.CDLL("libc.so.6").malloc_trim
        release(0)
    return int(psutil.Process().memory_info().rss)


def mebibytes(size: int) -> str:
    """In MiB."""
    return f"{size / 2**20:.0f} MiB"


if __name__ == "__main__":
    main()
