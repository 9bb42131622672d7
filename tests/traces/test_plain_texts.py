"""A text is traced as it stands; only the rows that are traced are tokenized; a table keeps the target's text."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pytest
from small import mood_task, plain_text

import semviz as sv
from semviz.common.errors import TaskError
from semviz.tasks import tokenizing
from semviz.tasks.tokenizing import encode

QUIET = {"progress": False}


TWO = ["the cat was good .", "a dog ran"]
ITERABLES = {
    "array": lambda: np.array(TWO),
    "objects": lambda: np.array(TWO, dtype=object),
    "series": lambda: pd.Series(TWO, index=[7, 3]),
    "text series": lambda: pd.Series(TWO, dtype="string"),
    "column": lambda: pd.DataFrame({"text": TWO})["text"],
    "index": lambda: pd.Index(TWO),
    "generator": lambda: (text for text in TWO),
    "keys": lambda: dict.fromkeys(TWO).keys(),
    "numpy's texts": lambda: [np.str_(text) for text in TWO],
    "dataset column": lambda: datasets.Dataset.from_dict({"text": TWO})["text"],
}


@pytest.mark.parametrize("kind", ITERABLES)
def test_texts_in_anything_are_a_list_of_texts(kind, tiny):
    listed, traced = sv.trace(tiny, TWO, **QUIET), sv.trace(tiny, ITERABLES[kind](), **QUIET)
    assert traced.meta["task_hash"] == listed.meta["task_hash"]
    np.testing.assert_array_equal(traced.values["lens"], listed.values["lens"])


def test_an_array_of_one_text_is_a_text(tiny):
    one = sv.trace(tiny, np.array(TWO[0]), **QUIET)
    assert one.meta["task_hash"] == sv.trace(tiny, TWO[0], **QUIET).meta["task_hash"]


OTHERS = [3, None, b"a cat", {"a cat": 1}, {"a cat"}, [3], np.arange(3), pd.DataFrame({"text": TWO}), sv.Scope,
          datasets.Dataset.from_dict({"text": TWO}), pd.Series([1.5, 2.5]), [TWO]]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: type(other).__name__)
def test_others_say_that_a_text_or_a_list_of_texts_works(other, tiny):
    with pytest.raises(TaskError, match=r"is not a task.*pass a text, a list of texts, load_task\(…\)"):
        sv.trace(tiny, other, **QUIET)


@pytest.mark.parametrize("texts", ["the cat was good .", ["the cat was good .", "a dog ran"], ("a dog ran",)])
@pytest.mark.brings(
    "Data",
    '`trace(model, "one sentence")`, or a list of them',
    "traces it, without a task",
)
def test_texts_are_traced_as_they_stand(texts, tiny):
    traced = sv.trace(tiny, texts, **QUIET)
    listed = [texts] if isinstance(texts, str) else list(texts)
    assert traced.meta["kind"] == "language modelling"
    assert traced.meta["samples"] == len(listed)
    for sample, text in enumerate(listed):
        rows = traced.positions.query(f"sample == {sample} and role != 'special'")
        assert rows["token"].str.strip().tolist() == text.split()
    for draw in (traced.token_heatmap, traced.profile, traced.gain):
        draw()
    # The same numbers as in a task.
    task = sv.Task.from_texts([*listed, *plain_text(8)], test=["a b"], validation=["c d"])
    beside = sv.trace(tiny, task, **QUIET)
    length = (beside.positions["sample"] == 0).sum()
    np.testing.assert_allclose(traced.values["lens"][:length], beside.values["lens"][:length], atol=1e-4)


@pytest.mark.parametrize(
    ("texts", "message"),
    [("", "empty"), ("  ", "empty"), ([], "empty"), (["a cat", ""], r"task\[1\] is empty"), ("cat", "two tokens"),
     (3, "not a task"), ("mood", r"load_task\('mood'\)"), (["a cat", 3], "not a task"), ("\udfff", "surrogate")],
)  # fmt: skip
def test_what_is_no_text(texts, message, tiny):
    with pytest.raises(TaskError, match=message):
        sv.trace(tiny, texts, **QUIET)


def test_other_splits_of_a_text_there_are_none(tiny):
    with pytest.raises(TaskError, match=r"split='test' is unknown; pass one of \['train'\]"):
        sv.trace(tiny, "the cat was good .", split="test", **QUIET)


def test_a_table_keeps_the_targets_text(tiny):
    traced = sv.trace(tiny, mood_task(), samples=6, **QUIET)
    frame = traced.frame()
    assert set(frame.query("role == 'answer'")["target"]) <= {"yes", "no"}
    spaces = tiny.n_blocks + 1
    assert frame["target"].tolist() == traced.positions["target"].repeat(spaces).tolist()
    np.testing.assert_array_equal(frame["target_deviation"], traced.values["target"].ravel())
    for column in traced.positions:
        assert frame[column].iloc[0] == traced.positions[column].iloc[0]
    assert {"lens", "semantic", "virtual", "rank"} <= set(frame)


@pytest.mark.parametrize("samples", [1, 7, 50, None, 10**6])
@pytest.mark.parametrize("kind", ["mood", "stories", "words at the end of texts"])
@pytest.mark.brings(
    "Data",
    "`trace(samples=50)` of a large task",
    "tokenizes 50 rows",
)
def test_only_the_rows_that_are_traced_are_tokenized(samples, kind, tiny, monkeypatch):
    task = mood_task()
    if kind == "stories":
        task = sv.Task.from_texts(plain_text(80), name="stories")
    if kind == "words at the end of texts":
        task = sv.Task.from_texts([f"{text} :" for text in plain_text(80)], ["yes", "no"] * 40, prompt="{text}")
    read, whole = [], encode(tiny, task, "train")
    original = tokenizing.read_prompts

    def counted(tokenizer, one, part, *given, **options):
        read.extend([len(part)] if one.name == task.name else [])
        return original(tokenizer, one, part, *given, **options)

    monkeypatch.setattr(tokenizing, "read_prompts", counted)
    traced = sv.trace(tiny, task, samples=samples, detail=0, **QUIET)
    rows = sorted(set(traced.positions["sample"]))
    assert len(rows) == min(samples or len(whole), len(whole))
    if kind != "words at the end of texts":  # whether whole words are scored has to be the same for all rows
        assert read == [len(rows)]
    some = encode(tiny, task, "train", rows)
    for one, other in ((some.ids, whole.ids), (some.targets, whole.targets), (some.counted, whole.counted)):
        assert [row.tolist() for row in one] == [other[row].tolist() for row in rows]
    np.testing.assert_array_equal(some.labels, whole.labels[rows])


def test_a_row_that_is_not_traced_may_be_too_long_and_one_that_is_has_its_own_number(tiny):
    texts = ["a cat ran"] * 40
    rows = sv.trace(tiny, sv.Task.from_texts(texts), samples=3, **QUIET).positions["sample"].unique().tolist()
    kept = sv.Task.from_texts(texts).split("train").texts
    free = next(row for row in range(len(kept)) if row not in rows)

    def with_long(row):
        task = sv.Task.from_texts(texts)
        long = tuple("cat " * 100 if i == row else text for i, text in enumerate(task.split("train").texts))
        return sv.Task(task.name, task.prompt, (), (), {**task.splits, "train": type(task.split("train"))(long)})

    sv.trace(tiny, with_long(free), samples=3, **QUIET)
    with pytest.raises(TaskError, match=f"Sample {rows[1]} of the train split"):
        sv.trace(tiny, with_long(rows[1]), samples=3, **QUIET)
