"""A training method is one entry: one that only this file knows works wherever methods do."""

from __future__ import annotations

import pytest
import torch

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.common.training_methods import (
    METHODS,
    UNKNOWN_MARK,
    Mark,
    MethodPrice,
    TrainingMethod,
    mark_of,
    register,
    short_title_of,
)
from semviz.experiments.run_store import Store
from semviz.figures import learning_curves
from semviz.figures.drawing import style
from semviz.finetuning.learning_rates import first_guess
from semviz.finetuning.recipe import Recipe
from semviz.study.settings import Settings

QUICK = {"epochs": 2, "batch_size": 8, "lr": 3e-2, "progress": False}


def norm_weights(network, modules, seed):
    return [p for module in modules for p in module.parameters() if p.ndim == 1]


@pytest.fixture
def norms():
    """A method of this file's own: only the norms of the scope train."""
    made = TrainingMethod(
        key="norms",
        title="norms only",
        short_title="norms",
        prepare=norm_weights,
        price=MethodPrice(gradient_flops=0.0, gradients=0.01, moments=0.01),
        rate_factor=5.0,
        mark=Mark(symbol="hexagon", fill="-open", colour="group5"),
        refuses={"checkpointing": "is small enough without; pass checkpointing=False."},
    )
    yield register(made)
    METHODS.pop("norms", None)


def test_the_methods_that_semviz_brings_in_the_order_of_menus():
    assert list(METHODS) == ["full", "lora", "ia3", "lisa", "norm"]
    assert len({method.mark for method in METHODS.values()}) == len(METHODS)


@pytest.mark.parametrize("cache", [True, False])
def test_it_trains_in_finetune_what_it_says_and_nothing_else(tiny, mood, norms, cache):
    scope = sv.Scope.half(tiny)
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    run = sv.finetune(tiny, mood, scope, method="norms", cache=cache, **QUICK)
    assert (run.method, run.cached) == ("norms", cache)
    assert run.trainable == (2 * 2 + 1) * 32  # two norms in each of two blocks, and the final one
    moved = {name for name, value in run.weights.items() if not torch.equal(value, before[name])}
    assert moved == {name for name in run.weights if "norm" in name}
    assert len(moved) == 5
    assert all(torch.equal(value, before[name]) for name, value in tiny.model.state_dict().items())
    after = sv.trace(sv.load_run(tiny, run), mood, split="test", metrics="lens", progress=False)
    assert after.sample_means("lens")[4].mean() == pytest.approx(run.loss, rel=1e-4)


def test_its_first_rate_is_looked_for_around_its_own_guess(tiny, mood, norms):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), method="norms", **{**QUICK, "lr": "auto", "epochs": 1})
    assert first_guess(32, "norms") == pytest.approx(5 * first_guess(32, "full"))
    assert first_guess(32, "norms") in run.rates


def test_it_is_swept_stored_and_read_back(tiny, mood, norms, tmp_path, monkeypatch):
    options = {**QUICK, "methods": ("full", "norms"), "seeds": (0, 1), "store": tmp_path, "keep_weights": True}
    runs = sv.sweep(tiny, mood, [sv.Scope.half(tiny), sv.Scope.full(tiny)], **options)
    assert [run.method for run in runs] == 2 * ["full", "full", "norms", "norms"]
    assert set(runs.table()["name"]) == {"full", "half", "full, norms", "half, norms"}
    monkeypatch.setattr("semviz.experiments.sweep.train_scope", lambda *_a, **_k: pytest.fail("trained again"))
    again = sv.sweep(tiny, mood, [sv.Scope.half(tiny), sv.Scope.full(tiny)], **options)
    assert [run.record() for run in again] == [run.record() for run in runs]
    assert again.runs[2].weights.keys() == runs.runs[2].weights.keys()
    assert again.compare("full").frame()["method"].tolist().count("norms") == 2


def test_a_stored_run_of_a_method_that_is_gone_is_refused_in_words(tiny, mood, norms, tmp_path):
    sv.sweep(tiny, mood, [sv.Scope.last(tiny)], methods=("norms",), store=tmp_path, **QUICK)
    (key,) = Store(tmp_path).keys()
    METHODS.pop("norms")
    words = r"run\.method is 'norms' and not one of \['full', 'lora', 'ia3', 'lisa', 'norm'\]"
    with pytest.raises(SemvizError, match=words):
        Store(tmp_path).find(key)
    study = sv.Study(tiny, mood, store=tmp_path, progress=False)
    assert study.history.runs == []
    assert "'norms'" in study.history.problems[0]
    study.close()


def test_it_has_its_own_price(tiny, mood, norms):
    costs, scope = sv.estimate_costs(tiny, mood), sv.Scope.half(tiny)
    full, own = costs.of(scope), costs.of(scope, method="norms")
    assert own.units["forward"] == full.units["forward"]
    assert own.units["backward"] == full.units["backward"] - 3 * 2  # no gradients of two blocks' weights in 3 epochs
    assert own.memory["weights"] == full.memory["weights"]
    assert own.memory["optimizer"] == int(scope.trainable * 4 * 2 * 0.01)


