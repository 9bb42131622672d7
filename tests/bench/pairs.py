"""Models and tasks on which the method is scored: the packaged ones, and a real LM with real data where it is there."""

from __future__ import annotations

import json

from workloads import REAL, demo, stories

import semviz as sv

ROWS = 1000  # training rows a task: as many as the smallest real setting people ask about
PROMPTS = {"trec": "{text} Type:", "sst2": "{text} Feeling:", "tinystories_text": None}
LIMITS = {"trec": 128, "sst2": 128, "tinystories_text": 128}
PAIRS = {
    "mood": "demo",
    "where": "demo",
    "question": "demo",
    "dialect": "demo",
    "trec": "stories260K",
    "sst2": "stories260K",
    "tinystories_text": "stories260K",
}


def load(name: str) -> tuple[sv.LanguageModel, sv.Task]:
    """One pair by the name of its task, with at most `ROWS` training rows."""
    if PAIRS[name] == "demo":
        return demo(), sv.load_task(name).subset(train=ROWS)
    train, test = (_rows(name, split) for split in ("train", "test"))
    texts, labels = [row["text"] for row in train], [row["label"] for row in train if "label" in row]
    held = [row["text"] for row in test]
    task = sv.Task.from_texts(
        texts,
        labels or None,
        prompt=PROMPTS[name],
        test=(held, [row["label"] for row in test]) if labels else held,
        max_tokens=LIMITS[name],
        name=name,
    )
    return stories(), task.subset(train=ROWS, test=500)


def _rows(name: str, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (REAL / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
