"""Words that pandas takes for missing values are words, in a CSV file and in a frame."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pandas as pd
import pytest

import semviz as sv
from semviz import cli
from semviz.common.errors import SemvizError, TaskError

TAKEN_FOR_MISSING = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null", "none", "NAN", "nil", "-",
)  # fmt: skip


def read(path, **options):
    names = {"text": "text", "label": "label", "prompt": None, "words": None, "max_tokens": None}
    return cli._task(Namespace(task=str(path), **{**names, **options}))


@pytest.mark.parametrize("word", TAKEN_FOR_MISSING)
@pytest.mark.brings(
    "Data",
    "labels and texts `NA`, `None`, `null`, `n/a`, `nan`",
    "keeps them as text",
)
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


@pytest.mark.brings(
    "Data",
    "an empty cell",
    "names its row",
)
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


def rows(row):
    return [row.format(i=i, label=i % 2) for i in range(20)]


@pytest.mark.parametrize(
    ("lines", "where", "found"),
    [
        (["text,label", *rows("film {i} was bad, but fine,{label}")], "first row", 3),
        (["text,label", *rows("film {i} was bad, but, well, fine,{label}")], "first row", 5),
        (["label,text", *rows("{label},film {i} was bad, but fine")], "first row", 3),
        (["text", *rows("film {i} was bad, but fine")], "first row", 2),
        (["text,label", *rows("film {i} was bad,{label},")], "first row", 3),
        (["text,label", *rows("film {i},{label}"), "bad, but fine,1", "bad, but, well,1"], "line 22", 3),
        (["text,label", *rows("film {i},{label}"), "bad,1,"], "line 22", 3),
    ],
)
def test_a_row_with_more_fields_than_the_header_is_refused(lines, where, found, tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    with pytest.raises(SemvizError, match=f"its {where} has {found} fields, and its header .*double quotes"):
        read(tmp_path / "rows.csv", label="label" if "label" in lines[0] else None)


def test_quoted_commas_are_text(tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows('"film {i} was bad, but fine",{label}')]))
    task = read(tmp_path / "rows.csv")
    assert task.labels == ("0", "1")
    assert sorted(task.frame()["text"]) == sorted(f"film {i} was bad, but fine" for i in range(20))


def test_a_prompt_from_a_shell_has_its_new_lines_and_tabs(tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows("film {i},{label}")]))
    assert read(tmp_path / "rows.csv", prompt=r"{text}\n\tStars:").prompt == "{text}\n\tStars:"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("0=a,0=b,1=c", "two words for the label '0'"),
        ("0=a,1=b, 0=a", "two words for the label '0'"),
        ("0=a,1", "'1' is no label=word"),
        ("0=not good, really,1=x", "'really' is no label=word"),
        ("0=a,1=", "'1=' is no label=word"),
        ("", "'' is no label=word"),
        ("0=a;1=b", r"words for the labels \['0'\], and the file has the labels \['0', '1'\]"),
        ("0=a,1=b,2=c", r"words for the labels \['0', '1', '2'\]"),
    ],
)
def test_words_that_are_no_pairs_are_refused_as_the_option_that_they_are(words, message, tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows("film {i},{label}")]))
    with pytest.raises(SemvizError, match=rf"--words={words}.*{message}"):
        read(tmp_path / "rows.csv", words=words)
    with pytest.raises(SemvizError, match="--label=COLUMN"):
        read(tmp_path / "rows.csv", words=words, label=None)


def test_words_belong_to_their_labels(tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows("film {i}, {label}")]))
    task = read(tmp_path / "rows.csv", words="1 = x=y, 0=no")
    assert dict(zip(task.labels, task.words, strict=True)) == {" 0": "no", " 1": "x=y"}
