"""A trace as one Parquet file, one row a position, with what decided the numbers in the schema's metadata.

The metadata also hold a digest of the whole file, written into it last: a flipped bit somewhere would else be another
number in a table. The digest is of the file with blanks in the digest's own place.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semviz.common import memory
from semviz.common.checks import as_path, first_line, short_repr
from semviz.common.errors import SemvizError
from semviz.common.files import atomic_write, digest_of
from semviz.common.json_shapes import (
    AMOUNT,
    COUNT,
    FINITE,
    FLAG,
    NATURAL,
    POSITIVE,
    SHARE,
    TEXT,
    ListOf,
    MapOf,
    Record,
    Scalar,
    constant,
    one_of,
)
from semviz.common.metric_facts import Guess, MetricFacts, without_function
from semviz.common.virtual_arc import PathKind
from semviz.lm.parts import PARTS, Parts
from semviz.tasks.splits import SPLITS
from semviz.tasks.task import Kind
from semviz.traces.deviations import COUNTED, Deviations
from semviz.traces.parquet_columns import as_array, as_lists
from semviz.traces.readouts import Readout

SCHEMA = 5
"""Version of the columns and the metadata; a file of a higher one is refused."""
_KEY, _DIGEST = b"semviz", b"semviz_digest"
_BLANK = b"-" * 32
_BAD = (pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)

_ROLES = (*COUNTED, "context", "special")
_WHOLE, _WORDS = "whole numbers", "texts"
# The columns of `positions`, with what they hold and whether a value may be missing.
_COLUMNS = {
    "sample": (_WHOLE, False),
    "position": (_WHOLE, False),
    "token_id": (_WHOLE, False),
    "token": (_WORDS, False),
    "target_id": (_WHOLE, False),
    "target": (_WORDS, False),
    "label": (_WORDS, True),
    "role": (_WORDS, False),
    "predicted": (_WORDS, False),
    "correct": ("true or false", True),
}
_METRIC = Record(
    {
        **dict.fromkeys(("key", "title", "unit"), TEXT),
        **dict.fromkeys(("low", "high"), FINITE.or_none),
        "loss_like": FLAG,
        "definition": TEXT,
        "is_change": FLAG,
        "guess": one_of(*get_args(Guess)).or_none,
    },
    of=MetricFacts,
)
_INFINITE = "inf"  # JSON has no infinity
_RIDGE = Scalar(
    f"a number of at least 0 or the text {_INFINITE}",
    lambda value: value in (_INFINITE, math.inf) or AMOUNT.fits(value),
    {"anyOf": [AMOUNT.rendered, {"const": _INFINITE}]},
)
META = Record(
    {
        "model": TEXT.described("Name of the model."),
        "model_hash": TEXT.described(
            "12 hex digits of the model: weights, config, adapters, tokenizer, hooks. Before schema 3: of the weights."
        ),
        "parts": PARTS.described("Unique parameters of the model's parts, and their `names` in the model."),
        "task": TEXT.described("Name of the task."),
        "kind": one_of(*get_args(Kind)).described("Kind of the task."),
        "split": one_of(*SPLITS).described("Split that was traced."),
        "samples": NATURAL.described("Samples that were traced."),
        "positions": NATURAL.described("Positions that enter averages."),
        "vocab": one_of("full", "labels").described("What targets are compared with."),
        "ridge": _RIDGE.described(
            "λ of the semantic bases, in mean eigenvalues of the head's Gram matrix; `inf` for the head's own rows "
            "(a number in `trace.meta`)."
        ),
        "tau": POSITIVE.described("τ, the temperature, as a cosine."),
        "fidelity": SHARE.described("φ, the fidelity of the bases."),
        "readout": one_of(*get_args(Readout)).described("How spaces below the last are read."),
        "calibration": TEXT.described("20 hex digits of the calibration; equal ones are the same ruler."),
        "candidates": NATURAL.or_none.described("Number of tokens, or label words, that targets are compared with."),
        "label_names": ListOf(TEXT).described("Labels of the probabilities; empty where there are none."),
        "rare_words": ListOf(TEXT).described("Words of labels that the translators were hardly fitted on."),
        "path": one_of(*get_args(PathKind)).described("Virtual transition."),
        "centred": FLAG.described("Whether each space's mean state was subtracted."),
        "detail": COUNT.described("Samples of which every position was traced."),
        "semviz": TEXT.described("Version that made it."),
        "seconds": AMOUNT.described("Seconds that the trace took, calibration included if it was made then."),
        "task_hash": TEXT.described(
            "12 hex digits of the task's content; of a subset, those of the whole task and a slash before them."
        ),
        "rows_hash": TEXT.described("12 hex digits of the token ids, targets and label words that were read."),
    }
)
"""What a file holds of `trace.meta`."""
METADATA = Record(
    {
        "schema": constant(SCHEMA).described(
            "Version of the columns and of this metadata; a reader refuses a higher one."
        ),
        "spaces": NATURAL.described("L+1."),
        "detailed_rows": COUNT.described("So many rows at the beginning have a `path`."),
        "metrics": ListOf(_METRIC).described("Metrics in the order of their columns."),
        "vocabulary": MapOf(TEXT, keys="[0-9]+").described("Token id → text, for every id in the file."),
        "meta": META.described("What decided the numbers."),
    }
)
"""The metadata of a trace's file."""
_HEADER = Record({"schema": NATURAL})
# What files of before do not say, by the schema that has it, and what holds for them.
_LATER: dict[int, dict[str, Any]] = {
    3: {"task_hash": "", "rows_hash": ""},
    4: {"readout": "raw", "calibration": "", "candidates": None, "label_names": []},
    5: {"rare_words": []},
}


