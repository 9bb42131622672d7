"""A plan: the arithmetic from a measured step, what is done already, and when it is said."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import semviz as sv
from semviz.experiments import planning
from semviz.experiments import sweep as sweeping
from semviz.experiments.asked_sweep import check_sweep
from semviz.experiments.budget import Deadline
from semviz.experiments.planning import Estimate
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.step_timing import StepTime, StepTimes
from semviz.scopes.costs import price_scopes


@pytest.fixture
def asked(tiny):
    scopes = [sv.Scope.full(tiny), sv.Scope.half(tiny), sv.Scope.last(tiny)]
    return check_sweep(
        tiny,
        scopes,
        methods=("full",),
        seeds=(0,),
        lr=1e-3,
        epochs=2,
        batch_size=8,
        checkpointing=False,
        arguments=None,
    )


def made(model, task, asked, *, step=(4.0, 1.0), setup=0.0, token=0.0, prefix=0.0) -> Estimate:
    """An estimate whose measured steps never were: so long for all blocks, and for the last one."""
    ends = (sv.Scope.full(model), sv.Scope.last(model))
    timed = tuple(StepTime(scope, "full", seconds, setup, token) for scope, seconds in zip(ends, step, strict=True))
    encoded_task = EncodedTask(model, task, progress=False)
    prices = price_scopes(model, encoded_task.part("train", 0).encoded, batch_size=8)
    return Estimate(encoded_task, asked, StepTimes(timed, prefix), prices)


def of_scopes(plan):
    return {step.scope.boundary: step.seconds for step in plan.steps if step.scope is not None}


def test_steps_of_the_timed_scopes_and_between_them(tiny, mood, asked):
    rows = len(mood.splits["train"])
    steps = 2 * -(-rows // 8)
    seconds = of_scopes(made(tiny, mood, asked).fit(asked))
    assert seconds[0] == pytest.approx(4 * steps)
    assert seconds[3] == pytest.approx(1 * steps)
    # By the cost table: the half is two thirds of the way from all blocks (four) to one.
    assert seconds[2] == pytest.approx(2 * steps, rel=0.02)


@pytest.mark.parametrize("factor", [2, 5])
def test_linear_in_epochs(tiny, mood, asked, factor):
    estimate = made(tiny, mood, asked)
    longer = replace(asked, recipe=replace(asked.recipe, epochs=2 * factor))
    assert estimate.fit(longer).seconds == pytest.approx(factor * estimate.fit(asked).seconds)


@pytest.mark.parametrize("seeds", [2, 4])
def test_linear_in_seeds_where_no_rate_is_searched(tiny, mood, asked, seeds):
    estimate = made(tiny, mood, asked)
    more = estimate.fit(replace(asked, seeds=tuple(range(seeds))))
    assert more.seconds == pytest.approx(seeds * estimate.fit(asked).seconds)
    assert len(of_scopes(more)) == 3
    assert sum(step.scope is not None for step in more.steps) == 3 * seeds


def test_a_search_for_rates_counts_for_the_first_seed_only(tiny, mood, asked):
    from semviz.finetuning.learning_rates import expected_trainings

    estimate = made(tiny, mood, asked)
    fixed = estimate.fit(asked).seconds
    searched = replace(asked, recipe=replace(asked.recipe, lr="auto"))
    steps = math.ceil(asked.recipe.epochs * math.ceil(len(mood.splits["train"]) / asked.recipe.batch_size))
    trainings = expected_trainings("auto", steps)
    assert estimate.fit(searched).seconds == pytest.approx(trainings * fixed)
    two = replace(searched, seeds=(0, 1))
    assert estimate.fit(two).seconds == pytest.approx((1 + trainings) * fixed)


def test_scoring_prefix_and_setup_count_once_where_they_run(tiny, mood, asked):
    encoded_task = EncodedTask(tiny, mood, progress=False)
    tokens = {name: encoded_task.part(name, 0).encoded.tokens for name in ("train", "validation", "test")}
    scoring = made(tiny, mood, asked, step=(0, 0), token=0.5).fit(asked).seconds
    assert scoring == pytest.approx((3 + 1) * 0.5 * (tokens["validation"] + tokens["test"]))
    setup = made(tiny, mood, asked, step=(0, 0), setup=7).fit(asked).seconds
    assert setup == pytest.approx(3 * 7)
    plan = made(tiny, mood, asked, step=(0, 0), prefix=0.25).fit(asked)
    first = plan.steps[0]
    assert first.what.startswith("run blocks 1–3 once")
    assert first.seconds == pytest.approx(3 * 0.25 * sum(tokens.values()))


def test_rows_steps_and_memory(tiny, mood, asked):
    plan = made(tiny, mood, asked).fit(asked)
    sizes = {name: len(split) for name, split in mood.splits.items()}
    for name, count in sizes.items():
        assert f"{count} {'training' if name == 'train' else name}" in plan.message
    frame = plan.frame()
    assert list(frame) == ["what", "rows", "seconds", "bytes", "done"]
    assert plan.seconds == pytest.approx(frame["seconds"].sum())
    prices = sv.estimate_costs(tiny, mood, batch_size=8)
    of_scope = {s.scope.boundary: s.bytes for s in plan.steps if s.scope is not None}
    assert of_scope == {scope.boundary: prices.of(scope).bytes for scope in asked.scopes}
    assert plan.bytes == max(of_scope.values())
    assert "\n" not in repr(plan)
    assert "<table" in plan._repr_html_()


def test_seconds_of_a_run_that_is_not_in_the_plan(tiny, mood, asked):
    plan = made(tiny, mood, asked).fit(asked)
    at = of_scopes(plan)
    for k, planned in ((0, 0), (1, 0), (2, 2), (3, 3)):
        assert plan.seconds_of(sv.Scope.above(tiny, k)) == pytest.approx(at[planned])


def test_finished_runs_take_no_time(tiny, mood, tmp_path):
    scopes = [sv.Scope.full(tiny), sv.Scope.last(tiny)]
    options = {"lr": 1e-3, "epochs": 1, "batch_size": 16, "store": tmp_path}
    before = sv.plan(tiny, mood, scopes, **options)
    assert not before.frame()["done"].any()
    sv.sweep(tiny, mood, scopes[:1], progress=False, **options)
    after = sv.plan(tiny, mood, scopes, **options)
    assert [step.done for step in after.steps if step.scope is not None] == [True, False]
    assert of_scopes(after)[0] == 0
    assert "1 of them finished" in after.message


def test_a_budget_cuts_rows_epochs_and_scopes_and_says_so(tiny, mood, asked):
    estimate = made(tiny, mood, asked)
    whole = estimate.fit(asked)
    assert whole.cuts == ()
    for share in (1.0, 0.85):
        budget = share * whole.seconds
        plan = estimate.fit(asked, clock=Deadline.start(budget))
        assert plan.seconds <= budget
        assert plan.cuts
        assert all(cut in plan.message for cut in plan.cuts)
        assert plan.asked.recipe.epochs < 2 or len(plan.task.splits["train"]) < len(mood.splits["train"])
        # The scopes that are kept reach from all blocks to the fewest.
        assert {0, 3} <= {scope.boundary for scope in plan.asked.scopes}
    roomy = estimate.fit(asked, clock=Deadline.start(100 * whole.seconds))
    assert roomy.cuts == ()
    assert roomy.task is mood


def test_a_recommendation_says_that_it_was_found_under_a_budget(tiny, mood):
    options = {"lr": 2e-3, "epochs": 3, "batch_size": 4, "progress": False}
    probes = sv.probe(tiny, mood, budget="10 min", **options)
    for text in (repr(probes.recommend()), probes.message, probes.runs.answer()):
        assert "Found under a budget of 10 min 0 s" in text
    assert "planned" in probes.runs.budget
    assert "took" in probes.runs.budget
    assert "budget" not in repr(sv.recommend(tiny, mood, **options))
    with pytest.raises(sv.SemvizError, match="samples="):
        sv.recommend(tiny, mood, evidence="profile", budget=60)


def test_what_is_slower_than_planned_begins_fewer_runs(tiny, mood, asked, monkeypatch):
    """The plan says 1 s a run of a budget of 60 s; each takes 25 s, by a clock that a finetune moves on."""
    scopes = sv.Scope.suffixes(tiny)
    asked = asked.with_scopes(scopes)
    estimate = made(tiny, mood, asked, step=(0.0, 0.0))
    plan = estimate.fit(asked, clock=Deadline.start(60))
    plan = replace(plan, steps=tuple(replace(s, seconds=1.0) if s.scope else s for s in plan.steps))
    offset = 0.0
    train = sweeping.train_scope
    real = Deadline.spent.fget

    def slow(*args, **options):
        nonlocal offset
        offset += 25
        return train(*args, **options)

    monkeypatch.setattr(sweeping, "train_scope", slow)
    monkeypatch.setattr(Deadline, "spent", property(lambda self: real(self) + offset))
    clock = Deadline.start(60)
    runs = sweeping.sweep_scopes(
        tiny, mood, asked.scopes, asked.recipe, seeds=asked.seeds, clock=clock, plan=plan, progress=False
    )
    # The largest and the smallest are always trained, and the time for a third is not left.
    assert [run.scope.boundary for run in runs] == [0, 3]
    assert "not done, for lack of time: blocks 2–4 of 4, blocks 3–4 of 4" in runs.answer()


def test_a_run_that_is_still_training_when_time_is_up_is_ended(tiny, mood, asked, monkeypatch):
    """Each run is planned for 1 s of 60; the third would take for ever."""
    estimate = made(tiny, mood, asked, step=(0.0, 0.0))
    plan = estimate.fit(asked, clock=Deadline.start(60))
    offset, begun = 0.0, []
    train, real = sweeping.train_scope, Deadline.spent.fget

    def slow(encoded_task, scope, *args, control, **options):
        nonlocal offset
        begun.append(scope.boundary)
        offset += 100 if len(begun) == 3 else 1
        return train(encoded_task, scope, *args, control=control, **options)

    monkeypatch.setattr(sweeping, "train_scope", slow)
    monkeypatch.setattr(Deadline, "spent", property(lambda self: real(self) + offset))
    runs = sweeping.sweep_scopes(
        tiny, mood, asked.scopes, asked.recipe, seeds=asked.seeds, clock=Deadline.start(60), plan=plan, progress=False
    )
    assert begun == [0, 3, 2]
    assert [run.scope.boundary for run in runs] == [0, 3]
    assert "not done, for lack of time: blocks 3–4 of 4" in runs.answer()


def test_a_cancel_is_no_lack_of_time(tiny, mood, asked):
    control = sv.Control()
    control.cancel()
    with pytest.raises(sv.Cancelled, match="finished runs are in the store"):
        sv.sweep(tiny, mood, asked.scopes, lr=1e-3, epochs=1, budget=600, control=control, progress=False)


def test_only_what_takes_over_a_minute_is_said(tiny, mood, asked, monkeypatch):
    said = []
    monkeypatch.setattr(sweeping, "say", lambda message, *, show: said.append(message) if show else None)
    monkeypatch.setattr(sweeping, "bars_shown", lambda: True)
    options = {"lr": 1e-3, "epochs": 1, "batch_size": 16}
    sv.sweep(tiny, mood, asked.scopes, **options)
    assert said == []
    monkeypatch.setattr(sweeping, "worth_saying", lambda *_: True)
    sv.sweep(tiny, mood, asked.scopes, **options)
    assert said == []  # it was worth a measurement, and that said that it is short
    slow = made(tiny, mood, asked, step=(40.0, 10.0))
    monkeypatch.setattr(sweeping, "measure", lambda *_, **__: slow)
    sv.sweep(tiny, mood, asked.scopes, **options)
    assert said[0].startswith("Plan for tiny mood: 3 finetunes")
    assert said[1].startswith("Planned")
    said.clear()
    sv.sweep(tiny, mood, asked.scopes, progress=False, **options)
    assert said == []


def test_nothing_is_measured_for_a_short_sweep(tiny, mood, asked):
    encoded_task = EncodedTask(tiny, mood, progress=False)
    assert not planning.worth_saying(encoded_task, asked)
    long = replace(asked, recipe=replace(asked.recipe, epochs=10_000))
    assert planning.worth_saying(encoded_task, long)


def test_measuring_leaves_model_and_random_state_alone(tiny, mood):
    import torch

    before, state = tiny.hash, torch.get_rng_state()
    sv.plan(tiny, mood, epochs=1)
    assert tiny.hash == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(p.grad is not None for p in tiny.model.parameters())


def test_finished_runs_of_later_seeds_are_found(tiny, mood, tmp_path):
    """They trained at the rate that was found with the first seed."""
    scopes = [sv.Scope.full(tiny), sv.Scope.last(tiny)]
    options = {"seeds": (0, 1), "epochs": 1, "batch_size": 16, "store": tmp_path / "runs"}
    sv.sweep(tiny, mood, scopes, progress=False, **options)
    plan = sv.plan(tiny, mood, scopes, **options)
    assert [step.done for step in plan.steps if step.scope is not None] == [True] * 4


def test_each_scope_and_method_has_its_usual_rate_where_the_search_is_cut(tiny, mood, asked):
    """One rate for all would favour large scopes: the best one rises as fewer blocks train."""
    from semviz.experiments.budget import Size
    from semviz.experiments.planning import _of_size
    from semviz.finetuning.learning_rates import first_guess

    scopes = (sv.Scope.full(tiny), sv.Scope.last(tiny))
    both = replace(asked, scopes=scopes, methods=("full", "lora"), recipe=replace(asked.recipe, lr="auto"))
    size = Size(scopes=2, seeds=1, epochs=1, train=10, validation=10, test=10, searched=False)
    cut = _of_size(both, size, EncodedTask(tiny, mood, progress=False))
    rates = {(scope, recipe.method): recipe.lr for scope, recipe in cut.trained}
    for method in ("full", "lora"):
        assert rates[scopes[0], method] == first_guess(32, method)
        assert rates[scopes[1], method] == pytest.approx(math.sqrt(10) * first_guess(32, method))
    # A scope that is chosen on the way gets its own too.
    assert [recipe.lr for _, recipe in cut.with_scopes(scopes[1:]).trained] == [
        rates[scopes[1], method] for method in ("full", "lora")
    ]
