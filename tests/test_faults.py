"""Faults, brought about on purpose: nothing is lost, torn or left behind; the long versions are in tests/faults."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from faults.allocator import ERRORS, STATIONS, WITHIN, Allocator
from faults.disks import FakeDisk, limited
from faults.jobs import Jobs, numbers, same, several_batches
from faults.surroundings import changed, own_temporary_folder, surroundings

import semviz as sv
from semviz.common import files, interrupts
from semviz.common.errors import SemvizError
from semviz.common.files import write_text_file
from semviz.common.interrupts import interrupts_held, raise_waiting_interrupt
from semviz.experiments.run_store import Store
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.prefix_cache import run_prefix
from semviz.scopes import flop_counting

PROGRAMS = Path(__file__).parent / "faults"


class Mine(Exception):
    """What a user's own code raises."""


@pytest.fixture(autouse=True)
def interruptible():
    """Let interrupts be what they are in a notebook, also where the tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Jobs, what they find undisturbed, and a temporary folder of their own."""
    temporary, store = tmp_path_factory.mktemp("temporary"), tmp_path_factory.mktemp("stores")
    with own_temporary_folder(temporary), several_batches():
        jobs = Jobs(store)
        jobs.expected, jobs.steps = {}, {}
        for name, job in jobs.all.items():
            told = []
            jobs.expected[name] = numbers(job(sv.Control(told.append)))
            jobs.steps[name] = len(told)
        yield jobs


@pytest.fixture
def jobs(bench, tmp_path):
    """The jobs with an empty store, and random states that no job sets."""
    bench.store = tmp_path
    bench.seed(11)
    return bench


def interrupt():
    signal.raise_signal(signal.SIGINT)


def fail():
    raise Mine


def at(step, act):
    """A control that acts at a step."""
    seen = []

    def watch(progress):
        seen.append(progress)
        if len(seen) == step:
            act()

    return sv.Control(watch)


# ---- Interrupts that wait --------------------------------------------------------------------------------------------


def do(*acts):
    """Do things one after the other in a block that holds interrupts."""
    with interrupts_held():
        for act in acts:
            act()


