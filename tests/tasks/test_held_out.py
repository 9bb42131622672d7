"""Rows that are held out: shares, stratified by label, and what is said of splits that share texts or lack labels."""

from __future__ import annotations

import warnings
from collections import Counter

import datasets
import numpy as np
import pandas as pd
import pytest

import semviz as sv
from semviz.common.errors import TaskError

SIZES = {
    "even": {"a": 50, "b": 50},
    "rare": {"a": 90, "b": 10},
    "rarest": {"a": 97, "b": 2, "c": 1},
    "many": {str(i): 7 + i for i in range(9)},
    "few": {"a": 3, "b": 2},
}


def rows(sizes):
    labels = [label for label, size in sizes.items() for _ in range(size)]
    return [f"text {i}" for i in range(len(labels))], labels


@pytest.mark.parametrize("share", [None, 0.1, 0.2, 0.5, np.float32(0.25)])
@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.brings(
    "Data",
    "rows without splits, or `test=0.2`",
    "draws splits in proportion for each label",
)
def test_splits_have_every_label_in_proportion(kind, share):
    texts, labels = rows(SIZES[kind])
    task = sv.Task.from_texts(texts, labels, test=share)
    parts = {name: Counter(task.labels[i] for i in part.labels) for name, part in task.splits.items()}
    assert sorted(text for part in task.splits.values() for text in part.texts) == sorted(texts)
    expected = len(texts) * (0.15 if share is None else share)
    assert abs(len(task.split("test")) - expected) <= 1
    for label, size in SIZES[kind].items():
        assert parts["train"][label] >= 1
        assert abs(parts["test"][label] - size * len(task.split("test")) / len(texts)) < 1 or size <= 2
    of_label = dict(zip(texts, labels, strict=True))
    frame = task.frame()
    assert (frame["text"].map(of_label) == frame["label"]).all()


def test_shares_are_of_all_rows_and_drawn_by_the_seed():
    texts, labels = rows(SIZES["even"])
    task = sv.Task.from_texts(texts, labels, test=0.3, validation=0.2)
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [50, 20, 30]
    assert task.hash == sv.Task.from_texts(texts, labels, test=0.3, validation=0.2).hash
    assert task.hash != sv.Task.from_texts(texts, labels, test=0.3, validation=0.2, seed=1).hash
    frame = pd.DataFrame({"text": texts, "label": labels})
    assert sv.Task.from_frame(frame, label="label", test=0.3, validation=0.2).hash == task.hash
    data = datasets.Dataset.from_pandas(frame)
    assert sv.Task.from_dataset(data, label="label", test=0.3, validation=0.2).hash == task.hash
    both = datasets.DatasetDict(train=data, test=data.select(range(5)))
    assert sv.Task.from_dataset(both, label="label", test=0.3, validation=0.2).hash == task.hash
    plain = sv.Task.from_texts(texts, test=0.3)
    assert len(plain.split("test")) == 30


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, 1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_share_that_is_none(split, share):
    with pytest.raises(TaskError, match=rf"{split}={share} is no share of the rows; pass a number between 0 and 1"):
        sv.Task.from_texts(*rows(SIZES["even"]), **{split: share})


def test_shares_that_leave_nothing_to_train_on():
    with pytest.raises(TaskError, match=r"too few for test=0.5 and validation=0.49; pass smaller shares"):
        sv.Task.from_texts([f"t{i}" for i in range(10)], test=0.5, validation=0.49)
    with pytest.raises(TaskError, match=r"5 rows, of which one of each label stays.*too few for test=0.9"):
        sv.Task.from_texts(*rows(SIZES["few"]), test=0.9)


def test_packaged_tasks_keep_their_rows():
    assert [sv.load_task(name).hash for name in ("mood", "dialect")] == ["83c99522bc10", "f1377afba1cc"]


