"""A trace as one Parquet file, one row a position, with what decided the numbers in the schema's metadata."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semviz.errors import SemvizError
from semviz.facts import MetricFacts, plain
from semviz.files import replacing
from semviz.parts import Parts
from semviz.traces import Trace

SCHEMA = 1
"""Version of the columns and the metadata; a file of a higher one is refused."""
_KEY = b"semviz"


def save(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write a trace; see `Trace.save`."""
    table = pa.Table.from_pandas(trace.positions, preserve_index=False)
    for key, values in trace.values.items():
        for space in range(values.shape[1]):
            table = table.append_column(f"{key}_{space}", pa.array(np.ascontiguousarray(values[:, space])))
    if trace.top1 is not None:
        for space in range(trace.top1.shape[1]):
            table = table.append_column(f"top1_{space}", pa.array(np.ascontiguousarray(trace.top1[:, space])))
    if trace.nearest is not None:
        for space in range(trace.nearest.shape[1]):
            table = table.append_column(f"nearest_{space}", _lists(trace.nearest[:, space]))
    for space in range(trace.paths.shape[1]):
        points = np.full((len(trace.positions), 2), np.nan, dtype=np.float32)
        points[: len(trace.paths)] = trace.paths[:, space]
        table = table.append_column(f"path_{space}", _lists(points))
    facts = {
        "schema": SCHEMA,
        "spaces": trace.n_blocks + 1,
        "detailed_rows": len(trace.paths),
        "metrics": [asdict(plain(facts)) for facts in trace.facts.values()],
        "vocabulary": {str(i): text for i, text in trace.vocabulary.items()},
        "meta": _encode(trace.meta),
    }
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: json.dumps(facts).encode()})
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
    return Path(path)


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace; see `Trace.load`."""
    file = Path(path)
    if not file.is_file():
        raise SemvizError(f"There is no file {file}; pass one that Trace.save wrote.")
    try:
        table = pq.read_table(file)
        stored = json.loads((table.schema.metadata or {})[_KEY])
        schema = int(stored["schema"])
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise SemvizError(f"{file} is no saved trace ({_said(error)}); pass a file that Trace.save wrote.") from error
    if schema > SCHEMA:
        raise SemvizError(f"{file} has schema {schema} and this semviz reads up to {SCHEMA}; update semviz to read it.")
    try:
        return _trace(table, stored)
    except (pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
        raise SemvizError(f"{file} is damaged ({_said(error)}); save the trace again.") from error


def _trace(table: pa.Table, stored: dict[str, Any]) -> Trace:
    """Put a trace together from its columns and metadata."""
    spaces, detailed = int(stored["spaces"]), int(stored["detailed_rows"])
    facts = {entry["key"]: MetricFacts(**entry) for entry in stored["metrics"]}
    families = [*facts, "top1", "nearest", "path"]
    measured = {f"{family}_{space}" for family in families for space in range(spaces)}
    words = [name for name in table.column_names if name not in measured]

    def stack(family: str) -> NDArray[Any] | None:
        if f"{family}_0" not in table.column_names:
            return None
        return np.stack([_array(table[f"{family}_{space}"]) for space in range(spaces)], axis=1)

    values = {key: stack(key) for key in facts}
    paths = stack("path")
    if paths is None or any(array is None for array in values.values()):
        raise KeyError("a column is missing")
    return Trace(
        # The metadata that pandas left brings the types of the columns back.
        positions=table.select(words).to_pandas(),
        values={key: array for key, array in values.items() if array is not None},
        nearest=stack("nearest"),
        top1=stack("top1"),
        vocabulary={int(i): text for i, text in stored["vocabulary"].items()},
        facts=facts,
        meta=_decode(stored["meta"]),
        paths=paths[:detailed],
    )


def _lists(rows: NDArray[Any]) -> pa.Array:
    """Rows of equal length as a column of lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def _array(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers, shape (rows,), or of lists, shape (rows, n)."""
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # an empty column stays chunked in some versions
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    if pa.types.is_fixed_size_list(whole.type):
        return whole.flatten().to_numpy(zero_copy_only=False).reshape(-1, whole.type.list_size).copy()
    return whole.to_numpy(zero_copy_only=False).copy()


def _encode(meta: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: an infinite ridge is written as a word."""
    return {key: "inf" if isinstance(value, float) and math.isinf(value) else value for key, value in meta.items()}


def _decode(meta: dict[str, Any]) -> dict[str, Any]:
    made = {**meta, "ridge": math.inf if meta["ridge"] == "inf" else meta["ridge"]}
    return {**made, "parts": asdict(Parts.from_record(made["parts"]))}


def _said(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
