"""One sample with all its positions: of a task, or a text of one's own."""

from __future__ import annotations

import json

import numpy as np
import pytest

import semviz as sv
from semviz.common.errors import TaskError
from semviz.figures.drawing.colours import colour_range
from semviz.study.opened_sample import open_sample, open_text


@pytest.fixture
def trace(tiny, mood):
    return sv.trace(tiny, mood, detail=3, progress=False)


def of(trace, number):
    """Positions of a sample, and their row numbers."""
    rows = np.flatnonzero(trace.positions["sample"] == number)
    return trace.positions.iloc[rows], rows


def test_a_sample_with_all_positions_is_the_traces_own(tiny, mood, trace):
    sample = open_sample(tiny, mood, trace, trace.detailed[1])
    assert sample.trace is trace
    assert (sample.number, sample.own) == (trace.detailed[1], False)
    assert sample.text == mood.split("train").texts[sample.number]
    assert sample.title == f"Sample {sample.number}"


@pytest.mark.parametrize("vocab", ["full", "labels"])
@pytest.mark.parametrize("path", ["slerp", "lerp"])
def test_a_sample_that_is_read_again_has_the_traces_values_at_its_answer(tiny, mood, vocab, path):
    trace = sv.trace(tiny, mood, detail=3, vocab=vocab, path=path, centre=path == "lerp", progress=False)
    number = next(n for n in range(20, 56) if n not in trace.detailed)
    sample = open_sample(tiny, mood, trace, number)
    assert sample.trace is not trace
    assert (sample.number, sample.own, sample.text) == (number, False, mood.split("train").texts[number])
    (old, old_rows), (new, new_rows) = of(trace, number), of(sample.trace, number)
    assert len(old) == 1
    answer = new_rows[new["role"] == "answer"]
    assert len(new) > 5
    assert sample.trace.positions.iloc[answer[0]].drop("sample").equals(old.iloc[0].drop("sample"))
    assert sample.trace.metrics == trace.metrics
    for key in trace.metrics:
        np.testing.assert_allclose(
            sample.trace.values[key][answer], trace.values[key][old_rows], rtol=1e-4, atol=1e-5, err_msg=key
        )


def test_a_sample_that_is_read_again_can_be_drawn_by_its_number(tiny, mood, trace):
    number = max(set(range(56)) - set(trace.detailed))
    sample = open_sample(tiny, mood, trace, number)
    assert list(sample.trace.detailed) == [number]
    assert f"{number}" in json.dumps(sample.trace.token_heatmap(sample=number).layout.title.text)
    assert sample.trace.transition_map(sample=number).data


def test_it_is_drawn_in_the_colours_of_the_trace(tiny, mood, trace):
    sample = open_sample(tiny, mood, trace, 50)
    own = sv.trace(tiny, mood.subset(train=5), progress=False)
    for key in trace.metrics:
        assert colour_range(sample.trace, key) == colour_range(trace, key)
    drawn = sample.trace.token_heatmap(sample=50, metric="semantic").data[0]
    assert (drawn.zmin, drawn.zmax) == colour_range(trace, "semantic")
    assert any(colour_range(own, key) != colour_range(trace, key) for key in trace.metrics)


def test_taken_over_ranges_are_plain_numbers_of_the_metric(tiny, mood, trace):
    sample = open_sample(tiny, mood, trace, 50)
    assert json.loads(json.dumps(sample.trace.meta["ranges"])).keys() == set(trace.metrics)


@pytest.mark.parametrize("number", [-1, 56, 1000])
def test_a_sample_that_does_not_exist_is_refused(tiny, mood, trace, number):
    with pytest.raises(TaskError, match="from 0 to 55"):
        open_sample(tiny, mood, trace, number)


def test_a_text_with_a_label_is_a_row_of_the_task(tiny, mood, trace):
    sample = open_text(tiny, mood, trace, "the small cat was good .", "yes")
    positions = sample.trace.positions
    assert (sample.own, sample.title, sample.number) == (True, "Your text", 0)
    assert positions["role"].tolist()[-1] == "answer"
    assert positions["target"].iloc[-1].strip() == "yes"
    assert positions["label"].unique().tolist() == ["yes"]
    assert [t.strip() for t in positions["token"]][-2:] == ["mood", ":"]


def test_a_row_of_the_task_as_a_text_of_ones_own_has_the_rows_values(tiny, mood, trace):
    part = mood.split("train")
    sample = open_text(tiny, mood, trace, part.texts[40], mood.labels[part.labels[40]])
    row = np.flatnonzero(trace.positions["sample"] == 40)
    for key in trace.metrics:
        np.testing.assert_allclose(sample.trace.values[key][-1], trace.values[key][row[0]], rtol=1e-4, atol=1e-5)


def test_a_text_without_a_label_is_scored_token_by_token(tiny, mood, trace):
    sample = open_text(tiny, mood, trace, "the cat was good", None)
    positions = sample.trace.positions
    assert [t.strip() for t in positions["token"]][-4:] == ["the", "cat", "was", "good"]
    assert (positions["role"] == "next").sum() >= 3
    targets = [t.strip() for t in positions["target"]]
    assert targets[-4:-1] == ["cat", "was", "good"]
    assert sample.trace.metrics == trace.metrics


def test_a_text_for_the_label_words_is_compared_with_them(tiny, mood):
    trace = sv.trace(tiny, mood, detail=3, vocab="labels", progress=False)
    assert open_text(tiny, mood, trace, "the cat was good .", "no").trace.meta["vocab"] == "labels"
    assert open_text(tiny, mood, trace, "the cat was good .", None).trace.meta["vocab"] == "full"


@pytest.mark.parametrize(
    ("text", "label", "said"),
    [
        ("", "yes", "empty"),
        (" \n\t", None, "empty"),
        ("the cat", "perhaps", "label='perhaps'"),
        ("the cat", "", "label=''"),
        ("cat " * 5000, "yes", "token"),
        ("cat " * 5000, None, "token"),
        ("\ud800", "yes", "surrogate"),
    ],
)
def test_texts_that_cannot_be_read_are_refused_in_words(tiny, mood, trace, text, label, said):
    with pytest.raises(TaskError, match=said):
        open_text(tiny, mood, trace, text, label)


def test_reading_changes_nothing_of_the_trace(tiny, mood, trace):
    before = {key: values.copy() for key, values in trace.values.items()}
    meta = json.dumps(trace.meta, default=str)
    open_sample(tiny, mood, trace, 50)
    open_text(tiny, mood, trace, "the cat was good .", "yes")
    assert json.dumps(trace.meta, default=str) == meta
    assert all(np.array_equal(before[key], trace.values[key], equal_nan=True) for key in before)
