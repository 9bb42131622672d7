"""Sweeps whose runs are jobs of an executor: the same runs, found in the store, whatever happens to the workers."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import torch
from small import tiny_llama, word_tokenizer
from traced_trainings import assert_same_runs, count, lines, trace_trainings

import semviz as sv
from semviz.common.errors import Cancelled, SemvizError
from semviz.experiments import job, workers
from semviz.experiments.job import Job, run_job

pytestmark = pytest.mark.every_kind

QUICK = {"epochs": 1, "batch_size": 8, "lr": 3e-3, "progress": False}


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """A file with the trainings of this process' jobs."""
    monkeypatch.setattr(job, "train_scope", job.train_scope)  # put back afterwards
    trace_trainings(str(tmp_path / "trace.txt"))
    return tmp_path / "trace.txt"


class Inline(Executor):
    """Runs a job when it is submitted, after raising what it is told to."""

    def __init__(self, errors=()) -> None:
        self.errors, self.submitted = list(errors), []

    def submit(self, function, /, *args, **kwargs):
        self.submitted.append(args[0].key)
        future: Future = Future()
        error = self.errors.pop(0) if self.errors else None
        if error is None:
            future.set_result(function(*args, **kwargs))
        else:
            future.set_exception(error)
        return future


@pytest.mark.parametrize(
    "options",
    [{}, {"lr": "auto", "seeds": (0, 1)}, {"methods": ("full", "lora")}, {"seeds": (3, 1), "keep_weights": True}],
    ids=["plain", "rates searched", "methods", "seeds, weights kept"],
)
def test_threads_train_the_runs_of_a_plain_sweep(options, tiny, mood, tmp_path, traced):
    scopes = [sv.Scope.last(tiny), sv.Scope.full(tiny)]
    alone = sv.sweep(tiny, mood, scopes, store=tmp_path / "alone", **{**QUICK, **options})
    with ThreadPoolExecutor(3) as pool:
        runs = sv.sweep(tiny, mood, scopes, store=tmp_path / "shared", executor=pool, **{**QUICK, **options})
    assert_same_runs(runs, alone)
    assert count(traced, "begin") == count(traced, "end") == {run.key: 1 for run in alone}
    kinds = ("json", "safetensors") if options.get("keep_weights") else ("json",)
    files = {f"{run.key}.{kind}" for run in alone for kind in kinds}
    # The tiny model is in memory only: it was saved, and nothing else is left.
    assert {p.name for p in (tmp_path / "shared").iterdir()} == {*files, "models"}
    if options.get("keep_weights"):
        for one, other in zip(runs, alone, strict=True):
            assert all((one.weights[name] == other.weights[name]).all() for name in other.weights)
        assert runs.runs[0].trace(progress=False) is not None


@pytest.mark.brings(
    "Machines",
    "`sweep(executor=)`: any `concurrent.futures.Executor`",
    "one job a run, with the results of a plain sweep",
)
def test_spawned_processes_train_the_runs_of_a_plain_sweep(tiny, mood, tmp_path):
    scopes = [sv.Scope.last(tiny), sv.Scope.half(tiny), sv.Scope.full(tiny)]
    alone = sv.sweep(tiny, mood, scopes, store=tmp_path / "alone", **QUICK)
    spawn, path = multiprocessing.get_context("spawn"), tmp_path / "trace.txt"
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=trace_trainings, initargs=(str(path),)) as pool:
        runs = sv.sweep(tiny, mood, scopes, store=tmp_path / "shared", executor=pool, **QUICK)
    assert_same_runs(runs, alone)
    assert count(path, "end") == {run.key: 1 for run in alone}
    assert len({pid for _, _, pid in lines(path)}) == 1


def test_what_is_in_the_store_is_not_submitted(tiny, mood, tmp_path):
    first = sv.sweep(tiny, mood, [sv.Scope.last(tiny)], store=tmp_path, **QUICK)
    executor = Inline()
    runs = sv.sweep(tiny, mood, [sv.Scope.last(tiny), sv.Scope.full(tiny)], store=tmp_path, executor=executor, **QUICK)
    assert executor.submitted == [run.key for run in runs if run.key != first.runs[0].key]
    assert len(executor.submitted) == 1