def test_an_interrupt_waits_for_the_end_of_the_block_or_for_a_step():
    done = []
    with pytest.raises(KeyboardInterrupt):
        do(interrupt, lambda: done.append("the block goes on"))
    with pytest.raises(KeyboardInterrupt):
        do(interrupt, lambda: done.append("up to the step"), raise_waiting_interrupt, lambda: done.append("never"))
    assert done == ["the block goes on", "up to the step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    do(raise_waiting_interrupt)  # nothing is left of it


def test_an_interrupt_waits_for_the_outer_block_and_a_second_one_does_not_wait():
    done = []
    with pytest.raises(KeyboardInterrupt):
        do(lambda: do(interrupt), lambda: done.append("after the inner block"), interrupt, lambda: done.append("never"))
    assert done == ["after the inner block"]
    do(raise_waiting_interrupt)


def test_an_interrupt_that_waits_comes_out_instead_of_an_error():
    with pytest.raises(KeyboardInterrupt) as caught:
        do(interrupt, fail)
    assert isinstance(caught.value.__context__, Mine)


def test_other_handlers_and_other_threads_are_left_alone():
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append("mine"))
    do(interrupt, lambda: heard.append("at once"))
    assert heard == ["mine", "at once"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    heard.clear()
    thread = threading.Thread(
        target=lambda: do(lambda: heard.append(signal.getsignal(signal.SIGINT)), raise_waiting_interrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        do(interrupt, thread.start, thread.join)
    assert heard == [interrupts._hold]  # and the other thread was not interrupted


def interrupted(monkeypatch, owner, name, *, call=1):
    """Interrupt right after a call of a function has done its work."""
    given, seen = getattr(owner, name), []

    def then_interrupt(*args, **options):
        result = given(*args, **options)
        seen.append(1)
        if len(seen) == call:
            interrupt()
        return result

    monkeypatch.setattr(owner, name, then_interrupt)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (torch.utils.hooks.RemovableHandle, "__init__", lambda modules: 3),
        (torch.utils.hooks.RemovableHandle, "remove", lambda modules: 2),
        (torch.set_grad_enabled, "__init__", lambda modules: 1),
        (torch.nn.Module, "train", lambda modules: 5),
        (torch.nn.Module, "train", lambda modules: modules + 5),
        (flop_counting, "private_copy", lambda modules: 1),
        (torch.utils.module_tracker, "register_module_forward_hook", lambda modules: 1),
    ],
    ids=[
        "a hook is set",
        "a hook is removed",
        "gradients off",
        "modes set",
        "modes put back",
        "a copy",
        "hooks of all",
    ],
)
def test_an_interrupt_in_the_middle_of_a_change_leaves_nothing_changed(jobs, monkeypatch, owner, name, call):
    before = surroundings(jobs.model)
    with monkeypatch.context() as patch:
        interrupted(patch, owner, name, call=call(len(list(jobs.model.model.modules()))))
        with pytest.raises(KeyboardInterrupt):
            jobs.opening(None)
    assert changed(before, jobs.model) == []


@pytest.mark.parametrize("name", ["create", "fsync", "replace"])
def test_an_interrupted_save_is_done_and_then_says_so(jobs, monkeypatch, tmp_path, name):
    path = tmp_path / "trace.parquet"
    trace = jobs.trace(None)
    path.write_text("an older one")
    with monkeypatch.context() as patch:
        interrupted(patch, *((files, "_temporary_beside") if name == "create" else (os, name)))
        with pytest.raises(KeyboardInterrupt):
            trace.save(path)
    assert same(sv.Trace.load(path), jobs.expected["trace"])
    assert [file.name for file in tmp_path.iterdir()] == ["trace.parquet"]


def test_an_interrupt_while_a_finished_run_is_written_does_not_lose_it(jobs, monkeypatch):
    with monkeypatch.context() as patch:
        interrupted(patch, files, "_temporary_beside", call=2)  # the weights are written, the run is not
        with pytest.raises(KeyboardInterrupt):
            jobs.sweep(None)
    kept = Store(jobs.store / "sweep")
    (key,) = kept.keys()
    assert len(kept.find(key).weights) > 0
    assert same(jobs.sweep(None), jobs.expected["sweep"])


# ---- Stopped at a step -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [interrupt, fail])
@pytest.mark.parametrize(
    ("name", "shares"),
    [("trace", (0, 0.5, 1)), ("opening", (1,)), ("finetune", (0, 0.4, 0.7, 1)), ("sweep", (0.6,)), ("probe", (0.4,))],
)
def test_what_is_stopped_at_a_step_leaves_everything_as_it_was(jobs, name, shares, act):
    for share in shares:
        step = max(1, round(share * jobs.steps[name]))
        before = surroundings(jobs.model, jobs.store)
        with pytest.raises(KeyboardInterrupt if act is interrupt else Mine):
            jobs.all[name](at(step, act))
        assert changed(before, jobs.model, jobs.store) == [], step
    assert same(jobs.all[name](None), jobs.expected[name])


def test_a_metric_that_raises_in_a_later_batch_leaves_everything_as_it_was(jobs, monkeypatch):
    seen = []

    def mine(view):
        seen.append(view.space)
        return fail() if len(seen) == 8 else view.target.float()

    facts = {"title": "mine", "unit": "", "low": None, "high": None, "loss_like": False, "definition": "fails"}
    sv.metric("of-mine", **facts)(mine)
    before = surroundings(jobs.model)
    try:
        with pytest.raises(Mine):
            sv.trace(jobs.model, jobs.task, metrics=["lens", "of-mine"], progress=False)
    finally:
        del sv.METRICS["of-mine"]
    assert changed(before, jobs.model) == []
    assert same(jobs.trace(None), jobs.expected["trace"])


def test_an_observer_that_raises_fails_the_job_of_a_study_and_leaves_the_model(jobs, tmp_path):
    study = sv.Study(jobs.model, jobs.task, store=tmp_path / "runs", progress=False)
    study.set(steps=4, lr=1e-3, batch_size=16)
    before = surroundings(jobs.model, tmp_path)
    forget = study.observe(lambda change: fail() if change == "progress" else None)
    job = study.finetune().wait(60)
    assert (job.state, type(job.error)) == ("failed", Mine)
    job.error = job = None
    forget()
    assert changed(before, jobs.model, tmp_path) == []
    assert study.finetune().wait(60).state == "done"
    study.close()


# ---- Out of memory ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Out of memory")
@pytest.mark.parametrize("station", list(STATIONS.values()))
def test_out_of_memory_anywhere_leaves_everything_as_it_was(jobs, station):
    work = {"calibration": lambda: sv.calibrate(jobs.model, progress=False), "trace batch": lambda: jobs.trace(None)}
    job = work.get(station, lambda: jobs.finetune(None))
    with Allocator() as counting:
        expected = numbers(job())
    rng = random.Random(station)  # hashes nothing: a text seeds the same everywhere
    for kind, text in ERRORS:
        error = kind(text)
        moment = rng.randint(1, counting.seen[station])
        before = surroundings(jobs.model)
        raised = None
        try:
            with Allocator(station, moment, error) as allocator:
                result = job()
        except (RuntimeError, MemoryError, SemvizError) as caught:
            raised = caught
        if raised is not None:
            assert raised is error or isinstance(raised, SemvizError), (station, moment)
        else:
            assert allocator.error is None  # it was raised,
            assert station in ("calibration", "trace batch", "prefix pass"), (station, moment)
            assert same(result, expected, within=WITHIN), (station, moment)
        error = raised = allocator = result = None
        assert changed(before, jobs.model) == [], (station, moment)


def test_no_memory_for_the_proof_of_a_cache_is_no_reason_to_train_without_it(jobs):
    with Allocator() as counting:
        jobs.finetune(None)
    # The last operations are those of the cached suffix, whatever of which fails would else be the model's fault.
    error = MemoryError()
    with pytest.raises(MemoryError), Allocator("proof of the cache", counting.seen["proof of the cache"] - 20, error):
        jobs.finetune(None)


# ---- The disk is full ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(bench):
    """What is written, by the kind of file; a run has its weights beside it."""
    trace, run = bench.trace(None), bench.finetune(None)
    return {
        "trace": lambda place: trace.save(place / "trace.parquet"),
        "run": lambda place: Store(place).add(run),
        "text": lambda place: write_text_file(place / "report.html", "word " * 20_000),
    }


def contents(place):
    return {path.name: path.read_bytes() for path in place.iterdir()}


def refused(write, place, trouble):
    """Write in trouble: what is there is whole, old or new, and nothing hidden; whether it was refused."""
    old, handles = contents(place), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    said = ""
    try:
        with trouble:
            write(place)
    except SemvizError as error:
        said = str(error)
    assert not said or "No space left" in said or "File too large" in said
    now = contents(place)
    write(place)
    new = contents(place)
    assert all(now[name] in (old.get(name), new[name]) for name in now)
    assert set(now) >= set(old)
    assert not [name for name in new if name.startswith(".")]
    assert not handles or len(os.listdir("/proc/self/fd")) == handles
    return bool(said)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("kind", ["trace", "run", "text"])
def test_no_space_at_any_operation_of_a_write(written, tmp_path, kind, older):
    with FakeDisk().inserted() as disk:
        written[kind](tmp_path)
    assert {"open", "fsync", "replace"} <= set(disk.done)
    for number in range(1, len(disk.done) + 1):
        for path in [] if older else list(tmp_path.iterdir()):
            path.unlink()
        assert refused(written[kind], tmp_path, FakeDisk(number).inserted()), disk.done[number - 1]


@pytest.mark.parametrize("kind", ["trace", "run", "text"])
def test_a_file_that_the_kernel_cuts_is_not_there(written, tmp_path, kind):
    written[kind](tmp_path)
    largest = max(path.stat().st_size for path in tmp_path.iterdir())
    rng = random.Random(kind)
    for size in (0, 1, *(rng.randrange(largest) for _ in range(4)), largest - 1):
        assert refused(written[kind], tmp_path, limited(size)), size
    assert not refused(written[kind], tmp_path, limited(largest))


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no space by name")
def test_states_that_find_no_room_on_the_disk_are_refused_and_kill_nobody(jobs, monkeypatch):
    encoded = EncodedTask(jobs.model, jobs.task, progress=False).part("train", 0).encoded
    before = surroundings(jobs.model)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(SemvizError, match=r"No space left.*TMPDIR.*cache=False"):
            run_prefix(jobs.model, encoded, [1, 2], room=0, progress=False)
    assert changed(before, jobs.model) == []
    with limited(1000), pytest.raises(SemvizError, match="File too large"):
        run_prefix(jobs.model, encoded, [1, 2], room=0, progress=False)
    assert changed(before, jobs.model) == []


def test_a_sweep_on_a_full_disk_loses_no_run_and_writes_what_is_missing_when_it_is_asked_again(jobs):
    before = surroundings(jobs.model, jobs.store)
    with FakeDisk(30).inserted() as disk, pytest.warns(UserWarning, match=r"No space left.*kept in memory"):
        assert same(jobs.sweep(None), jobs.expected["sweep"])
    assert disk.done.count("replace") >= 2
    kept = Store(jobs.store / "sweep")
    assert len(kept.keys()) == 2
    first = contents(kept.folder)
    assert changed(before, jobs.model, jobs.store) == []
    assert same(jobs.sweep(None), jobs.expected["sweep"])
    assert contents(kept.folder).items() >= first.items()


# ---- Killed, and two at once -----------------------------------------------------------------------------------------


def leftover(folder, name, *, days):
    path = folder / name
    path.write_text("half of")
    os.utime(path, (path.stat().st_mtime - days * 86_400,) * 2)
    return path


def test_a_write_takes_old_leftovers_of_killed_writes_away_and_nothing_else(jobs, tmp_path):
    with files.atomic_write(tmp_path / "trace.parquet") as name:
        ending = Path(name).suffix
        Path(name).write_text("whole")
    old = leftover(tmp_path, f".other.parquet.abcdefgh{ending}", days=2)
    others = [
        leftover(tmp_path, f".other.parquet.abcdefgi{ending}", days=0),  # it may not be locked yet
        leftover(tmp_path, f".other.parquet.abcdefgj{ending}", days=2),
        leftover(tmp_path, ".bashrc", days=400),
        leftover(tmp_path, f"mine{ending}", days=400),
    ]
    with open(others[1], "r+b") as held:  # another process is at it
        fcntl.flock(held, fcntl.LOCK_EX)
        write_text_file(tmp_path / "text", "whole")
    assert not old.exists()
    assert all(path.exists() for path in others)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "command",
    [["kill.py", "--what", "trace", "--times", "4"], ["two_processes.py", "--times", "1"]],
    ids=["killed", "two at once"],
)
def test_the_programs_find_nothing_lost(command):
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(Path(sv.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


# ---- Load ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "times"), [("jobs", 4), ("moves", 40), ("explorers", 2)])
def test_nothing_grows_with_use(name, times):
    pytest.importorskip("anywidget")
    from faults.load import FIXED, grows, opened

    with opened() as app:
        before, _, after = grows(name, times, app)
    assert {key: after[key] for key in FIXED} == {key: before[key] for key in FIXED}
