"""Several processes, as `accelerate launch` starts them: each reads its share of the rows, and all get the whole."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray


def launched() -> bool:
    """Whether this process is one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join() -> tuple[int, int]:
    """This process's number and how many there are; gives each its own device and connects them the first time."""
    if not launched():
        return 0, 1
    import torch
    from accelerate import PartialState

    # Unless told so, accelerate does not connect processes on a machine without a GPU.
    state = PartialState(cpu=not torch.cuda.is_available())
    return state.process_index, state.num_processes


def share(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """This process's part of some rows; dealt out in turn, so that rows sorted by length make equal loads."""
    number, processes = join()
    return rows[number::processes]


def gather(part: Any) -> list[Any]:
    """What every process passed, in their order; all processes must call it."""
    if not launched():
        return [part]
    from accelerate.utils import gather_object

    join()
    return list(gather_object([part]))


def leave() -> bool:
    """Part with the other processes; returns whether this one is the first, which goes on alone."""
    number, _ = join()
    if launched():
        import torch.distributed
        from accelerate import PartialState

        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        PartialState._reset_state()
        # Libraries that are imported later, such as Trainer, would wait for processes that are gone.
        for key in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(key, None)
    return number == 0
