"""Writes the table of docs/arguments.md from semviz' own: python docs/arguments.py (as part of `make schemas`)."""

from __future__ import annotations

import re
from pathlib import Path

from semviz.finetuning.trainer_arguments import FIELDS, Elsewhere, Passed, Refused

PAGE = Path(__file__).parent / "arguments.md"
_TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.DOTALL)
_KEY = {"always": "yes", "evaluation": "where scores on the way decide", "never": "no"}


def row(name: str, field: Passed | Elsewhere | Refused) -> str:
    if isinstance(field, Elsewhere):
        return f"| `{name}` | set by `{field.option}` | |"
    if isinstance(field, Refused):
        return f"| `{name}` | refused: {field.why} | |"
    with_others = " or ".join("`callbacks=`" if other == "callbacks" else f"`{other}`" for other in field.needs)
    what = field.what.rstrip(".") + (f"; with {with_others}" if with_others else "")
    return f"| `{name}` | {what} | {_KEY[field.counts]} |"


def with_table(page: str) -> str:
    """The page with the table that the code has."""
    lines = ["| field | what happens | in a run's key |", "|---|---|---|"]
    lines += [row(name, field) for name, field in sorted(FIELDS.items())]
    return _TABLE.sub(lambda _: "\n".join(lines) + "\n", page)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
