"""Models and tasks on which the method is scored: the packaged ones, and real LMs and data where they are there."""

from __future__ import annotations

import json
import random

from workloads import REAL, SMOLLM2, demo, smollm2, stories

import semviz as sv

ROWS = 1000  # training rows a task of the small models: as many as the smallest real setting people ask about
SMOLLM2_ROWS = {"trec": 600, "sst2": 400}
PROMPTS = {"trec": "{text} Type:", "sst2": "{text} Feeling:", "tinystories_text": None}
SMOLLM2_PROMPTS = {"trec": "Question: {text}\nThe answer is about:", "sst2": "Review: {text}\nSentiment:"}
MAX_TOKENS = 128
PAIRS = {
    "mood": "demo",
    "where": "demo",
    "question": "demo",
    "dialect": "demo",
    "trec": "stories260K",
    "sst2": "stories260K",
    "tinystories_text": "stories260K",
    "smollm2-trec": "SmolLM2",
    "smollm2-sst2": "SmolLM2",
}
BOUNDARIES = [0, 4, 8, 12, 15, 18, 22, 26, 29]  # of SmolLM2's 30; all of the others
REPEATED = [0, 4, 8, 15, 22]  # of these, with more than one seed


def settings(name: str) -> dict[str, int]:
    """How a pair is trained."""
    return {"epochs": 2, "batch_size": 16} if PAIRS[name] == "SmolLM2" else {"epochs": 3, "batch_size": 32}


def scopes(name: str, model: sv.LanguageModel) -> list[sv.Scope]:
    """What is measured: every boundary, or some of a deep model's."""
    return [sv.Scope.above(model, k) for k in (BOUNDARIES if PAIRS[name] == "SmolLM2" else range(model.n_blocks))]


def title(name: str) -> str:
    """A pair's name in tables."""
    return f"{name.removeprefix('smollm2-')} ({PAIRS[name]})"


def missing(name: str) -> str:
    """What a pair needs that is not there; empty if it can be loaded."""
    needs = {"demo": [], "stories260K": [REAL], "SmolLM2": [REAL, SMOLLM2]}[PAIRS[name]]
    return ", ".join(str(path) for path in needs if not path.is_dir())


def load(name: str) -> tuple[sv.LanguageModel, sv.Task]:
    """One pair by its name."""
    if PAIRS[name] == "demo":
        return demo(), sv.load_task(name).subset(train=ROWS)
    if PAIRS[name] == "SmolLM2":
        return smollm2(), _smollm2_task(name.removeprefix("smollm2-"))
    train, test = (_rows(name, split) for split in ("train", "test"))
    texts, labels = [row["text"] for row in train], [row["label"] for row in train if "label" in row]
    held = [row["text"] for row in test]
    task = sv.Task.from_texts(
        texts,
        labels or None,
        prompt=PROMPTS[name],
        test=(held, [row["label"] for row in test]) if labels else held,
        max_tokens=MAX_TOKENS,
        name=name,
    )
    return stories(), task.subset(train=ROWS, test=500)


def _smollm2_task(name: str) -> sv.Task:
    """Some training rows, the next 300 for validation, 500 for tests."""
    rows, test = _rows(name, "train"), _rows(name, "test")
    random.Random(0).shuffle(rows)
    count = SMOLLM2_ROWS[name]
    test = test if len(test) <= 500 else random.Random(0).sample(test, 500)
    (texts, labels), validation, held = (
        ([row["text"] for row in part], [row["label"] for row in part])
        for part in (rows[:count], rows[count : count + 300], test)
    )
    return sv.Task.from_texts(texts, labels, prompt=SMOLLM2_PROMPTS[name], test=held, validation=validation, name=name)


def _rows(name: str, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (REAL / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
