from __future__ import annotations

import math

import pytest

from semviz.finetuning.learning_rates import first_guess, next_rate


def search(score, guess=1e-3):
    """Which rates are tried under a function rate → validation score, in order."""
    tried = {}
    while (rate := next_rate(guess, tried)) is not None:
        tried[rate] = score(math.log10(rate))
    return list(tried)


def test_three_rates_where_the_middle_is_best():
    assert search(lambda x: -abs(x + 3)) == pytest.approx([1e-3, 10**-2.5, 10**-3.5])


def test_on_beyond_an_edge_that_is_best_until_it_is_not():
    assert sorted(search(lambda x: -abs(x + 2))) == pytest.approx([10**-3.5, 1e-3, 10**-2.5, 1e-2, 10**-1.5])
    assert sorted(search(lambda x: -abs(x + 4))) == pytest.approx([10**-4.5, 1e-4, 10**-3.5, 1e-3, 10**-2.5])


def test_at_most_five():
    assert len(search(lambda x: x)) == 5


def test_a_tie_ends_the_search():
    assert len(search(lambda _x: 1.0)) == 3


def test_divergence_everywhere_ends_too():
    assert len(search(lambda _x: -math.inf)) == 3


def test_wider_models_start_lower_and_adapters_higher():
    assert first_guess(1024, "full") < first_guess(128, "full") < first_guess(128, "lora")
