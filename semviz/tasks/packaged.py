"""The packaged demo tasks, and what else stands for a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.demo import tasks as demo
from semviz.tasks.splits import Split
from semviz.tasks.task import Task

_INSTEAD = "pass a text, a list of texts, load_task(…), Task.from_texts(…) or the like"


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

    Args:
        task: A task, a text, or texts in a list, an array, a Series or any other iterable.

    Raises:
        TaskError: If it is something else, or no text.
    """
    if isinstance(task, str):
        if task in demo.SPECS:
            raise TaskError(f"task={task!r} is not a task but the name of one; pass load_task({task!r}).")
        task = [task]
    if isinstance(task, Task):
        return task
    if isinstance(task, bytes | Mapping | set | frozenset) or not isinstance(task, Iterable) or _is_table(task):
        raise TaskError(f"{checks.named_repr('task', task)} is not a task; {_INSTEAD}.")
    try:
        texts = list(task)
    except TypeError:  # an array without dimensions
        texts = [getattr(task, "item", lambda: task)()]
    for text in texts:
        if not isinstance(text, str):
            raise TaskError(
                f"{checks.named_repr('task', task)} is not a task but holds {checks.short_repr(text)}; {_INSTEAD}."
            )
    task = [str(text) for text in texts]  # NumPy's texts are of a class of their own
    split = Split(tuple(checks.texts("task", task)))
    return Task(checks.short_repr(split.texts[0], width=32), "{text}", (), (), {"train": split})


def _is_table(data: Any) -> bool:
    """Whether it has named columns, over which an iteration would go: a DataFrame, or a dataset."""
    return hasattr(data, "columns") or hasattr(data, "column_names")
