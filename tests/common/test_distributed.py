"""A trace by two processes, as torchrun and `accelerate launch` start them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
from small import plain_text

import semviz as sv
from semviz.common import distributed
from semviz.common.distributed import shard

SCRIPT = """
import sys
import semviz as sv
from semviz.common import distributed as processes
number, several = processes.join()
assert several == 2
model = sv.load_model(sys.argv[1])
task = sv.Task.from_texts([t for t in open(sys.argv[2]).read().splitlines()], name="shared")
from semviz.traces import tracing
read, stream = [], tracing.stream
tracing.stream = lambda *a, rows=None, **k: (read.append(rows), stream(*a, rows=rows, **k))[1]
trace = sv.trace(model, task, distributed=True, progress=False)
assert len(read[0]) < trace.meta["samples"], "each process reads a share"
trace.save(f"{sys.argv[3]}-{number}.parquet")
assert processes.leave() == (number == 0)
assert processes.join() == (0, 1)
"""


def test_two_processes_share_the_rows_and_each_gets_the_whole(model_folder, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "texts.txt").write_text("\n".join(plain_text(15)))
    # What `accelerate launch` itself starts several processes with; on its own it does so for GPUs only.
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [str(tmp_path / "script.py"), str(model_folder), str(tmp_path / "texts.txt"), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, *launch, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    model = sv.load_model(model_folder)
    alone = sv.trace(model, sv.Task.from_texts(plain_text(15), name="shared"), progress=False)
    for number in (0, 1):
        found = sv.Trace.load(tmp_path / f"out-{number}.parquet")
        assert found.positions.equals(alone.positions)
        for key, values in alone.values.items():
            np.testing.assert_allclose(found.values[key], values, atol=2e-5)
        np.testing.assert_allclose(found.paths, alone.paths, atol=2e-3)
        assert (found.top1 == alone.top1).mean() > 0.99


def test_alone_nothing_is_shared():
    rows = np.arange(5)
    assert distributed.join() == (0, 1)
    np.testing.assert_array_equal(shard(rows), rows)
    assert distributed.gather("x") == ["x"]
    assert distributed.leave()
