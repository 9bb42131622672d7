"""Trainings of workers that leave a line in a file when they begin, at each step and when they end."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from semviz.experiments import job
from semviz.finetuning.finetune import train_scope
from semviz.finetuning.recipe import run_key


def trace_trainings(path: str, pause: float = 0.0) -> None:
    """Trace every training of this process; `pause` is a sleep at each step, in seconds."""

    def traced(encoded, scope, recipe, *, control, **options):
        key = run_key(encoded.model, encoded.task, scope, recipe)

        def step(progress) -> None:
            write(path, "step", key)
            time.sleep(pause)

        control._on_progress = step
        write(path, "begin", key)
        run = train_scope(encoded, scope, recipe, control=control, **options)
        write(path, "end", key)
        return run

    job.train_scope = traced


def write(path: str, what: str, key: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{what} {key} {os.getpid()}\n")


def lines(path: Path) -> list[tuple[str, str, int]]:
    """What happened, to which key, in which process, in order."""
    if not path.exists():
        return []
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [(what, key, int(pid)) for what, key, pid in rows]


def count(path: Path, what: str) -> Counter:
    return Counter(key for kind, key, _ in lines(path) if kind == what)


def assert_same_runs(found, expected) -> None:
    """The same runs but for what they took."""
    assert [run.key for run in found] == [run.key for run in expected]
    took = ("seconds", "prefix_seconds", "search_seconds", "tokens_per_second", "peak_bytes")
    for one, other in zip(found, expected, strict=True):
        first, second = ({k: v for k, v in run.record().items() if k not in took} for run in (one, other))
        assert first == second
    assert found.zero_shot == expected.zero_shot
    assert found.untrained_rows == expected.untrained_rows
