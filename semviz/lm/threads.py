"""How many threads semviz computes on: one for small models, no more than cores are free, the user's choice first.

The threads of one operation wait for each other. Where a model is small there is little work between two such meetings,
so a second thread gains next to nothing; where another program needs the core, it costs many times what it gains.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil
import torch

from semviz.lm.model import LanguageModel

_P = ParamSpec("_P")
_R = TypeVar("_R")

NARROW = 256
"""Width of a model below which one thread is enough: above the demo LM's (128), and below that of the smallest
pretrained LMs in use (576). `tests/bench/bench_plan.py threads` measures both."""
_LOOK_SECONDS = 0.1
_CHOICES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # torch reads them when it is loaded
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def on_fitting_threads(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run a function on as many threads as suit its first argument, a model or a task encoded for one."""

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        first = next(iter((*args, *kwargs.values())), None)
        model = first if isinstance(first, LanguageModel) else getattr(first, "model", None)
        if not isinstance(model, LanguageModel):  # the function itself refuses it
            return function(*args, **kwargs)
        with fitting_threads(model):
            return function(*args, **kwargs)

    return run


@contextmanager
def fitting_threads(model: LanguageModel) -> Iterator[None]:
    """Compute on as many threads as suit a model inside the `with` block, and restore the number afterwards.

    The number is only ever lowered, and left alone where it is the user's: where OMP_NUM_THREADS or MKL_NUM_THREADS is
    set, or torch has another number than it starts with.
    """
    before = torch.get_num_threads()
    chosen = before if model.device.type != "cpu" or _is_users_choice(before) else min(before, _suiting(model))
    if chosen == before:
        yield
        return
    torch.set_num_threads(chosen)
    try:
        yield
    finally:
        if torch.get_num_threads() == chosen:  # else a callback has chosen meanwhile
            torch.set_num_threads(before)


def _is_users_choice(threads: int) -> bool:
    """Whether somebody chose this number; torch starts with the cores that it sees, physical or logical."""
    if threads == 1 or any(os.environ.get(name) for name in _CHOICES):
        return True
    return threads not in {psutil.cpu_count(logical=False), psutil.cpu_count(), _allowed_cores()}


def _suiting(model: LanguageModel) -> int:
    """The threads that a model should be computed on."""
    return 1 if model.anatomy.width < NARROW else free_cores()


def free_cores() -> int:
    """Count the cores that this process may use and that other programs leave free, at least 1; looks for 0.1 s."""
    before = _busy_seconds()
    time.sleep(_LOOK_SECONDS)
    busy = (_busy_seconds() - before) / _LOOK_SECONDS
    left = round((psutil.cpu_count() or 1) - busy)
    return max(1, min(left, _allowed_cores(), _quota()))


def _busy_seconds() -> float:
    """Processor time that other programs have used; that of programs that give way (nice) does not count."""
    times, own = psutil.cpu_times(), time.process_time()
    return sum(getattr(times, name, 0.0) for name in ("user", "system", "irq", "softirq", "steal")) - own


def _allowed_cores() -> int:
    """Cores that the system lets this process use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    return allowed or 1


def _quota() -> int:
    """Cores that a container may use (Linux control groups), rounded up; torch does not know this limit."""
    try:
        limit, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, -(-int(limit) // int(period)))
    except (OSError, ValueError):  # another system, or "max"
        return psutil.cpu_count() or 1
