"""The code of the current view."""

from __future__ import annotations

import ast

import plotly.graph_objects as go
import pytest

import semviz as sv
from semviz.explorer.code_export import code_of


@pytest.fixture
def shown(monkeypatch):
    """Figures that code has shown."""
    figures = []
    monkeypatch.setattr(go.Figure, "show", lambda self, *_, **__: figures.append(self))
    return figures


def test_the_code_of_a_packaged_task_runs_as_it_is(shown):
    study = sv.Study(sv.load_model(), "mood", samples=12, progress=False)
    study.freeze(1)
    study.set(steps=1, lr=1e-3, seed=2)
    study.show(order="deviation")
    number = study.sample.number
    study.point(study.sample.trace.positions.loc[lambda t: t["sample"] == number, "position"].iloc[-1], 3)
    namespace = {}
    exec(code_of(study), namespace)
    run = namespace["run"]
    assert (run.steps, run.seed, run.lr, run.scope) == (1, 2, 1e-3, study.scope)
    assert namespace["trace"].positions.equals(study.trace.positions)
    samples, tokens, way = shown
    wanted = (
        study.trace.sample_heatmap(metric=study.metric, order="deviation", boundary=1),
        study.trace.token_heatmap(sample=number, metric=study.metric, boundary=1),
        study.trace.transition_map(sample=number, position=study.cell[0], boundary=1),
    )
    for figure, expected in zip((samples, tokens, way), wanted, strict=True):
        assert figure.to_json() == expected.to_json()
    study.close()


def executable(app, **names):
    """The code of an Explorer's view, with the lines that load filled in by objects."""
    lines = code_of(app.study).splitlines()
    assert lines[2] == 'model = sv.load_model("LlamaForCausalLM")  # as you loaded it'
    assert lines[3].startswith("task = …  # your own task, ")
    return "\n".join([*lines[:2], *lines[4:]]), {"model": app.study.model, "task": app.study.task}


def test_the_code_of_another_task_makes_the_same_run_once_its_lines_are_filled_in(app, shown):
    app.boundary.value = 2
    app.tuning.seed.value, app.tuning.steps.value, app.tuning.batch_size.value = 3, 3, 20
    source, namespace = executable(app)
    exec(source, namespace)
    made, run = namespace["run"], app.study.finetune().result()
    assert (made.key, made.loss, made.steps) == (run.key, run.loss, 3)
    assert len(shown) == 3


def test_label_words_and_an_automatic_rate_are_in_the_code(app, shown):
    app.study.compare_with("labels").result()
    app.study.set(lr="auto", method="ia3")
    source, namespace = executable(app)
    assert 'vocab="labels"' in source
    assert 'method="ia3", lr="auto"' in source
    exec(source[: source.index("scope = ")], namespace)
    assert namespace["trace"].meta["vocab"] == "labels"


def test_what_is_in_no_trace_of_the_task_is_left_out(app):
    assert "token_heatmap(sample=0" in code_of(app.study)
    app.study.read("the cat was good .", "yes")
    assert "token_heatmap" not in code_of(app.study)
    app.study.open(50)
    assert 50 not in app.study.trace.detailed
    assert "token_heatmap" not in code_of(app.study)


@pytest.mark.parametrize("name", ['a "b"', "a\nimport os", "a\\", "# x", "mood"])
def test_names_cannot_break_out_of_the_code(tiny, mood, name):
    from dataclasses import replace

    study = sv.Study(replace(tiny, name=name), replace(mood, name=name), progress=False)
    source = code_of(study)
    assert source.count("your own task") == 1  # a task that only has the name of a packaged one is not that one
    tree = ast.parse(source.replace("task = …", "task = ..."))
    assert [node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)] == ["semviz"]
    loaded = next(n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "sv.load_model")
    assert loaded.args[0].value == name
    study.close()
