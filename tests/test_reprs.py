"""Every object says the same in one line of text and in HTML, and has a table."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest

import semviz as sv
from semviz.common.bootstrap import bootstrap_means
from semviz.common.intervals import mean_intervals
from semviz.report.text_twins import profile_twin

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


def test_no_interval_is_drawn_for_a_text_that_shows_none(tiny, mood, monkeypatch):
    trace = sv.trace(tiny, mood, progress=False)
    groups = trace.by("label")
    shown = groups.frame().pivot(index="space", columns="group", values="mean")[list(groups)].round(2)
    fresh = replace(trace)
    groups = fresh.by("label")
    monkeypatch.setattr("semviz.traces.deviations.bootstrap_means", lambda *_, **__: pytest.fail("bootstrapped"))
    for thing in (fresh, groups, *groups.values()):
        repr(thing)
        assert "<table" in thing._repr_html_()
    assert shown.to_html(escape=True, border=0) in groups._repr_html_()


def test_intervals_are_drawn_once_for_all_texts_and_pictures(tiny, mood, monkeypatch):
    calls = []

    def counted(name, function):
        monkeypatch.setattr(name, lambda *given, **options: calls.append(name) or function(*given, **options))

    counted("semviz.traces.deviations.bootstrap_means", bootstrap_means)
    counted("semviz.experiments.scope_table.mean_intervals", mean_intervals)
    trace = sv.trace(tiny, mood, metrics=("lens", "rank"), progress=False)
    for _ in range(2):
        trace.profile()
        profile_twin(trace)
    assert len(calls) == 2  # one a metric
    given = trace.profile_frame("lens", seed=1)
    given["mean"] = 0.0  # changes what was given, not what is kept
    assert trace.profile_frame("lens", seed=1)["mean"].gt(0).all()
    assert len(calls) == 3
    runs = sv.sweep(tiny, mood, [sv.Scope.full(tiny), sv.Scope.last(tiny)], **QUICK)
    calls.clear()
    for show in (runs.answer, runs.pareto, runs._repr_html_, runs.table):
        show()
    assert len(calls) == 1  # for all scopes
