"""One sample with all its positions: a row of the task, or a text that the user typed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.tasks.splits import Split
from semviz.tasks.task import Task
from semviz.traces.tracing import trace as trace_task

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.traces.trace import Trace


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample that can be drawn token by token.

    Attributes:
        trace: The trace that holds its positions.
        number: Its number in that trace.
        text: The text.
        own: Whether the user typed it, rather than a row of the task.
    """

    trace: Trace
    number: int
    text: str
    own: bool = False

    @property
    def tokens(self) -> int:
        """How many of its tokens were traced."""
        return int((self.trace.positions["sample"] == self.number).sum())

    @property
    def title(self) -> str:
        """Title of its figures."""
        return "Your text" if self.own else f"Sample {self.number}"


def open_sample(model: LanguageModel, task: Task, trace: Trace, number: int) -> Sample:
    """Open a row of a task, from the trace if it holds all positions, else by tracing the row again.

    Args:
        model: A loaded model.
        task: The task that was traced.
        trace: Its trace.
        number: Number of the row in the split that was traced.

    Raises:
        TaskError: If there is no such row.
    """
    part = task.split(trace.meta["split"])
    number = checks.whole_number("sample", number, maximum=len(part) - 1, error=TaskError)
    if number in trace.detailed:
        return Sample(trace, number, part.texts[number])
    row_trace = _trace_row(model, replace(task, splits={**task.splits, "train": part.take([number])}), trace)
    positions = row_trace.positions.assign(sample=number)
    return Sample(replace(row_trace, positions=positions), number, part.texts[number])


def open_text(model: LanguageModel, task: Task, trace: Trace, text: str, label: str | None) -> Sample:
    """Trace a text as if it were a row of the task.

    Args:
        model: A loaded model.
        task: The task, whose prompt goes around the text.
        trace: Its trace, whose options and colours are used.
        text: The text.
        label: Its label; None compares every token with the next one instead.

    Raises:
        TaskError: If the text is empty or too long, or there is no such label.
    """
    checks.one_text("text", text)
    if label is None:
        text_task = Task("your text", "{text}", (), (), {"train": Split((text,))}, task.max_tokens)
    elif label in task.labels:
        own_split = Split((text,), (task.labels.index(label),))
        text_task = replace(task, name="your text", splits={**task.splits, "train": own_split})
    else:
        raise TaskError(f"label={label!r} is not a label of the task; pass one of {list(task.labels)}, or None.")
    return Sample(_trace_row(model, text_task, trace), 0, text, own=True)


def _trace_row(model: LanguageModel, task: Task, like: Trace) -> Trace:
    """Trace a task of one row with the options of another trace, so that it is drawn in the same colours."""
    from semviz.figures.drawing.colours import colour_range

    options = {**like.options, "split": "train", "samples": None, "detail": 1}
    row_trace = trace_task(model, task, **(options if task.labels else {**options, "vocab": "full"}), progress=False)
    return replace(row_trace, meta={**row_trace.meta, "ranges": {key: colour_range(like, key) for key in like.metrics}})
