"""Accuracy and loss: names, texts, and which way is better."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from semviz.common.errors import SemvizError
from semviz.common.scores import ACCURACY, LOSS, score_named


def test_a_score_is_found_by_its_stored_name():
    assert score_named("accuracy") is ACCURACY
    assert score_named("loss") is LOSS
    with pytest.raises(SemvizError, match=r"score='f1' is unknown; pass one of \['accuracy', 'loss'\]"):
        score_named("f1")


def test_words_with_and_without_units():
    assert (ACCURACY.title, ACCURACY.heading, ACCURACY.short_heading) == ("Accuracy", "accuracy", "accuracy")
    assert (LOSS.title, LOSS.heading, LOSS.short_heading) == ("Loss", "loss (nats per token)", "loss (nats)")
    assert (ACCURACY.axis_title, LOSS.axis_title) == ("accuracy (share of samples)", "loss (nats per token)")


@pytest.mark.parametrize("score", [ACCURACY, LOSS])
def test_the_name_is_the_column_and_the_attribute_of_the_value(score):
    assert score.columns[0] == score.name
    assert score.of(SimpleNamespace(accuracy=0.25, loss=1.5)) == {"accuracy": 0.25, "loss": 1.5}[score.name]


def test_values_as_texts():
    assert [ACCURACY.text(0.9716), ACCURACY.with_unit(0.9716), ACCURACY.in_words(0.9716)] == [
        "97.2 %", "97.2 %", "97.2 % accuracy",
    ]  # fmt: skip
    assert [LOSS.text(1.2344), LOSS.with_unit(1.2344), LOSS.in_words(1.2344)] == [
        "1.234", "1.234 nats", "a loss of 1.234 nats",
    ]  # fmt: skip
    assert ACCURACY.with_interval(0.9716, 0.96, 0.99) == "97.2 % (96.0 % to 99.0 %)"
    assert LOSS.with_interval(1.2344, 1.2, 1.3) == "1.234 (1.200 to 1.300)"
    assert ACCURACY.with_interval(0.9716, math.nan, math.nan) == "97.2 %"


@pytest.mark.parametrize("missing", [math.nan, math.inf])
def test_what_is_not_finite_is_a_dash_or_what_it_is(missing):
    assert ACCURACY.text(missing) == LOSS.text(missing) == ACCURACY.number(missing) == "–"
    assert LOSS.number(missing) == str(missing)


def test_differences_have_a_sign_unless_they_round_to_none():
    assert [ACCURACY.difference_text(d) for d in (1.25, -2.04, 0.04, -0.04)] == ["+1.2", "−2.0", "0.0", "0.0"]
    assert [LOSS.difference_text(d) for d in (0.0125, -0.1, 0.0004, -0.0004)] == ["+0.013", "−0.100", "0.000", "0.000"]


def test_ticks_have_decimals_only_where_one_needs_them():
    assert ACCURACY.tick_texts([0.7, 0.75, 0.8]) == ["70 %", "75 %", "80 %"]
    assert ACCURACY.tick_texts([0.7, 0.725]) == ["70.0 %", "72.5 %"]
    assert LOSS.tick_texts([1.0, 1.25]) == ["1", "1.25"]
    assert (ACCURACY.tick_text(0.234), LOSS.tick_text(2.9)) == ("23 %", "2.9")


def test_which_way_is_better():
    assert max((0.1, 0.7), key=lambda value: ACCURACY.sign * value) == 0.7
    assert max((0.1, 0.7), key=lambda value: LOSS.sign * value) == 0.1
    assert ACCURACY.worst_first("low", "high") == ("low", "high")
    assert LOSS.worst_first("low", "high") == ("high", "low")
