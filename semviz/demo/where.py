"""The task `where`: follow one person who carries a thing around and may put it down.

A small simulation tracks where everything is; the text says what happened and asks where the person or the thing is.
"""

from __future__ import annotations

import random

from semviz.demo import lexicon as lx
from semviz.demo.world import ACTORS, TASK_NAMES, TEST_NAMES, Scene

__all__ = ["LABELS", "where_text"]

LABELS = lx.ANSWER_PLACES

# The last template of each is for the test split only.
WALK = (
    "{he} went to the {place} .",
    "{he} came to the {place} .",
    "{he} travelled to the {place} .",
    "then {he} went to the {place} .",
)
TAKE = ("{he} took the {thing} .", "{he} got the {thing} .", "there {he} got the {thing} .")
DROP = ("{he} dropped the {thing} .", "{he} left the {thing} there .", "there {he} dropped the {thing} .")
_TEST_WORDING_SHARE = 0.25


class _Episode:
    """One person and one thing in six places, and the sentences about what happened so far."""

    def __init__(self, rng: random.Random, *, test: bool) -> None:
        names = ACTORS + TASK_NAMES + (TEST_NAMES if test else ())
        things = lx.THINGS + lx.TASK_THINGS + (lx.TEST_THINGS if test else ())
        self.rng = rng
        # A quarter of the test episodes use wordings that training never sees.
        self.uses_test_wording = test and rng.random() < _TEST_WORDING_SHARE
        self.scene = Scene(rng, names=names, classes={"thing": things})
        self.here = ""  # where the person is
        self.thing_place = ""  # where the thing is, unless it is carried
        self.carried = False
        self.sentences: list[str] = []

    def say(self, templates: tuple[str, ...]) -> None:
        sentence = self.rng.choice(templates if self.uses_test_wording and self.sentences else templates[:-1])
        if not self.sentences:  # the first sentence names the person
            sentence = sentence.replace("{he}", "{name}")
        self.sentences.append(self.scene.fill(sentence))

    def walk(self) -> None:
        # Once the thing is put down, the person may come back to it.
        self.here = self.scene["place"] = self.rng.choice([place for place in LABELS if place != self.here])
        self.say(WALK)

    def step(self) -> None:
        """Put the thing down with probability 0.4 if it is carried, otherwise walk."""
        if self.carried and self.rng.random() < 0.4 and self.here:
            self.carried, self.thing_place = False, self.here
            self.say(DROP)
        else:
            self.walk()

    def place(self) -> str:
        return self.here if self.carried else self.thing_place


def where_text(rng: random.Random, label: str, *, test: bool) -> str:
    """Write one episode whose answer is this place, by trying until one has it."""
    while True:
        episode = _Episode(rng, test=test)
        if rng.random() < 0.5:
            episode.walk()
        episode.carried = True
        episode.say(TAKE)
        episode.walk()
        for _ in range(rng.randint(1, 3)):
            episode.step()
        asks_for_person = rng.random() < 0.25
        if (episode.here if asks_for_person else episode.place()) == label:
            return " ".join(episode.sentences) + episode.scene.fill(
                " where is {name} ?" if asks_for_person else " where is the {thing} ?"
            )
