"""The packaged demo tasks, and what else stands for a task."""

from __future__ import annotations

from typing import Any

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.demo import tasks as demo
from semviz.tasks.splits import Split
from semviz.tasks.task import Task, check_task


def load_task(name: str) -> Task:
    """Load a packaged demo task: `mood`, `question`, `where` or `dialect`.

    Raises:
        TaskError: If there is no such task; the message lists the packaged ones.
    """
    if not isinstance(name, str) or name not in demo.SPECS:
        raise TaskError(
            f"There is no packaged task {checks.short_repr(name)}; pass one of {sorted(demo.SPECS)}, or make "
            "your own with Task.from_file, Task.from_dataset, Task.from_frame or Task.from_texts."
        )
    spec = demo.SPECS[name]
    train, test = demo.rows(name, "train"), demo.rows(name, "test")
    labels = [row["label"] for row in train] if spec.labels else None
    texts = [row["text"] for row in test]
    return Task.from_texts(
        [row["text"] for row in train],
        labels,
        prompt=spec.prompt,
        test=(texts, [row["label"] for row in test]) if spec.labels else texts,
        name=name,
        stratify=False,  # the validation rows are what they have always been: numbers in the documentation are of them
    )


def as_task(task: Any) -> Task:
    """Return a task; texts become one of language modelling, with one split, `train`.

    Raises:
        TaskError: If it is something else, or no text.
    """
    if isinstance(task, str):
        if task in demo.SPECS:
            raise TaskError(f"task={task!r} is not a task but the name of one; pass load_task({task!r}).")
        task = [task]
    if not isinstance(task, list | tuple) or not all(isinstance(text, str) for text in task):
        return check_task(task)
    split = Split(tuple(checks.texts("task", task)))
    return Task(checks.short_repr(split.texts[0], width=32), "{text}", (), (), {"train": split})
