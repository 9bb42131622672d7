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

from semviz import checks
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
        """One split by name: `"train"`, `"validation"` or `"test"`.

        Raises:
            TaskError: If there is no such split.
        """
        return self.splits[checks.one_of("split", name, sorted(self.splits), error=TaskError)]

    def subset(self, *, train: int | None = None, test: int | None = None, seed: int = 0) -> Task:
        """The same task with at most `train` training and `test` test rows, drawn at random with a `seed`.

        Raises:
            TaskError: If a number of rows or the seed is no whole number, or no row would be left.
        """
        splits, seed = dict(self.splits), checks.whole("seed", seed, error=TaskError)
        for name, size in (("train", train), ("test", test)):
            if size is not None and checks.whole(name, size, least=1, error=TaskError) < len(splits[name]):
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
            TaskError: If there is no text, an item is no text, labels do not fit, the prompt has no `{text}`, or an
                argument is of the wrong kind.
        """
        prompt = prompt if prompt is not None else ("{text}" if labels is None else "{text}\nLabel:")
        if not isinstance(prompt, str) or "{text}" not in prompt:
            raise TaskError(f"{checks.got('prompt', prompt)} has no place for the text; pass a template with {{text}}.")
        checks.text("prompt", prompt)
        checks.text("name", name)
        seed = checks.whole("seed", seed, error=TaskError)
        if max_tokens is not None:
            max_tokens = checks.whole("max_tokens", max_tokens, least=2, error=TaskError)
        names: tuple[str, ...] = ()
        if labels is not None:
            labels = checks.several("labels", labels, "one label for each text", error=TaskError)
            names = tuple(sorted({checks.text(f"labels[{i}]", label) for i, label in enumerate(labels)}))
            if len(names) < 2:
                raise TaskError(f"labels hold {len(names)} class ({', '.join(names)}); pass at least two.")
        said = _words(words, names)
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
            pair = checks.several("test", test, "a pair, (texts, labels)", error=TaskError)
            if len(pair) != 2:
                raise TaskError("test of a classification task is a pair; pass (texts, labels).")
            answers = checks.several("the labels of test", pair[1], "one label for each text", error=TaskError)
            splits["test"] = _split(pair[0], answers, names, "test")
        splits["validation"], splits["train"] = train.take(rows[:held_out]), train.take(sorted(rows[held_out:]))
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
            TaskError: If a column is missing, a row has no label, or as in `from_texts`.
        """
        import pandas as pd

        def columns(name: str, table: pd.DataFrame) -> tuple[list[str], list[str] | None]:
            if not isinstance(table, pd.DataFrame):
                raise TaskError(f"{checks.got(name, table)}; pass a pandas DataFrame.")
            _check_columns(list(table.columns), text, label)
            if not label:
                return list(table[text]), None
            # A missing label has a name in pandas ("nan"), and would become a class of its own.
            return list(table[text]), [v if pd.api.types.is_scalar(v) and pd.isna(v) else str(v) for v in table[label]]

        texts, labels = columns("frame", frame)
        held_out: Any = None
        if test is not None:
            test_texts, test_labels = columns("test", test)
            held_out = test_texts if test_labels is None else (test_texts, test_labels)
        return cls.from_texts(texts, labels, test=held_out, **options)

    @classmethod
    def from_dataset(
        cls, dataset: Dataset | DatasetDict, *, text: str = "text", label: str | None = None, **options: Any
    ) -> Task:
        """Make a task from a `datasets.Dataset`, or a `DatasetDict` with `train` and, if it has one, `test`.

        Args:
            dataset: The rows; of a `DatasetDict` without `test`, `validation` is the test split.
            text: Name of the column of texts.
            label: Name of the column of labels; None for language modelling. Integers with a `ClassLabel` feature are
                turned into their names.
            options: As in `from_texts`.

        Raises:
            TaskError: If a column or the train split is missing, a row has no label, or as in `from_texts`.
        """
        train, test = dataset, None
        if isinstance(dataset, dict):
            if "train" not in dataset:
                raise TaskError(f"The dataset has splits {sorted(dataset)}; pass one with a train split, or one split.")
            train, test = dataset["train"], dataset.get("test", dataset.get("validation"))

        def table(part: Dataset) -> pd.DataFrame:
            if not hasattr(part, "to_pandas") or not hasattr(part, "__len__"):
                raise TaskError(f"{checks.got('dataset', part)}; pass a map-style datasets.Dataset, or a DatasetDict.")
            _check_columns(list(part.column_names), text, label)
            made = part.select_columns([text, *([label] if label else [])]).to_pandas()
            names = getattr(part.features[label], "names", None) if label else None
            if not (label and names):
                return made
            for row, index in enumerate(made[label]):
                if not 0 <= index < len(names):  # -1 stands for no label, and NaN is in no range
                    raise TaskError(f"labels[{row}] is {index}, which is no label of {names}; drop rows without one.")
            return made.assign(**{label: [names[int(i)] for i in made[label]]})

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

    if not isinstance(name, str) or name not in demo.SPECS:
        raise TaskError(
            f"There is no packaged task {checks.shown(name)}; pass one of {sorted(demo.SPECS)}, or make one of your "
            "own with Task.from_dataset, Task.from_frame or Task.from_texts."
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
    made = tuple(checks.texts(argument, texts))
    if labels is None:
        return Split(made)
    if len(labels) != len(made):
        raise TaskError(f"{argument} has {len(made)} texts and {len(labels)} labels; pass one label for each text.")
    unknown = sorted({str(label) for label in labels} - set(names))
    if unknown:
        raise TaskError(
            f"{argument} has labels {checks.shown(unknown)} that no training row has; pass labels among {list(names)}."
        )
    index = {label: i for i, label in enumerate(names)}
    return Split(made, tuple(index[str(label)] for label in labels))


def _words(words: Mapping[str, str] | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """The word that stands for each label."""
    if words is None:
        return names
    if not isinstance(words, Mapping) or set(words) != set(names):
        raise TaskError(f"{checks.got('words', words)}; pass one word for each label of {list(names)}, as a mapping.")
    return tuple(checks.text(f"words[{label!r}]", words[label]) for label in names)


def _check_columns(there: list[Any], *wanted: str | None) -> None:
    """Refuse columns that are not there, or there twice."""
    for column in (name for name in wanted if name):
        found = there.count(column)
        if found != 1:
            told = "is there twice" if found else "is not there"
            raise TaskError(f"Column {checks.shown(column)} {told}; pass one of {checks.shown(there)}.")
