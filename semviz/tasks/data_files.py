"""Files of rows as tables: CSV and TSV, JSON, Parquet; and datasets of the Hugging Face hub."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.tasks.delimited import read_delimited
from semviz.tasks.labels import check_no_measurement
from semviz.tasks.splits import is_share, refuse_no_share
from semviz.tasks.tables import needed
from semviz.tasks.text_files import OPENERS, decode, read_bytes

if TYPE_CHECKING:
    import pandas as pd

HUB = "hf:"
"""How the name of a dataset of the Hugging Face hub begins."""
_SEPARATED = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON = (".json", ".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")
_ENDINGS = (*_SEPARATED, *_JSON, *_PARQUET)
_KNOWN = f"{', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}, also packed as {', '.join(OPENERS)}"


@dataclass
class FileTables:
    """What some files hold.

    Attributes:
        name: The name of the first one, without its endings.
        tables: Training rows, test and validation split, as tables, shares of the training rows, or None.
        remarks: What was noticed, in sentences.
    """

    name: str
    tables: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def is_file_name(name: str) -> bool:
    """Whether a name is meant as that of a file: it has the ending of one, leads to one, or has folders before it."""
    return _ending(Path(name)) in _ENDINGS or os.path.exists(name) or "/" in name or os.sep in name


def read_files(
    sources: Mapping[str, Any],
    text: str,
    label: str | None,
    *,
    separator: str | None,
    encoding: str | None,
    options: Mapping[str, Any],
) -> FileTables:
    """Read what `Task.from_file` is passed.

    Args:
        sources: A file for each split, the training rows first; others may be a share, or None.
        text: As there.
        label: As there.
        separator: As there.
        encoding: As there.
        options: Its other options.

    Raises:
        TaskError: If a file cannot be read, a column is missing, or the labels of a text file are measurements.
    """
    read = FileTables("")
    for split, source in sources.items():
        if read.tables and (source is None or is_share(source)):
            read.tables[split] = source
            continue
        if read.tables and not os.path.exists(str(source)):
            refuse_no_share(split, source, "the path of another file")
        path = _path(split, source)
        read.name = read.name or path.name.partition(".")[0] or path.name
        shown = checks.short_repr(path.name)
        check = partial(_check, split, shown, text, label, options.get("prompt"))
        ending = _ending(path)
        if ending in _PARQUET:
            read.tables[split] = _parquet(path, check)
            continue
        content, guess = decode(read_bytes(path), shown, encoding)
        read.remarks += [guess] if guess else []
        if ending in _JSON:
            read.tables[split] = _json(content, shown, check)
            continue
        frame, remarks = read_delimited(content, shown, check, separator=separator, usual=_SEPARATED[ending])
        read.tables[split] = frame
        read.remarks += remarks
        if label and options.get("words") is None:
            check_no_measurement(f"The labels of {split} ({shown})", list(frame[label]))
    return read


def _ending(path: Path) -> str:
    """The ending that says what a file is, without that of a packed one, in lower case."""
    return Path(path.stem if path.suffix.lower() in OPENERS else path.name).suffix.lower()


def _path(split: str, source: Any) -> Path:
    """The path of a file that can be read."""
    if "://" in str(source):  # pandas would fetch it
        raise TaskError(
            f"{checks.short_repr(source)} is an address, and semviz asks nothing of a network there; download the file "
            f"and pass its path, or pass {HUB}id for a dataset of the Hugging Face hub."
        )
    path = checks.as_path(split, source).expanduser()
    shown, form = checks.short_repr(str(path)), _ending(path)[1:].upper() or "a table"
    if path.is_dir():
        raise TaskError(
            f"{shown} is a folder and cannot be read as {form}; pass a file in it, or {HUB} and its path for a dataset."
        )
    if _ending(path) not in _ENDINGS:
        raise TaskError(f"{shown} has the ending {_ending(path)!r}; pass a file that ends in {_KNOWN}.")
    if not path.exists():
        raise TaskError(f"{shown} cannot be read as {form}: there is no such file; pass another.")
    return path


def _check(split: str, name: str, text: str, label: str | None, prompt: Any, columns: Sequence[Any]) -> list[Any]:
    """The columns that are needed of those that there are."""
    template = needed(f"{split} ({name})", columns, text, label, prompt)
    return list(dict.fromkeys([*template.columns, *([label] if label else [])]))


def _parquet(path: Path, check: partial[list[Any]]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet

    try:
        columns = check(pyarrow.parquet.read_schema(path).names)
        frame: pd.DataFrame = pd.read_parquet(path, columns=columns)
    except TaskError:
        raise
    except (OSError, ValueError, NotImplementedError) as error:
        raise TaskError(
            f"{checks.short_repr(path.name)} cannot be read as Parquet: {checks.first_line(error)}. Pass a file that "
            "pandas can read."
        ) from error
    if frame.empty:
        raise TaskError(f"{checks.short_repr(path.name)} has no rows; pass a file with rows.")
    return frame.reset_index(drop=True)


def _json(text: str, name: str, check: partial[list[Any]]) -> pd.DataFrame:
    """Read a list of objects, one object a line, or an object with a list for each column."""
    import pandas as pd

    rows = _objects(text, name)
    try:
        frame = pd.DataFrame(rows, dtype=object)
    except (ValueError, TypeError, AttributeError) as error:
        raise TaskError(
            f"{name} is no table ({checks.first_line(error)}); pass one object a line, or a list of objects."
        ) from error
    if frame.empty:
        raise TaskError(f"{name} has no rows; pass a file with rows.")
    check(list(frame.columns))
    return frame.reset_index(drop=True)


def _objects(text: str, name: str) -> Any:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        content = [_object(line, number, name) for number, line in lines]
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list) and value]
        of_objects = [value for value in lists if all(isinstance(row, dict) for row in value)]
        if len(of_objects) == 1:  # {"version": "1.0", "data": [{…}, …]}
            return of_objects[0]
        return content if any(isinstance(value, list | dict) for value in content.values()) else [content]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise TaskError(f"{name} holds no objects; pass one object a line, or a list of objects.")
    return content


def _object(line: str, number: int, name: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TaskError(
            f"Line {number} of {name} is no JSON: {checks.first_line(error)}. Pass one object a line, or one list of "
            "objects."
        ) from error


def read_hub(address: str, *, streaming: bool) -> tuple[Any, str]:
    """Load a dataset of the Hugging Face hub, or of a folder, and return it with its name.

    Args:
        address: `hf:id`, `hf:id:config`, or a folder instead of the id.
        streaming: Whether to read it as a stream.

    Raises:
        TaskError: If there is no such dataset, or it cannot be reached.
    """
    import datasets

    source, config = address.removeprefix(HUB), ""
    if not os.path.exists(source):
        source, _, config = source.partition(":")
    if not source.strip():
        raise TaskError(f"{checks.short_repr(address)} names no dataset; pass {HUB}id or {HUB}id:config.")
    name = Path(source).name + (f" {config}" if config else "")
    try:
        if any((Path(source) / file).exists() for file in ("dataset_dict.json", "state.json")):
            return datasets.load_from_disk(source), name
        return datasets.load_dataset(source, config or None, streaming=streaming), name
    except Exception as error:  # the library and the hub raise many classes, which all mean that loading failed
        raise TaskError(
            f"Cannot load {checks.short_repr(address)}: {checks.first_line(error)} Pass {HUB}id or {HUB}id:config of a "
            "dataset that this machine can reach, or a folder with one."
        ) from error
