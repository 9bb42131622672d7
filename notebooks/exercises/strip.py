"""Makes the students' labs from the instructor's solutions: `python notebooks/exercises/strip.py`.

Each `solutions/lab….ipynb` becomes `lab….ipynb` beside this file; the same solutions always give the same file.

- What stands between `### BEGIN SOLUTION` and `### END SOLUTION` is taken out. Inside a function `...` takes its place;
  elsewhere nothing does, since a line above it says `answer_3 = None  # a number` already.
- What stands between `### BEGIN HIDDEN TESTS` and `### END HIDDEN TESTS` is taken out.
- Outputs and execution counts go. Cells that nbgrader knows cannot be deleted, and checks cannot be edited.
- Relative links lose one `../`, since the students' labs lie one folder higher.
"""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

HERE = Path(__file__).parent
PLACEHOLDER = "...  # your turn"


def cut(source: str, what: str) -> str:
    r"""Take the marked regions out of a cell.

    Args:
        source: Source of the cell.
        what: `"SOLUTION"` or `"HIDDEN TESTS"`. A solution in a function leaves a placeholder.

    Raises:
        ValueError: If a marker has no partner, or a solution outside of a function sets no name that a line above it
            has set to None (its check would end in a NameError instead of a hint).

    Example:
        >>> cut("x = None  # a number\n### BEGIN SOLUTION\nx = 3\n### END SOLUTION", "SOLUTION")
        'x = None  # a number'
    """
    begin, end = f"### BEGIN {what}", f"### END {what}"

    def placeholder(region: re.Match[str]) -> str:
        indent, inside = region.groups()
        if begin in inside:
            raise ValueError(f"{begin} stands twice before {end} in:\n{source}")
        if what == "SOLUTION" and indent:
            return f"{indent}{PLACEHOLDER}\n"
        if what == "SOLUTION":
            given = re.findall(r"^(\w+) = None\b", source[: region.start()], flags=re.MULTILINE)
            lines = [line for line in ast.parse(inside).body if isinstance(line, ast.Assign)]
            if not {ast.unparse(target) for line in lines for target in line.targets} & set(given):
                raise ValueError(f"Write `name = None  # what it is` of what is asked for above {begin} in:\n{source}")
        return ""

    region = rf"^([ ]*){begin}\n(.*?)^[ ]*{end}(?:\n|\Z)"
    kept = re.sub(region, placeholder, source, flags=re.MULTILINE | re.DOTALL)
    if begin in kept or end in kept:
        raise ValueError(f"{begin} and {end} do not stand in pairs, each on a line of its own, in:\n{source}")
    return kept.rstrip("\n")


def students(solutions: NotebookNode) -> NotebookNode:
    """Make the students' version of a lab.

    Args:
        solutions: The instructor's notebook; it stays as it is.

    Raises:
        ValueError: As in `cut`, or if a solution stands in a cell that nbgrader does not know as one.
    """
    made = copy.deepcopy(solutions)
    for cell in made.cells:
        marks = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code":
            if "### BEGIN SOLUTION" in cell.source and not marks.get("solution"):
                raise ValueError(f"The metadata of this cell do not say that it is a solution:\n{cell.source}")
            cell.source = cut(cut(cell.source, "SOLUTION"), "HIDDEN TESTS")
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = cell.source.replace("](../", "](")
        if marks:
            cell.metadata["deletable"] = False
        if marks.get("locked"):
            cell.metadata["editable"] = False
    return made


def main() -> None:
    """Write the students' version of every lab."""
    for path in sorted((HERE / "solutions").glob("lab*.ipynb")):
        nbformat.write(students(nbformat.read(path, as_version=4)), HERE / path.name)
        print(HERE / path.name)


if __name__ == "__main__":
    main()
