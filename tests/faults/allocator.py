"""A fake allocator that has nothing left at one moment: every operation of torch asks it."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# What torch raises on a GPU and on the processor, and what Python and numpy raise.
ERRORS = (
    (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 20.00 MiB."),
    (
        RuntimeError,
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
    ),
    (MemoryError, ""),
)
WITHIN = 2e-4  # how far numbers may move where batches were smaller
# Which function of semviz an operation is part of, the innermost first.
STATIONS = {
    "calibrate": "calibration",
    "run_prefix": "prefix pass",
    "why_not_cacheable": "proof of the cache",
    "fit": "training step",
    "evaluate": "evaluation",
    "trace": "trace batch",
}


class Allocator(TorchDispatchMode):
    """Counts operations by station, and fails at one.

    Attributes:
        seen: How many operations each station has asked for.
    """

    def __init__(self, station: str = "", at: int = 0, error: BaseException | None = None) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.station, self.at, self.error = station, at, error

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        station = _station()
        self.seen[station] += 1
        if self.error is not None and station == self.station and self.seen[station] == self.at:
            error, self.error = self.error, None
            raise error
        return func(*args, **(kwargs or {}))


def _station() -> str:
    frame = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_name in STATIONS and "semviz" in code.co_filename:
            return STATIONS[code.co_name]
        frame = frame.f_back
    return "elsewhere"
