"""Threads: chosen by the model's width and the cores that are free, never over the user's choice, always put back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from semviz.lm import threads
from semviz.lm.threads import NARROW, fitting_threads, on_fitting_threads

DEFAULT = 6


@pytest.fixture
def machine(monkeypatch):
    """A machine of six cores whose torch starts with six threads."""
    count = SimpleNamespace(now=DEFAULT, set=[])

    def choose(n):
        count.now = n
        count.set.append(n)

    monkeypatch.setattr(torch, "get_num_threads", lambda: count.now)
    monkeypatch.setattr(torch, "set_num_threads", choose)
    monkeypatch.setattr(threads.psutil, "cpu_count", lambda logical=True: DEFAULT)
    monkeypatch.setattr(threads, "_allowed_cores", lambda: DEFAULT)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return count


def model_of(width: int, device: str = "cpu"):
    return SimpleNamespace(device=torch.device(device), anatomy=SimpleNamespace(width=width))


@pytest.mark.parametrize(("width", "expected"), [(32, 1), (NARROW - 1, 1), (NARROW, 4), (4096, 4)])
def test_by_width_and_free_cores(machine, monkeypatch, width, expected):
    monkeypatch.setattr(threads, "free_cores", lambda: 4)
    with fitting_threads(model_of(width)):
        assert machine.now == expected
    assert machine.now == DEFAULT


@pytest.mark.parametrize(
    ("width", "free", "before"), [(32, 4, 1), (32, 4, 3), (512, 2, 3), (512, 2, 12)]
)  # fmt: skip
def test_a_number_that_the_user_chose_is_left_alone(machine, monkeypatch, width, free, before):
    monkeypatch.setattr(threads, "free_cores", lambda: free)
    machine.now = before
    with fitting_threads(model_of(width)):
        assert machine.now == before
    assert machine.set == []


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_variable_is_the_users_choice(machine, monkeypatch, name):
    monkeypatch.setenv(name, str(DEFAULT))
    with fitting_threads(model_of(32)):
        assert machine.now == DEFAULT
    assert machine.set == []


def test_a_graphics_card_needs_no_choice(machine):
    with fitting_threads(model_of(32, "cuda")):
        assert machine.now == DEFAULT


def test_put_back_after_an_error_and_when_nested(machine):
    def fail():
        with fitting_threads(model_of(32)):
            with fitting_threads(model_of(32)):
                assert machine.now == 1
            assert machine.now == 1
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert machine.now == DEFAULT


def test_a_choice_that_is_made_meanwhile_stays(machine):
    with fitting_threads(model_of(32)):
        torch.set_num_threads(3)
    assert machine.now == 3


def test_the_decorator_finds_the_model(machine, tiny, mood):
    from semviz.finetuning.encoded_task import EncodedTask

    @on_fitting_threads
    def look(model, other=None):
        return machine.now

    assert look(tiny) == 1
    assert look(model=tiny) == 1
    assert look(EncodedTask(tiny, mood, progress=False)) == 1
    assert look(None) == DEFAULT
    assert machine.now == DEFAULT


def test_entry_points_compute_on_one_thread(machine, tiny, mood, monkeypatch):
    import semviz as sv
    from semviz.finetuning.suffix_model import Suffix
    from semviz.tasks import streaming

    monkeypatch.setenv("SEMVIZ_CACHE", "")  # a calibration that is on disk computes nothing
    seen = []

    def watched(function):
        def run(*args, **options):
            seen.append(machine.now)
            return function(*args, **options)

        return run

    monkeypatch.setattr(streaming, "_forward", watched(streaming._forward))
    monkeypatch.setattr(Suffix, "forward", watched(Suffix.forward))
    options = {"lr": 1e-3, "epochs": 0.3, "progress": False}
    jobs = {
        "trace": lambda: sv.trace(tiny, mood, samples=4, progress=False),
        "calibrate": lambda: sv.calibrate(tiny, progress=False),
        "finetune": lambda: sv.finetune(tiny, mood, sv.Scope.last(tiny), **options),
        "sweep": lambda: sv.sweep(tiny, mood, [sv.Scope.last(tiny)], **options),
        "probe": lambda: sv.probe(tiny, mood, **options),
        "plan": lambda: sv.plan(tiny, mood, epochs=0.3),
    }
    for name, job in jobs.items():
        seen.clear()
        job()
        assert set(seen) == {1}, name
        assert machine.now == DEFAULT, name


@pytest.mark.parametrize(
    ("busy", "nice", "own", "expected"),
    [
        (0.0, 0.0, 0.0, 6),
        (0.2, 0.0, 0.0, 4),
        (0.3, 0.0, 0.1, 4),
        (0.0, 0.6, 0.0, 6),
        (0.6, 0.0, 0.0, 1),
        (0.9, 0, 0, 1),
    ],
)
def test_free_cores_leave_out_other_programs_but_not_nice_ones(machine, monkeypatch, busy, nice, own, expected):
    """Processor seconds that pass while 0.1 s are looked at."""
    times = iter([(5.0, 1.0), (5.0 + busy, 1.0 + nice)])
    owns = iter([2.0, 2.0 + own])

    def cpu_times():
        user, niced = next(times)
        return SimpleNamespace(user=user, nice=niced, system=0.0, idle=9.0, iowait=1.0)

    monkeypatch.setattr(threads.psutil, "cpu_times", cpu_times)
    monkeypatch.setattr(threads.time, "process_time", lambda: next(owns))
    monkeypatch.setattr(threads, "_QUOTA", threads.Path("/nowhere"))
    assert threads.free_cores() == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [("max 100000", 6), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("", 6)],
)
def test_a_containers_quota(machine, monkeypatch, tmp_path, written, expected):
    file = tmp_path / "cpu.max"
    file.write_text(written)
    monkeypatch.setattr(threads, "_QUOTA", file)
    assert threads._quota() == expected