def _metadata_of(schema: int) -> Record:
    """The metadata of a file of this schema."""
    later = {name for since, names in _LATER.items() if since > schema for name in names}
    meta = Record({name: shape for name, shape in META.fields.items() if name not in later})
    # What a blind guess scores is said since schema 4.
    facts = {name: shape for name, shape in _METRIC.fields.items() if name != "guess" or schema > 3}
    metrics = ListOf(Record(facts, of=MetricFacts))
    return Record({**METADATA.fields, "schema": constant(schema), "metrics": metrics, "meta": meta})


def save(
    trace: Deviations,
    paths: NDArray[np.float32],
    label_probabilities: NDArray[np.float32] | None,
    path: str | os.PathLike[str],
) -> Path:
    """Write a trace, the paths of its detailed samples and the probabilities of its labels; see `Trace.save`."""
    try:
        table = pa.Table.from_pandas(trace.positions, preserve_index=False)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise SemvizError(
            f"positions of this trace cannot be written ({first_line(error)}); drop or convert the columns added "
            "to them."
        ) from error
    for key, values in trace.values.items():
        for space in range(values.shape[1]):
            table = table.append_column(f"{key}_{space}", pa.array(np.ascontiguousarray(values[:, space])))
    if trace.top1 is not None:
        for space in range(trace.top1.shape[1]):
            table = table.append_column(f"top1_{space}", pa.array(np.ascontiguousarray(trace.top1[:, space])))
    if trace.nearest is not None:
        for space in range(trace.nearest.shape[1]):
            table = table.append_column(f"nearest_{space}", as_lists(trace.nearest[:, space]))
    for space in range(paths.shape[1]):
        points = np.full((len(trace.positions), 2), np.nan, dtype=np.float32)
        points[: len(paths)] = paths[:, space]
        table = table.append_column(f"path_{space}", as_lists(points))
    if label_probabilities is not None:
        for space in range(label_probabilities.shape[1]):
            rows = np.full((len(trace.positions), label_probabilities.shape[2]), np.nan, dtype=np.float32)
            rows[trace.counted] = label_probabilities[:, space]
            table = table.append_column(f"labels_{space}", as_lists(rows))
    facts = {
        "schema": SCHEMA,
        "spaces": trace.n_blocks + 1,
        "detailed_rows": len(paths),
        "metrics": [asdict(without_function(facts)) for facts in trace.facts.values()],
        "vocabulary": {str(i): text for i, text in trace.vocabulary.items()},
        "meta": _encode({**_unknown(0), **trace.meta}),
    }
    record = json.dumps(facts).encode()
    place = digest_of(record).encode()  # a text that is nowhere else in the file
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: record, _DIGEST: place})
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)
        data = Path(temporary).read_bytes()
        with open(temporary, "r+b") as file:
            file.seek(data.rindex(place))
            file.write(_digest(data, place).encode())
    return Path(path)


