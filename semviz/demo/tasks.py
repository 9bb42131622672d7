"""The four downstream tasks of the demo: their prompts, labels and rows.

Only the standard library is used, and every call gives the same rows, since each split has its own fixed seed.
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
    """A packaged task: its prompt and labels.

    Attributes:
        name: Key in `SPECS`.
        kind: "classification" or "language modelling".
        prompt: Template with ``{text}``; the model's next token after it should be the label.
        labels: The label words, one token each; empty for language modelling.
        description: One sentence about the task.
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
            description="Which of six kinds of answer is asked for, when two questions are mentioned?",
        ),
        DemoSpec(
            name="where",
            kind="classification",
            prompt="{text} answer :",
            labels=where.LABELS,
            description="Where is the person or the thing, after it was carried around and put down?",
        ),
        DemoSpec(
            name="dialect",
            kind="language modelling",
            prompt="{text}",
            labels=(),
            description="Next words in the same world, with the verb last and with words swapped in pairs.",
        ),
    )
}

# Numbers of rows (train, test), and the functions that write one row.
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
        KeyError: If there is no such task or split; the message lists the valid names.
    """
    if name not in SPECS:
        raise KeyError(f"unknown demo task {name!r}; pass one of {list(SPECS)}")
    if split not in ("train", "test"):
        raise KeyError(f"unknown split {split!r}; pass 'train' or 'test'")
    return [dict(row) for row in _split(name, split)]


@cache
def _split(name: str, split: str) -> tuple[dict[str, str], ...]:
    spec, is_test = SPECS[name], split == "test"
    rng = random.Random(f"semviz {name} {split}")
    size = _SIZES[name][is_test]
    used_texts = {row["text"] for row in _split(name, "train")} if is_test else set()
    split_rows: list[dict[str, str]] = []
    while len(split_rows) < size:
        if spec.labels:
            label = spec.labels[len(split_rows) % len(spec.labels)]
            row = {"text": _WRITERS[name](rng, label, test=is_test), "label": label}
        else:
            row = {"text": dialect.dialect_text(rng, test=is_test)}
        if row["text"] not in used_texts:
            used_texts.add(row["text"])
            split_rows.append(row)
    rng.shuffle(split_rows)
    return tuple(split_rows)
