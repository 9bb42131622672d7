"""The course keeps its rules (CONTRIBUTING, Notebooks), and comparing it means something: a changed number is seen.

What is in the notebooks is compared by nbval: `make test`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
COURSE = sorted(FOLDER.glob("0*.ipynb"))
SOLUTIONS = sorted(FOLDER.glob("exercises/solutions/*.ipynb"))
COMPARED = [*COURSE, *SOLUTIONS, FOLDER / "explorer.ipynb"]
FIGURE = "nbval-ignore-output"
PARAMETERS = "parameters"  # papermill's
PLOTLY = "application/vnd.plotly.v1+json"
MOST = 1_000_000  # bytes


def named(path):
    return path.stem


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", ()))


def kinds(cell):
    return {kind for output in cell.outputs for kind in output.get("data", ())}


def test_the_course_is_whole():
    assert [path.stem[:2] for path in COURSE] == ["01", "02", "03", "04", "05", "06"]
    assert len(SOLUTIONS) == 2
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in COURSE:
        assert f"({path.name})" in index


@pytest.mark.parametrize("path", COURSE, ids=named)
def test_it_says_what_it_is_for(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    for word in ("**Goal:**", "**Time:**", "**You need:**"):
        assert word in first.source
    assert "## What next\n" in read(path).cells[-1].source


@pytest.mark.parametrize("path", COMPARED, ids=named)
def test_it_was_run_from_top_to_bottom_and_nothing_failed(path):
    cells = code(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert not any(output.output_type == "error" for output in cell.outputs), cell.source
        assert not any(output.get("name") == "stderr" for output in cell.outputs), cell.source


@pytest.mark.parametrize("path", COMPARED, ids=named)
def test_outputs_are_compared_but_for_figures_and_each_figure_is_followed_by_its_numbers(path):
    cells = code(path)
    for number, cell in enumerate(cells):
        figure = PLOTLY in kinds(cell)
        assert tags(cell) <= {FIGURE, PARAMETERS}, f"a tag that is not ours: {tags(cell)}"
        assert figure == (FIGURE in tags(cell)), f"tagged as a figure, or one without the tag:\n{cell.source}"
        if figure:
            # Figures that are compared with each other may share the cell that follows.
            following = next((other for other in cells[number + 1 : number + 4] if FIGURE not in tags(other)), None)
            assert following is not None, f"nothing follows the figure of\n{cell.source}"
            shown = "".join(
                output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in following.outputs
            )
            assert re.search(r"\d|True|False", shown), f"no number follows the figure of\n{cell.source}"


@pytest.mark.parametrize("path", COMPARED, ids=named)
def test_a_saved_notebook_is_small_and_has_nothing_of_this_machine(path):
    assert path.stat().st_size <= MOST
    book = read(path)
    assert "widgets" not in book.metadata, "make notebooks leaves the widgets' state out"
    assert not any("execution" in cell.metadata for cell in book.cells), "make notebooks leaves the times out"
    text = "".join(str(output) for cell in code(path) for output in cell.outputs)
    assert not re.search(r"/(?:home|root|Users|tmp|work)/\w", text), "a path of a machine"
    assert not re.search(r"<script|https?://", text), "something of a network"


@pytest.mark.parametrize("path", [*COMPARED, *sorted(FOLDER.glob("exercises/lab*.ipynb"))], ids=named)
def test_every_link_leads_somewhere(path):
    for cell in read(path).cells:
        for target in re.findall(r"\]\(([^)\s]+)\)", cell.source if cell.cell_type == "markdown" else ""):
            if not target.startswith("http"):
                file = (path.parent / target.partition("#")[0]).resolve()
                assert file.is_file(), target
                assert file.is_relative_to(ROOT), target


@pytest.mark.parametrize("path", COMPARED, ids=named)
def test_only_public_names_are_used(path):
    for cell in code(path):
        private = re.findall(r"^\s*(?:from|import) semviz\.(\w+)", cell.source, flags=re.MULTILINE)
        assert set(private) <= {"figures", "demo"}, cell.source
        assert not re.search(r"\b\w+\._[a-z]", cell.source), cell.source


def test_no_rule_of_the_sanitizer_hides_numbers_that_count():
    rules = (ROOT / "tests" / "sanitize.cfg").read_text(encoding="utf-8")
    patterns = re.findall(r"^regex: (.*)$", rules, flags=re.MULTILINE)
    for harmless in ("accuracy 0.93", "k = 4", "[7.0, 4.2, 3.9]", "blocks 5–8 of 8", "93.1 %", "0.79 M parameters"):
        for pattern in patterns:
            assert not re.search(pattern, harmless), f"{pattern} hides {harmless}"


def compare(book, path):
    """Compare a notebook as `make test` does."""
    nbformat.write(book, path)
    quiet = {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    options = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", ROOT / "tests" / "sanitize.cfg"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", path.parent, *options, path],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=path.parent,
        env={**os.environ, **quiet, "OMP_NUM_THREADS": "1"},
    )


def test_a_changed_number_is_seen(tmp_path):
    book = read(COURSE[0])
    numbers = next(i for i, cell in enumerate(book.cells) if 'trace.values["lens"][answer]' in cell.source)
    book.cells = book.cells[: numbers + 1]
    cell = book.cells[numbers]
    said = cell.outputs[0].data["text/plain"]
    first = re.search(r"\d+\.\d", said)[0]
    cell.outputs[0].data["text/plain"] = said.replace(first, f"{float(first) + 0.1:.1f}", 1)
    done = compare(book, tmp_path / "changed.ipynb")
    assert done.returncode == 1, done.stdout[-3000:]
    # All others are seen to be the same, so it was this one number.
    assert f"1 failed, {len(code(tmp_path / 'changed.ipynb')) - 1} passed" in done.stdout, done.stdout[-3000:]
