"""The task `question`: what kind of answer is asked for, when a text mentions two questions.

Most texts name two kinds of answer, and only the frame tells which one is asked for; in some frames this depends on
what a person already knows.
"""

from __future__ import annotations

import random

from semviz.demo import lexicon as lx
from semviz.demo.world import ACTORS, TASK_NAMES, TEST_NAMES, Scene

__all__ = ["LABELS", "question_text"]

LABELS = ("person", "place", "number", "thing", "reason", "time")

CLAUSES = {
    "person": ("who took the {thing}", "of whom {name} talked", "which {job} came", "who was in the {place}"),
    "place": ("where {name} went", "to which place {name} went", "where the {thing} is", "where the {animal} ran"),
    "number": (
        "how many {counted} {name} bought",
        "how old the {animal} is",
        "at what price the {thing} was sold",
        "how many coins the {thing} cost",
    ),
    "thing": ("what {name} wanted", "what was in the {place}", "which present {name} got", "what the {animal} ate"),
    "reason": (
        "why {name} was {sad}",
        "why the {thing} was broken",
        "for what reason {name} came",
        "why the {animal} ran away",
    ),
    "time": (
        "when {name} came",
        "at what hour {name} woke up",
        "in which month {name} was ill",
        "when the {thing} was sold",
    ),
}
# The last clause of each kind is for the test split only: its question word is known, the rest is new.
_TRAIN_CLAUSES = 3
_PLAIN = 0.3  # share of texts with a single question

# {ask} is the question that counts, {other} the one mentioned with it.
PLAIN_FRAMES = (
    "do you know {ask} ?",
    "tell me {ask} .",
    "i want to know {ask} .",
    "i do not know {ask} .",
    "nobody told me {ask} .",
)
FRAMES = (
    "tell me {ask} , not {other} .",
    "tell me not {other} , but {ask} .",
    "i know {other} , but i do not know {ask} .",
    "i do not know {ask} , but i know {other} .",
    "i do not ask {other} , i ask {ask} .",
    "i ask {ask} , i do not ask {other} .",
    "nobody told me {ask} , but everybody told me {other} .",
    "everybody told me {other} , but nobody told me {ask} .",
    "it is false that i know {ask} . i know {other} .",
    "it is false that i want to know {other} . i want to know {ask} .",
)
TEST_FRAMES = (
    "i forgot {ask} , but i know {other} .",
    "not {other} but {ask} is what i want to know .",
    "it is true that i know {other} . it is false that i know {ask} .",
)


def question_text(rng: random.Random, label: str, *, test: bool) -> str:
    """Write one text that asks for this kind of answer; in the test split, a quarter of the frames are test-only."""
    scene = Scene(
        rng,
        names=ACTORS + TASK_NAMES + (TEST_NAMES if test else ()),
        classes={"thing": lx.THINGS + lx.TASK_THINGS + (lx.TEST_THINGS if test else ())},
    )
    other = rng.choice([kind for kind in LABELS if kind != label])
    last = None if test else _TRAIN_CLAUSES
    if rng.random() < _PLAIN:
        frame = rng.choice(PLAIN_FRAMES)
    else:
        frame = rng.choice(TEST_FRAMES if test and rng.random() < 0.25 else FRAMES)
    # Different slot numbers keep the people and things of the two clauses apart.
    asked = rng.choice(CLAUSES[label][:last])
    beside = rng.choice(CLAUSES[other][:last]).replace("}", "2}")
    return scene.fill(frame.replace("{ask}", asked).replace("{other}", beside))
