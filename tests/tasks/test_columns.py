"""A prompt may name any column of a table, and several."""

from __future__ import annotations

import datasets
import pandas as pd
import pytest

import semviz as sv
from semviz.common.errors import TaskError

PAIRS = pd.DataFrame(
    {
        "premise": [f"p{i} {{hypothesis}}" for i in range(12)],
        "hypothesis": [f"h{i}" for i in range(12)],
        "year": range(2000, 2012),
        "text": [f"t{i}" for i in range(12)],
        "odd name": ["" if i == 3 else f"o{i}" for i in range(12)],
        "label": ["a", "b"] * 6,
    }
)
# A template, and what the prompt of row 5 says.
PROMPTS = {
    "{premise} {hypothesis}": "p5 {hypothesis} h5",
    "P: {premise}\nH: {hypothesis}\nLabel:": "P: p5 {hypothesis}\nH: h5\nLabel:",
    "{hypothesis}{premise}:": "h5p5 {hypothesis}:",
    "{premise} or {premise}?": "p5 {hypothesis} or p5 {hypothesis}?",
    "{text} of {year} is": "t5 of 2005 is",
    "In {year}: {text}": "In 2005: t5",
    "{premise} is": "p5 {hypothesis} is",
    "{odd name}, {text}:": "o5, t5:",
    "{text} mood :": "t5 mood :",
    "{text} {text} :": "t5 t5 :",
    '{"review": "{text}", "is": "': '{"review": "t5", "is": "',
    "\\frac{a}{b} {text} \\boxed{": "\\frac{a}{b} t5 \\boxed{",
    "f{x} = {text}; {} { y }": "f{x} = t5; {} { y }",
}


def prompts_of(task):
    return {task.prompt.replace("{text}", text) for part in task.splits.values() for text in part.texts}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("label", ["label", None])
@pytest.mark.brings(
    "Data",
    'a prompt over several columns: `"{premise} {hypothesis}"`',
    "fills it from each of them",
)
def test_a_prompt_is_filled_from_the_columns_that_it_names(prompt, label, tmp_path):
    task = sv.Task.from_frame(PAIRS, label=label, prompt=prompt)
    assert PROMPTS[prompt] in prompts_of(task)
    assert len(prompts_of(task)) == 12
    assert task.prompt.count("{text}") >= 1
    PAIRS.to_csv(tmp_path / "pairs.csv", index=False)
    data = datasets.Dataset.from_pandas(PAIRS)
    for same in (
        sv.Task.from_dataset(data, label=label, prompt=prompt),
        sv.Task.from_dataset(data.to_iterable_dataset(), label=label, prompt=prompt, rows=100),
        sv.Task.from_file(tmp_path / "pairs.csv", label=label, prompt=prompt),
    ):
        assert same.hash == task.hash


def test_the_column_of_texts_may_have_any_name_and_need_not_be_there():
    body = PAIRS.rename(columns={"text": "body"})
    named = sv.Task.from_frame(body, text="body", label="label", prompt="{body} :")
    assert named.hash == sv.Task.from_frame(PAIRS, label="label", prompt="{text} :").hash
    sv.Task.from_frame(body, label="label", prompt="{premise} {hypothesis}")
    both = sv.Task.from_frame(PAIRS, text="premise", label="label", prompt="{text} {hypothesis}")
    assert "p5 {hypothesis} h5" in prompts_of(both)


def test_every_split_needs_the_columns():
    with pytest.raises(TaskError, match=r"names \{hypothesis\}, and the columns of test"):
        sv.Task.from_frame(PAIRS, label="label", prompt="{premise} {hypothesis}", test=PAIRS[["premise", "label"]])


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{premisse} {hypothesis}", r"names \{premisse\}.*'premise', 'hypothesis'"),
        ("{text} {json}", r"names \{json\}"),
        ("no place", "no place for the text"),
        ("{}", "no place for the text"),
        ("{label} {text}", "both text and label"),
    ],
)
def test_a_column_that_is_not_there_is_named(prompt, message):
    with pytest.raises(TaskError, match=message):
        sv.Task.from_frame(PAIRS, label="label", prompt=prompt)


@pytest.mark.parametrize(
    ("value", "message"), [(pd.NA, "missing"), (float("nan"), "nan"), (["x"], "list"), (b"x", "bytes")]
)
def test_a_cell_without_text_is_named_with_its_column_row_and_split(value, message):
    broken = PAIRS.assign(hypothesis=[value if i == 4 else "h" for i in range(12)])
    with pytest.raises(TaskError, match=rf"hypothesis\[4\] of test is .*{message}"):
        sv.Task.from_frame(PAIRS, label="label", prompt="{premise} {hypothesis}", test=broken)
