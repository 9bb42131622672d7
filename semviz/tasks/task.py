"""A task: texts, with or without labels → prompts, traced positions and targets.

A *classification* task asks for a label word after a prompt; the traced position is the last one of the prompt
(`answer`). A *language modelling* task asks for the next token at every position (`next`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.tasks.splits import SPLITS, Split
from semviz.tasks.task_like import Scoring
from semviz.tasks.task_parts import TaskParts, notes_on
from semviz.tasks.task_sources import TaskSources

if TYPE_CHECKING:
    import pandas as pd

    from semviz.lm.model import LanguageModel
    from semviz.tasks.look import Look

Kind = Literal["classification", "language modelling"]


@dataclass(frozen=True)
class Task(TaskSources):
    """What a model should learn, as text.

    Attributes:
        name: Its name in tables and figures.
        prompt: Template that contains `{text}`; a classification prompt ends where the label word belongs.
        labels: Names of the classes; empty for language modelling.
        words: The word that stands for each label after the prompt, in the same order.
        splits: `train`, `validation` and `test`.
        max_tokens: Texts are truncated to this many tokens (prompt included); None refuses texts that exceed the
            model's context.
        scoring: How label words of several tokens are scored where their first tokens do not tell them apart: `"sum"`
            of the tokens' log-probabilities (that of the word), or their `"mean"`.
        whole: Hash of the task of which this is a subset; empty if it is none.
        remarks: What was noticed when the data were read, in sentences, such as an encoding that was guessed.
    """

    name: str
    prompt: str
    labels: tuple[str, ...]
    words: tuple[str, ...]
    splits: Mapping[str, Split] = field(repr=False)
    max_tokens: int | None = None
    scoring: Scoring = "sum"
    whole: str = field(repr=False, compare=False, default="")
    remarks: tuple[str, ...] = field(repr=False, compare=False, default=())

    @property
    def kind(self) -> Kind:
        """`"classification"` or `"language modelling"`."""
        return "classification" if self.labels else "language modelling"

    @property
    def score(self) -> Literal["accuracy", "loss"]:
        """Score by which finetunes on this task are compared."""
        return "accuracy" if self.labels else "loss"

    @cached_property
    def hash(self) -> str:
        """Twelve hex digits that change with any text, label or option."""
        splits = [[name, split.texts, split.labels] for name, split in sorted(self.splits.items())]
        content: list[Any] = [self.prompt, self.labels, self.words, self.max_tokens, splits]
        if self.scoring != "sum":  # hashes from before there was a choice stay as they are
            content.append(self.scoring)
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=6).hexdigest()

    @property
    def lineage(self) -> str:
        """The hash; of a subset, the whole task's hash and a slash before it."""
        return f"{self.whole}/{self.hash}" if self.whole not in ("", self.hash) else self.hash

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What to know before scores are read: remarks, texts that are in two splits, labels that nothing trains."""
        return tuple(dict.fromkeys([*self.remarks, *notes_on(self.splits, self.labels)]))

    def split(self, name: str) -> Split:
        """One split by name: `"train"`, `"validation"` or `"test"`.

        Raises:
            TaskError: If there is no such split.
        """
        return self.splits[checks.one_of("split", name, sorted(self.splits), error=TaskError)]

    def subset(
        self, *, train: int | None = None, validation: int | None = None, test: int | None = None, seed: int = 0
    ) -> Task:
        """The same task with at most `train`, `validation` and `test` rows, drawn at random with `seed`.

        Raises:
            TaskError: If a number of rows or the seed is not a whole number, or no row would remain.
        """
        splits, seed = dict(self.splits), checks.whole_number("seed", seed, error=TaskError)
        for name, size in (("train", train), ("validation", validation), ("test", test)):
            if size is not None and checks.whole_number(name, size, minimum=1, error=TaskError) < len(splits[name]):
                rows = sorted(random.Random(seed).sample(range(len(splits[name])), size))
                splits[name] = splits[name].take(rows)
        return replace(self, splits=splits, whole=self.whole or self.hash)

    @classmethod
    def _of_parts(cls, name: str, parts: TaskParts, remarks: Sequence[str]) -> Task:
        content = {one.name: getattr(parts, one.name) for one in fields(parts)}
        return cls(name=name, **{**content, "remarks": (*remarks, *parts.remarks)})

    def frame(self) -> pd.DataFrame:
        """Every text: columns split, text, and label for classification."""
        import pandas as pd

        rows = [
            {"split": name, "text": text, **({"label": self.labels[part.labels[i]]} if part.labels else {})}
            for name, part in self.splits.items()
            for i, text in enumerate(part.texts)
        ]
        return pd.DataFrame(rows)

    def look(self, model: LanguageModel, row: int = 0, *, split: str = "train") -> Look:
        """Show what a model reads of one row: the prompt's tokens, and the tokens that stand for each label.

        Args:
            model: A loaded model.
            row: Number of the row in the split.
            split: `"train"`, `"validation"` or `"test"`.

        Raises:
            TaskError: If there is no such row, or the task does not fit the model.
        """
        from semviz.tasks.look import look

        return look(model, self, row, split)

    def __repr__(self) -> str:
        """One line: name, kind, rows, labels, notes."""
        sizes = ", ".join(f"{len(self.splits[s]):,} {s}" for s in SPLITS if s in self.splits)
        classes = f"; {len(self.labels)} labels: {', '.join(self.labels)}" if self.labels else ""
        notes = f"; {' '.join(self.notes)}" if self.notes else ""
        return f"Task({self.name}: {self.kind}; {sizes}{classes}{notes})"

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.frame().groupby("split").head(2))


def check_task(task: Any) -> Task:
    """Return a task; refuse anything that is not a `Task`.

    Raises:
        TaskError: If it is something else.
    """
    if not isinstance(task, Task):
        raise TaskError(
            f"{checks.named_repr('task', task)} is not a task; pass load_task(…), Task.from_texts(…) or the like."
        )
    return task
