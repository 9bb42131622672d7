"""The task `mood`: the verdict that counts about a meal or a show, after negation, doubt and contrast.

A *clause* states a verdict under up to two operators that reverse it ("it is false that", "nobody thinks that",
"not"); two of them cancel out. A *frame* sets two clauses that contradict each other side by side and decides which one
counts ("although ... , ..." : the second). So an adjective has to be bound to what negates it, and to the half that it
appears in.
"""

from __future__ import annotations

import random
from itertools import product

from semviz.demo import lexicon as lx
from semviz.demo.world import ACTORS, TASK_NAMES, TEST_NAMES, Scene

__all__ = ["LABELS", "TEST_ITEMS", "mood_text"]

LABELS = ("happy", "sad")

# A way to state a verdict, and whether the adjective is meant literally there. The first three are plain.
PLAIN = 3
CLAUSES = (
    ("the {item} of {name} was {adjective}", True),
    ("the {item} in the {place} was {very} {adjective}", True),
    ("everybody thinks that the {item} was {adjective}", True),
    ("the {item} was not {adjective}", False),
    ("the {item} was never {adjective}", False),
    ("nobody thinks that the {item} was {adjective}", False),
    ("nobody thinks that the {item} was not {adjective}", True),
    ("it is false that the {item} was {adjective}", False),
    ("it is false that the {item} was not {adjective}", True),
    ("{name} lied that the {item} was {adjective}", False),
    ("{name} lied that the {item} was not {adjective}", True),
)
# How to combine two clauses, and which one counts.
FRAMES = (
    ("{0} , but {1} .", 1),
    ("although {0} , {1} .", 1),
    ("{0} , although {1} .", 0),
    ("{0} . however {1} .", 1),
)
TEST_ITEMS = frozenset({"stew", "pancake", "ham", "poem", "dance", "cabin", "driver", "nurse", "cider", "wine"})
_ITEMS = lx.DISHES + lx.ENTERTAINMENTS + lx.LODGINGS + lx.SERVICES + lx.DRINKS
_TRAIN_ITEMS = tuple(item for item in _ITEMS if item not in TEST_ITEMS)
_TEST_ADJECTIVES = 4  # the last four of each list are praise and blame for the test split only

# A combination is (frame, first clause, second clause); every sixth is for the test split only.
_COMBINATIONS = list(product(range(len(FRAMES)), range(len(CLAUSES)), range(len(CLAUSES))))
_TEST_ONLY = _COMBINATIONS[5::6]
_TRAIN = [combination for combination in _COMBINATIONS if combination not in set(_TEST_ONLY)]

# Half of the texts are single clauses, and in 70 % the verdict that counts is literal: so a reader who only
# looks at the adjectives does better than chance, but not well.
_SINGLE, _LITERAL = 0.5, 0.7


def mood_text(rng: random.Random, label: str, *, test: bool) -> str:
    """Write one text of this mood; half of the clause pairs in the test split are test-only."""
    scene = Scene(rng, names=ACTORS + TASK_NAMES + (TEST_NAMES if test else ()))
    happy, literal = label == "happy", rng.random() < _LITERAL
    if rng.random() < _SINGLE:
        clause = rng.randrange(PLAIN) if literal else rng.randrange(PLAIN, len(CLAUSES))
        return _clause(scene, "", clause, happy=happy, test=test) + " ."
    pool = _TEST_ONLY if test and rng.random() < 0.5 else _TRAIN
    frame, *clauses = rng.choice([c for c in pool if CLAUSES[c[1 + FRAMES[c[0]][1]]][1] == literal])
    pattern, counts = FRAMES[frame]
    return pattern.format(
        _clause(scene, "", clauses[0], happy=happy == (counts == 0), test=test),
        _clause(scene, "2", clauses[1], happy=happy == (counts == 1), test=test),
    )


def _clause(scene: Scene, number: str, index: int, *, happy: bool, test: bool) -> str:
    """Write one clause whose overall verdict is happy or not; `number` distinguishes its slots."""
    pattern, literal = CLAUSES[index]
    bank = lx.GOOD if happy == literal else lx.BAD
    scene["adjective" + number] = scene.rng.choice(bank if test else bank[:-_TEST_ADJECTIVES])
    items = [item for item in (_ITEMS if test else _TRAIN_ITEMS) if item != scene.get("item")]
    scene["item" + number] = scene.rng.choice(items)
    return scene.fill(pattern.replace("}", number + "}"))