def test_a_run_that_another_sweep_finished_meanwhile_is_not_trained_again(tiny, mood, tmp_path, traced):
    class Late(Inline):
        def submit(self, function, /, *args, **kwargs):
            if not self.submitted:
                sv.sweep(tiny, mood, [sv.Scope.last(tiny)], store=tmp_path / "store", **QUICK)
            return super().submit(function, *args, **kwargs)

    runs = sv.sweep(tiny, mood, [sv.Scope.last(tiny)], store=tmp_path / "store", executor=Late(), **QUICK)
    assert len(runs) == 1
    assert lines(traced) == []


# Workers that die.


class Lost(Exception):
    """An error of this executor's own package, as Dask's KilledWorker is of Dask's."""


@pytest.mark.parametrize("error", [BrokenExecutor("died"), ConnectionResetError("gone"), EOFError(), Lost("killed")])
def test_a_job_of_a_dead_worker_is_submitted_again(error, tiny, mood, tmp_path, traced):
    executor = Inline([error, error])
    runs = sv.sweep(tiny, mood, [sv.Scope.last(tiny)], store=tmp_path / "store", executor=executor, **QUICK)
    assert executor.submitted == [runs.runs[0].key] * 3
    assert count(traced, "begin") == {runs.runs[0].key: 1}


def test_a_job_whose_workers_die_again_and_again_is_said_and_the_others_are_kept(tiny, mood, tmp_path):
    executor = Inline([None, *[BrokenExecutor("out of memory")] * 3])
    scopes = [sv.Scope.full(tiny), sv.Scope.last(tiny)]
    with pytest.raises(SemvizError, match=r"1 of 2 runs were lost.*out of memory.*other 1 are in"):
        sv.sweep(tiny, mood, scopes, store=tmp_path, executor=executor, **QUICK)
    assert len(executor.submitted) == 4
    again = Inline()
    assert len(sv.sweep(tiny, mood, scopes, store=tmp_path, executor=again, **QUICK)) == 2
    assert again.submitted == executor.submitted[1:2]


def test_a_pool_that_takes_no_more_jobs_is_said(tiny, mood, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        pass
    with pytest.raises(SemvizError, match=r"1 of 1 runs were lost.*shutdown"):
        sv.sweep(tiny, mood, [sv.Scope.last(tiny)], store=tmp_path, executor=pool, **QUICK)


@pytest.mark.parametrize("error", [TypeError("cannot pickle 'generator' object"), ModuleNotFoundError("no semviz")])
def test_a_job_that_cannot_reach_a_worker_is_said(error, tiny, mood, tmp_path):
    executor = Inline([error])
    with pytest.raises(SemvizError, match=r"did not reach its worker.*picklable"):
        sv.sweep(tiny, mood, store=tmp_path, executor=executor, **QUICK)


# Jobs that fail.


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SemvizError("Pass something else."), r"^Pass something else\.$"),
        (RuntimeError("CUDA out of memory\nand more"), r"on .* failed \(RuntimeError: CUDA out of memory\)"),
        (MemoryError(), "failed .MemoryError"),
    ],
)
def test_a_job_that_fails_is_reported_and_finished_runs_are_kept(error, said, tiny, mood, tmp_path, monkeypatch):
    real, trained = job.train_scope, []

    def fail(*args, **options):
        if trained:
            raise error
        trained.append(1)
        return real(*args, **options)

    monkeypatch.setattr(job, "train_scope", fail)
    with ThreadPoolExecutor(1) as pool, pytest.raises(SemvizError, match=said) as caught:
        sv.sweep(tiny, mood, store=tmp_path, executor=pool, **QUICK)
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert not (tmp_path / "jobs").exists()
    if not isinstance(error, SemvizError):
        assert "Traceback" in str(caught.value.__cause__)


def made_job(model, mood, folder, **changes) -> Job:
    made: list[Job] = []

    class Taking(Inline):
        def submit(self, function, /, given):
            made.append(given)
            raise RuntimeError("taken")

    with pytest.raises(SemvizError, match="taken"):
        sv.sweep(model, mood, [sv.Scope.last(model)], store=folder, executor=Taking(), **QUICK)
    signal = folder / "signal"
    signal.touch()
    return job.replace(made[0], signal=str(signal), **changes)


