"""One process's part of the two-process benchmark; the first one prints the seconds of the trace."""

from __future__ import annotations

import time

import torch

import semviz as sv
from semviz.common import distributed

torch.set_num_threads(1)
number, _ = distributed.join()
model, task = sv.load_model(), sv.load_task("dialect")
calibration = sv.calibrate(model, progress=False)
model.hash  # noqa: B018 (read once a model, and no part of what is shared out)
options = {"calibration": calibration, "distributed": True, "progress": False}
sv.trace(model, task, samples=16, **options)
started = time.perf_counter()
sv.trace(model, task, **options)
if number == 0:
    print(time.perf_counter() - started)
