"""What Trainer, accelerate and torch keep for the whole process, kept to one finetune at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from transformers.utils import logging

from semviz.common import distributed
from semviz.common.interrupts import raise_waiting_interrupt
from semviz.lm.surroundings import precision_switches

if TYPE_CHECKING:
    from semviz.common.progress import Control

_TURN = threading.RLock()
_POLL_SECONDS = 0.1

# Environment variables in which accelerate reads and keeps settings that `accelerate launch` or a notebook has chosen.
# A run is trained as its recipe says, so none of them may reach it; these only say where processes run.
_SETTINGS = ("ACCELERATE_", "FSDP_", "MEGATRON_", "PARALLELISM_CONFIG_")
_PLACES = ("ACCELERATE_USE_CPU", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_BYPASS_DEVICE_MAP")
# Those that `full_determinism` sets.
_DETERMINISM = (
    "CUDA_LAUNCH_BLOCKING",
    "CUBLAS_WORKSPACE_CONFIG",
    "ASCEND_LAUNCH_BLOCKING",
    "HCCL_DETERMINISTIC",
    "FLASH_ATTENTION_DETERMINISTIC",
)


@contextmanager
def trainers_turn(control: Control) -> Iterator[None]:
    """Train inside the `with` block as if nothing else in the process used Trainer or accelerate.

    Finetunes in several threads take turns: they would draw from the same random numbers, and replace each other's
    state of accelerate. The caller's own `Accelerator`, deterministic algorithms, verbosity and environment are as
    before afterwards.

    Raises:
        Cancelled: If asked to stop while another finetune has its turn.
        KeyboardInterrupt: Likewise.
    """
    while not _TURN.acquire(timeout=_POLL_SECONDS):
        control.check()
        raise_waiting_interrupt()
    try:
        with _own_environment(), _own_accelerate_state(), _restored_settings():
            yield
    finally:
        _TURN.release()


@contextmanager
def _own_environment() -> Iterator[None]:
    """Hide accelerate's settings in the environment, and undo what Trainer writes there."""
    # A single process needs to know of no others; Trainer fails on variables that are empty.
    launch = () if distributed.is_distributed() else distributed.LAUNCH_VARIABLES
    other = () if distributed.is_distributed() else distributed.MPI_PREFIXES

    def hidden(name: str) -> bool:
        return name in launch or name.startswith(other) or (name.startswith(_SETTINGS) and name not in _PLACES)

    def kept_back(name: str) -> bool:
        return hidden(name) or name in _DETERMINISM

    before = {name: value for name, value in os.environ.items() if kept_back(name)}
    for name in filter(hidden, before):
        del os.environ[name]
    try:
        yield
    finally:
        for name in list(filter(kept_back, os.environ)):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _own_accelerate_state() -> Iterator[None]:
    """Give accelerate a state of its own: Trainer resets the one it finds, which may be that of an `Accelerator`."""
    # The processes of a launch stay connected.
    classes = [AcceleratorState, GradientState, *([] if distributed.is_distributed() else [PartialState])]
    kept = [(state_class, vars(state_class)["_shared_state"]) for state_class in classes]
    for state_class in classes:
        state_class._shared_state = {}
    try:
        yield
    finally:
        for state_class, state in kept:
            state_class._shared_state = state


@contextmanager
def _restored_settings() -> Iterator[None]:
    """Restore the flags and the verbosity that arguments of Trainer may set."""
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    precisions = [(switch, switch.read()) for switch in precision_switches()]
    verbosity = logging.get_verbosity()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        for switch, precision in precisions:
            if switch.read() != precision:
                switch.write(precision)
        logging.set_verbosity(verbosity)