def test_a_model_that_was_changed_after_it_was_loaded_is_refused(model_folder, mood, tmp_path):
    model = sv.load_model(model_folder)
    with torch.no_grad():
        model.model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    done = run_job(made_job(model, mood, tmp_path))
    assert (done.outcome, "changed after it was loaded" in done.message) == ("refused", True)
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_worker_loads_a_model_once_and_its_run_has_the_callers_key(dtype, mood, tmp_path, monkeypatch):
    model = sv.load_model((tiny_llama().to(getattr(torch, dtype)), word_tokenizer()))
    loaded, real = [], job.load_model
    monkeypatch.setattr(job, "load_model", lambda **k: (loaded.append(k), real(**k))[1])
    first = made_job(model, mood, tmp_path)
    second = job.replace(first, key="b" * 16, recipe=job.replace(first.recipe, seed=1))
    assert [run_job(each).outcome for each in (first, second)] == ["stored", "stored"]
    assert len(loaded) == 1
    stored = workers.replace(first)
    assert {p.stem for p in tmp_path.glob("*.json")} == {stored.key, "b" * 16}


@pytest.mark.parametrize(
    ("changes", "said"), [({"version": "0.0.9"}, "install the same version"), ({}, "register it in a module")]
)
def test_a_worker_that_differs_is_named(changes, said, model_folder, mood, tmp_path):
    made = made_job(sv.load_model(model_folder), mood, tmp_path, **changes)
    if not changes:
        object.__setattr__(made.recipe, "method", "of mine")
    done = run_job(made)
    assert (done.outcome, said in done.message) == ("refused", True)


def test_machines_that_do_not_share_the_store_are_told(model_folder, mood, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "_PATIENCE", 0.0)

    class Elsewhere(Inline):
        def submit(self, function, /, given):
            return super().submit(function, job.replace(given, signal=str(tmp_path / "elsewhere" / "signal")))

    model = sv.load_model(model_folder)
    with pytest.raises(SemvizError, match="do not see the same files"):
        sv.sweep(model, mood, store=tmp_path / "store", executor=Elsewhere(), **QUICK)


# Stopping.


def test_a_cancelled_sweep_stops_the_running_job_within_a_step_and_drops_the_others(tiny, mood, tmp_path, traced):
    control = sv.Control()

    def cancel() -> None:
        while not count(traced, "step"):
            time.sleep(0.01)
        control.cancel()

    threading.Thread(target=cancel).start()
    given = {**QUICK, "epochs": 200}
    with ThreadPoolExecutor(1) as pool, pytest.raises(Cancelled):
        sv.sweep(tiny, mood, store=tmp_path / "store", executor=pool, control=control, **given)
    assert len(count(traced, "begin")) == 1
    assert not count(traced, "end")
    assert sum(count(traced, "step").values()) < 1000  # of 1,600: its signal is looked for twice a second
    assert not list((tmp_path / "store").glob("*.json"))
    assert not (tmp_path / "store" / "jobs").exists()


def test_progress_is_told_run_by_run(tiny, mood, tmp_path):
    seen = []
    control = sv.Control(seen.append)
    sv.sweep(tiny, mood, store=tmp_path, executor=Inline(), control=control, **QUICK)
    told = [(p.done, p.total) for p in seen if p.stage == "Runs on workers"]
    assert told[-1] == (4, 4)


# What cannot be an executor.


class Client:
    def get_executor(self): ...
    def submit(self): ...


@pytest.mark.parametrize(
    ("executor", "options", "said"),
    [
        (Inline(), {}, "needs a store"),
        (Inline(), {"store": "s", "budget": "1 min"}, "leave out budget"),
        (3, {"store": "s"}, "executor=3 is no executor"),
        (ThreadPoolExecutor, {"store": "s"}, "is no executor"),
        (Client(), {"store": "s"}, r"pass client\.get_executor"),
        (ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")), {"store": "s"}, "spawn"),
    ],
    ids=["no store", "a budget", "a number", "a class", "a client", "forks"],
)
def test_what_cannot_be_used_is_refused_before_anything_runs(
    executor, options, said, tiny, mood, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SemvizError, match=said):
        sv.sweep(tiny, mood, executor=executor, **{**QUICK, **options})
    assert not list(tmp_path.iterdir())
