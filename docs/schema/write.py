"""Writes the schemas beside it and the tables of keys in docs/data-format.md: `make schemas`.

Both are made of the shapes that semviz itself holds a file against, and of the docstrings of the classes in it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from semviz.common.json_shapes import ListOf, MapOf, Record, Scalar, Shape
from semviz.experiments.run_store import RUN, RUN_FILE
from semviz.traces.parquet import META, METADATA

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "data-format.md"
TABLES = {"METADATA": METADATA, "META": META, "RUN": RUN}


def schema(title: str, description: str, record: Record) -> str:
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "description": description}
    return json.dumps(about | record.schema(), indent=2, ensure_ascii=False) + "\n"


def table(record: Record) -> str:
    """One row a key: what its value is, and what it means."""
    properties = record.schema()["properties"]
    rows = [f"| `{key}` | {value(shape)} | {properties[key]['description']} |" for key, shape in record.fields.items()]
    return "\n".join(["| key | value | meaning |", "|---|---|---|", *rows])


def value(shape: Shape) -> str:
    """A shape in a few words."""
    if isinstance(shape, ListOf):
        return f"a list, each {value(shape.items)}"
    if isinstance(shape, MapOf):
        return f"an object, each value {value(shape.values)}"
    if isinstance(shape, Record):
        return f"an object: {', '.join(f'`{key}`' for key in shape.fields)}"
    assert isinstance(shape, Scalar)
    if "enum" not in shape.rendered:
        return shape.words
    *others, last = (f"`{word}`" for word in shape.rendered["enum"])
    return f"{', '.join(others)} or {last}"


def page(text: str) -> str:
    """The page with its tables written anew, each after the comment that names it."""
    for name, record in TABLES.items():
        start = f"<!-- {name}: written by make schemas -->\n"
        text, count = re.subn(rf"(?<={re.escape(start)})(?:\|.*\n)*", lambda _, it=record: f"{table(it)}\n", text)
        assert count == 1, f"{PAGE.name}: {name} stands there {count} times"
    return text


def files() -> dict[Path, str]:
    """What each file should hold."""
    return {
        FOLDER / "run.schema.json": schema(
            "A semviz run",
            "A file KEY.json of a store. It is JSON as Python writes it: a run that diverged may hold Infinity or NaN.",
            RUN_FILE,
        ),
        FOLDER / "trace-meta.schema.json": schema(
            "Metadata of a semviz trace",
            "JSON under the key `semviz` of a Parquet file's schema metadata, as Trace.save writes it.",
            METADATA,
        ),
        PAGE: page(PAGE.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
