"""Claims: one holder of a key at a time, whoever dies, on whichever machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from semviz.experiments import claims
from semviz.experiments.claims import claimed


def nothing() -> None:
    pass


def holder(**changes) -> str:
    here = {"place": claims._place(), "pid": os.getpid(), "born": psutil.Process().create_time()}
    return json.dumps({**here, **changes})


@pytest.fixture(scope="module")
def dead() -> int:
    """The id of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    return int(done.stdout)


def test_a_claim_is_there_while_it_is_held_and_gone_afterwards(tmp_path):
    with claimed(tmp_path, "k", is_done=lambda: False, check=nothing) as is_left:
        assert is_left
        assert [p.name for p in tmp_path.iterdir()] == ["k.0.claim"]
    assert not list(tmp_path.iterdir())


def test_what_is_done_is_not_claimed(tmp_path):
    with claimed(tmp_path, "k", is_done=lambda: True, check=nothing) as is_left:
        assert not is_left
    assert not list(tmp_path.iterdir())


def test_a_claim_is_given_back_when_training_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path, "k", is_done=lambda: False, check=nothing):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", ["nothing", "a dead claim"])
def test_of_many_that_want_a_key_one_trains_it(left, tmp_path, dead, monkeypatch):
    monkeypatch.setattr(claims, "_POLL", 0.01)
    if left == "a dead claim":
        (tmp_path / "k.3.claim").write_text(holder(pid=dead))
    trained, inside, most = [], [], []

    def work() -> None:
        with claimed(tmp_path, "k", is_done=lambda: bool(trained), check=nothing) as is_left:
            if is_left:
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.05)
                trained.append(1)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trained) == 1
    assert most == [1]
    assert not list(tmp_path.iterdir())


def test_another_key_is_not_waited_for(tmp_path):
    (tmp_path / "other.0.claim").write_text(holder())
    with claimed(tmp_path, "k", is_done=lambda: False, check=nothing) as is_left:
        assert is_left


class Waited(Exception):
    """Raised by the check of a process that has waited for some rounds."""


def patient(rounds: int = 5):
    left = [rounds]

    def check() -> None:
        left[0] -= 1
        if not left[0]:
            raise Waited

    return check


@pytest.mark.parametrize("changes", [{}, {"place": "another machine"}, {"place": "another machine", "pid": 1}])
def test_a_claim_of_somebody_who_may_live_is_waited_for(changes, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_POLL", 0.01)
    (tmp_path / "k.0.claim").write_text(holder(**changes))
    with pytest.raises(Waited), claimed(tmp_path, "k", is_done=lambda: False, check=patient()):
        raise AssertionError("claimed")
    assert [p.name for p in tmp_path.iterdir()] == ["k.0.claim"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_claim_that_is_half_written_is_waited_for(content, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_POLL", 0.01)
    (tmp_path / "k.0.claim").write_text(content)
    with pytest.raises(Waited), claimed(tmp_path, "k", is_done=lambda: False, check=patient()):
        raise AssertionError("claimed")


@pytest.mark.parametrize(
    "changes", [{"pid": "dead"}, {"born": 1.0}], ids=["process is gone", "its number is another's"]
)
def test_a_claim_of_a_dead_process_of_this_machine_is_free_at_once(changes, tmp_path, dead):
    changes = {name: dead if value == "dead" else value for name, value in changes.items()}
    (tmp_path / "k.0.claim").write_text(holder(**changes))
    with claimed(tmp_path, "k", is_done=lambda: False, check=patient(1)) as is_left:
        assert is_left
    assert not list(tmp_path.iterdir())


def test_a_claim_of_another_machine_is_free_once_it_is_silent_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_POLL", 0.02)
    monkeypatch.setattr(claims, "_EXPIRES", 0.4)
    claim = tmp_path / "k.0.claim"
    claim.write_text(holder(place="another machine"))
    os.utime(claim, (1, 1))  # its clock is decades behind
    began = time.monotonic()

    def beat() -> None:
        if time.monotonic() - began < 1:
            os.utime(claim, ns=(1, time.monotonic_ns()))

    with claimed(tmp_path, "k", is_done=lambda: False, check=beat) as is_left:
        assert is_left
        assert time.monotonic() - began > 1.3
    assert not list(tmp_path.iterdir())


def test_a_holder_touches_its_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_BEAT", 0.02)
    with claimed(tmp_path, "k", is_done=lambda: False, check=nothing):
        (claim,) = tmp_path.iterdir()
        os.utime(claim, (1, 1))
        time.sleep(0.3)
        assert claim.stat().st_mtime > 1
    time.sleep(0.1)
    assert not list(tmp_path.iterdir())
