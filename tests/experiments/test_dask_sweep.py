"""A sweep over a local Dask cluster of two workers, one of which is killed: nothing is lost, nothing is run twice."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings

import pytest
from traced_trainings import assert_same_runs, count, lines, trace_trainings

import semviz as sv

pytestmark = pytest.mark.every_kind

distributed = pytest.importorskip("distributed")

QUICK = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "progress": False}


class Tracing(distributed.WorkerPlugin):
    """Traces trainings in every worker, those that are started later too."""

    def __init__(self, path: str) -> None:
        self.path = path

    def setup(self, worker) -> None:
        trace_trainings(self.path, pause=0.02)


@pytest.fixture(scope="module")
def client():
    """Two processes with one thread each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a port that another cluster has taken
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        yield client


def kill_in_training(path, killed: list[tuple[str, int]]) -> None:
    """Kill the process that is the first to make a third step, and only while its training goes on."""
    for _ in range(6000):
        steps = [(key, pid) for what, key, pid in lines(path) if what == "step"]
        for key, pid in steps:
            if steps.count((key, pid)) >= 3 and not count(path, "end")[key]:
                os.kill(pid, signal.SIGKILL)
                killed.append((key, pid))
                return
        time.sleep(0.01)


@pytest.mark.brings(
    "Machines",
    "a Dask cluster, one of whose workers is killed",
    "nothing lost, nothing run twice",
)
def test_a_killed_worker_loses_no_run_and_repeats_none(client, model_folder, mood, tmp_path):
    path, killed = tmp_path / "trace.txt", []
    client.register_plugin(Tracing(str(path)))
    model = sv.load_model(model_folder)
    alone = sv.sweep(model, mood, store=tmp_path / "alone", keep_weights=True, **QUICK)

    killer = threading.Thread(target=kill_in_training, args=(path, killed))
    killer.start()
    given = {"store": tmp_path / "shared", "keep_weights": True, **QUICK}
    runs = sv.sweep(model, mood, executor=client.get_executor(), **given)
    killer.join()

    (key, pid), happened = killed[0], lines(path)
    assert_same_runs(runs, alone)
    assert len({pid for _, _, pid in happened}) >= 2
    for one, other in zip(runs, alone, strict=True):
        assert all((one.weights[name] - other.weights[name]).abs().max() < 1e-6 for name in other.weights)
    assert ("end", key, pid) not in happened
    # Each was trained to its end once, and none was begun again but the one whose worker died.
    keys = {run.key for run in alone}
    assert count(path, "end") == dict.fromkeys(keys, 1)
    assert count(path, "begin") == {**dict.fromkeys(keys, 1), key: 2}
    assert sorted(p.name for p in (tmp_path / "shared").iterdir()) == sorted(
        f"{key}.{kind}" for key in keys for kind in ("json", "safetensors")
    )

    # All of it is in the store: a second sweep submits nothing.
    again = sv.sweep(model, mood, executor=Refusing(), **given)
    assert_same_runs(again, alone)


class Refusing:
    """An executor to which nothing may be submitted."""

    def submit(self, *args, **kwargs):
        raise AssertionError("submitted")
