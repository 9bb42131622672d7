"""The task `where`: follow one person who carries things about, puts them down and takes them up again.

A small simulation knows where everything is; the text tells what happened and asks for the person or for one thing.
"""

from __future__ import annotations

import random

from semviz.demo import lexicon as lx
from semviz.demo.world import ACTORS, TASK_NAMES, TEST_NAMES, Scene

__all__ = ["LABELS", "where_text"]

LABELS = lx.ANSWER_PLACES

# The last way to say each is for the test split only.
WALK = (
    "{he} went to the {place} .",
    "{he} came to the {place} .",
    "{he} travelled to the {place} .",
    "then {he} went to the {place} .",
)
TAKE = ("{he} took the {thing} .", "{he} got the {thing} .", "there {he} got the {thing} .")
DROP = ("{he} dropped the {thing} .", "{he} left the {thing} there .", "there {he} dropped the {thing} .")
_TOLD_ANEW = 0.25


class _Episode:
    """One person and one thing in six places, and the text of what happened so far."""

    def __init__(self, rng: random.Random, *, test: bool) -> None:
        names = ACTORS + TASK_NAMES + (TEST_NAMES if test else ())
        things = lx.THINGS + lx.TASK_THINGS + (lx.TEST_THINGS if test else ())
        self.rng = rng
        # A quarter of the test's episodes are told in ways that training never sees.
        self.is_told_anew = test and rng.random() < _TOLD_ANEW
        self.scene = Scene(rng, names=names, classes={"thing": things})
        self.here = ""  # where the person is
        self.lies = ""  # where the thing is, unless it is carried
        self.carried = False
        self.told: list[str] = []

    def say(self, ways: tuple[str, ...]) -> None:
        sentence = self.rng.choice(ways if self.is_told_anew and self.told else ways[:-1])
        if not self.told:  # the first sentence names the person
            sentence = sentence.replace("{he}", "{name}")
        self.told.append(self.scene.fill(sentence))

    def walk(self) -> None:
        # Once the thing lies somewhere, the person may come back to it.
        self.here = self.scene["place"] = self.rng.choice([place for place in LABELS if place != self.here])
        self.say(WALK)

    def step(self) -> None:
        """Do the next sensible thing: take up or put down the thing at hand now and then, walk otherwise."""
        if self.carried and self.rng.random() < 0.4 and self.here:
            self.carried, self.lies = False, self.here
            self.say(DROP)
        else:
            self.walk()

    def place(self) -> str:
        return self.here if self.carried else self.lies


def where_text(rng: random.Random, label: str, *, test: bool) -> str:
    """Write one episode whose answer is this place, by trying until it is."""
    while True:
        episode = _Episode(rng, test=test)
        if rng.random() < 0.5:
            episode.walk()
        episode.carried = True
        episode.say(TAKE)
        episode.walk()
        for _ in range(rng.randint(1, 3)):
            episode.step()
        who = rng.random() < 0.25
        if (episode.here if who else episode.place()) == label:
            return " ".join(episode.told) + episode.scene.fill(
                " where is {name} ?" if who else " where is the {thing} ?"
            )
