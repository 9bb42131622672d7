"""What a session may use, and a finetune that would not fit into it."""

from __future__ import annotations

import re
import subprocess
import sys

import psutil
import pytest

import semviz as sv
from semviz.common import memory

GB = 1000**3


@pytest.fixture
def limited(monkeypatch):
    """Says how many bytes the session has left, as a hub would by its limit."""

    def say(left: int) -> None:
        monkeypatch.setenv("MEM_LIMIT", str(2 * GB))
        monkeypatch.setattr(memory, "used", lambda: 2 * GB - left)

    return say


@pytest.mark.parametrize(
    ("said", "limit"), [("2147483648", 2**31), ("", None), ("0", None), ("2G", None), ("-1", None), (None, None)]
)
def test_the_limit_is_what_the_hub_says(monkeypatch, said, limit):
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    if said is not None:
        monkeypatch.setenv("MEM_LIMIT", said)
    assert memory.limit() == limit


def test_what_is_left_is_the_smaller_of_machine_and_session(monkeypatch):
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    machine = psutil.virtual_memory().available
    assert memory.free() == pytest.approx(machine, rel=0.2)
    monkeypatch.setenv("MEM_LIMIT", str(memory.used() + 10**9))
    assert memory.free() == pytest.approx(10**9, abs=2e8)
    monkeypatch.setenv("MEM_LIMIT", "1000")
    assert memory.free() == 0


def test_the_processes_of_a_session_count_together(monkeypatch):
    whole = memory.used()
    # What else the process that started this one has started comes and goes.
    monkeypatch.setattr(psutil.Process, "parent", lambda _: None)
    before = memory.used()
    assert 0 < before < whole
    hold = "x = bytearray(300_000_000); x[::1000] = b'1' * 300_000; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        child.stdout.readline()
        assert memory.used() - before > 250_000_000
        child.communicate("\n")


def test_a_finetune_that_would_not_fit_names_one_that_does(tiny, mood, limited):
    full = sv.estimate_costs(tiny, mood, batch_size=32).of(sv.Scope.full(tiny))
    limited(int(0.6 * (full.bytes - full.memory["weights"] / 2)))
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    with pytest.raises(sv.SemvizError, match=r"MEM_LIMIT.* Pass sv\.Scope\.above\(model, \d\)") as refused:
        sv.finetune(tiny, mood, lr=1e-3, epochs=1, progress=False)
    assert all((before[name] == value).all() for name, value in tiny.model.state_dict().items())
    boundary = int(re.search(r"above\(model, (\d)\)", str(refused.value))[1])
    assert boundary > 0
    # What it named is let in, and the one below it is not.
    assert sv.finetune(tiny, mood, sv.Scope.above(tiny, boundary), lr=1e-3, epochs=1, progress=False).steps > 0
    if boundary > 1:
        with pytest.raises(sv.SemvizError, match="MEM_LIMIT"):
            sv.finetune(tiny, mood, sv.Scope.above(tiny, boundary - 1), lr=1e-3, epochs=1, progress=False)


def test_where_no_boundary_fits_other_ways_are_named(tiny, mood, limited):
    limited(1000)
    with pytest.raises(sv.SemvizError, match="smaller batch_size=, checkpointing=True"):
        sv.finetune(tiny, mood, sv.Scope.last(tiny), lr=1e-3, epochs=1, progress=False)


def test_a_search_needs_room_for_the_training_that_waits(tiny, mood, limited):
    full = sv.estimate_costs(tiny, mood, batch_size=32).of(sv.Scope.full(tiny))
    loaded = tiny.parts.total * 4
    waiting = full.memory["weights"] - loaded + full.memory["optimizer"]
    limited(full.bytes - loaded + waiting // 2)
    with pytest.raises(sv.SemvizError, match=r"MEM_LIMIT.* Pass a number as lr="):
        sv.finetune(tiny, mood, epochs=1, progress=False)
    assert sv.finetune(tiny, mood, lr=1e-3, epochs=1, progress=False).steps > 0
    limited(full.bytes - loaded + waiting + 1000)
    assert sv.finetune(tiny, mood, epochs=1, progress=False).rates


def test_without_a_limit_nothing_is_refused(tiny, mood, monkeypatch):
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    monkeypatch.setattr(memory, "free", lambda: 0)
    assert sv.finetune(tiny, mood, sv.Scope.last(tiny), lr=1e-3, epochs=1, progress=False).steps > 0


def test_a_trace_that_would_not_fit_is_refused_by_the_sessions_limit(tiny, mood, limited):
    limited(10)
    with pytest.raises(sv.SemvizError, match=r"samples="):
        sv.trace(tiny, mood, progress=False)
