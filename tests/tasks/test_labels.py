"""Labels of any kind of column, and the keys of words= that mean them."""

from __future__ import annotations

import datetime
import enum

import datasets
import numpy as np
import pandas as pd
import pytest

import semviz as sv
from semviz.common.errors import TaskError

TEXTS = [f"row {i}" for i in range(20)]


def frame(*labels):
    return pd.DataFrame({"text": TEXTS, "label": [labels[i % len(labels)] for i in range(20)]})


def words_by_label(task):
    return dict(zip(task.labels, task.words, strict=True))


KEYS = [
    ((0, 1), {0: "no", 1: "yes"}, {"0": "no", "1": "yes"}),
    ((0, 1), {"0": "no", "1": "yes"}, {"0": "no", "1": "yes"}),
    ((0, 1), {np.int64(0): "no", np.int8(1): "yes"}, {"0": "no", "1": "yes"}),
    ((0, 1), {0.0: "no", 1.0: "yes"}, {"0": "no", "1": "yes"}),
    ((0, 1), {False: "no", True: "yes"}, {"0": "no", "1": "yes"}),
    ((True, False), {True: "yes", False: "no"}, {"False": "no", "True": "yes"}),
    ((True, False), {1: "yes", 0: "no"}, {"False": "no", "True": "yes"}),
    ((True, False), {"true": "yes", "false": "no"}, {"False": "no", "True": "yes"}),
    ((np.True_, np.False_), {np.True_: "yes", np.False_: "no"}, {"False": "no", "True": "yes"}),
    (("true", "false"), {True: "yes", False: "no"}, {"false": "no", "true": "yes"}),
    (("0", "1"), {0: "no", 1: "yes"}, {"0": "no", "1": "yes"}),
    (("1.0", "2.0"), {1: "no", 2: "yes"}, {"1.0": "no", "2.0": "yes"}),
    ((1.0, 2.0), {1: "no", 2: "yes"}, {"1.0": "no", "2.0": "yes"}),
    ((-1, 1), {-1: "no", 1: "yes"}, {"-1": "no", "1": "yes"}),
    ((" a", "b "), {"a": "no", "b": "yes"}, {" a": "no", "b ": "yes"}),
    (("Yes", "No"), {"yes": "yes", "no": "no"}, {"Yes": "yes", "No": "no"}),
    (("01", "1"), {1: "one", "01": "other"}, {"01": "other", "1": "one"}),
    (("1", "1.0"), {1: "one", "1.0": "other"}, {"1": "one", "1.0": "other"}),
]


@pytest.mark.parametrize(("labels", "words", "expected"), KEYS)
@pytest.mark.brings(
    "Data",
    "`words=` with keys 0, True, dates, members of an enum",
    "matches them with the labels as they stand in the data",
)
def test_a_key_of_any_kind_means_its_label(labels, words, expected):
    assert words_by_label(sv.Task.from_frame(frame(*labels), label="label", words=words)) == expected
    given = [labels[i % len(labels)] for i in range(20)]
    assert words_by_label(sv.Task.from_texts(TEXTS, given, words=words)) == expected
    # Not sorted by the order of the words.
    turned = dict(reversed(words.items()))
    assert words_by_label(sv.Task.from_texts(TEXTS, given, words=turned)) == expected


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ((0, 1), {0: "no"}),
        ((0, 1), {0: "no", 2: "yes"}),
        ((0, 1), {0: "no", 1: "yes", 2: "x"}),
        (("a", "A"), {"a ": "no", "b": "yes"}),
        (("1", "1.0", " 1"), {"1 ": "x", "1.0": "y", " 1": "z"}),
        ((0, 1, 2), {False: "no", True: "yes", 2: "x"}),
        ((0, 1), [("no", "yes")]),
    ],
)
def test_a_key_that_means_no_label_or_several_is_refused(labels, words):
    with pytest.raises(TaskError, match="one word for each label"):
        sv.Task.from_frame(frame(*labels), label="label", words=words)


def test_two_keys_for_one_label_are_refused():
    with pytest.raises(TaskError, match="two words for the label '1'"):
        sv.Task.from_frame(frame(0, 1), label="label", words={0: "no", 1: "yes", "1": "other"})


def test_numbers_of_a_class_label_mean_its_names():
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
    data = datasets.Dataset.from_dict({"text": TEXTS, "label": [0, 1] * 10}, features=features)
    for words in ({0: "bad", 1: "good"}, {"neg": "bad", "pos": "good"}, {np.int64(0): "bad", "pos": "good"}):
        assert words_by_label(sv.Task.from_dataset(data, label="label", words=words)) == {"neg": "bad", "pos": "good"}


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ((3, 12), ("12", "3")),
        ((np.uint8(3), np.int64(4)), ("3", "4")),
        ((True, False), ("False", "True")),
        ((datetime.date(2020, 1, 2), datetime.date(2020, 1, 3)), ("2020-01-02", "2020-01-03")),
        ((Colour.RED, Colour.BLUE), ("Colour.BLUE", "Colour.RED")),
        (("NA", "None"), ("NA", "None")),
    ],
)
@pytest.mark.brings(
    "Data",
    "labels that are numbers, truth values, dates",
    "names them",
)
def test_labels_of_any_kind_have_names(labels, names):
    assert sv.Task.from_frame(frame(*labels).astype({"label": object}), label="label").labels == names


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((0.5, 1.0), r"labels\[0\] is float 0.5.*astype\(int\)"),
        ((1.0, 2.0), r"labels\[0\] is float 1.0"),
        ((np.float32(1), 2), r"labels\[0\] is float32 1.0|labels\[0\] is float 1.0"),
        ((["a"], ["b"]), r"labels\[0\] is list \['a'\].*one task for each label"),
        ((("a", "b"), ("b",)), r"labels\[0\] is tuple"),
        ((np.array([1, 2]), np.array([1])), r"labels\[0\] is ndarray"),
        (({"a": 1}, {"b": 2}), r"labels\[0\] is dict"),
        ((b"a", b"b"), r"labels\[0\] is bytes"),
        ((object(), object()), r"labels\[0\] is object"),
        (tuple(f"id {i}" for i in range(20)), "20 different values in 20 rows.*hardly classes"),
        (tuple(range(11)), "11 different values in 20 rows"),
    ],
)
@pytest.mark.brings(
    "Data",
    "lists, floats or a column with nearly as many labels as rows",
    "asks what to do",
)
def test_labels_that_are_hardly_classes_are_asked_about(labels, message):
    given = [labels[i % len(labels)] for i in range(20)]
    with pytest.raises(TaskError, match=message):
        sv.Task.from_texts(TEXTS, given)
    table = pd.DataFrame({"text": TEXTS}).assign(label=pd.Series(given, dtype=object))
    with pytest.raises(TaskError, match=message):
        sv.Task.from_frame(table, label="label")


def test_ten_classes_of_two_rows_are_classes():
    assert len(sv.Task.from_frame(frame(*range(10)), label="label").labels) == 10


def test_many_classes_are_classes_once_they_have_words():
    words = {i: f"word {i}" for i in range(20)}
    task = sv.Task.from_frame(
        frame(*range(20)), label="label", words=words, test=frame(*range(20)), validation=frame(1, 2)
    )
    assert len(task.labels) == 20
