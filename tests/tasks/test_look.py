"""`task.look`: the tokens that a model reads of one row, and those that stand for each label."""

from __future__ import annotations

import pytest
from small import plain_text, tiny_llama
from tokenizer_kinds import tokenizer

import semviz as sv
from semviz.common.errors import SemvizError, TaskError
from semviz.tasks.tokenizing import encode


@pytest.fixture(scope="module")
def digits():
    tok = tokenizer("byte-level, digits apart")
    return sv.load_model((tiny_llama(vocab_size=len(tok)), tok), general_text=plain_text())


def test_a_look_shows_prompt_and_labels_as_the_trace_reads_them(tiny, mood):
    for row in (0, 5):
        look, encoded = mood.look(tiny, row), encode(tiny, mood, "train")
        frame = look.frame()
        assert frame["part"].unique().tolist() == ["prompt", *mood.labels]
        assert frame.query("part == 'prompt'")["token_id"].tolist() == encoded.ids[row].tolist()
        for label, token_id in zip(mood.labels, encoded.label_ids, strict=True):
            assert frame.set_index("part").loc[[label], "token_id"].tolist() == [token_id]
        assert frame.query("scored")["part"].tolist() == list(mood.labels)
        assert f"label {mood.labels[mood.split('train').labels[row]]!r}" in repr(look)
    assert "<bos> · the · red" in repr(mood.look(tiny))


def test_a_blank_that_belongs_to_the_prompt_is_shown_there(digits):
    texts, labels = ["the film was great", "a bad thing"] * 6, ["5", "1"] * 6
    task = sv.Task.from_texts(texts, labels, prompt="{text}\nStars:")
    lines = repr(task.look(digits, 0, split="test")).splitlines()
    assert lines[0].startswith("Look(texts/test row 0; label ")
    assert "first tokens by log-probabilities, a blank before the word" in lines[0]
    assert lines[1].endswith(": · ␣")
    assert [line.split() for line in lines[2:]] == [["1", "1"], ["5", "5"]]


def test_whole_words_and_their_score_are_named(digits):
    words = {"a": "very good", "b": "very bad"}
    task = sv.Task.from_texts(["stars"] * 12, ["a", "b"] * 6, words=words, scoring="mean")
    look = task.look(digits)
    assert "whole words by the mean of log-probabilities" in repr(look)
    for label, word in words.items():
        assert "".join(look.frame().set_index("part").loc[[label], "token"]) == f" {word}"


def test_of_a_text_every_next_token_is_scored(tiny, stories):
    frame = stories.look(tiny, 1).frame()
    assert frame["scored"].tolist() == [False, False, *[True] * (len(frame) - 2)]


def test_a_look_is_escaped_and_bounded(digits):
    task = sv.Task.from_texts(["<b>x</b> " * 200] * 12, ["<i>", "no"] * 6, max_tokens=60)
    look = task.look(digits)
    assert "<b>" not in look._repr_html_()
    assert "<i>" not in look._repr_html_()
    assert len(repr(look)) < 1000


@pytest.mark.parametrize(("row", "split"), [(-1, "train"), (10**6, "train"), ("0", "train"), (0, "dev")])
def test_a_row_that_is_not_there(tiny, mood, row, split):
    with pytest.raises(TaskError):
        mood.look(tiny, row, split=split)


def test_a_look_needs_a_model(mood):
    with pytest.raises(SemvizError, match="load_model"):
        mood.look(None)


@pytest.mark.parametrize("other", ["no", "(prompt)"])
def test_a_label_called_prompt_does_not_hide_the_prompt(digits, other):
    texts = ["the film was great", "a bad thing"] * 6
    named, plain = (
        sv.Task.from_texts(texts, [a, b] * 6, words={a: "so", b: "no"}) for a, b in ("ab", ("prompt", other))
    )
    (look, same), own = (
        (task.look(digits) for task in (plain, named)),
        "((prompt))" if other == "(prompt)" else "(prompt)",
    )
    assert set(look.frame()["part"]) == {own, "prompt", other}
    assert (
        look.frame().query("part == @own")["token"].tolist() == same.frame().query("part == 'prompt'")["token"].tolist()
    )
    assert "".join(look.frame().query("part == 'prompt'")["token"]).strip() == "so"
    assert len(repr(look).splitlines()) == 4
