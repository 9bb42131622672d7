"""Several processes, as `accelerate launch` starts them: each reads a shard of the rows, and all get the whole."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semviz.common import checks
from semviz.common.errors import SemvizError

LAUNCH_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables in which a launch tells each of its processes about the others."""
MPI_PREFIXES = ("PMI_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "MPI_LOCAL")
"""How names of such variables begin under MPI, which accelerate takes for a launch of its own."""
_RANKS = ("RANK", "LOCAL_RANK", "MASTER_PORT")


def is_distributed() -> bool:
    """Tell whether this process is one of several.

    Raises:
        SemvizError: If the environment says so in something else than a number.
    """
    size = os.environ.get("WORLD_SIZE", "").strip()
    if size and not size.isdecimal():
        raise SemvizError(
            f"The environment variable WORLD_SIZE is {checks.short_repr(size)}, not a number of processes; remove it, "
            "or start with accelerate launch."
        )
    return bool(size) and int(size) > 1


def join() -> tuple[int, int]:
    """Return this process's rank and the number of processes; the first call connects them and assigns devices."""
    if not is_distributed():
        return 0, 1
    _check_launch()
    import torch
    from accelerate import PartialState

    # Without cpu=True accelerate does not connect processes on a machine without a GPU.
    state = PartialState(cpu=not torch.cuda.is_available())
    return state.process_index, state.num_processes


def _check_launch() -> None:
    """Refuse an environment in which this process would wait for others that nobody can find.

    Raises:
        SemvizError: If the variables of a launch do not fit together.
    """
    size = os.environ["WORLD_SIZE"].strip()
    wrong = {name: os.environ.get(name, "") for name in _RANKS if not os.environ.get(name, "").strip().isdecimal()}
    wrong |= {} if os.environ.get("MASTER_ADDR", "").strip() else {"MASTER_ADDR": ""}
    if not wrong and int(os.environ["RANK"]) >= int(size):
        wrong = {"RANK": os.environ["RANK"]}
    for name, value in wrong.items():
        found = f"is {checks.short_repr(value)}" if value else "is not set"
        raise SemvizError(
            f"The environment variable WORLD_SIZE says that this is one of {size} processes, but {name} {found}; start "
            "with accelerate launch or torchrun, or remove WORLD_SIZE."
        )


def shard(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return this process's shard of the rows; dealt out in turn, so that rows sorted by length give equal loads."""
    rank, processes = join()
    return rows[rank::processes]


def gather(part: Any) -> list[Any]:
    """Return what every process passed, in rank order; all processes must call it."""
    if not is_distributed():
        return [part]
    from accelerate.utils import gather_object

    join()
    return list(gather_object([part]))


def leave() -> bool:
    """Disconnect from the other processes; return whether this is the first one, which goes on alone."""
    rank, _ = join()
    if is_distributed():
        import torch.distributed
        from accelerate import PartialState

        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        PartialState._reset_state()
        # Libraries that are imported later, such as Trainer, would wait for processes that are gone.
        for key in LAUNCH_VARIABLES:
            os.environ.pop(key, None)
    return rank == 0
