"""The labs: students' versions are what `strip.py` makes, checks pass the solutions and give hints for all else.

The cells run here in one namespace a lab, without a kernel; `make labs` runs the solutions as notebooks.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from textwrap import dedent

import nbformat
import plotly.io
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks" / "exercises"
LABS = ("lab1_reading_layers", "lab2_choosing_a_boundary")

_spec = importlib.util.spec_from_file_location("strip", FOLDER / "strip.py")
strip = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(strip)

# Wrong answers, and a part of the hint that each of them must get. A third entry: only the hidden tests see it.
WRONG = {
    "lab1_reading_layers": {
        "task-1a": [
            ("answer_1a = 2", "Too low"),
            ("answer_1a = 6", "Too high"),
            ("answer_1a = 0.8", "number of a row"),
        ],
        "task-1b": [
            ('answer_1b = "he"', "the token which is read"),
            ('answer_1b = "."', "another one is farther"),
            ('answer_1b = "barn"', "top row only"),
        ],
        "task-2": [
            ("def profile_by_hand(trace, metric):\n    pass", "return at all"),
            (
                "def profile_by_hand(trace, metric):\n    return np.nanmean(trace.values[metric], axis=0)",
                "Which roles do",
            ),
            (
                "def profile_by_hand(trace, metric):\n"
                '    return trace.values[metric][trace.positions["role"] == "answer"].mean(axis=0)',
                "More than one role",
            ),
            (
                "def profile_by_hand(trace, metric):\n"
                '    return trace.values[metric][trace.positions["role"].isin(["answer", "next"])].mean(axis=0)',
                "in two steps",
            ),
            (
                "def profile_by_hand(trace, metric):\n"
                '    counted = trace.positions["role"].isin(["answer", "next"]).to_numpy()\n'
                '    rows = pd.DataFrame(trace.values["lens"][counted])\n'
                '    return rows.groupby(trace.positions["sample"].to_numpy()[counted]).mean().mean()',
                "Is `metric` used",
            ),
            (
                "def profile_by_hand(trace, metric):\n"
                '    counted = trace.positions[trace.positions["role"].isin(["answer", "next"])]\n'
                "    rows = pd.DataFrame(trace.values[metric][counted.index.to_numpy() % len(trace.values[metric])])\n"
                '    return rows.groupby(counted["sample"].to_numpy()).mean().mean()',
                "whatever its index",
                "hidden",
            ),
        ],
        "task-3a": [
            ("answer_3a = 7", "another one"),
            ("answer_3a = 4", "go on upwards"),
            ("answer_3a = '3'", "a space"),
        ],
        "task-3b": [
            ('answer_3b = "kitchen"', "right answer"),
            ('answer_3b = "garden"', "last row"),
            ("answer_3b = 8", "in quotes"),
        ],
        "task-4a": [
            ("answer_4a = 8", "nearly the same"),
            ("answer_4a = 4", "elsewhere by more"),
            ("answer_4a = 0", "1 to 8"),
        ],
        "task-4b": [
            ('answer_4b = "kitchen"', "column `head`"),
            ('answer_4b = "barn"', "the row is"),
            ("answer_4b = 3", "quotes"),
        ],
        "task-5a": [
            ("def share_of_resamples(means, drawn, lower, upper):\n    pass", "return at all"),
            (
                "def share_of_resamples(means, drawn, lower, upper):\n"
                "    profiles = means[drawn].mean(axis=1)\n"
                "    return (profiles[:, upper] > profiles[:, lower]).sum() / 2",
                "between 0 and 1",
            ),
            (
                "def share_of_resamples(means, drawn, lower, upper):\n"
                "    profiles = means[drawn].mean(axis=1)\n"
                "    return (profiles[:, upper] != profiles[:, lower]).mean()",
                "changes nothing",
            ),
            (
                "def share_of_resamples(means, drawn, lower, upper):\n"
                "    return (means[:, upper] > means[:, lower]).mean()",
                "each resample first",
            ),
            (
                "def share_of_resamples(means, drawn, lower, upper):\n"
                "    profiles = means[drawn].mean(axis=1)\n"
                "    return (profiles[:, upper] > profiles[:, lower]).sum() / 5 if len(means) == 3 else 0.5",
                "three resamples",
                "hidden",
            ),
        ],
        "task-5b": [('answer_5b = "translated"', "nowhere near"), ('answer_5b = "both"', "one of two words")],
        "task-6a": [
            ("answer_6a = 3", "less than half a nat"),
            ("answer_6a = 6", "further down"),
            ("answer_6a = True, 4", "0 to 8"),
        ],
        "task-6b": [
            ('answer_6b = "garden"', "among the nearer"),
            ('answer_6b = "school"', "another label"),
            ('answer_6b = "cellar"', "one of the labels"),
        ],
        "task-7a": [
            ("answer_7a = 1", "Almost"),
            ("answer_7a = 7", "Another step"),
            ("answer_7a = 0", "a block, 1 to 8"),
        ],
        "task-7b": [
            ("answer_7b = 1", "to the right"),
            ("answer_7b = 3", "a longer one"),
            ("answer_7b = 9", "a block, 1 to 8"),
        ],
    },
    "lab2_choosing_a_boundary": {
        "task-1": [
            ("def gains_by_hand(deviation, beta):\n    return deviation", "array of three"),
            ("def gains_by_hand(deviation, beta):\n    return np.diff(deviation)", "holds np.nan"),
            (
                "def gains_by_hand(deviation, beta):\n"
                "    gains = np.diff(deviation)\n"
                "    gains[0] = np.nan\n"
                "    return gains",
                "Which of the two",
            ),
            (
                "def gains_by_hand(deviation, beta):\n"
                "    gains = -np.diff(deviation)\n"
                "    gains[0] = np.nan\n"
                "    return gains",
                "Is y computed first",
            ),
            (
                "def gains_by_hand(deviation, beta):\n"
                "    gains = np.diff((deviation**-beta - 1) / np.float64(beta))\n"
                "    gains[0] = np.nan\n"
                "    return gains",
                "a case of its own",
            ),
            (
                "def gains_by_hand(deviation, beta):\n"
                "    y = -np.log(deviation) if beta <= 0 else (deviation**-beta - 1) / beta\n"
                "    return np.append(np.nan, np.diff(y)[1:])",
                "plain drop",
                "hidden",
            ),
        ],
        "task-2a": [("answer_2a = 3", "positive"), ("answer_2a = 1", "a layer")],
        "task-2b": [('answer_2b = "question"', "rises again"), ('answer_2b = "neither"', "one of two words")],
        "task-2c": [
            ("def share_away(deviation):\n    pass", "return at all"),
            (
                "def share_away(deviation):\n    steps = np.diff(deviation[1:])\n"
                "    return np.maximum(steps, 0).sum() / steps.sum()",
                "below the line",
            ),
            (
                "def share_away(deviation):\n    steps = np.diff(deviation[1:])\n"
                "    return -np.minimum(steps, 0).sum() / np.abs(steps).sum()",
                "*towards* the target",
            ),
            (
                "def share_away(deviation):\n    steps = np.diff(deviation)\n"
                "    return np.maximum(steps, 0).sum() / np.abs(steps).sum()",
                "begin with layer 2",
            ),
            ("def share_away(deviation):\n    return float((np.diff(deviation[1:]) > 0).mean())", "on paper"),
            (
                "def share_away(deviation):\n    return 0.25 if len(deviation) == 5 else gain.nonmonotone",
                "question",
                "hidden",
            ),
        ],
        "task-3": [
            ("def boundary_at(gains, theta):\n    pass", "return at all"),
            (
                "def boundary_at(gains, theta):\n    return int(np.argmax(gains[1:] / np.nanmax(gains) >= theta) + 2)",
                "At θ = 0",
            ),
            (
                "def boundary_at(gains, theta):\n"
                "    return int(np.argmax(gains / np.nanmax(gains) >= theta)) if theta else 0",
                "one too low",
            ),
            (
                "def boundary_at(gains, theta):\n"
                "    return int(np.argmax(gains / max(gains) >= theta) + 1) if theta else 0",
                "nan left out",
            ),
            (
                "def boundary_at(gains, theta):\n"
                "    return int(np.argmax(gains / np.nanmax(gains) > min(theta, 0.99)) + 1) if theta else 0",
                "compare with ≥",
            ),
            (
                "def boundary_at(gains, theta):\n"
                "    return int(np.argmax(gains / np.nanmax(gains) >= theta**9) + 1) if theta else 0",
                "divided by the largest",
            ),
            (
                "def boundary_at(gains, theta):\n"
                "    return int(np.argmax(gains / np.nanmax(gains) >= theta) + 1) if theta else 0",
                "at most L − 1",
            ),
            (
                "def boundary_at(gains, theta):\n"
                "    k = np.argmax(gains / np.nanmax(gains) >= theta) + 1 if theta else 0\n"
                "    return min(int(k), len(gains) - 1) if gains[1] != other.gains[1] else 1",
                "On `question`",
                "hidden",
            ),
        ],
        "task-4a": [
            ("def unique_parameters(modules):\n    return len(modules)", "count elements"),
            (
                "def unique_parameters(modules):\n    return sum(p.numel() for p in modules[0].parameters())",
                "50 of its own",
            ),
            (
                "def unique_parameters(modules):\n    return sum(p.numel() for m in modules for p in m.parameters())",
                "counted twice",
            ),
            (
                "def unique_parameters(modules):\n"
                "    tensors = {tuple(p.shape): p for m in modules for p in m.parameters()}\n"
                "    return sum(p.numel() for p in tensors.values())",
                "50 of its own",
            ),
            (
                "def unique_parameters(modules):\n"
                "    tensors = {id(p): p for m in modules[:2] for p in m.parameters()}\n"
                "    return sum(p.numel() for p in tensors.values())",
                "On blocks 5–8",
            ),
            (
                "def unique_parameters(modules):\n"
                "    tensors = {(*p.shape, p.abs().sum().item()): p for m in modules for p in m.parameters()}\n"
                "    return sum(p.numel() for p in tensors.values()) if modules else None",
                "No module",
                "hidden",
            ),
        ],
        "task-4b": [
            ("answer_4b = 4", "more than half"),
            ("answer_4b = 6", "a smaller boundary"),
            ("answer_4b = 8", "0 to 7"),
        ],
        "task-5": [
            (
                "tiny = sv.Task.from_frame(question.frame()[:64], label='label', prompt=question.prompt)\n"
                "runs = sv.sweep(model, tiny, [sv.Scope.last(model)], lr=3e-3, epochs=1)",
                "a list of two",
            ),
            (
                "runs = sv.sweep(model, tiny, [sv.Scope.above(model, 6), sv.Scope.last(model)], lr=3e-3, epochs=1)",
                "all blocks, and the last",
            ),
            (
                "runs = sv.sweep(model, tiny, [sv.Scope.full(model), sv.Scope.last(model)], lr=1e-3, epochs=1)",
                "learning rates are",
            ),
            (
                "runs = sv.sweep(model, tiny, [sv.Scope.full(model), sv.Scope.last(model)], lr=3e-3, epochs=1)",
                "three seeds",
            ),
            (
                "both = [sv.Scope.full(model), sv.Scope.last(model)]\n"
                "runs = sv.sweep(model, tiny, both, seeds=range(3), lr=3e-3, epochs=1)",
                "another number of steps",
            ),
            ("runs = sv.finetune(model, tiny, sv.Scope.last(model), lr=3e-3, epochs=1)", "what sv.sweep returns"),
        ],
        "task-6a": [
            ('answer_6a = "undecided"', "zero line"),
            ('answer_6a = "better"', "zero line"),
            ("answer_6a = -14", "words"),
        ],
        "task-6b": [
            ("answer_6b = 55", "0.4, not 40"),
            ("answer_6b = float(np.divide(*runs.table()['accuracy'][::-1]))", "subtract"),
            ("answer_6b = 1 - float(np.divide(*(runs.table()['accuracy'] - runs.zero_shot)[::-1]))", "*not* give"),
            ("answer_6b = 0.125", "dashed line"),
            ("answer_6b = 'half'", "a number"),
        ],
        "task-7a": [
            ("def regret(measured, boundary):\n    pass", "return at all"),
            (
                "def regret(measured, boundary):\n    return measured[boundary] - max(measured.values())",
                "never negative",
            ),
            (
                "def regret(measured, boundary):\n    return abs(measured[0] - measured[boundary])",
                "best boundary has no",
            ),
            ("def regret(measured, boundary):\n    return 0.0 if boundary == 2 else 0.1", "In the example"),
            (
                "def regret(measured, boundary):\n"
                "    return max(score for k, score in measured.items() if k % 2 == 0) - measured[boundary]",
                "other boundaries",
                "hidden",
            ),
        ],
        "task-7b": [
            ('answer_7b = "surplus"', "falls steeply"),
            ('answer_7b = "law"', "falls steeply"),
            ('answer_7b = "half"', "one of the rules"),
        ],
        "task-8a": [
            ('snippet = sv.Scope.above(model, 3).export("peft")', "another trainer"),
            ('snippet = sv.Scope.above(model, 5).export("transformers")', "the best score"),
            ("snippet = sv.Scope.above(model, 3)", "what export returns"),
        ],
        "task-8b": [
            ("answer_8b = 4", "counts, from 1"),
            ("answer_8b = 7", "the line with"),
            ("answer_8b = None", "0 to 7"),
        ],
    },
}


def read(lab, solutions=True):
    return nbformat.read(FOLDER / ("solutions" if solutions else "") / f"{lab}.ipynb", as_version=4)


def marks(cell):
    return cell.metadata.get("nbgrader", {})


def marked(notebook):
    """Cells that nbgrader knows, by their grade_id."""
    return {marks(cell)["grade_id"]: cell for cell in notebook.cells if marks(cell)}


def answers(notebook):
    """Numbers of the solution cells, in order."""
    return [key for key, cell in marked(notebook).items() if marks(cell)["solution"]]


def regions(cell):
    """What stands between markers, region by region."""
    return re.findall(r"### BEGIN [A-Z ]+\n(.*?)### END", cell.source, flags=re.DOTALL)


def hint_of(check, names):
    """What a check says; nothing if it passes."""
    try:
        exec(check.source, names)
    except AssertionError as error:
        return str(error)
    return ""


# The students' versions


@pytest.mark.parametrize("lab", LABS)
def test_students_get_what_strip_makes_of_the_solutions(lab):
    solutions = read(lab)
    made = strip.students(solutions)
    assert nbformat.writes(made) == nbformat.writes(read(lab, solutions=False)), "run notebooks/exercises/strip.py"
    assert solutions == read(lab)
    nbformat.validate(made)


def test_there_is_no_other_lab():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(LABS)
    assert sorted(path.stem for path in (FOLDER / "solutions").glob("*.ipynb")) == sorted(LABS)


@pytest.mark.parametrize("lab", LABS)
def test_nothing_of_a_solution_or_a_hidden_test_is_left(lab):
    made = read(lab, solutions=False)
    left = {line.strip() for cell in made.cells for line in cell.source.split("\n")}
    secret = {
        line.strip()
        for cell in read(lab).cells
        for region in regions(cell)
        for line in region.split("\n")
        if re.search(r"\w", line)
    }
    assert len(secret) > 20
    assert not secret & left
    assert not any("### " in cell.source for cell in made.cells if cell.cell_type == "code")
    assert not any(cell.outputs or cell.execution_count for cell in made.cells if cell.cell_type == "code")


@pytest.mark.parametrize("solutions", [True, False])
@pytest.mark.parametrize("lab", LABS)
def test_links_lead_somewhere(lab, solutions):
    home = FOLDER / "solutions" if solutions else FOLDER
    links = [
        link for cell in read(lab, solutions).cells for link in re.findall(r"\]\(([^)#]+)", cell.source) if "/" in link
    ]
    assert links
    assert not [link for link in links if not (home / link).resolve().exists()]


SOLVED = "x = None  # a number\n### BEGIN SOLUTION\nx = 3\n### END SOLUTION\nx"


def test_a_solution_is_replaced_in_functions_and_taken_out_elsewhere():
    assert strip.cut(SOLVED, "SOLUTION") == "x = None  # a number\nx"
    function = (
        "def f(x):\n    '''Say.'''\n    ### BEGIN SOLUTION\n    y = x\n    return y\n    ### END SOLUTION\n\nf(1)"
    )
    assert strip.cut(function, "SOLUTION") == "def f(x):\n    '''Say.'''\n    ...  # your turn\n\nf(1)"
    hidden = "### BEGIN HIDDEN TESTS\nassert a\n### END HIDDEN TESTS"
    assert strip.cut(f"a = 1\n{hidden}\nb = 2\n{hidden}", "HIDDEN TESTS") == "a = 1\nb = 2"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (SOLVED.replace("### END SOLUTION\n", ""), "in pairs"),
        (SOLVED.replace("### BEGIN SOLUTION\n", ""), "in pairs"),
        (SOLVED.replace("x = 3", "### BEGIN SOLUTION\nx = 3"), "twice"),
        (SOLVED.replace("### BEGIN", "# ### BEGIN"), "in pairs"),
        (SOLVED.replace("None", "0"), "Write `name = None"),
        (SOLVED.replace("x = None", "z = None"), "Write `name = None"),
    ],
)
def test_a_mistake_in_the_markers_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        strip.cut(source, "SOLUTION")


def test_a_solution_outside_of_a_solution_cell_is_refused():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOLVED)])
    with pytest.raises(ValueError, match="do not say that it is a solution"):
        strip.students(notebook)


# What nbgrader reads


@pytest.mark.parametrize("solutions", [True, False])
@pytest.mark.parametrize("lab", LABS)
def test_nbgraders_metadata(lab, solutions):
    notebook = read(lab, solutions)
    known = [cell for cell in notebook.cells if marks(cell)]
    ids = [marks(cell)["grade_id"] for cell in known]
    assert len(ids) == len(set(ids))
    for cell in known:
        found = marks(cell)
        expected = {"schema_version", "grade", "grade_id", "locked", "solution", "task"}
        assert set(found) == (expected | {"points"} if found["grade"] else expected)
        assert found["schema_version"] == 3
        assert cell.cell_type == "code"
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", found["grade_id"])
        assert found["task"] is False
        assert found["grade"] is found["locked"] is not found["solution"]
        assert not found["grade"] or (type(found["points"]) is int and found["points"] > 0)
        assert (cell.metadata.get("deletable") is False) == (not solutions)
        assert (cell.metadata.get("editable") is False) == (found["locked"] and not solutions)


@pytest.mark.parametrize("lab", LABS)
def test_every_task_has_its_checks_and_points(lab):
    notebook = read(lab)
    order = [marks(cell)["grade_id"] for cell in notebook.cells if marks(cell)]
    keys = answers(notebook)
    assert order == [name for key in keys for name in (key, f"{key}-check")]
    points: dict[str, int] = {}
    for key in keys:
        number = re.fullmatch(r"task-(\d)[a-c]?", key)[1]
        points[number] = points.get(number, 0) + marks(marked(notebook)[f"{key}-check"])["points"]
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert points == {
        number: int(said) for number, said in re.findall(r"^## Task (\d) · .* \((\d) points\)$", text, re.M)
    }
    assert 6 <= len(points) <= 8
    assert f"{sum(points.values())} points" in notebook.cells[0].source
    assert set(WRONG[lab]) == set(keys)
    assert all(WRONG[lab].values())


@pytest.mark.parametrize("lab", LABS)
def test_an_undone_task_breaks_no_given_cell(lab):
    notebook = read(lab, solutions=False)
    undone = {name: None for cell in notebook.cells for name in re.findall(r"^(\w+) = None", cell.source, flags=re.M)}
    assert len(undone) >= 8
    for cell in notebook.cells:
        if cell.cell_type == "code" and not marks(cell):
            used = {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}
            if used & set(undone):
                exec(cell.source, dict(undone))


# The checks


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, in wrong answers
@pytest.mark.parametrize("lab", LABS)
def test_checks_give_hints_and_pass_the_solutions(lab, monkeypatch):
    monkeypatch.setattr(plotly.io.renderers, "default", plotly.io.renderers.default)
    theirs, ours = marked(read(lab, solutions=False)), marked(read(lab))
    names = {"__name__": "__main__"}

    # As it is handed out, from top to bottom: every check has something to say. Figures are left out.
    for cell in read(lab, solutions=False).cells:
        if marks(cell).get("grade"):
            hint = hint_of(cell, names)
            assert len(hint.split()) > 5, (cell.id, hint)
        elif cell.cell_type == "code" and "nbval-ignore-output" not in cell.metadata.get("tags", []):
            exec(cell.source, names)

    for key in answers(read(lab)):
        visible, whole = theirs[f"{key}-check"], ours[f"{key}-check"]
        (solution,) = (dedent(region) for region in regions(ours[key]))
        for wrong, part, *hidden in WRONG[lab][key]:
            exec(wrong, names)
            if hidden:
                assert not hint_of(visible, names), (key, wrong)
            hint = hint_of(whole if hidden else visible, names)
            assert part in hint, (key, wrong, hint)
            assert not any(line and line in hint for line in solution.split("\n")), (key, hint)
            if name := re.match(r"answer_\w+", solution):
                told = dict(names)
                exec(solution, told)
                assert not re.search(rf"(?<![\w.]){re.escape(str(told[name[0]]))}(?![\w.])", hint), (key, hint)
        exec(ours[key].source, names)
        for check in (visible, whole):
            assert not hint_of(check, names), (key, hint_of(check, names))
