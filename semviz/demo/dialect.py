"""The task `dialect`: the same world, described by people who put the verb last and swap words in pairs.

The verb comes last, the adjective after its noun and the preposition after its place; colours, animals, places, jobs
and a few other words swap names in pairs. All words stay in the vocabulary, so the LM has to relearn
grammar and meanings, not spelling.
"""

from __future__ import annotations

import random

from semviz.demo import lexicon as lx
from semviz.demo.world import ACTORS, TASK_NAMES, TEST_NAMES, Scene

__all__ = ["SWAPPED", "dialect_text"]


def _pairs(*groups: tuple[str, ...]) -> dict[str, str]:
    """Map each word of a group to its neighbour, both ways; the last word of an odd group stays the same."""
    swapped: dict[str, str] = {}
    for group in groups:
        for one, two in zip(group[::2], group[1::2]):  # noqa: B905 - an odd last word is left out on purpose
            swapped[one], swapped[two] = two, one
    return swapped


SWAPPED = _pairs(
    lx.COLOURS, lx.ANIMALS, lx.PLACES, lx.JOBS, lx.INSTRUMENTS, ("happy", "sad", "old", "new", "in", "near")
)

# Verb last, the adjective after its noun, prepositions after theirs, the negation at the very end.
FRAMES = (
    "{name} a {trade} is .",
    "{name} the {work} at works .",
    "the {animal} {colour} the {den} in lives .",
    "a {animal} the {den} near {name} saw .",
    "{name} the {thing} {colour2} to {name2} gave .",
    "{name2} the {thing} the {place} to carried .",
    "so the {thing} the {place} in is .",
    "{name} {favourite} likes .",
    "{he} the {music} plays .",
    "{name} {weather} days on to {pastime} wants .",
    "{name} {state} is , so {he} to {need} wants .",
    "{name2} {he} knows not .",
)
_TRAIN_FRAMES = 10  # the last two are for the test split only


def dialect_text(rng: random.Random, *, test: bool) -> str:
    """Write one passage of six sentences."""
    scene = Scene(
        rng,
        names=ACTORS + TASK_NAMES + (TEST_NAMES if test else ()),
        classes={"thing": lx.THINGS + lx.TASK_THINGS + (lx.TEST_THINGS if test else ())},
    )
    frame_numbers = list(range(len(FRAMES) if test else _TRAIN_FRAMES))
    chosen = sorted(rng.sample(frame_numbers, 6))
    passage = " ".join(scene.fill(FRAMES[i]) for i in chosen)
    return " ".join(SWAPPED.get(word, word) for word in passage.split())
