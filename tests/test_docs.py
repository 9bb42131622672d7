"""The documentation is true: its code runs, its links lead somewhere, its names exist, its schemas fit real files.

Python blocks of a page of docs/ run from top to bottom in one namespace, in an empty folder, with a small `model` and
`task`. A comment on the line before a block changes that: `<!-- not run: why -->`, or `<!-- raises: TaskError -->` for
a block that must be refused.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomllib
from jsonschema import Draft202012Validator
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common import json_shapes
from semviz.common.metric_facts import MetricFacts
from semviz.experiments import run_store
from semviz.lm.parts import Names, Parts
from semviz.scopes.methods import METHODS
from semviz.scopes.scope import EXPORTS
from semviz.traces import parquet

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md", *DOCS]
MOST_NOT_RUN = 3  # on a page; a block that does not run is a block that rots


def called(path):
    return path.stem


def text_of(path):
    return path.read_text(encoding="utf-8")


def test_the_page_of_what_people_bring_is_what_the_marks_say():
    """Written by `python docs/bring.py`."""
    assert text_of(ROOT / "docs" / "bring.md") == runpy.run_path(str(ROOT / "docs" / "bring.py"))["page"]()


# Code


@dataclass(frozen=True)
class Block:
    """A fenced block of code: its language, first line, text, and the comment on the line before it."""

    language: str
    line: int
    code: str
    note: str


def blocks(path):
    found, lines, i = [], text_of(path).split("\n"), 0
    while i < len(lines):
        fence = re.fullmatch(r"(`{3,})(\w*)", lines[i].rstrip())
        if fence:
            end = next(j for j in range(i + 1, len(lines)) if lines[j].rstrip() == fence[1])
            note = re.fullmatch(r"<!-- (.*) -->", lines[i - 1]) if i else None
            found.append(Block(fence[2], i + 1, "\n".join(lines[i + 1 : end]), note[1] if note else ""))
            i = end
        i += 1
    return found


def python_blocks(path):
    return [block for block in blocks(path) if block.language == "python"]


def made_task():
    texts = [
        f"the {('red', 'blue', 'green')[i % 3]} {('cat', 'dog', 'bird')[i % 3]} was {('good', 'bad')[i // 5 % 2]} ."
        for i in range(80)
    ]
    labels = [("yes", "no")[i // 5 % 2] for i in range(80)]
    return sv.Task.from_texts(texts, labels, prompt="{text} mood :", name="tiny mood")


def small_model(**options):
    return sv.load_model((tiny_llama(**options), word_tokenizer()), general_text=plain_text())


@pytest.fixture
def names(request):
    """What a page begins with: the small model, or the packaged one where a page needs its words."""
    path = request.getfixturevalue("page")
    if path.stem == "extending":
        return {"sv": sv, "model": sv.load_model()}
    made = {"sv": sv, "model": small_model(), "task": made_task()}
    return made | ({"tied": small_model(tie_word_embeddings=True)} if path.stem == "gotchas" else {})


@pytest.mark.parametrize("page", DOCS, ids=called)
def test_the_code_of_a_page_runs(page, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("semviz.scopes.scope.EXPORTS", dict(EXPORTS))  # a page adds one
    known, methods, not_run = dict(sv.METRICS), dict(METHODS), 0
    try:
        for block in python_blocks(page):
            rule, _, what = block.note.partition(": ")
            where = f"{page.name}, line {block.line}"
            code = compile("\n" * block.line + block.code, str(page), "exec")
            if rule == "not run":
                assert what, f"{where}: say why it does not run"
                not_run += 1
            elif rule == "raises":
                with pytest.raises(sv.SemvizError) as caught:
                    exec(code, names)
                assert type(caught.value).__name__ == what, where
            else:
                assert not rule, f"{where}: unknown comment {block.note!r}"
                exec(code, names)
        assert not_run <= MOST_NOT_RUN, "run them"
    finally:
        sv.METRICS.clear()
        sv.METRICS.update(known)
        METHODS.clear()
        METHODS.update(methods)
        for made in names.values():
            if isinstance(made, sv.Explorer | sv.Study):
                made.close()


def test_every_gotcha_is_whole_and_its_right_way_runs():
    page = text_of(ROOT / "docs" / "gotchas.md")
    entries = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    assert len(entries) >= 20
    for entry in entries:
        title, body = entry.split("\n", 1)
        at = [body.find(f"**{part}") for part in ("Symptom.**", "Cause.**", "Wrong**", "Right**")]
        assert at == sorted(at), title
        assert at[0] >= 0, title
        assert re.search(r"^\n```python$", body[at[3] :], flags=re.MULTILINE), f"{title}: no code that runs"


# Links, paths and names


def prose(path):
    """A page without its fenced blocks and code spans, where nothing is a link."""
    text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda span: re.sub(r"[\[\]()<>]", " ", span[0]), text)


def anchors(path):
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE):
        plain = re.sub(r"[*`]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        n = sum(a == anchor or a.startswith(f"{anchor}-") for a in found)
        found.add(anchor if anchor not in found else f"{anchor}-{n}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        assert file.is_relative_to(ROOT), f"{page.name} links out of the repository: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}; there are {sorted(anchors(file))}"


def homes():
    """Folders at the top of the repository, as paths in prose begin."""
    return "|".join(("semviz", "tests", "docs", "notebooks", "binder"))


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_every_path_in_the_prose_exists(page):
    for path in re.findall(rf"`((?:{homes()})/[\w./*-]*)`", text_of(page)):
        assert list(ROOT.glob(path.rstrip("/"))), f"{page.name} names {path}"


def documents(cls, attribute):
    """Whether a class lists an attribute under Attributes: in its docstring."""
    return re.search(rf"^\s+(?:[\w, ]+, )?{attribute}\b.*:", cls.__doc__ or "", re.MULTILINE) is not None


def resolve(name):
    """Follow a dotted name through modules, classes and their documented attributes; raises where it ends."""
    first, *rest = ("semviz" if part == "sv" else part for part in name.split("."))
    found = importlib.import_module(first)
    for i, part in enumerate(rest):
        if hasattr(found, part):
            found = getattr(found, part)
        elif isinstance(found, type) and (part in getattr(found, "__dataclass_fields__", ()) or documents(found, part)):
            return
        elif not isinstance(found, type) and hasattr(found, "__path__"):
            found = importlib.import_module(".".join([first, *rest[: i + 1]]))
        else:
            raise AttributeError(f"{name}: there is no {part!r}")


def mentioned(path):
    # Not preceded by a path, a dot or a dash: `.github/semviz.x` and `my-sv.x` are no names of ours.
    return sorted(set(re.findall(r"(?<![\w./-])(?:sv|semviz)(?:\.[A-Za-z_]\w*)+", text_of(path))))


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_every_name_that_is_mentioned_exists(page):
    for name in mentioned(page):
        try:
            resolve(name)
        except (AttributeError, ImportError) as error:
            pytest.fail(f"{page.name} names {name}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_methods_in_code_spans_exist(page):
    """`Trace.save` and its like: a public class, a dot, a name."""
    classes = {name for name in sv.__all__ if isinstance(getattr(sv, name), type)} | {"Costs", "View"}
    homes_of = {"Costs": "semviz.scopes.costs.Costs", "View": "semviz.traces.metrics.View"}
    for owner, name in re.findall(r"`([A-Z]\w+)\.([a-z_]\w*)[`(]", text_of(page)):
        assert owner in classes, f"{page.name}: {owner}.{name}"
        resolve(f"{homes_of.get(owner, f'sv.{owner}')}.{name}")


def test_a_name_that_does_not_exist_is_found():
    for name in (
        "sv.Trace.load",
        "sv.Trace.meta",
        "semviz.demo.tasks.SPECS",
        "sv.Study.job",
        "semviz.gains.scaling_law.EPSILON",
    ):
        resolve(name)
    for name in (
        "sv.tracer",
        "sv.Trace.safe",
        "semviz.metric_registry",
        "semviz.gains.scaling_law.EPSILOM",
        "sv.trace.x",
    ):
        with pytest.raises((AttributeError, ImportError)):
            resolve(name)


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    # In code only: "make sure" is no command.
    spans = re.findall(r"`([^`\n]+)`", text_of(page)) + [b.code for b in blocks(page) if b.language in ("bash", "")]
    for target in re.findall(r"(?:^|[;&] )make ([a-z][\w-]*)", "\n".join(spans), flags=re.MULTILINE):
        assert target in targets, f"{page.name}: make {target}"


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_math_is_what_github_renders(page):
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    shown = re.findall(r"\$\$(.+?)\$\$", text, flags=re.DOTALL)
    inline = re.sub(r"\$\$.+?\$\$", "", text, flags=re.DOTALL)
    assert inline.count("$") % 2 == 0, "a dollar too many"
    for formula in [*shown, *re.findall(r"\$([^$]+)\$", inline)]:
        assert formula.count("{") == formula.count("}"), formula
        # GitHub's Markdown eats the backslash before punctuation, and its MathJax knows no \operatorname.
        assert not re.search(r"\\[,;!{}%_#*|]|\\operatorname", formula), formula
        assert "\n\n" not in formula, formula


# Constants


def tables(path, heading):
    """Cells of the table rows below a heading, without their heads."""
    text = text_of(path)
    start = re.search(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE)
    assert start, heading
    part = re.split(r"^#+ ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    found = []
    for table in re.findall(r"(?:^\|.*\|$\n?)+", part, flags=re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().split("\n")]
        assert len({len(row) for row in rows}) == 1, rows[0]
        found.append(rows[2:])
    return found


def test_the_constants_are_those_of_the_code():
    (rows,) = tables(ROOT / "docs" / "method.md", "Constants")
    assert len(rows) >= 15
    for what, value, home in rows:
        module, _, name = home.strip("`").rpartition(".")
        actual = getattr(importlib.import_module(module), name)
        said = tuple(float(part) for part in value.split(","))
        assert said == (tuple(actual) if isinstance(actual, tuple) else (actual,)), what


def test_the_metrics_are_those_of_the_code():
    ((*rows,),) = tables(ROOT / "docs" / "method.md", "4. Deviations")
    assert [row[0].strip("`") for row in rows] == list(sv.METRICS)
    for key, _, unit, span, loss_like in rows:
        facts = sv.METRICS[key.strip("`")]
        wanted = "at least 0" if facts.high is None else f"{facts.low:g} to {facts.high:g}"
        assert span == wanted, key
        assert loss_like == ("yes" if facts.loss_like else "no"), key
        assert unit in (facts.unit, "none"), key


def test_the_rules_are_those_of_the_code(gain_of):
    rows = next(t for t in tables(ROOT / "docs" / "method.md", "5. Gains and rules"))
    said = [row[0].split("`")[1] for row in rows]
    assert sorted(said) == sorted(gain_of.candidates)
    (default,) = [row[0] for row in rows if "(default)" in row[0]]
    assert default.split("`")[1] == gain_of.rule


@pytest.fixture(scope="module")
def gain_of():
    return sv.trace(small_model(), made_task(), samples=20, progress=False).gain()


def test_every_symbol_of_the_glossary_occurs_in_the_text():
    page = ROOT / "docs" / "method.md"
    body = text_of(page).split("## Glossary")[0]
    (rows,) = tables(page, "Glossary")
    words = [row[0] for row in rows]
    assert words == sorted(words, key=str.lower), "in the alphabet's order"
    for word, symbols, _ in rows:
        for symbol in re.findall(r"\$([^$]+)\$", symbols):
            core = re.split(r"[,(\s]|\\dots", symbol)[0]
            assert core in body, f"{word}: {symbol}"


# The layout of the house


def imported_modules(code):
    """Modules of semviz that a piece of code imports, without the package itself."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "semviz":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = importlib.util.find_spec(node.module).submodule_search_locations and find_module(whole)
                if is_module or node.module != "semviz":
                    yield whole if is_module else node.module


