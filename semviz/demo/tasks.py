"""The four downstream tasks of the demo: their prompts, labels and rows.

Only the standard library is used, and every call gives the same rows: a split is drawn from a seed of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from semviz.demo import dialect, mood, question, where
from semviz.demo.corpus import general_text

__all__ = ["MODEL_DIR", "SPECS", "DemoSpec", "general_text", "rows"]

MODEL_DIR = Path(__file__).parent / "model"


@dataclass(frozen=True)
class DemoSpec:
    """What a task asks the model.

    Attributes:
        name: Key in `SPECS`.
        kind: "classification" or "language modelling".
        prompt: Template with ``{text}``; the model's next token after it should be the label.
        labels: The label words, one token each; empty for language modelling.
        description: One sentence for people.
    """

    name: str
    kind: str
    prompt: str
    labels: tuple[str, ...]
    description: str


SPECS = {
    spec.name: spec
    for spec in (
        DemoSpec(
            name="mood",
            kind="classification",
            prompt="{text} mood :",
            labels=mood.LABELS,
            description="Is the verdict good or bad, after negation, doubt and contrast?",
        ),
        DemoSpec(
            name="question",
            kind="classification",
            prompt="{text} kind :",
            labels=question.LABELS,
            description="Which of six kinds of answer is asked for, when two questions are in the air?",
        ),
        DemoSpec(
            name="where",
            kind="classification",
            prompt="{text} answer :",
            labels=where.LABELS,
            description="Where is the thing, after it was carried about, handed over or put down?",
        ),
        DemoSpec(
            name="dialect",
            kind="language modelling",
            prompt="{text}",
            labels=(),
            description="Next words of the same world, told with the verb last and with words swapped in pairs.",
        ),
    )
}

# Rows of (train, test), and how to write one.
_SIZES = {"mood": (3000, 500), "question": (3000, 500), "where": (2000, 500), "dialect": (800, 150)}
_WRITERS: dict[str, Callable[..., str]] = {
    "mood": mood.mood_text,
    "question": question.question_text,
    "where": where.where_text,
}


def rows(name: str, split: str) -> list[dict[str, str]]:
    """Return the rows of one split of a task.

    Args:
        name: A key of `SPECS`.
        split: "train" or "test".

    Returns:
        Dictionaries with the key "text" and, in classification, "label". The labels take turns, so they are balanced to
        within one row; no text occurs twice, or in both splits.

    Raises:
        KeyError: If there is no such task or split; the message lists those that there are.
    """
    if name not in SPECS:
        raise KeyError(f"no demo task {name!r}: there are {', '.join(SPECS)}")
    if split not in ("train", "test"):
        raise KeyError(f"no split {split!r}: there are train and test")
    return [dict(row) for row in _split(name, split)]


@cache
def _split(name: str, split: str) -> tuple[dict[str, str], ...]:
    spec, test = SPECS[name], split == "test"
    rng = random.Random(f"semviz {name} {split}")
    wanted = _SIZES[name][test]
    seen = {row["text"] for row in _split(name, "train")} if test else set()
    found: list[dict[str, str]] = []
    while len(found) < wanted:
        if spec.labels:
            label = spec.labels[len(found) % len(spec.labels)]
            row = {"text": _WRITERS[name](rng, label, test=test), "label": label}
        else:
            row = {"text": dialect.dialect_text(rng, test=test)}
        if row["text"] not in seen:
            seen.add(row["text"])
            found.append(row)
    rng.shuffle(found)
    return tuple(found)
