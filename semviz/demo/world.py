"""The people of the demo world and the scenes they act in.

A `Scene` is a dictionary that invents its entries when a template asks for them: the first time
``{thing}`` is read, a thing is drawn, and from then on it stays the same. So a story is told by
filling one sentence after another from one scene:

>>> scene = Scene(random.Random(1))
>>> scene.fill("{name} has a {thing} .") == scene.fill("{name} has a {thing} .")
True
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from semviz.demo import lexicon as lx

__all__ = ["ACTORS", "EVERYBODY", "PEOPLE", "TASK_NAMES", "TEST_NAMES", "Person", "Scene"]

ACTORS = lx.WOMEN + lx.MEN
TASK_NAMES = lx.TASK_WOMEN + lx.TASK_MEN
TEST_NAMES = lx.TEST_WOMEN + lx.TEST_MEN
EVERYBODY = ACTORS + TASK_NAMES + TEST_NAMES

_WOMEN = frozenset(lx.WOMEN + lx.TASK_WOMEN + lx.TEST_WOMEN)
_PRONOUNS = {"he": ("she", "he"), "him": ("her", "him"), "his": ("her", "his")}
_SLOT = re.compile(r"([a-z]+)(\d*)")
_ARTICLE = re.compile(r"\ba (?=[aeiou])")


@dataclass(frozen=True)
class Person:
    """Facts about one person, the same in every document that mentions them."""

    name: str
    job: str
    home: str
    pet: str
    food: str
    colour: str
    instrument: str


def _people() -> dict[str, Person]:
    rng = random.Random(7)
    homes = [place for place in lx.PLACES if place not in lx.ANSWER_PLACES]
    return {
        name: Person(
            name=name,
            job=rng.choice(lx.JOBS),
            home=rng.choice(homes),
            pet=rng.choice(lx.PETS),
            food=rng.choice(lx.FOODS),
            colour=rng.choice(lx.COLOURS),
            instrument=rng.choice(lx.INSTRUMENTS),
        )
        for name in EVERYBODY
    }


PEOPLE = _people()


class Scene(dict[str, str]):
    """People and things of one document, drawn on demand.

    Keys are a word class and a number that distinguishes several members (``thing``, ``thing2``): two
    slots of one class never hold the same word. ``name`` draws a person. ``he``, ``him`` and ``his`` follow the
    sex of ``name``, ``he2`` that of ``name2``. ``trade``, ``home``, ``petof``, ``favourite``, ``tint`` and ``music``
    are facts about ``name``; ``work`` is where ``trade`` is done, ``den`` is where ``animal`` lives and
    ``pastime`` is what people do in this ``weather``, ``need`` what they want in this ``state``.

    Args:
        rng: Source of all choices.
        names: Names of the people who may appear.
        classes: Word classes that replace those of the lexicon, such as a narrower ``thing``.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        names: Sequence[str] = ACTORS,
        classes: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.rng = rng
        self._classes = {**lx.CLASSES, **(classes or {}), "name": tuple(names)}

    def __missing__(self, key: str) -> str:
        match = _SLOT.fullmatch(key)
        if match is None:
            raise KeyError(key)
        kind, number = match.groups()
        if kind in _PRONOUNS:
            value = _PRONOUNS[kind][self["name" + number] not in _WOMEN]
        elif kind in self._classes:
            value = self._draw(kind)
        else:
            value = self._fact(kind, number)
        self[key] = value
        return value

    def _draw(self, kind: str) -> str:
        """Draw a member of a class that no other slot of this class holds."""
        options = self._classes[kind]
        taken = {value for key, value in self.items() if key.rstrip("0123456789") == kind}
        while (value := options[int(self.rng.random() * len(options))]) in taken:
            if len(taken) >= len(options):
                raise ValueError(f"the class {kind!r} has only {len(options)} members, but the template asks for more")
        return value

    def _fact(self, kind: str, number: str) -> str:
        if kind == "den":
            return lx.HABITAT[self["animal" + number]]
        if kind == "pastime":
            return lx.WEATHER[self["weather" + number]]
        if kind == "need":
            return lx.REASONS[self["state" + number]]
        person = PEOPLE[self["name" + number]]
        facts = {
            "trade": person.job,
            "work": lx.WORKPLACE[person.job],
            "home": person.home,
            "petof": person.pet,
            "favourite": person.food,
            "tint": person.colour,
            "music": person.instrument,
        }
        return facts[kind]

    def fill(self, template: str) -> str:
        """Fill a template's slots; "a" becomes "an" before a vowel."""
        return _ARTICLE.sub("an ", template.format_map(self))

    def tell(self, steps: Sequence[str | Sequence[str]]) -> str:
        """Tell a story: fill one sentence per step, chosen at random where a step offers several."""
        sentences = [self.fill(step if isinstance(step, str) else self.rng.choice(step)) for step in steps]
        return " ".join(sentence for sentence in sentences if sentence)
