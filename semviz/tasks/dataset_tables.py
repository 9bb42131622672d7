"""Tables of the splits of `datasets`, which may be streams."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.tasks.splits import SPLITS, is_share, refuse_no_share
from semviz.tasks.tables import needed

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class DatasetTables:
    """What a dataset holds.

    Attributes:
        tables: Training rows, test and validation split, as tables, shares of the training rows, or None.
        words: The word for each label, under the names of the classes.
        remarks: What was noticed, in sentences.
    """

    tables: dict[str, Any]
    words: Any
    remarks: list[str]


def read_dataset(
    dataset: Any,
    passed: Mapping[str, Any],
    text: str,
    label: str | None,
    rows: int | None,
    options: Mapping[str, Any],
) -> DatasetTables:
    """Read what `Task.from_dataset` is passed; splits that are passed replace those of a DatasetDict.

    Args:
        dataset: As there.
        passed: The `test` and `validation` of there.
        text: As there.
        label: As there.
        rows: As there.
        options: Its other options.

    Raises:
        TaskError: If one is not a dataset, there are no training rows, a stream comes without a number of rows, a
            column is missing, or a row has no label.
    """
    if rows is not None:
        rows = checks.whole_number("rows", rows, minimum=4, error=TaskError)
    seed = checks.whole_number("seed", options.get("seed", 0), error=TaskError)
    parts = {"train": dataset}
    if isinstance(dataset, dict):
        if "train" not in dataset:
            raise TaskError(f"The dataset has splits {sorted(dataset)}; pass one with a train split, or one split.")
        parts = {name: dataset[name] for name in SPLITS if name in dataset}
    passed = {name: part for name, part in passed.items() if part is not None}
    for name, part in passed.items():
        if not is_share(part):
            refuse_no_share(name, part, "another Dataset")
    shares = {name: part for name, part in passed.items() if is_share(part)}
    parts = {name: part for name, part in {**parts, **passed}.items() if name not in shares}
    frames: dict[str, Any] = {}
    remarks: list[str] = []
    for name, part in parts.items():
        if _is_stream(part):
            frame = _first_rows(name, part, text, label, options.get("prompt"), rows)
            remarks.append(f"The {len(frame):,} {name} rows are the first of a stream.")
        else:
            frame = _whole_table(name, part, text, label, options.get("prompt"))
            if rows is not None and rows < len(frame):
                frame = frame.iloc[sorted(random.Random(seed).sample(range(len(frame)), rows))]
        names = _class_names(part, label)
        if names and label:
            if name != "train" and len(frame) and (frame[label] == -1).all():
                remarks.append(f"The {name} split has no labels and was left out.")
                continue
            frame = frame.assign(**{label: _named(name, frame[label], names)})
            unused = [one for one in names if name == "train" and one not in set(frame[label])]
            if unused:
                remarks.append(f"No training row has the label {', '.join(map(repr, unused))}.")
        frames[name] = frame
    if "test" not in frames and not passed.keys() & {"test", "validation"} and "validation" in frames:
        frames["test"] = frames.pop("validation")
    words, names = options.get("words"), _class_names(parts["train"], label)
    if names and isinstance(words, Mapping):  # the numbers that stand in the column may be meant
        words = {names[key] if checks.is_whole(key) and 0 <= key < len(names) else key: words[key] for key in words}
    tables = {name: frames.get(name, shares.get(name)) for name in ("train", "test", "validation")}
    return DatasetTables(tables, words, remarks)


def _is_stream(dataset: Any) -> bool:
    """Whether it is a `datasets.IterableDataset`, which can be read once, from its beginning."""
    return hasattr(dataset, "take") and hasattr(dataset, "__iter__") and not hasattr(dataset, "__len__")


def _class_names(dataset: Any, label: str | None) -> list[str] | None:
    """The names of the classes of a dataset's column of labels, where it has them."""
    features = getattr(dataset, "features", None)
    return getattr(features.get(label), "names", None) if label and features else None


def _whole_table(name: str, dataset: Any, text: str, label: str | None, prompt: Any) -> pd.DataFrame:
    if not hasattr(dataset, "to_pandas") or not hasattr(dataset, "__len__"):
        raise TaskError(
            f"{checks.named_repr('dataset', dataset)}; pass a map-style datasets.Dataset, or a DatasetDict."
        )
    template = needed(name, dataset.column_names, text, label, prompt)
    columns = dict.fromkeys([*template.columns, *([label] if label else [])])
    frame: pd.DataFrame = dataset.select_columns(list(columns)).to_pandas()
    return frame


def _first_rows(name: str, stream: Any, text: str, label: str | None, prompt: Any, rows: int | None) -> pd.DataFrame:
    import pandas as pd

    if rows is None:
        raise TaskError(
            f"The {name} rows are a stream ({type(stream).__name__}) of unknown length; pass rows=, such as rows=2000, "
            "to read so many of them, or a map-style datasets.Dataset."
        )
    taken = list(stream.take(rows))
    if not taken:
        raise TaskError(f"The stream of {name} rows is empty; pass another one.")
    frame = pd.DataFrame(taken, dtype=object)
    needed(name, list(frame.columns), text, label, prompt)
    if label and len(set(map(str, frame[label]))) == 1:
        raise TaskError(
            f"The first {len(frame):,} {name} rows of the stream all have the label {frame[label][0]!r}; pass a stream "
            "in another order, dataset.shuffle(seed=0, buffer_size=10_000), or more rows=."
        )
    return frame


def _named(name: str, labels: Iterable[Any], names: Sequence[str]) -> list[str]:
    """The names of class indices."""
    found = []
    for row, index in enumerate(labels):
        # -1 stands for a missing label, and NaN and None are not in the range.
        if index is None or not 0 <= index < len(names):
            raise TaskError(
                f"labels[{row}] of {name} is {index}, which is not the index of a label in {names}; drop rows without "
                "one."
            )
        found.append(names[int(index)])
    return found
