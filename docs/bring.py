"""Write docs/bring.md: what people bring, and what semviz does with it, as the tests that prove it say.

A row is a test's `@pytest.mark.brings(section, what, does)`. Run `python docs/bring.py` after changing one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "bring.md"
SECTIONS = (
    "Models",
    "Quantised models",
    "Data",
    "Arguments",
    "Methods",
    "What comes out",
    "Machines",
    "Files",
    "The shell",
)
HEAD = """# What you bring, and what semviz does

<!-- Written by docs/bring.py from the tests' marks; change those. -->

Each row is proved by the test that it names.
"""


@dataclass(frozen=True)
class Row:
    """A row of the page, and the test that proves it."""

    section: str
    what: str
    does: str
    file: Path
    test: str


def rows(tests: Path = ROOT / "tests") -> Iterator[Row]:
    """Read the marks of all tests, in the order of files and lines."""
    for path in sorted(tests.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.brings":
                    section, what, does = (ast.literal_eval(argument) for argument in mark.args)
                    yield Row(section, what, does, path.relative_to(tests.parent), node.name)


def page() -> str:
    """Return the text of the page."""
    found = list(rows())
    unknown = {row.section for row in found} - set(SECTIONS)
    if unknown:
        raise SystemExit(f"No section of the page: {', '.join(sorted(unknown))}")
    lines = [HEAD]
    for section in SECTIONS:
        part = [row for row in found if row.section == section]
        if part:
            lines += [f"## {section}\n", "| you bring | semviz | proved by |", "|---|---|---|"]
            lines += [f"| {row.what} | {row.does} | [{row.test}](../{row.file.as_posix()}) |" for row in part]
            lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
