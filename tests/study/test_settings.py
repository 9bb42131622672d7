from __future__ import annotations

import math

import pytest

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.scopes.methods import METHODS
from semviz.study.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("steps", value) for value in (0, -1, 2.0, "3", True, None)),
        *(("batch_size", value) for value in (0, -4, 1.5, False)),
        *(("seed", value) for value in (-1, 0.5, "0")),
    ],
)
def test_whole_numbers_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(SemvizError, match=rf"^{name}=.*whole number (of at least|from 0 to)"):
        Settings(**{"steps": 1, name: value})


@pytest.mark.parametrize("value", [0, -1e-3, math.inf, math.nan, "fast", "", None])
def test_rates_that_are_none_are_refused(value):
    with pytest.raises(SemvizError, match=r'^lr=.*"auto"'):
        Settings(1, lr=value)


def test_unknown_methods_are_refused_and_the_known_ones_named():
    with pytest.raises(SemvizError, match="lora"):
        Settings(1, method="dora")
    for method in METHODS:
        assert Settings(1, method=method).method == method


def test_the_least_values_are_accepted():
    made = Settings(1, 1e-9, "full", 0, 1)
    assert (made.steps, made.lr, made.seed, made.batch_size) == (1, 1e-9, 0, 1)


def trainers_steps(epochs, rows, batch_size):
    """Steps that Trainer makes of this many epochs."""
    return math.ceil(epochs * math.ceil(rows / batch_size))


def test_no_number_of_steps_is_lost_or_gained_by_rounding():
    wrong = [
        (rows, batch_size, steps)
        for rows in (1, 7, 31, 32, 33, 56, 97, 1000, 1437)
        for batch_size in (1, 3, 8, 32, 2000)
        for steps in (*range(1, 130), 997, 10_007, 123_457)
        if trainers_steps(Settings(steps, batch_size=batch_size).epochs(rows), rows, batch_size) != steps
    ]
    assert wrong == []


@pytest.mark.parametrize("epochs", [1, 3, 7, 0.5, 2.5])
@pytest.mark.parametrize("rows", [1, 31, 32, 33, 56, 1000])
def test_epochs_become_steps_rounded_up(epochs, rows):
    made = Settings.of_epochs(epochs, rows=rows)
    assert made.steps == trainers_steps(epochs, rows, made.batch_size)
    if epochs == int(epochs):
        assert made.epochs(rows) == epochs  # so that keys are those of sweeps and probes


@pytest.mark.parametrize(
    ("rows", "batch_size", "steps"), [(56, 32, 1), (56, 16, 3), (49, 7, 7), (30, 7, 11), (5, 32, 4), (23, 1, 5)]
)
def test_a_finetune_makes_exactly_the_steps(tiny, mood, rows, batch_size, steps):
    settings = Settings(steps, 1e-3, batch_size=batch_size)
    task = mood.subset(train=rows)
    run = sv.finetune(
        tiny,
        task,
        sv.Scope.last(tiny),
        lr=settings.lr,
        epochs=settings.epochs(rows),
        batch_size=batch_size,
        progress=False,
    )
    assert run.steps == steps
    assert len(run.curve) == steps
