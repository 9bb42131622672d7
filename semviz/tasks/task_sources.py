"""What a `Task` can be made of: lists, a pandas frame, a dataset, a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.callers import outside
from semviz.common.errors import TaskError
from semviz.tasks.data_files import HUB, read_files, read_hub
from semviz.tasks.dataset_tables import read_dataset
from semviz.tasks.splits import SPLITS, is_share, refuse_no_share
from semviz.tasks.tables import texts_and_labels
from semviz.tasks.task_like import Scoring
from semviz.tasks.task_parts import TaskParts, check_parts, notes_on

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset, DatasetDict
    from typing_extensions import Self

    Rows = tuple[Sequence[str], Sequence[Any]] | Sequence[str] | float


class TaskSources:
    """The ways to make a `Task`, as its class methods."""

    @classmethod
    def _of_parts(cls, name: str, parts: TaskParts, remarks: Sequence[str]) -> Self:
        """The task with this content."""
        raise NotImplementedError

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        labels: Sequence[Any] | None = None,
        *,
        prompt: str | None = None,
        words: Mapping[Any, str] | None = None,
        test: Rows | None = None,
        validation: Rows | None = None,
        name: str = "texts",
        max_tokens: int | None = None,
        scoring: Scoring = "sum",
        seed: int = 0,
        stratify: bool = True,
    ) -> Self:
        """Make a task from lists.

        Args:
            texts: n texts.
            labels: n labels for classification: text, whole numbers or truth values; omit them for language modelling.
            prompt: Template with `{text}`; by default the text alone, or the text and `Label:` on a new line.
            words: Label → the word that the model should say; by default the label's own name.
            test: `(texts, labels)`, or texts alone for language modelling; or the share of the rows to hold out, such
                as 0.2; by default 15 % of the rows, at most 500.
            validation: As `test`.
            name: The task's name in tables and figures.
            max_tokens: Truncate texts to this many tokens instead of refusing long ones.
            scoring: How label words are scored where their first tokens do not tell them apart: by the `"sum"` of their
                tokens' log-probabilities, which is the word's own, or by the `"mean"`, which does not favour words of
                fewer tokens.
            seed: Seed of the splits that are drawn here.
            stratify: Draw each label in proportion, and keep one row of each to train on.

        Raises:
            TaskError: If there are no texts, an item is not a text, labels do not match the texts or are hardly
                classes, the prompt lacks `{text}`, or an argument is of the wrong kind.
        """
        return cls._checked(
            texts, labels, prompt=prompt, words=words, test=test, validation=validation, name=name,
            max_tokens=max_tokens, scoring=scoring, seed=seed, stratify=stratify,
        )  # fmt: skip

    @classmethod
    def _checked(
        cls,
        texts: Any,
        labels: Any,
        *,
        name: Any = "texts",
        remarks: Sequence[str] = (),
        of: str = "",
        **given: Any,
    ) -> Self:
        """Check the parts of a task and make it; warn where splits that were passed share texts."""
        checks.one_text("name", name)
        usual = {"prompt": None, "words": None, "test": None, "validation": None, "max_tokens": None}
        options = {**usual, "scoring": "sum", "seed": 0, "stratify": True, **given}
        parts = check_parts(texts, labels, of=of, **options)
        task = cls._of_parts(name, parts, remarks)
        passed = [key for key in ("test", "validation") if options[key] is not None and not is_share(options[key])]
        for note in notes_on({key: parts.splits[key] for key in ("train", *passed)}, ()):
            warnings.warn(f"{checks.short_repr(name)}: {note}", RuntimeWarning, stacklevel=outside())
        return task

    @classmethod
    def _check_options(cls, of: str, options: Mapping[str, Any]) -> None:
        """Refuse options that `from_texts` does not know, and those that have another name where rows come from."""
        column = {"texts": "text= with the name of the column", "labels": "label= with the name of the column"}
        known = [name for name in checks.options_of(cls.from_texts) if name not in SPLITS]
        checks.known_options(options, known, of=of, instead=column, error=TaskError)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        text: str = "text",
        label: str | None = None,
        test: pd.DataFrame | float | None = None,
        validation: pd.DataFrame | float | None = None,
        **options: Any,
    ) -> Self:
        """Make a task from a pandas DataFrame; other options as in `from_texts`.

        Args:
            frame: One row per text.
            text: Column of texts, which a prompt calls `{text}`. A prompt may name other columns, and several:
                `"{premise} Therefore: {hypothesis}"`. What `max_tokens=` cuts is then the end of the last one.
            label: Column of labels; omit it for language modelling.
            test: Another DataFrame with the same columns, or the share of the rows to hold out.
            validation: As `test`.
            **options: `prompt`, `words`, `name`, `max_tokens`, `scoring`, `seed`, `stratify`.

        Raises:
            TaskError: If a column is missing, a row has no label, or as in `from_texts`.
        """
        cls._check_options("from_frame", options)
        return cls._from_tables({"frame": frame, "test": test, "validation": validation}, text, label, options)

    @classmethod
    def _from_tables(cls, tables: Mapping[str, Any], text: str, label: str | None, options: Mapping[str, Any]) -> Self:
        """Make a task from the tables of some splits: first the training rows, by the name that messages call them."""
        read: list[Any] = []
        prompt = given = options.get("prompt")
        for name, table in tables.items():
            if table is None or (read and is_share(table)):
                read.append(table)
                continue
            if read:
                refuse_no_share(name, table, "another DataFrame")
            prompt, texts, labels = texts_and_labels(name, table, text, label, given)
            read.append((texts, labels) if label or not read else texts)
        (texts, labels), test, validation = read
        of = "" if (first := next(iter(tables))) == "frame" else f" of {first}"
        return cls._checked(texts, labels, **{**options, "prompt": prompt}, test=test, validation=validation, of=of)

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset | DatasetDict,
        *,
        text: str = "text",
        label: str | None = None,
        test: Dataset | float | None = None,
        validation: Dataset | float | None = None,
        rows: int | None = None,
        **options: Any,
    ) -> Self:
        """Make a task from a `datasets.Dataset`, or a `DatasetDict` with `train` and, if it has them, other splits.

        Args:
            dataset: The rows. The `test` and `validation` splits of a `DatasetDict` are used as such; if it has no
                `test`, its `validation` becomes the test split. A split without labels (all -1) is left out.
            text: Name of the column of texts; a prompt may name others, as in `from_frame`.
            label: Name of the column of labels; None for language modelling. Integers with a `ClassLabel` feature are
                turned into their names.
            test: Another Dataset, or the share of the training rows to hold out, instead of the DatasetDict's own.
            validation: As `test`.
            rows: Read so many rows of each split: the first ones of an `IterableDataset`, which needs it, and random
                ones of others.
            **options: As in `from_frame`.

        Raises:
            TaskError: If a column or the train split is missing, a row has no label, a stream comes without `rows`, or
                as in `from_texts`.
        """
        cls._check_options("from_dataset", options)
        passed = {"test": test, "validation": validation}
        read = read_dataset(dataset, passed, text, label, rows, options)
        return cls._from_tables(read.tables, text, label, {**options, "words": read.words, "remarks": read.remarks})

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        text: str = "text",
        label: str | None = None,
        test: str | os.PathLike[str] | float | None = None,
        validation: str | os.PathLike[str] | float | None = None,
        separator: str | None = None,
        encoding: str | None = None,
        rows: int | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Self:
        """Make a task from a file: `.csv`, `.tsv`, `.json`, `.jsonl` or `.parquet`, also compressed (`.csv.gz`).

        Cells are read as they are written: NA, None and null are words, and 01 is not 1.

        Args:
            path: The file; or `"hf:id"` or `"hf:id:config"`, a dataset of the Hugging Face hub or a folder with one.
            text: Column of texts; a prompt may name others, as in `from_frame`.
            label: Column of labels; omit it for language modelling.
            test: Another file with the same columns, or the share of the rows to hold out.
            validation: As `test`.
            separator: What separates the cells of a `.csv` file; found by default: a comma, semicolon, tab or `|`.
            encoding: The text's encoding; by default UTF-8, UTF-16 or UTF-32, and where it is none of them,
                Windows-1252, which `notes` say.
            rows: Read so many rows of each split of an `hf:` dataset, as a stream, so that not all of it is downloaded.
            name: The task's name; by default that of the file.
            **options: `prompt`, `words`, `max_tokens`, `scoring`, `seed`, `stratify`.

        Raises:
            TaskError: If the file cannot be read, or as in `from_frame`.
        """
        cls._check_options("from_file", options)
        if isinstance(path, str) and path.startswith(HUB):
            data, called = read_hub(path, streaming=rows is not None)
            return cls.from_dataset(
                data, text=text, label=label, test=test, validation=validation, rows=rows,
                name=called if name is None else name, **options,
            )  # fmt: skip
        if rows is not None:
            raise TaskError(f"rows={rows} is for hf: datasets, which are streamed; pass subset(train={rows}) later.")
        sources = {"train": path, "test": test, "validation": validation}
        read = read_files(sources, text, label, separator=separator, encoding=encoding, options=options)
        named = {**options, "name": read.name if name is None else name, "remarks": read.remarks}
        return cls._from_tables(read.tables, text, label, named)
