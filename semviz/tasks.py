"""A task: texts with labels (or texts alone) → prompts, traced positions and targets.

A *classification* task asks for a label word after a prompt; the traced position is the last one of the prompt
(`answer`). A *language modelling* task asks for the next token at every position (`next`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from semviz.errors import TaskError

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset, DatasetDict

Kind = Literal["classification", "language modelling"]
SPLITS = ("train", "validation", "test")
_HELD_OUT = 0.15  # share of the training rows that becomes the validation or test split where none was given
_HELD_OUT_MOST = 500


@dataclass(frozen=True)
class Split:
    """Texts, and for classification the index of each text's label.

    Attributes:
        texts: n texts.
        labels: n indices into `Task.labels`; empty for language modelling.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Split:
        """The rows asked for, in that order."""
        return Split(tuple(self.texts[i] for i in rows), tuple(self.labels[i] for i in rows) if self.labels else ())


@dataclass(frozen=True)
class Task:
    """What a model should learn, as text.

    Attributes:
        name: What it is called in tables and figures.
        prompt: Template with `{text}` in it; a classification prompt ends where the label word should come.
        labels: Names of the classes; empty for language modelling.
        words: The word that stands for each label after the prompt, in the same order.
        splits: `train`, `validation` and `test`.
        max_tokens: Texts are cut to this many tokens (prompt included); None refuses texts that the model cannot read.
    """

    name: str
    prompt: str
    labels: tuple[str, ...]
    words: tuple[str, ...]
    splits: Mapping[str, Split] = field(repr=False)
    max_tokens: int | None = None

    @property
    def kind(self) -> Kind:
        """`"classification"` or `"language modelling"`."""
        return "classification" if self.labels else "language modelling"

    @property
    def score(self) -> Literal["accuracy", "loss"]:
        """What a finetune on this task is judged by."""
        return "accuracy" if self.labels else "loss"

    @cached_property
    def hash(self) -> str:
        """Twelve hex digits that change with any text, label or option."""
        splits = [[name, split.texts, split.labels] for name, split in sorted(self.splits.items())]
        content = [self.prompt, self.labels, self.words, self.max_tokens, splits]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=6).hexdigest()

    def split(self, name: str) -> Split:
        """One split by name.

        Raises:
            TaskError: If there is no such split.
        """
        if name not in self.splits:
            raise TaskError(f"split={name!r} is unknown; pass one of {sorted(self.splits)}.")
        return self.splits[name]

    def subset(self, *, train: int | None = None, test: int | None = None, seed: int = 0) -> Task:
        """The same task with at most so many training and test rows, drawn at random with a seed."""
        splits = dict(self.splits)
        for name, size in (("train", train), ("test", test)):
            if size is not None and size < len(splits[name]):
                if size < 1:
                    raise TaskError(f"{name}={size}; pass a number of rows of at least 1.")
                rows = sorted(random.Random(seed).sample(range(len(splits[name])), size))
                splits[name] = splits[name].take(rows)
        return replace(self, splits=splits)

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        labels: Sequence[str] | None = None,
        *,
        prompt: str | None = None,
        words: Mapping[str, str] | None = None,
        test: tuple[Sequence[str], Sequence[str]] | Sequence[str] | None = None,
        name: str = "texts",
        max_tokens: int | None = None,
        seed: int = 0,
    ) -> Task:
        """Make a task from lists.

        Args:
            texts: n texts.
            labels: n label names for classification; leave out for language modelling.
            prompt: Template with `{text}`; by default the text alone, or the text and `Label:` on a new line.
            words: Label name → the word that the model should say; by default the name itself.
            test: `(texts, labels)`, or texts alone for language modelling; by default 15 % of the rows, at most 500.
            name: What the task is called in tables and figures.
            max_tokens: Cut texts to so many tokens instead of refusing long ones.
            seed: Seed of the splits that are made here.

        Raises:
            TaskError: If there is no text, an item is no text, labels do not fit, or the prompt has no `{text}`.
        """
        prompt = prompt if prompt is not None else ("{text}" if labels is None else "{text}\nLabel:")
        if not isinstance(prompt, str) or "{text}" not in prompt:
            raise TaskError(f"prompt={prompt!r} has no place for the text; pass a template with {{text}} in it.")
        if max_tokens is not None and max_tokens < 2:
            raise TaskError(f"max_tokens={max_tokens}; pass at least 2, or None for whole texts.")
        names: tuple[str, ...] = ()
        if labels is not None:
            names = tuple(sorted({check_text(label, "labels", i) for i, label in enumerate(labels)}))
            if len(names) < 2:
                raise TaskError(f"labels hold {len(names)} class ({', '.join(names)}); pass at least two.")
        if words is not None and set(words) != set(names):
            raise TaskError(f"words has keys {sorted(words)}; pass one word for each label of {list(names)}.")
        train = _split(texts, labels, names, "texts")
        if len(train) < 4:
            raise TaskError(f"Got {len(train)} texts; pass at least 4, better some hundreds.")
        rows = list(range(len(train)))
        random.Random(seed).shuffle(rows)
        held_out = min(_HELD_OUT_MOST, max(1, round(_HELD_OUT * len(rows))))
        splits = {}
        if test is None:
            splits["test"], rows = train.take(rows[:held_out]), rows[held_out:]
        elif labels is None:
            splits["test"] = _split(test, None, names, "test")
        else:
            if len(test) != 2:
                raise TaskError("test of a classification task is a pair; pass (texts, labels).")
            splits["test"] = _split(test[0], test[1], names, "test")
        splits["validation"], splits["train"] = train.take(rows[:held_out]), train.take(sorted(rows[held_out:]))
        said = tuple(words[label] for label in names) if words else names
        return cls(name, prompt, names, said, splits, max_tokens)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        text: str = "text",
        label: str | None = None,
        test: pd.DataFrame | None = None,
        **options: Any,
    ) -> Task:
        """Make a task from a pandas DataFrame; other options as in `from_texts`.

        Args:
            frame: One row a text.
            text: Column of texts.
            label: Column of label names; leave out for language modelling.
            test: Another DataFrame with the same columns.
            **options: `prompt`, `words`, `name`, `max_tokens`, `seed`.

        Raises:
            TaskError: If a column is missing, or as in `from_texts`.
        """

        def columns(table: pd.DataFrame) -> tuple[list[str], list[str] | None]:
            for column in (text, *([label] if label else [])):
                if column not in table.columns:
                    raise TaskError(f"There is no column {column!r}; pass one of {list(table.columns)}.")
            return list(table[text]), [str(v) for v in table[label]] if label else None

        texts, labels = columns(frame)
        held_out: Any = None
        if test is not None:
            test_texts, test_labels = columns(test)
            held_out = test_texts if test_labels is None else (test_texts, test_labels)
        return cls.from_texts(texts, labels, test=held_out, **options)

    @classmethod
    def from_dataset(
        cls, dataset: Dataset | DatasetDict, *, text: str = "text", label: str | None = None, **options: Any
    ) -> Task:
        """Make a task from a `datasets.Dataset`, or a `DatasetDict` with `train` and, if it has one, `test`.

        Integer labels with a `ClassLabel` feature are turned into their names. Other options as in `from_texts`.

        Raises:
            TaskError: If a column or the train split is missing, or as in `from_texts`.
        """
        train, test = dataset, None
        if isinstance(dataset, dict):
            if "train" not in dataset:
                raise TaskError(f"The dataset has splits {sorted(dataset)}; pass one with a train split, or one split.")
            train, test = dataset["train"], dataset.get("test", dataset.get("validation"))

        def table(part: Dataset) -> pd.DataFrame:
            for column in (text, *([label] if label else [])):
                if column not in part.column_names:
                    raise TaskError(f"There is no column {column!r}; pass one of {part.column_names}.")
            made = part.select_columns([text, *([label] if label else [])]).to_pandas()
            names = getattr(part.features[label], "names", None) if label else None
            return made.assign(**{label: [names[i] for i in made[label]]}) if label and names else made

        return cls.from_frame(table(train), text=text, label=label, test=test and table(test), **options)

    def frame(self) -> pd.DataFrame:
        """Every text: columns split, text, and label for classification."""
        import pandas as pd

        rows = [
            {"split": name, "text": text, **({"label": self.labels[part.labels[i]]} if part.labels else {})}
            for name, part in self.splits.items()
            for i, text in enumerate(part.texts)
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        """One line: name, kind, rows, labels."""
        sizes = ", ".join(f"{len(self.splits[s]):,} {s}" for s in SPLITS if s in self.splits)
        classes = f"; {len(self.labels)} labels: {', '.join(self.labels)}" if self.labels else ""
        return f"Task({self.name}: {self.kind}; {sizes}{classes})"

    def _repr_html_(self) -> str:
        from semviz.html import facts

        return facts(repr(self), self.frame().groupby("split").head(2))


def load_task(name: str) -> Task:
    """Load a packaged demo task: `mood`, `question`, `where` or `dialect`.

    Raises:
        TaskError: If there is no such task; the message lists those there are.
    """
    from semviz.demo import tasks as demo

    if name not in demo.SPECS:
        raise TaskError(
            f"There is no packaged task {name!r}; pass one of {sorted(demo.SPECS)}, or make one of your own with "
            "Task.from_dataset, Task.from_frame or Task.from_texts."
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
    )


def _split(texts: Iterable[Any], labels: Sequence[Any] | None, names: tuple[str, ...], argument: str) -> Split:
    """Check texts and labels and turn labels into indices."""
    if isinstance(texts, str):
        raise TaskError(f"{argument} is one text; pass a list of texts.")
    made = tuple(check_text(item, argument, i) for i, item in enumerate(texts))
    if not made:
        raise TaskError(f"{argument} is empty; pass at least a few texts.")
    if labels is None:
        return Split(made)
    if len(labels) != len(made):
        raise TaskError(f"{argument} has {len(made)} texts and {len(labels)} labels; pass one label for each text.")
    unknown = sorted({str(label) for label in labels} - set(names))
    if unknown:
        raise TaskError(f"{argument} has labels {unknown} that no training row has; pass labels among {list(names)}.")
    index = {label: i for i, label in enumerate(names)}
    return Split(made, tuple(index[str(label)] for label in labels))


def check_text(item: Any, argument: str, row: int) -> str:
    """Return a text that a tokenizer can read.

    Raises:
        TaskError: If it is none.
    """
    if not isinstance(item, str):
        raise TaskError(f"{argument}[{row}] is {type(item).__name__} {item!r}; pass texts (str).")
    if not item.strip():
        raise TaskError(f"{argument}[{row}] is empty; drop the row or pass some text.")
    try:
        item.encode()
    except UnicodeEncodeError as error:
        raise TaskError(f"{argument}[{row}] holds a lone surrogate; pass text that encodes as UTF-8.") from error
    return item
