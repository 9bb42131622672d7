"""Scoring rows has a bar, like other passes; it appears after a second and counts every row."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

import semviz as sv
from semviz.finetuning import evaluation
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.finetune import zero_shot


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_row_is_counted(tiny, mood, monkeypatch, split, progress):
    bars = []

    @contextmanager
    def progress_bar(total, label, *, unit, show, delay):
        bar = SimpleNamespace(total=total, label=label, unit=unit, show=show, delay=delay, done=0)
        bar.update = lambda n: setattr(bar, "done", bar.done + n)
        bars.append(bar)
        yield bar

    monkeypatch.setattr(evaluation, "progress_bar", progress_bar)
    zero_shot(EncodedTask(tiny, mood, progress=progress), split)
    (bar,) = bars
    assert (bar.label, bar.unit, bar.delay, bar.show) == ("Scoring rows", "rows", 1.0, progress)
    assert bar.done == bar.total == len(mood.splits[split])


def test_words_scored_whole_count_every_reading(tiny, monkeypatch):
    """Each of the labels' words is read behind each text."""
    texts = [f"the {thing} was big ." for thing in ("cat", "dog", "bird", "tree")] * 5
    labels = ["good cat no" if i % 2 else "good dog yes" for i in range(20)]
    task = sv.Task.from_texts(texts, labels, prompt="{text} mood :", name="whole")
    counted = []

    @contextmanager
    def progress_bar(total, *_, **__):
        counted.append([total, 0])
        yield SimpleNamespace(update=lambda n: counted[-1].__setitem__(1, counted[-1][1] + n))

    monkeypatch.setattr(evaluation, "progress_bar", progress_bar)
    encoded_task = EncodedTask(tiny, task, progress=False)
    zero_shot(encoded_task, "test")
    rows = len(encoded_task.part("test", 0).encoded)
    assert rows > len(task.splits["test"])
    assert counted == [[rows, rows]]