def test_menus_and_tables_of_the_explorer_have_it(tiny, mood, norms, tmp_path):
    pytest.importorskip("anywidget")
    app = sv.Explorer(tiny, mood, store=tmp_path, progress=False)
    try:
        assert app.tuning.method.options[-1] == ("norms only", "norms")
        app.study.set(steps=2, lr=1e-3, batch_size=16)
        app.tuning.method.value = "norms"
        app.run.click()
        assert app.job.wait().state == "done", app.job.traceback
        (row,) = app.keeping.table.rows
        assert row["method"] == "norms"
        app.study.set(method="full")
        app.study.restore(row["_id"])
        assert app.tuning.method.value == "norms"
    finally:
        app.close()


def test_pictures_mark_it_and_draw_it_hollow_where_it_is_unknown(tiny, mood, norms):
    scopes = [sv.Scope.half(tiny), sv.Scope.full(tiny)]
    runs = sv.sweep(tiny, mood, scopes, methods=("full", "norms"), **QUICK)

    def marker(figure, name):
        (found,) = [trace for trace in figure.data if trace.name == name]
        return found.marker

    drawn = runs.pareto()
    assert marker(drawn, "half, norms").symbol == "hexagon-open"
    assert marker(drawn, "half, norms").color == style.LIGHT.group5
    assert marker(style.dark(drawn), "half, norms").color == style.DARK.group5
    assert marker(drawn, "half").symbol == "diamond"
    symbols = [line.marker.symbol for line in learning_curves(runs).data]
    assert symbols == ["circle", "hexagon-open", "circle", "hexagon-open"]
    assert runs.range_heatmap(method="norms").layout.title.text.count("norms") == 1
    METHODS.pop("norms")
    assert marker(runs.pareto(), "half, norms").symbol == "diamond" + UNKNOWN_MARK.fill
    assert learning_curves(runs).data[1].marker.symbol == "circle" + UNKNOWN_MARK.fill
    assert runs.range_heatmap(method="norms").data
    assert short_title_of("norms") == "norms"


def test_a_colour_that_no_theme_has_is_refused_in_words(tiny, mood, norms):
    runs = sv.sweep(tiny, mood, [sv.Scope.half(tiny)], methods=("norms",), **QUICK)
    METHODS.pop("norms")
    register(TrainingMethod(key="norms", title="norms only", mark=Mark(colour="pink")))
    with pytest.raises(SemvizError, match="colour='pink'"):
        runs.pareto()


def test_what_it_refuses_is_refused_before_anything_trains(tiny, mood, norms, monkeypatch):
    words = r'^method="norms" is small enough without; pass checkpointing=False\.$'
    monkeypatch.setattr("semviz.finetuning.scope_trainer.fit", lambda *_a, **_k: pytest.fail("trained"))
    with pytest.raises(SemvizError, match=words):
        sv.finetune(tiny, mood, method="norms", checkpointing=True, **QUICK)
    with pytest.raises(SemvizError, match=words):
        sv.sweep(tiny, mood, methods=("norms",), checkpointing=True, **QUICK)


def test_a_method_that_finds_nothing_to_train_says_so(tiny, mood, norms, monkeypatch):
    monkeypatch.setitem(METHODS, "norms", TrainingMethod(key="norms", title="none", prepare=lambda *_: []))
    with pytest.raises(SemvizError, match='method="norms" finds nothing to train'):
        sv.finetune(tiny, mood, method="norms", **QUICK)


def test_a_schedule_takes_turns_among_what_a_method_trains(tiny, mood, norms, monkeypatch):
    """Even steps train the first block, odd ones the second; only norms, and the final one always."""
    made = TrainingMethod(
        key="norms",
        title="turns",
        prepare=norm_weights,
        schedule=lambda blocks, steps, seed: lambda step: {step % blocks},
    )
    monkeypatch.setitem(METHODS, "norms", made)
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), method="norms", **QUICK)
    moved = {name for name, value in run.weights.items() if not torch.equal(value, before[name])}
    assert moved == {name for name in run.weights if "norm" in name}
    assert run.trainable == (2 + 1) * 32


def test_recipes_and_settings_know_it_while_it_is_there(norms):
    assert Recipe("norms").method == Settings(1, method="norms").method == "norms"
    METHODS.pop("norms")
    for refused in (lambda: Recipe("norms"), lambda: Settings(1, method="norms"), lambda: first_guess(32, "norms")):
        with pytest.raises(SemvizError, match="method='norms' is unknown"):
            refused()


def test_a_key_is_taken_once_and_entries_are_checked(norms):
    with pytest.raises(SemvizError, match="There is a training method 'norms' already"):
        register(norms)
    with pytest.raises(SemvizError, match="cannot name a method"):
        TrainingMethod(key="a b", title="")
    with pytest.raises(SemvizError, match="a situation in refuses"):
        TrainingMethod(key="a", title="", refuses={"rain": "pass an umbrella."})
    for given in ({}, {"prepare": norm_weights}):
        with pytest.raises(SemvizError, match="merged="):
            TrainingMethod(key="a", title="", own_weights=False, **given)
    with pytest.raises(SemvizError, match="rate_factor"):
        TrainingMethod(key="a", title="", rate_factor=0)


def test_menus_are_ordered_by_place_and_then_by_registration(norms):
    register(TrainingMethod(key="first", title="", place=-1))
    register(TrainingMethod(key="newest", title=""))
    try:
        assert list(METHODS) == ["first", "full", "lora", "ia3", "lisa", "norm", "norms", "newest"]
    finally:
        METHODS.pop("first")
        METHODS.pop("newest")
    assert mark_of("newest") == UNKNOWN_MARK
