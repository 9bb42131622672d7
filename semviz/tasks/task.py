"""A task: texts, with or without labels → prompts, traced positions and targets.

A *classification* task asks for a label word after a prompt; the traced position is the last one of the prompt
(`answer`). A *language modelling* task asks for the next token at every position (`next`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.tasks.splits import SPLITS, Split, check_split, make_split
from semviz.tasks.tables import dataset_to_frame, texts_and_labels
from semviz.tasks.task_like import Scoring
from semviz.tasks.words import words_of_labels

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset, DatasetDict

    from semviz.lm.model import LanguageModel
    from semviz.tasks.look import Look

    Rows = tuple[Sequence[str], Sequence[str]] | Sequence[str]

Kind = Literal["classification", "language modelling"]
_HELD_OUT = 0.15  # share of the training rows held out for a validation or test split that is not passed
_HELD_OUT_MOST = 500


@dataclass(frozen=True)
class Task:
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
    """

    name: str
    prompt: str
    labels: tuple[str, ...]
    words: tuple[str, ...]
    splits: Mapping[str, Split] = field(repr=False)
    max_tokens: int | None = None
    scoring: Scoring = "sum"
    whole: str = field(repr=False, compare=False, default="")

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
    def from_texts(
        cls,
        texts: Sequence[str],
        labels: Sequence[str] | None = None,
        *,
        prompt: str | None = None,
        words: Mapping[str, str] | None = None,
        test: Rows | None = None,
        validation: Rows | None = None,
        name: str = "texts",
        max_tokens: int | None = None,
        scoring: Scoring = "sum",
        seed: int = 0,
    ) -> Task:
        """Make a task from lists.

        Args:
            texts: n texts.
            labels: n label names for classification; omit them for language modelling.
            prompt: Template with `{text}`; by default the text alone, or the text and `Label:` on a new line.
            words: Label name → the word that the model should say; by default the name itself.
            test: `(texts, labels)`, or texts alone for language modelling; by default 15 % of the rows, at most 500.
            validation: As `test`; by default 15 % of the training rows, at most 500.
            name: The task's name in tables and figures.
            max_tokens: Truncate texts to this many tokens instead of refusing long ones.
            scoring: How label words are scored where their first tokens do not tell them apart: by the `"sum"` of their
                tokens' log-probabilities, which is the word's own, or by the `"mean"`, which does not favour words of
                fewer tokens.
            seed: Seed of the splits that are drawn here.

        Raises:
            TaskError: If there are no texts, an item is not a text, labels do not match the texts, the prompt lacks
                `{text}`, or an argument is of the wrong kind.
        """
        prompt = prompt if prompt is not None else ("{text}" if labels is None else "{text}\nLabel:")
        if not isinstance(prompt, str) or "{text}" not in prompt:
            raise TaskError(
                f"{checks.named_repr('prompt', prompt)} has no place for the text; pass a template with {{text}}."
            )
        checks.one_text("prompt", prompt)
        checks.one_text("name", name)
        seed = checks.whole_number("seed", seed, error=TaskError)
        if max_tokens is not None:
            max_tokens = checks.whole_number("max_tokens", max_tokens, minimum=2, error=TaskError)
        checks.one_of("scoring", scoring, get_args(Scoring), error=TaskError)
        names: tuple[str, ...] = ()
        if labels is not None:
            labels = checks.as_list("labels", labels, "one label for each text", error=TaskError)
            names = tuple(sorted({checks.one_text(f"labels[{i}]", label) for i, label in enumerate(labels)}))
            if len(names) < 2:
                count = "1 class" if names else "0 classes"
                raise TaskError(f"labels has {count} ({', '.join(names)}); pass at least two.")
        label_words = words_of_labels(words, names)
        train = make_split(texts, labels, names, "texts")
        if len(train) < 4:
            raise TaskError(f"Got {len(train)} texts; pass at least 4, preferably a few hundred.")
        rows = list(range(len(train)))
        random.Random(seed).shuffle(rows)
        held_out = min(_HELD_OUT_MOST, max(1, round(_HELD_OUT * len(rows))))
        passed_splits = {"test": test, "validation": validation}
        splits = {key: check_split(key, part, names) for key, part in passed_splits.items() if part is not None}
        for key in passed_splits:
            if key not in splits:
                splits[key], rows = train.take(rows[:held_out]), rows[held_out:]
        splits = {"test": splits["test"], "validation": splits["validation"], "train": train.take(sorted(rows))}
        return cls(name, prompt, names, label_words, splits, max_tokens, scoring)

    @classmethod
    def _options(cls) -> list[str]:
        """Options of `from_texts` that are not rows."""
        return [name for name in checks.options_of(cls.from_texts) if name not in SPLITS]

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        text: str = "text",
        label: str | None = None,
        test: pd.DataFrame | None = None,
        validation: pd.DataFrame | None = None,
        **options: Any,
    ) -> Task:
        """Make a task from a pandas DataFrame; other options as in `from_texts`.

        Args:
            frame: One row per text.
            text: Column of texts.
            label: Column of label names; omit it for language modelling.
            test: Another DataFrame with the same columns.
            validation: As `test`.
            **options: `prompt`, `words`, `name`, `max_tokens`, `scoring`, `seed`.

        Raises:
            TaskError: If a column is missing, a row has no label, or as in `from_texts`.
        """
        checks.known_options(
            options,
            cls._options(),
            of="from_frame",
            instead={"texts": "text= with the name of the column", "labels": "label= with the name of the column"},
            error=TaskError,
        )
        texts, labels = texts_and_labels("frame", frame, text, label)
        passed_splits: dict[str, Any] = {}
        for name, table in (("test", test), ("validation", validation)):
            if table is not None:
                rows = texts_and_labels(name, table, text, label)
                passed_splits[name] = rows if label else rows[0]
        return cls.from_texts(texts, labels, **passed_splits, **options)

    @classmethod
    def from_dataset(
        cls, dataset: Dataset | DatasetDict, *, text: str = "text", label: str | None = None, **options: Any
    ) -> Task:
        """Make a task from a `datasets.Dataset`, or a `DatasetDict` with `train` and, if it has them, other splits.

        Args:
            dataset: The rows. The `test` and `validation` splits of a `DatasetDict` are used as such; if it has no
                `test`, its `validation` becomes the test split.
            text: Name of the column of texts.
            label: Name of the column of labels; None for language modelling. Integers with a `ClassLabel` feature are
                turned into their names.
            options: `prompt`, `words`, `name`, `max_tokens`, `scoring`, `seed`, as in `from_texts`.

        Raises:
            TaskError: If a column or the train split is missing, a row has no label, or as in `from_texts`.
        """
        checks.known_options(
            options,
            cls._options(),
            of="from_dataset",
            instead={
                **dict.fromkeys(("test", "validation"), "a DatasetDict with that split"),
                "texts": "text= with the name of the column",
                "labels": "label= with the name of the column",
            },
            error=TaskError,
        )
        parts = {"train": dataset}
        if isinstance(dataset, dict):
            if "train" not in dataset:
                raise TaskError(f"The dataset has splits {sorted(dataset)}; pass one with a train split, or one split.")
            parts = {name: dataset[name] for name in SPLITS if name in dataset}
            if "test" not in parts and "validation" in parts:
                parts["test"] = parts.pop("validation")
        frames = {name: dataset_to_frame(part, text, label) for name, part in parts.items()}
        return cls.from_frame(frames.pop("train"), text=text, label=label, **frames, **options)

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
        """One line: name, kind, rows, labels."""
        sizes = ", ".join(f"{len(self.splits[s]):,} {s}" for s in SPLITS if s in self.splits)
        classes = f"; {len(self.labels)} labels: {', '.join(self.labels)}" if self.labels else ""
        return f"Task({self.name}: {self.kind}; {sizes}{classes})"

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.frame().groupby("split").head(2))


def load_task(name: str) -> Task:
    """Load a packaged demo task: `mood`, `question`, `where` or `dialect`.

    Raises:
        TaskError: If there is no such task; the message lists the packaged ones.
    """
    from semviz.demo import tasks as demo

    if not isinstance(name, str) or name not in demo.SPECS:
        raise TaskError(
            f"There is no packaged task {checks.short_repr(name)}; pass one of {sorted(demo.SPECS)}, or make "
            "your own with Task.from_dataset, Task.from_frame or Task.from_texts."
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
