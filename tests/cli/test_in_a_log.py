"""What a log sees of `semviz report`: no frames of bars, and one line where it was interrupted."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from semviz import cli
from semviz.common import progress

REPORT = [sys.executable, "-m", "semviz.cli", "report"]
SIGNALS = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def drawn(monkeypatch, *, terminal, seconds, steps=100):
    """What a bar of so many seconds writes to stderr."""
    shown = io.StringIO()
    shown.isatty = lambda: terminal
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TQDM_DISABLE", "0")
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with progress.progress_bar(steps, "Tracing cats", unit="tokens", show=True) as bar:
        for step in range(steps):
            clock.now += seconds / steps
            bar.update()
            bar.set_postfix(loss=step)  # which draws a frame however little time has passed
    return shown.getvalue()


@pytest.mark.parametrize(("seconds", "lines"), [(1, 0), (29, 0), (100, 3), (600, 19)])
@pytest.mark.brings(
    "The shell",
    "a log in place of a terminal",
    "writes a line each half minute",
)
def test_a_log_has_a_line_each_half_minute(seconds, lines, monkeypatch):
    written = drawn(monkeypatch, terminal=False, seconds=seconds)
    assert "\r" not in written
    assert abs(len(written.splitlines()) - lines) <= 1
    assert all(line.startswith("Tracing cats: ") and "% of 100 tokens" in line for line in written.splitlines())


def test_a_terminal_has_a_bar(monkeypatch):
    assert "\r" in drawn(monkeypatch, terminal=True, seconds=1)


def heeding_interrupts():
    """Let a child heed SIGINT, which a shell makes those ignore that it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(folder, after, *options):
    """Send Ctrl-C to a report once `after` holds; its exit code and what it said."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "0"}
    with open(folder / "stdout.txt", "w") as stdout:
        process = subprocess.Popen(
            [*REPORT, *options],
            cwd=folder,
            env=environment,
            text=True,
            stdout=stdout,
            stderr=subprocess.PIPE,
            preexec_fn=heeding_interrupts,
        )
    until = time.monotonic() + 240
    while process.poll() is None and not after() and time.monotonic() < until:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@SIGNALS
@pytest.mark.parametrize("seconds", [0.6, 2.0])
def test_ctrl_c_while_loading_is_one_line(seconds, tmp_path):
    until = time.monotonic() + seconds
    code, said = interrupted(tmp_path, lambda: time.monotonic() > until)
    assert said == "semviz: stopped, before a run was finished.\n"
    assert code == cli.INTERRUPTED


@SIGNALS
@pytest.mark.brings(
    "The shell",
    "Ctrl-C",
    "one line that says where the finished runs are, and exit code 130",
)
def test_ctrl_c_while_training_says_where_the_finished_runs_are(model_folder, tmp_path):
    store = tmp_path / "semviz-runs"
    lines = [f"the cat {i % 7} was {('bad', 'good')[i % 2]},{('no', 'yes')[i % 2]}" for i in range(40)]
    (tmp_path / "cats.csv").write_text("\n".join(["text,label", *lines]))
    asked = ["--model", str(model_folder), "--task", "cats.csv", "--label", "label", "--lr", "0.001", "--seeds", "40"]
    code, said = interrupted(tmp_path, lambda: any(store.glob("[!.]*.json")), *asked)
    *_, last = said.splitlines()
    assert re.fullmatch(
        r"semviz: stopped; semviz-runs keeps \d+ finished runs?, and the same command goes on from there\.", last
    )
    assert "Traceback" not in said
    assert "\r" not in said
    assert code == cli.INTERRUPTED
