"""The stream of documents that the demo LM is pretrained on, and the held-out documents."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache

from semviz.demo import notes, stories, talk
from semviz.demo.world import Scene

__all__ = ["KINDS", "documents", "general_text"]

# Kind of document, the function that writes it, and its share of the documents in per cent.
KINDS: dict[str, tuple[Callable[[Scene], str], int]] = {
    "story": (stories.story, 26),
    "review": (notes.review, 8),
    "portrait": (notes.portrait, 7),
    "inventory": (notes.inventory, 5),
    "dialogue": (talk.dialogue, 5),
    "episode": (notes.episode, 18),
    "mood note": (notes.mood_note, 3),
    "kind note": (notes.kind_note, 3),
    "correction": (talk.correction, 6),
    "debate": (talk.debate, 8),
    "gossip": (talk.gossip, 6),
    "arithmetic": (talk.arithmetic, 3),
    "lesson": (talk.lesson, 3),
}

_NAMES, _SHARES = tuple(KINDS), [share for _, share in KINDS.values()]


def documents(seed: int) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) endlessly; the same seed gives the same documents on every machine."""
    rng = random.Random(seed)
    while True:
        kind = rng.choices(_NAMES, _SHARES)[0]
        yield kind, KINDS[kind][0](Scene(rng))


@cache
def _held_out() -> tuple[str, ...]:
    texts: dict[str, None] = {}
    for _, text in documents(seed=20_260):
        if len(text.split()) >= 20:  # a shorter one might occur word for word in the pretraining stream
            texts[text] = None
        if len(texts) == 300:
            return tuple(texts)
    raise AssertionError("documents() ended")


def general_text() -> list[str]:
    """Return 300 documents of plain world text; `semviz.demo.pretrain` skips them."""
    return list(_held_out())
