"""One sample with all its positions: a row that the trace keeps only the answer of, or a text of one's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.tasks.task import Split, Task
from semviz.traces.tracing import trace as trace_task

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.traces.trace import Trace


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample that can be drawn token by token.

    Attributes:
        trace: Where its positions are.
        number: Its number there.
        text: What was read.
        own: Whether a person wrote it just now.
    """

    trace: Trace
    number: int
    text: str
    own: bool = False

    @property
    def tokens(self) -> int:
        """Traced tokens of it."""
        return int((self.trace.positions["sample"] == self.number).sum())

    @property
    def title(self) -> str:
        """What a picture of it is called."""
        return "Your text" if self.own else f"Sample {self.number}"


def open_sample(model: LanguageModel, task: Task, trace: Trace, number: int) -> Sample:
    """Open a row of a task: from the trace where it has all positions, else by reading it once more.

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
    made = _read(model, replace(task, splits={"train": part.take([number])}), trace)
    return Sample(replace(made, positions=made.positions.assign(sample=number)), number, part.texts[number])


def open_text(model: LanguageModel, task: Task, trace: Trace, text: str, label: str | None) -> Sample:
    """Read a text of one's own as a row of the task.

    Args:
        model: A loaded model.
        task: The task, whose prompt goes around the text.
        trace: Its trace, whose options and colours are taken over.
        text: The text.
        label: Its label; None scores every token against the next one instead.

    Raises:
        TaskError: If the text is empty or too long, or there is no such label.
    """
    checks.one_text("text", text)
    if label is None:
        made = Task("your text", "{text}", (), (), {"train": Split((text,))}, task.max_tokens)
    elif label in task.labels:
        made = replace(task, name="your text", splits={"train": Split((text,), (task.labels.index(label),))})
    else:
        raise TaskError(f"label={label!r} is not one of the task's; pass one of {list(task.labels)}, or None.")
    return Sample(_read(model, made, trace), 0, text, own=True)


def _read(model: LanguageModel, task: Task, like: Trace) -> Trace:
    """Trace the one row of a task with the options of another trace, to be drawn in that one's colours."""
    from semviz.figures.drawing.colours import colour_range

    options = {**like.options, "split": "train", "samples": None, "detail": 1}
    found = trace_task(model, task, **(options if task.labels else {**options, "vocab": "full"}), progress=False)
    return replace(found, meta={**found.meta, "ranges": {key: colour_range(like, key) for key in like.metrics}})
