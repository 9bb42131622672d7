"""Arrays as columns of a Parquet file, and back."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from numpy.typing import NDArray


def as_lists(rows: NDArray[Any]) -> pa.Array:
    """Rows of equal length as a column of lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def as_array(name: str, column: pa.ChunkedArray, kind: pa.DataType) -> NDArray[Any]:
    """A column of numbers, shape (rows,), or of lists, shape (rows, n)."""
    is_list = pa.types.is_fixed_size_list(kind)
    # The name of a list's items is no part of what it is, and differs between writers.
    same = pa.types.is_fixed_size_list(column.type) and column.type.list_size == kind.list_size if is_list else True
    if not same or (column.type.value_type if is_list else column.type) != (kind.value_type if is_list else kind):
        raise ValueError(f"column {name} holds {column.type} and not {kind}")
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # an empty column stays chunked in some versions
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    flat = whole.flatten() if is_list else whole
    if whole.null_count or flat.null_count:
        raise ValueError(f"column {name} lacks values")
    values = flat.to_numpy(zero_copy_only=False)
    return (values.reshape(-1, kind.list_size) if is_list else values).copy()
