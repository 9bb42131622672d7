"""Every object says the same in one line of text and in HTML, and has a table."""

from __future__ import annotations

import html

import semviz as sv

QUICK = {"epochs": 1, "batch_size": 8, "lr": 1e-3, "progress": False}


def test_text_and_html_hold_the_same_facts_escaped(tiny, mood):
    trace = sv.trace(tiny, mood, progress=False)
    runs = sv.sweep(tiny, mood, [sv.Scope.full(tiny), sv.Scope.last(tiny)], **QUICK)
    for thing in (tiny, mood, sv.Scope.half(tiny), trace, runs.runs[0]):
        assert "\n" not in repr(thing)
        assert html.escape(repr(thing)) in thing._repr_html_()
        assert "<table" in thing._repr_html_()
    for thing, line in ((trace.gain(), trace.gain().message), (runs, runs.answer())):
        assert html.escape(line) in thing._repr_html_()


def test_hostile_names_are_text(tiny):
    task = sv.Task.from_texts(["<img src=x onerror=alert(1)>"] * 8, name="<script>alert(1)</script>")
    assert "<script>" not in task._repr_html_()
    assert "<img" not in task._repr_html_()


def test_tables(tiny, mood):
    assert tiny.frame()["parameters"].sum() == tiny.parts.total
    assert sv.Scope.half(tiny).frame()["trained"].tolist() == [False, False, True, True]
    frame = mood.frame()
    assert len(frame) == 80
    assert set(frame["label"]) == {"yes", "no"}
    run = sv.finetune(tiny, mood, **QUICK)
    assert run.frame()["loss"].notna().all()