def _digest(data: bytes, place: bytes) -> str:
    """The digest of a file with blanks in its own place, which holds these bytes now."""
    at, view = data.rindex(place), memoryview(data)
    return digest_of(view[:at], _BLANK, view[at + len(place) :])


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the fields of a trace; see `Trace.load`."""
    file = as_path("path", path)
    if file.is_dir():
        raise SemvizError(f"{file} is a folder; pass a file that Trace.save wrote.")
    if not file.is_file():
        raise SemvizError(f"There is no file {file}; pass one that Trace.save wrote.")
    try:
        data = file.read_bytes()
        parquet = pq.ParquetFile(pa.BufferReader(data))
        key_values = parquet.metadata.metadata or {}
        stored = json.loads(key_values[_KEY])
        _HEADER.check(stored)
        schema = stored["schema"]
    except (OSError, MemoryError, *_BAD) as error:
        raise SemvizError(
            f"{file} is not a saved trace ({first_line(error)}); pass a file that Trace.save wrote."
        ) from error
    if schema > SCHEMA:
        raise SemvizError(f"{file} has schema {schema} and this semviz reads up to {SCHEMA}; update semviz to read it.")
    try:
        # The first schema had no digest.
        if (schema > 1 or _DIGEST in key_values) and _digest(data, key_values[_DIGEST]) != key_values[_DIGEST].decode():
            raise ValueError("its bytes are not those that were written")
        size = parquet.metadata.num_rows * parquet.metadata.num_columns * 4
        if size > memory.free():
            raise ValueError(f"it claims {parquet.metadata.num_rows:,} rows, more than fit into memory")
        return _fields(parquet.read(), stored)
    except (OSError, MemoryError, *_BAD) as error:
        raise SemvizError(f"{file} is damaged ({first_line(error)}); save the trace again.") from error


def _fields(table: pa.Table, stored: dict[str, Any]) -> dict[str, Any]:
    """The fields of a trace from its columns and metadata."""
    _metadata_of(stored["schema"]).check(stored)
    meta = {**_unknown(stored["schema"]), **stored["meta"]}
    meta["ridge"] = math.inf if meta["ridge"] == _INFINITE else meta["ridge"]
    spaces, detailed = stored["spaces"], stored["detailed_rows"]
    facts = {
        entry["key"]: MetricFacts(**{name: entry[name] for name in _METRIC.fields if name in entry})
        for entry in stored["metrics"]
    }
    columns = table.column_names
    if not facts or len(facts) < len(stored["metrics"]) or len(set(columns)) < len(columns):
        raise ValueError("it has no metric, or a metric or column twice")
    if spaces > len(columns) or spaces != len(meta["parts"]["blocks"]) + 1:
        raise ValueError(f"it has {spaces} spaces for {len(meta['parts']['blocks'])} blocks")
    if not 0 < len(table) >= detailed:
        raise ValueError(f"it has {len(table)} rows, {detailed} of them in detail")

    def stack(family: str, kind: pa.DataType) -> NDArray[Any] | None:
        if f"{family}_0" not in columns:
            return None
        return np.stack([as_array(f"{family}_{i}", table[f"{family}_{i}"], kind) for i in range(spaces)], axis=1)

    values = {key: stack(key, pa.float32()) for key in facts}
    paths = stack("path", pa.list_(pa.float32(), 2))
    if paths is None or any(array is None for array in values.values()):
        raise ValueError("a column is missing")
    families = (*facts, "top1", "nearest", "path", "labels")
    measured = {f"{family}_{space}" for family in families for space in range(spaces)}
    positions = _positions(table.select([name for name in columns if name not in measured]))
    labels = stack("labels", pa.list_(pa.float32(), len(meta["label_names"]))) if meta["label_names"] else None
    return {
        "positions": positions,
        "values": {key: array for key, array in values.items() if array is not None},
        "nearest": stack("nearest", pa.list_(pa.int32(), 3)),
        "top1": stack("top1", pa.int32()),
        "vocabulary": {int(i): text for i, text in stored["vocabulary"].items()},
        "facts": facts,
        "meta": {**meta, "parts": asdict(Parts.from_record(meta["parts"]))},
        "paths": paths[:detailed],
        "label_probabilities": None if labels is None else labels[positions["role"].isin(COUNTED).to_numpy()],
    }


def _unknown(schema: int) -> dict[str, Any]:
    """What a file of this schema does not say, and what holds for it."""
    return {name: value for since, names in _LATER.items() if since > schema for name, value in names.items()}


def _positions(table: pa.Table) -> pd.DataFrame:
    """The table of positions, checked."""
    kinds = {
        _WHOLE: pa.types.is_integer,
        _WORDS: lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        "true or false": pa.types.is_boolean,
    }
    for name, (words, may_miss) in _COLUMNS.items():
        column = table[name]
        if not (kinds[words](column.type) or (may_miss and pa.types.is_null(column.type))):
            raise ValueError(f"column {name} holds {column.type} and not {words}")
        if column.null_count and not may_miss:
            raise ValueError(f"column {name} lacks {column.null_count} values")
    # The metadata that pandas left brings the types of the columns back.
    positions = table.to_pandas()
    if list(positions.columns) != table.column_names or not isinstance(positions.index, pd.RangeIndex):
        raise ValueError("its metadata make another table of its columns")
    roles = set(positions["role"].unique())
    if not roles <= set(_ROLES) or not roles & set(COUNTED):
        raise ValueError(f"the roles are {short_repr(sorted(roles))} and not some of {list(_ROLES)}")
    return positions


def _encode(meta: dict[str, Any]) -> dict[str, Any]:
    """An infinite ridge is written as a word."""
    return {key: _INFINITE if isinstance(value, float) and math.isinf(value) else value for key, value in meta.items()}