def find_module(name):
    return importlib.util.find_spec(name) is not None


def public_modules():
    (text,) = re.findall(
        r"^Public are the names of .*?\.\n\n", text_of(ROOT / "CONTRIBUTING.md"), re.MULTILINE | re.DOTALL
    )
    return set(re.findall(r"`(semviz\.[\w.]+)`", text))


def test_the_map_of_contributing_is_the_contract_of_the_layers():
    contracts = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    section = text_of(ROOT / "CONTRIBUTING.md").split("## The layout of the house")[1].split("## Tests")[0]
    (drawn,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    rows = [re.split(r"\s{2,}", line)[0] for line in drawn.strip().split("\n")]
    assert rows == [layer.replace("semviz.", "") for layer in layers]
    packages = {path.parent.name for path in (ROOT / "semviz").glob("*/__init__.py")} | {"cli"}
    assert set(re.findall(r"\w+", " ".join(rows))) == packages


def test_documents_and_notebooks_import_public_modules_only():
    public = public_modules()
    for module in public:
        assert find_module(module), module
    codes = [block.code for page in PAGES for block in python_blocks(page)]
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        cells = json.loads(text_of(path))["cells"]
        codes += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    used = set()
    for code in codes:
        if not re.search(r"^[%!]", code, re.MULTILINE):
            used |= set(imported_modules(code))
    assert used, "this test looks at nothing"
    assert used <= public, used - public


@pytest.mark.parametrize(
    "wrong", ["def late():\n    from semviz.study.study import Study\n", "import semviz.traces.trace\n"]
)
def test_an_import_against_the_order_is_found(wrong, tmp_path):
    shutil.copytree(ROOT / "semviz", tmp_path / "semviz", ignore=shutil.ignore_patterns("__pycache__", "model"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": str(tmp_path)},
        "capture_output": True,
        "text": True,
    }
    assert subprocess.run(command, **options).returncode == 0
    with (tmp_path / "semviz" / "gains" / "gain.py").open("a") as file:
        file.write(wrong)
    broken = subprocess.run(command, **options)
    assert broken.returncode == 1
    assert "semviz.gains is not allowed to import semviz." in broken.stdout


# Files


def schema(name):
    loaded = json.loads(text_of(ROOT / "docs" / "schema" / f"{name}.schema.json"))
    Draft202012Validator.check_schema(loaded)
    return loaded


def objects(part, path=()):
    """Every object of a schema that names its properties, with the way to it."""
    if "properties" in part:
        yield path, part
        for key, inner in part["properties"].items():
            yield from objects(inner, (*path, key))
    if isinstance(part.get("items"), dict):
        yield from objects(part["items"], (*path, 0))


def at(record, path):
    for step in path:
        record = record[step]
    return record


def assert_only_what_is_there_fits(loaded, record):
    """Each key that is left out, added or of another type is refused."""
    validator = Draft202012Validator(loaded)
    validator.validate(record)
    for path, part in objects(loaded):
        for key, inner in part["properties"].items():
            assert inner.get("description"), f"{[*path, key]}: say what it is"
            for change in ("drop", "type"):
                changed = json.loads(json.dumps(record))
                holder = at(changed, path)
                if change == "drop":
                    del holder[key]
                else:
                    holder[key] = {"no": "such type"} if inner.get("type") != "object" else 3
                may_lack = change == "drop" and key not in part["required"]  # in files of before
                assert validator.is_valid(changed) == may_lack, f"{change} {[*path, key]}"
        changed = json.loads(json.dumps(record))
        at(changed, path)["stranger"] = 1
        assert not validator.is_valid(changed), [*path, "stranger"]


@pytest.fixture(scope="module")
def traces():
    """Traces that differ in everything that decides what is in a file."""
    model, task = small_model(), made_task()
    words = [" ".join(line.split()[: 4 + i % 8]) for i, line in enumerate(plain_text(40))]
    texts = sv.Task.from_texts(words, name="tiny stories")
    infinite = sv.calibrate(model, ridge=math.inf, progress=False)
    finite = sv.calibrate(small_model(tie_word_embeddings=True), ridge=0.1, progress=False)
    tied = small_model(tie_word_embeddings=True)
    return {
        "all": sv.trace(model, task, detail=2, calibration=infinite, progress=False),
        "tied": sv.trace(tied, task, detail=0, calibration=finite, centre=True, path="lerp", progress=False),
        "labels": sv.trace(model, task, vocab="labels", split="test", progress=False),
        "text": sv.trace(model, texts, metrics="lens", progress=False),
        "target": sv.trace(model, texts, metrics="target", samples=5, progress=False),
    }


def test_schemas_and_tables_are_what_make_schemas_writes():
    for path, text in runpy.run_path(str(ROOT / "docs" / "schema" / "write.py"))["files"]().items():
        assert text_of(path) == text, f"{path.name}: make schemas"


def test_files_that_were_saved_in_these_formats_fit_the_schemas():
    kept = ROOT / "tests" / "saved" / "v0_1_0_format5"  # the others have the formats before; the traces have schema 3
    for path in kept.glob("store/*.json"):
        Draft202012Validator(schema("run")).validate(json.loads(text_of(path)))


def records(shape):
    """A shape's records, itself among them."""
    if isinstance(shape, json_shapes.Record):
        return [shape, *(found for part in shape.fields.values() for found in records(part))]
    return records(shape.items) if isinstance(shape, json_shapes.ListOf) else []


def test_a_file_has_a_key_for_every_attribute_of_what_it_holds():
    kept = {shape.of: shape for file in (run_store.RUN_FILE, parquet.METADATA) for shape in records(file) if shape.of}
    assert set(kept) == {sv.Run, sv.Scope, Parts, Names, MetricFacts}
    beside = {sv.Run: {"weights", "adapter", "origin"}}  # in a file of their own, and in memory only
    for held, shape in kept.items():
        names = [field.name for field in fields(held) if field.name not in beside.get(held, ())]
        names = ["model" if name == "model_name" else name for name in names]  # `Run.model` is a method
        assert list(shape.fields) == names, held


def saved(trace, folder):
    path = trace.save(folder / "trace.parquet")
    return pq.read_schema(path), json.loads(pq.read_schema(path).metadata[b"semviz"])


def test_saved_traces_fit_the_schema_and_nothing_else_does(traces, tmp_path):
    loaded = schema("trace-meta")
    assert loaded["properties"]["schema"]["const"] == parquet.SCHEMA
    for trace in traces.values():
        _, record = saved(trace, tmp_path)
        Draft202012Validator(loaded).validate(record)
    assert_only_what_is_there_fits(loaded, saved(traces["all"], tmp_path)[1])


def arrow(kind):
    """An Arrow type in the words of the page."""
    if pa.types.is_fixed_size_list(kind):
        return f"list of {kind.list_size} {arrow(kind.value_type)}"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    return str(kind)


def test_saved_columns_are_those_of_the_table(traces, tmp_path):
    (rows,) = tables(ROOT / "docs" / "data-format.md", "Columns")
    assert [row[0].strip("`") for row in rows if "_0" not in row[0]] == list(parquet._COLUMNS)
    for name, trace in traces.items():
        wanted = []
        for column, kind, _, _ in rows:
            first = re.findall(r"`([^`]+)`", column)[0]
            if not first.endswith("_0"):
                wanted.append((first, kind))
                continue
            families = list(trace.values) if "metric" in first else [first.removesuffix("_0")]
            there = {"top1": trace.top1 is not None, "nearest": trace.nearest is not None}
            there["labels"] = trace.label_probabilities is not None
            kind = kind.replace("C", str(len(trace.meta["label_names"])))
            spaces = range(trace.n_blocks + 1)
            wanted += [(f"{f}_{space}", kind) for f in families if there.get(f, True) for space in spaces]
        found = [(field.name, arrow(field.type)) for field in saved(trace, tmp_path)[0]]
        if not trace.meta["kind"].startswith("class"):
            found[found.index(("label", "null"))] = ("label", "string")  # a column of nulls has no type of its own
        assert found == wanted, name


def documented(heading):
    return [[row[0].strip("`") for row in table] for table in tables(ROOT / "docs" / "data-format.md", heading)]


def test_the_tables_of_metadata_are_those_of_the_schema():
    loaded = schema("trace-meta")
    outer, meta = documented("Metadata")
    assert outer == list(loaded["properties"])
    assert meta == list(loaded["properties"]["meta"]["properties"])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Records of stored runs: full finetuning and adapters, labels and texts, chosen and given rates."""
    folder = tmp_path_factory.mktemp("store")
    model, task = small_model(), made_task()
    words = [" ".join(line.split()[: 4 + i % 8]) for i, line in enumerate(plain_text(40))]
    quick = {"epochs": 1, "batch_size": 16, "store": folder, "progress": False}
    sv.sweep(model, task, [sv.Scope.half(model)], methods=("full", "lora"), lr=1e-3, keep_weights=True, **quick)
    sv.sweep(model, task, [sv.Scope.last(model)], **quick)
    sv.sweep(model, sv.Task.from_texts(words), [sv.Scope.of(model, [1, 3], tail=False)], lr=1e-3, **quick)
    return folder


def test_stored_runs_fit_the_schema_and_nothing_else_does(stored):
    loaded = schema("run")
    assert loaded["properties"]["format"]["const"] == run_store._FORMAT
    records = {path.stem: json.loads(text_of(path)) for path in stored.glob("*.json")}
    assert len(records) == 4
    for key, record in records.items():
        Draft202012Validator(loaded).validate(record)
        assert record["run"]["key"] == key
    assert any(record["run"]["rates"] for record in records.values())
    assert {record["run"]["f1"] is None for record in records.values()} == {True, False}
    assert_only_what_is_there_fits(loaded, next(r for r in records.values() if r["run"]["method"] == "lora"))


def test_a_diverged_run_fits_the_schema_too(stored):
    record = json.loads(text_of(next(stored.glob("*.json"))))
    record["run"] |= {"validation": math.inf, "validation_loss": math.inf, "validation_rows": []}
    Draft202012Validator(schema("run")).validate(json.loads(json.dumps(record)))


def test_the_table_of_a_run_is_that_of_the_schema():
    assert documented("The run file") == [list(schema("run")["properties"]["run"]["properties"])]


def test_a_store_holds_the_files_of_the_table(stored):
    suffixes = sorted(path.suffix for path in stored.iterdir())
    assert suffixes == [".json"] * 4 + [".safetensors"] * 2


def test_blocks_that_do_not_run_name_columns_that_there_are(traces, tmp_path):
    found, _ = saved(traces["all"], tmp_path)
    named = []
    for block in python_blocks(ROOT / "docs" / "data-format.md"):
        ast.parse(block.code)
        named += re.findall(r"\b(?:lens|nearest|top1|path)_\d\b", block.code)
    assert named
    assert set(named) <= set(found.names)
