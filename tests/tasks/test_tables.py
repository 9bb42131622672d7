"""Words that pandas takes for missing values are words, in a CSV file and in a frame."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pandas as pd
import pytest

import semviz as sv
from semviz import cli
from semviz.common.errors import TaskError

TAKEN_FOR_MISSING = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null", "none", "NAN", "nil", "-",
)  # fmt: skip


def read(path, **options):
    names = {"text": "text", "label": "label", "prompt": None, "words": None, "max_tokens": None}
    return cli._task(Namespace(task=str(path), **{**names, **options}))


@pytest.mark.parametrize("word", TAKEN_FOR_MISSING)
def test_a_word_is_a_label_and_a_text(word, tmp_path):
    rows = [f"parcel {i},{word if i % 2 else 'other'}" for i in range(20)] + [f"{word},other"]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))
    task = read(tmp_path / "rows.csv")
    assert set(task.labels) == {word, "other"}
    frame = task.frame()
    assert (frame["label"] == word).sum() == 10
    assert (frame["text"] == word).sum() == 1
    same = pd.DataFrame(
        {"text": [*(f"parcel {i}" for i in range(20)), word], "label": [word, "other"] * 10 + ["other"]}
    )
    assert set(sv.Task.from_frame(same, label="label").labels) == {word, "other"}


def test_numbers_stay_as_they_are_written(tmp_path):
    (tmp_path / "rows.csv").write_text(
        "\n".join(["text,label", *(f"x {i},{('01', '1', '1.0')[i % 3]}" for i in range(30))])
    )
    assert set(read(tmp_path / "rows.csv").labels) == {"01", "1", "1.0"}


def test_an_empty_cell_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text(
        "\n".join(["text,label", *(f"x {i},{('a', 'b', '')[i % 3]}" for i in range(30))])
    )
    with pytest.raises(TaskError, match=r"labels\[2\]"):
        read(tmp_path / "rows.csv")


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=repr)
@pytest.mark.parametrize("column", ["text", "label"])
def test_a_missing_value_says_how_to_read_the_file(missing, column):
    frame = pd.DataFrame({"text": [f"x {i}" for i in range(10)], "label": ["a", "b"] * 5}, dtype=object)
    frame.loc[3, column] = missing
    with pytest.raises(TaskError, match=rf"{column}s\[3\].*keep_default_na=False"):
        sv.Task.from_frame(frame, label="label")
