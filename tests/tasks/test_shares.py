"""Shares of the rows: none is cut in silence, and what is no share says what one is."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pytest

import semviz as sv
from semviz.common.errors import TaskError

FRAME = pd.DataFrame({"text": [f"text {i}" for i in range(40)], "label": ["a", "b"] * 20})


def from_texts(_, **options):
    return sv.Task.from_texts(list(FRAME["text"]), list(FRAME["label"]), **options)


def from_frame(_, **options):
    return sv.Task.from_frame(FRAME, label="label", **options)


def from_dataset(_, **options):
    return sv.Task.from_dataset(datasets.Dataset.from_pandas(FRAME), label="label", **options)


def from_file(folder, **options):
    FRAME.to_csv(folder / "rows.csv", index=False)
    return sv.Task.from_file(folder / "rows.csv", label="label", **options)


WAYS = [from_texts, from_frame, from_dataset, from_file]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shares", [(0.9, 0.9), (0.6, 0.6), (0.5, 0.5), (0.5, 0.6), (0.7, 0.3), (0.1, 0.9)])
@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("kind", [float, np.float64, np.float32])
def test_shares_of_all_rows_or_more_are_refused(way, shares, stratify, kind, tmp_path):
    test, validation = map(kind, shares)
    with pytest.raises(TaskError, match=r"leave no row to train on; pass shares whose sum is below 1"):
        way(tmp_path, test=test, validation=validation, stratify=stratify)


@pytest.mark.parametrize("way", WAYS)
def test_fewer_rows_than_asked_are_told(way, tmp_path):
    task = way(tmp_path, test=0.5, validation=0.48)
    sizes = [len(task.split(name)) for name in ("test", "validation", "train")]
    assert sizes == [20, 18, 2]
    assert "validation has 18 rows and not 19, since one row of each label stays to train on." in task.notes
    assert "validation has 18 rows and not 19" in repr(task)
    few = way(tmp_path, test=0.9)
    assert [len(few.split(name)) for name in ("test", "validation", "train")] == [36, 2, 2]
    assert few.notes == ("validation has 2 rows and not 6, since one row of each label stays to train on.",)


@pytest.mark.parametrize("options", [{}, {"test": 0.2}, {"test": 0.5, "validation": 0.45}])
def test_as_many_rows_as_asked_are_no_news(options, tmp_path):
    assert from_frame(tmp_path, **options).notes == ()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("part", [10, 0, 1, True, np.int64(10), "0.2", "10", ".2", "20%", "20 %"])
def test_what_is_no_share_says_what_one_is(way, split, part, tmp_path):
    with pytest.raises(TaskError, match=rf"{split}=.* is no share of the rows; pass a number between 0 and 1, such as"):
        way(tmp_path, **{split: part})


def test_a_file_whose_name_is_a_number_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0.2").write_text("text,label\n", encoding="utf-8")
    with pytest.raises(TaskError, match="has the ending"):
        from_file(tmp_path, test="0.2")