@pytest.mark.brings(
    "Data",
    "the same text in two splits",
    "says how many, in `task.notes`",
)
def test_texts_in_two_splits_are_said():
    texts, labels = [f"t{i}" for i in range(40)], ["a", "b"] * 20
    with pytest.warns(RuntimeWarning, match=r"'reviews': 2 of 3 test texts are also in train") as caught:
        task = sv.Task.from_texts(texts, labels, test=(["t1", "t2", "new"], ["a", "b", "a"]), name="reviews")
    assert caught[0].filename == __file__
    assert any("2 of 3 test texts are also in train" in note for note in task.notes)
    assert "2 of 3 test texts" in repr(task)
    assert "2 of 3 test texts" in task._repr_html_()
    frame = pd.DataFrame({"text": texts, "label": labels})
    with pytest.warns(RuntimeWarning, match="34 of 40 validation texts are also in train") as caught:
        sv.Task.from_frame(frame, label="label", validation=frame)
    assert caught[0].filename == __file__
    drawn = sv.Task.from_texts(["same", "same too"] * 20, labels)
    assert len(drawn.notes) == 2
    apart = [f"later {i}" for i in range(9)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sv.Task.from_texts(texts, test=apart, validation=[f"{t}!" for t in apart]).notes == ()


@pytest.mark.brings(
    "Data",
    "a label that no training row has",
    "says so",
)
def test_a_label_that_nothing_trains_is_said():
    texts, labels = [f"t{i}" for i in range(40)], ["a"] * 37 + ["b"] * 3
    small = sv.Task.from_texts(texts, labels).subset(train=1, validation=2)
    (kept,) = small.split("train").labels
    assert len(small.split("validation")) == 2
    assert small.notes == (f"No training row has the label {'ba'[kept]!r}.",)
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["x", "y", "z"]))
    data = datasets.Dataset.from_dict({"text": texts, "label": [0, 2] * 20}, features=features)
    assert "No training row has the label 'y'." in sv.Task.from_dataset(data, label="label").notes
    with pytest.raises(TaskError, match=r"test has labels \['c'\] that no training row has"):
        sv.Task.from_texts(texts, labels, test=(["x"], ["c"]))


def stream(labels, rows=None):
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["x", "y"]))
    texts = [f"t{i}" for i in range(len(labels))]
    return datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features).to_iterable_dataset()


@pytest.mark.brings(
    "Data",
    "an `IterableDataset`",
    "reads `rows=` of it from its beginning",
)
def test_a_stream_is_read_from_its_beginning():
    task = sv.Task.from_dataset(stream([0, 1] * 50), label="label", rows=20)
    assert sorted(t for part in task.splits.values() for t in part.texts) == sorted(f"t{i}" for i in range(20))
    assert task.labels == ("x", "y")
    assert task.notes == ("The 20 train rows are the first of a stream.",)
    parts = datasets.IterableDatasetDict({"train": stream([0, 1] * 50), "test": stream([1, 0] * 3)})
    with pytest.warns(RuntimeWarning, match="6 of 6 test texts"):
        task = sv.Task.from_dataset(parts, label="label", rows=20)
    assert len(task.split("test")) == 6
    endless = datasets.IterableDataset.from_generator(lambda: ({"text": f"a text {i}"} for i in range(10**12)))
    assert sum(map(len, sv.Task.from_dataset(endless, rows=8).splits.values())) == 8


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 1] * 5, {}, r"train rows are a stream \(IterableDataset\).*rows=2000"),
        ([0] * 50 + [1] * 50, {"rows": 20}, r"all have the label 0; pass a stream in another order, dataset.shuffle"),
        ([0, 1] * 5, {"rows": 0}, "rows=0"),
        ([0, 1] * 5, {"rows": 2.5}, "rows=2.5"),
        ([0, 1, -1] * 5, {"rows": 15}, r"labels\[2\] of train is -1"),
    ],
)
def test_a_stream_that_cannot_be_read(labels, options, message):
    with pytest.raises(TaskError, match=message):
        sv.Task.from_dataset(stream(labels), label="label", **options)


def test_rows_of_a_dataset_are_drawn_from_all_of_it():
    data = datasets.Dataset.from_dict({"text": [f"t{i}" for i in range(100)], "label": [0] * 50 + [1] * 50})
    task = sv.Task.from_dataset(data, label="label", rows=20)
    assert sum(map(len, task.splits.values())) == 20
    assert task.labels == ("0", "1")
    assert sv.Task.from_dataset(data, label="label", rows=10**6).hash == sv.Task.from_dataset(data, label="label").hash


def test_a_split_without_labels_is_left_out_and_messages_name_splits():
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["x", "y"]))

    def part(name, labels):
        texts = [f"{name} {i}" for i in range(len(labels))]
        return datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features)

    like_glue = datasets.DatasetDict(
        train=part("t", [0, 1] * 9), validation=part("v", [0, 1]), test=part("u", [-1] * 4)
    )
    task = sv.Task.from_dataset(like_glue, label="label")
    assert task.split("test").texts == ("v 0", "v 1")
    assert "The test split has no labels and was left out." in task.notes
    like_glue["validation"] = part("v", [0, -1])
    with pytest.raises(TaskError, match=r"labels\[1\] of validation is -1"):
        sv.Task.from_dataset(like_glue, label="label")
    like_glue["validation"] = part("v", [0, 1]).rename_column("text", "body")
    with pytest.raises(TaskError, match="'text' of validation is missing"):
        sv.Task.from_dataset(like_glue, label="label")
