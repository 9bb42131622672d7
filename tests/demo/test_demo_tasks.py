"""The downstream tasks: splits, labels, balance, and what only the test split has."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import islice

import pytest

from semviz.demo import lexicon as lx
from semviz.demo.corpus import documents
from semviz.demo.mood import TEST_ITEMS
from semviz.demo.tasks import SPECS, rows
from semviz.demo.world import TASK_NAMES, TEST_NAMES

CLASSIFICATION = [name for name, spec in SPECS.items() if spec.labels]
TEST_ONLY = frozenset(TEST_NAMES + lx.TEST_THINGS)
_NEW_WORDS = {"mood": TEST_ONLY | TEST_ITEMS | {*lx.GOOD[-4:], *lx.BAD[-4:]}}


def texts(task: str, split: str) -> list[str]:
    return [row["text"] for row in rows(task, split)]


@pytest.mark.parametrize("task", SPECS)
def test_splits_are_disjoint_and_without_repetition(task: str) -> None:
    train, test = texts(task, "train"), texts(task, "test")
    assert len(set(train)) == len(train) > len(test) == len(set(test)) >= 150
    assert not set(train) & set(test)


@pytest.mark.parametrize("task", SPECS)
def test_the_test_split_has_names_and_things_that_training_never_saw(task: str) -> None:
    new_words = _NEW_WORDS.get(task, TEST_ONLY)
    assert not {word for text in texts(task, "train") for word in text.split()} & new_words
    with_new_words = [text for text in texts(task, "test") if set(text.split()) & new_words]
    assert len(with_new_words) >= 0.15 * len(texts(task, "test"))
    assert {word for text in texts(task, "train") for word in text.split()} & set(TASK_NAMES)


@pytest.mark.parametrize("task", CLASSIFICATION)
@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_balanced_single_words_of_the_spec(task: str, split: str) -> None:
    counts = Counter(row["label"] for row in rows(task, split))
    assert set(counts) == set(SPECS[task].labels)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(label.isalpha() for label in counts)


@pytest.fixture(scope="module")
def known() -> set[str]:
    return {word for _, text in islice(documents(seed=1), 12_000) for word in text.split()}


@pytest.mark.parametrize("task", SPECS)
def test_every_word_of_a_prompt_is_a_word_of_the_corpus(task: str, known: set[str]) -> None:
    spec = SPECS[task]
    for row in rows(task, "train") + rows(task, "test"):
        prompt = spec.prompt.format(text=row["text"])
        assert set(prompt.split()) | set(spec.labels) <= known, prompt


@pytest.mark.parametrize("task", SPECS)
def test_prompts_are_short_enough_for_a_sweep(task: str) -> None:
    assert max(len(SPECS[task].prompt.format(text=text).split()) for text in texts(task, "test")) <= 50


def test_rows_are_the_same_in_another_process() -> None:
    # String hashing differs between processes: nothing may depend on the order of a set.
    code = "from semviz.demo.tasks import rows; print([rows('mood', 'train')[7], rows('where', 'test')[7]])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str([rows("mood", "train")[7], rows("where", "test")[7]])


def test_the_demo_needs_no_torch_to_read_its_rows() -> None:
    code = "import sys, semviz.demo.tasks as t; t.rows('mood', 'test'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_rows_are_copies_and_unknown_names_are_explained() -> None:
    rows("mood", "test")[0]["text"] = "changed"
    assert rows("mood", "test")[0]["text"] != "changed"
    with pytest.raises(KeyError, match="mood"):
        rows("moods", "train")
    with pytest.raises(KeyError, match="train"):
        rows("mood", "dev")


def test_where_answers_are_derived_from_the_text() -> None:
    """Read the episodes back with a simulation written from the sentences alone."""
    for row in rows("where", "train") + rows("where", "test"):
        here, lies = "", None
        *events, question = row["text"].removesuffix(" ?").split(" . ")
        for event in events:
            match [word for word in event.split() if word not in ("then", "there")]:
                case [_, "took" | "got", "the", _]:
                    lies = None
                case [_, "went" | "came" | "travelled", "to", "the", place]:
                    here = place
                case [_, "dropped" | "left", "the", _]:
                    lies = here
                case _:
                    raise AssertionError(event)
        asks_for_the_thing = question.startswith("where is the ")
        assert (lies if asks_for_the_thing and lies else here) == row["label"], row


def test_mood_is_not_a_bag_of_words() -> None:
    """A reader who only weighs the adjectives stays well below a reader of the whole sentence."""
    right = 0
    for row in rows("mood", "test"):
        praise = sum((word in lx.GOOD) - (word in lx.BAD) for word in row["text"].split())
        right += ("happy" if praise > 0 else "sad") == row["label"]
    assert 0.5 <= right / 500 <= 0.75
