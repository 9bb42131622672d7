"""The generated world: deterministic, rich enough, and without what is held out."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import islice

import pytest

from semviz.demo import lexicon as lx
from semviz.demo.corpus import KINDS, documents, general_text
from semviz.demo.tasks import SPECS, rows
from semviz.demo.world import ACTORS, EVERYBODY, PEOPLE, TASK_NAMES, TEST_NAMES

SAMPLE = 12_000
HELD_OUT_NAMES = frozenset(TASK_NAMES + TEST_NAMES)
HELD_OUT_THINGS = frozenset(lx.TASK_THINGS + lx.TEST_THINGS)
HOMONYMS = frozenset({"lily", "trumpet"})  # a plant and an instrument besides


@pytest.fixture(scope="module")
def stream() -> list[tuple[str, str]]:
    return list(islice(documents(seed=1), SAMPLE))


def test_same_seed_same_text(stream: list[tuple[str, str]]) -> None:
    again = list(islice(documents(seed=1), 500))
    assert again == stream[:500]
    assert list(islice(documents(seed=2), 500)) != again


def test_corpus_has_not_changed_since_the_model_was_trained(stream: list[tuple[str, str]]) -> None:
    digest = hashlib.sha256("\n".join(text for _, text in stream[:2000]).encode()).hexdigest()
    assert digest[:16] == "3989ed1de242320b"


def test_at_least_800_words_and_every_kind_occur(stream: list[tuple[str, str]]) -> None:
    words = Counter(word for _, text in stream for word in text.split() if word.isalpha())
    assert len([word for word, count in words.items() if count >= 5]) >= 800
    assert {kind for kind, _ in stream} == set(KINDS)


def test_documents_are_lower_case_words_and_punctuation(stream: list[tuple[str, str]]) -> None:
    for _, text in stream[:2000]:
        assert re.fullmatch(r"(?:[a-z]+|[.,:!?])(?: (?:[a-z]+|[.,:!?]))*", text), text


def test_held_out_names_and_things_only_occur_where_the_readme_says(stream: list[tuple[str, str]]) -> None:
    seen: Counter[str] = Counter()
    for kind, text in stream:
        words = set(text.split())
        if kind not in ("portrait", "inventory"):
            assert not words & HELD_OUT_NAMES - HOMONYMS, text
        if kind != "inventory":
            assert not words & HELD_OUT_THINGS - HOMONYMS, text
        seen.update(words & (HELD_OUT_NAMES | HELD_OUT_THINGS))
    # Their embeddings are trained: each is seen hundreds of times in the whole corpus.
    assert min(seen[word] for word in HELD_OUT_NAMES | HELD_OUT_THINGS) >= 20


def test_people_are_divided_into_three_parts() -> None:
    assert len(set(EVERYBODY)) == len(EVERYBODY) == len(ACTORS) + len(TASK_NAMES) + len(TEST_NAMES)
    assert set(PEOPLE) == set(EVERYBODY)


@pytest.fixture(scope="module")
def skeletons(stream: list[tuple[str, str]]) -> str:
    return "\n".join(skeleton(text) for _, text in stream)


def skeleton(text: str) -> str:
    """Replace names, things, places and so on by their class, so that two texts of one template look the same."""
    return " ".join(_CLASS_OF.get(word, word) for word in text.split())


_CLASS_OF = {word: f"<{kind}>" for kind, group in lx.CLASSES.items() for word in group} | {
    **dict.fromkeys(EVERYBODY, "<name>"),
    **dict.fromkeys(lx.THINGS + lx.TASK_THINGS + lx.TEST_THINGS, "<thing>"),
    **dict.fromkeys(("he", "she"), "<he>"),
}


@pytest.mark.parametrize("task", SPECS)
def test_no_task_text_has_the_template_of_a_pretraining_text(task: str, skeletons: str) -> None:
    # A control: a pretraining template is found this way, so that the test can fail.
    assert skeleton("anna found the key . she ran to the barn . where is the key ? answer : barn") in skeletons
    found = {s for row in rows(task, "train") + rows(task, "test") if (s := skeleton(row["text"])) in skeletons}
    assert not found


def test_general_text_is_held_out(stream: list[tuple[str, str]]) -> None:
    texts = general_text()
    assert len(set(texts)) == len(texts) == 300
    assert not set(texts) & {text for _, text in stream}
    assert all(15 <= len(text.split()) <= 150 for text in texts)
