"""The search for a learning rate: what it costs, what it takes, and that its result is that of a given rate."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from architectures import gpt2
from small import word_tokenizer

import semviz as sv
from semviz.common.errors import Cancelled
from semviz.common.live_curves import LiveCurves
from semviz.finetuning import rate_search, scope_trainer
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.evaluation import SplitScores
from semviz.finetuning.learning_rates import BUDGET, duel_steps
from semviz.finetuning.rate_search import _duel, given_rate
from semviz.finetuning.recipe import Recipe
from semviz.finetuning.scope_trainer import ScopeTrainer
from semviz.finetuning.training import fit

LONG = {"epochs": 12, "batch_size": 8, "progress": False}  # 84 steps


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_run(a, b):
    return same_weights(a.weights, b.weights) and a.curve.equals(b.curve) and a.rows == b.rows and a.steps == b.steps


@pytest.fixture
def fits(monkeypatch):
    """Rate and steps of each training that is begun, and the steps that it made."""
    made = []

    def recorded(*args, **options):
        row = {"lr": args[3].lr, "steps": options.get("steps")}
        made.append(row)
        outcome = fit(*args, **options)
        row["made"] = outcome.steps
        return outcome

    monkeypatch.setattr(scope_trainer, "fit", recorded)
    return made


@pytest.fixture(scope="module")
def with_dropout():
    """A model whose blocks draw random numbers while they train."""
    return sv.load_model((gpt2(), word_tokenizer()))


@pytest.mark.parametrize("method", ["full", "lora", "ia3", "lisa"])
def test_a_searched_run_is_the_run_at_its_rate(tiny, mood, method):
    scope = sv.Scope.half(tiny)
    searched = sv.finetune(tiny, mood, scope, method=method, **LONG)
    given = sv.finetune(tiny, mood, scope, method=method, lr=searched.lr, **LONG)
    assert same_run(searched, given)
    assert (searched.validation, searched.validation_loss) == (given.validation, given.validation_loss)
    assert searched.trial_steps > 0
    assert searched.search_seconds > 0 == given.search_seconds


def test_the_search_stays_within_its_budget(tiny, mood, fits):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), **LONG)
    assert sum(row["made"] for row in fits) <= (1 + BUDGET) * run.steps
    trials = [row for row in fits if row["steps"] == run.trial_steps]
    assert [row["made"] for row in trials] == [run.trial_steps] * len(run.rates)
    assert sorted(row["lr"] for row in trials) == sorted(run.rates)
    (first, second) = [row for row in fits if row["steps"] is None]
    assert {first["made"], second["made"]} == {run.steps, duel_steps(run.steps, len(run.rates))}
    assert max(first["lr"], second["lr"]) == pytest.approx(min(first["lr"], second["lr"]) * 10**0.5)
    assert run.lr == next(row["lr"] for row in (first, second) if row["made"] == run.steps)


@pytest.mark.parametrize("rates", [(1e-6, 3e-3), (3e-3, 1e-6), (3e-3, 1e12)], ids=["second", "first", "diverges"])
def test_what_pauses_goes_on_as_if_it_had_not(with_dropout, mood, rates):
    scope, recipe = sv.Scope.half(with_dropout), Recipe(lr=3e-3, epochs=4, batch_size=8)
    trainer = ScopeTrainer(
        EncodedTask(with_dropout, mood, progress=False), scope, sv.Control(), cache=True, progress=False
    )
    before = np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    training, seconds = _duel(trainer, recipe, *rates, steps=12)
    assert training.rate == 3e-3
    assert not training.dropped
    alone = trainer.train(recipe, 3e-3)
    assert training.outcome.steps == alone.outcome.steps
    assert training.outcome.curve.equals(alone.outcome.curve)
    assert training.loss == alone.loss
    assert same_weights(training.suffix.state_dict(), alone.suffix.state_dict())
    assert seconds > training.outcome.seconds
    assert np.random.get_state()[1].tolist() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])


@pytest.mark.parametrize(
    ("score", "first", "second", "goes_on"),
    [
        ("accuracy", {"accuracy": 0.7, "loss": 0.5}, {"accuracy": 0.6, "loss": 0.4}, "first"),
        ("accuracy", {"accuracy": 0.6, "loss": 0.4}, {"accuracy": 0.7, "loss": 0.5}, "second"),
        ("accuracy", {"accuracy": 0.7, "loss": 0.5}, {"accuracy": 0.7, "loss": 0.4}, "second"),
        ("accuracy", {"accuracy": 0.7, "loss": 0.4}, {"accuracy": 0.7, "loss": 0.4}, "first"),
        ("accuracy", {"accuracy": 0.7, "auroc": 0.8}, {"accuracy": 0.6, "auroc": 0.9, "loss": 0.4}, "first"),
        ("loss", {"accuracy": 0.7, "loss": 0.5}, {"accuracy": 0.6, "loss": 0.4}, "second"),
        ("loss", {"accuracy": 0.6, "loss": 0.4}, {"accuracy": 0.7, "loss": 0.5}, "first"),
    ],
)
def test_the_score_that_counts_decides_which_of_two_goes_on(score, first, second, goes_on):
    scores = {
        rate: SplitScores(**{"accuracy": 0.5, "loss": 1.0, "f1": 0.5, "auroc": 0.5, "rows": np.zeros(1), **values})
        for rate, values in {1.0: first, 2.0: second}.items()
    }

    def train(_recipe, rate, *, pause_at, goes_on):
        assert pause_at == 30
        outcome = SimpleNamespace(seconds=rate, stop_reason="")
        return SimpleNamespace(rate=rate, outcome=outcome, dropped=not goes_on(scores[rate]))

    task = SimpleNamespace(score=score)
    trainer = SimpleNamespace(encoded_task=SimpleNamespace(task=task), train=train)
    training, seconds = _duel(trainer, Recipe(), 1.0, 2.0, steps=30)
    assert {1.0: "first", 2.0: "second"}[training.rate] == goes_on
    assert seconds == 3.0


@pytest.mark.parametrize(("scope", "step"), [("full", 1), ("half", 1), ("last", 2)])
def test_the_more_is_frozen_the_larger_are_the_rates_that_meet(tiny, mood, monkeypatch, scope, step):
    met = []

    def noted(trainer, recipe, first, second, *, steps):
        met.extend((first, second))
        return given_rate(trainer, replace(recipe, lr=first)).training, 0.0

    monkeypatch.setattr(rate_search, "_duel", noted)
    # Its larger neighbour is clearly better than the guess, and no worse than its own.
    monkeypatch.setattr(rate_search, "next_rate", lambda guess, losses, *_, **__: next_of(guess, losses))

    def next_of(guess, losses):
        order = [guess * 10 ** (i / 2) for i in range(3)]
        for rate, loss in zip(list(losses), (3.0, 1.0, 1.0), strict=False):
            losses[rate] = loss
        return order[len(losses)] if len(losses) < len(order) else None

    run = sv.finetune(tiny, mood, getattr(sv.Scope, scope)(tiny), **LONG)
    guess = min(run.rates)
    assert met == pytest.approx([guess * 10**0.5, guess if step == 1 else guess * 10])


def test_a_rate_that_spoils_the_model_in_its_trial_is_not_trained_at_again(tiny, mood, monkeypatch, fits):
    train, guess = ScopeTrainer.train, 0.005

    def spoiling(trainer, recipe, rate, **options):
        training = train(trainer, recipe, rate, **options)
        scores = replace(training.scores, loss=5.0 if rate > guess else 0.5) if training.scores else None
        return replace(training, scores=scores)

    monkeypatch.setattr(ScopeTrainer, "train", spoiling)
    run = sv.finetune(tiny, mood, **LONG)
    first, larger, smaller = (row["lr"] for row in fits[:3])
    assert smaller < first < guess < larger
    assert [row["lr"] for row in fits[3:]] == [first, smaller]
    assert run.lr in (first, smaller)


def test_the_same_search_twice_is_the_same(tiny, mood):
    one, two = (sv.finetune(tiny, mood, sv.Scope.last(tiny), **LONG) for _ in range(2))
    assert (one.lr, one.rates, one.trial_steps) == (two.lr, two.rates, two.trial_steps)
    assert same_run(one, two)


def test_few_steps_are_searched_in_whole_trainings(tiny, mood, fits):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), **{**LONG, "epochs": 1})
    assert run.trial_steps == 0
    assert {row["made"] for row in fits} == {run.steps}
    assert run.rates[run.lr] == max(run.rates.values()) == run.validation


def test_a_fraction_of_an_epoch(tiny, mood):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), **{**LONG, "epochs": 0.9, "batch_size": 1})
    assert 0 < run.trial_steps < run.steps
    assert same_run(run, sv.finetune(tiny, mood, run.scope, **{**LONG, "epochs": 0.9, "batch_size": 1, "lr": run.lr}))


def test_warm_up_steps_that_are_passed_shrink_with_the_trials(tiny, mood, monkeypatch):
    seen = []
    monkeypatch.setattr(
        scope_trainer,
        "fit",
        lambda *args, **options: seen.append(fit(*args, **options)) or seen[-1],
    )
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments={"warmup_steps": 30}, **LONG)
    short = [outcome for outcome in seen if outcome.steps == run.trial_steps]
    # At a thirtieth of its rate in each step, a trial would tell nothing apart.
    assert len({round(float(outcome.curve["loss"].iloc[-1]), 4) for outcome in short}) == len(short) > 2


def test_a_rate_that_diverges_everywhere_goes_down(tiny, mood, monkeypatch, fits):
    monkeypatch.setattr("semviz.finetuning.rate_search.first_guess", lambda *_: 1e30)
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), **LONG)
    assert run.diverged
    assert run.lr == min(run.rates) < 1e29
    assert "smaller lr" in run.note


@pytest.mark.parametrize("at", [3, 12, 35, 45, 60])
def test_a_search_is_cancelled_within_one_step(tiny, mood, at):
    told = []

    def on_progress(progress):
        if progress.lr is not None:
            told.append(progress)
            if len(told) == at:
                control.cancel()

    control = sv.Control(on_progress)
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    with pytest.raises(Cancelled):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), control=control, **LONG)
    assert len(told) == at
    assert same_weights(before, tiny.model.state_dict())


def test_an_error_while_another_training_is_paused_ends_both(tiny, mood):
    def on_progress(progress):
        if progress.total == 84 and progress.lr is not None:
            whole.append(progress.lr)
            if len(set(whole)) == 2:
                raise ZeroDivisionError

    whole = []
    with pytest.raises(ZeroDivisionError):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), control=sv.Control(on_progress), **LONG)
    assert whole[-1] != whole[0]
    assert len(whole) == whole.count(whole[0]) + 1  # the one that waited reports no step afterwards


def test_the_curves_that_are_watched_are_those_of_the_trainings(tiny, mood):
    curves = LiveCurves()
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), control=sv.Control(curves.record), **LONG)
    *trials, dropped, chosen = curves.trials
    assert [curve.rate for curve in trials]
    assert {curve.total for curve in trials} == {run.trial_steps}
    assert (chosen.rate, chosen.total, chosen.losses) == (run.lr, run.steps, run.curve["loss"].tolist())
    assert dropped.rate != run.lr
    assert dropped.total == run.steps > dropped.steps[-1] >= duel_steps(run.steps, len(run.rates)) - 1


def test_a_sweep_goes_on_where_it_was_stopped(tiny, mood, tmp_path):
    scopes = [sv.Scope.half(tiny), sv.Scope.last(tiny)]
    whole = sv.sweep(tiny, mood, scopes, store=tmp_path / "whole", **LONG)
    sv.sweep(tiny, mood, scopes[1:], store=tmp_path / "parts", **LONG)
    parts = sv.sweep(tiny, mood, scopes, store=tmp_path / "parts", **LONG)
    for one, other in zip(whole, parts, strict=True):
        assert (one.key, one.lr, one.rates, one.rows) == (other.key, other.lr, other.rates, other.rows)
        assert one.trial_steps == other.trial_steps > 0
