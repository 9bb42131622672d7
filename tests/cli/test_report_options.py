"""Options of `semviz report`: from the shell and from a file, the folder of runs, and what is refused before work."""

from __future__ import annotations

import argparse
import json

import pytest

import semviz as sv
from semviz import cli
from semviz.cli import asked_task, main, report
from semviz.cli.options import add_report
from semviz.experiments.run_store import Store


def rows(words, rows=60):
    return [(f"the cat {i % 7} was {words[i % 2]}", ("no", "yes")[i % 2]) for i in range(rows)]


@pytest.fixture
def cats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["text;label", *(";".join(row) for row in rows(("bad", "good")))]
    (tmp_path / "cats.csv").write_text("\n".join(lines))
    (tmp_path / "dogs.csv").write_text(
        "\n".join(["text,label", *(f"the dog {i},yes\nthe dog {i},no" for i in range(9))])
    )
    return tmp_path


def options(*typed):
    parser = argparse.ArgumentParser()
    add_report(parser)
    return parser.parse_args(typed)


def test_every_option_reaches_what_it_is_about(model_folder, cats, capsys):
    asked = ["--method", "lora", "--lr", "0.003", "--batch-size", "16", "--samples", "12", "--dtype", "float32"]
    of_task = ["--task", "cats.csv", "--label", "label", "--test", "0.2", "--validation", "0.1"]
    assert main(["report", "--model", str(model_folder), *of_task, *asked, "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert "42 train, 6 validation, 12 test" in said
    assert "12 samples" in said
    assert "Finished runs are kept in semviz-runs" in said
    runs = [Store("semviz-runs").find(key) for key in sorted(Store("semviz-runs").keys())]
    assert len(runs) >= 3
    assert {(run.method, run.lr, run.batch_size) for run in runs} == {("lora", 0.003, 16)}
    before = {path: path.stat().st_mtime_ns for path in (cats / "semviz-runs").iterdir()}
    assert main(["report", "--model", str(model_folder), *of_task, *asked, "--epochs", "1"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (cats / "semviz-runs").iterdir()} == before


def test_the_folder_of_runs_is_beside_the_page_unless_it_is_named_or_not_wanted(tmp_path):
    assert str(report.run_folder(options())) == "semviz-runs"
    assert report.run_folder(options("--out", str(tmp_path / "a.html"))) == tmp_path / "semviz-runs"
    assert report.run_folder(options("--store", str(tmp_path / "mine"))) == tmp_path / "mine"
    assert report.run_folder(options("--no-store")) is None


@pytest.mark.brings(
    "The shell",
    "`--task FILE` of any form, `--test`, `--validation`",
    "reads it as `Task.from_file` does",
)
def test_a_task_of_any_file_and_of_its_splits(cats):
    task = cli._task(options("--task", "cats.csv", "--label", "label", "--test", "dogs.csv"))
    assert task.labels == ("no", "yes")
    assert len(task.split("test")) == 18
    task = cli._task(options("--task", "dogs.csv", "--label", "label", "--separator", ",", "--encoding", "utf-8"))
    assert sum(map(len, task.splits.values())) == 18
    (cats / "pairs.jsonl").write_text("\n".join(json.dumps({"a": f"x {i}", "b": f"y {i}"}) for i in range(20)))
    task = cli._task(options("--task", "pairs.jsonl", "--prompt", r"{a}\n{b}"))
    assert "x 3\ny 3" in set(task.frame()["text"])


CONFIG = """
task = "cats.csv"
label = "label"
test = 0.2
batch-size = 16
epochs = 1
lr = 0.003
max_tokens = 20
store = false
words = {no = "bad", yes = "good"}
"""


def parsed(monkeypatch, *typed):
    """The options and the task as `semviz report` sees them."""
    seen = {}
    monkeypatch.setattr(report, "report", lambda options, task, clock: seen.update(options=options, task=task) or 0)
    assert main(["report", *typed]) == 0
    return seen["options"], seen["task"]


def test_a_configuration_is_what_would_be_typed_and_what_is_typed_goes_before_it(cats, monkeypatch):
    (cats / "mine.toml").write_text(CONFIG)
    told, task = parsed(monkeypatch, "--config", "mine.toml")
    assert (told.batch_size, told.epochs, told.lr, told.max_tokens, told.store) == (16, 1.0, 0.003, 20, False)
    assert report.run_folder(told) is None
    assert dict(zip(task.labels, task.words, strict=True)) == {"no": "bad", "yes": "good"}
    assert len(task.split("test")) == 12
    typed = ["--batch-size", "8", "--store", "kept", "--words", "no=x,yes=y", "--test", "dogs.csv"]
    told, task = parsed(monkeypatch, *typed, "--config", "mine.toml")
    assert (told.batch_size, told.epochs, told.store) == (8, 1.0, "kept")
    assert task.words == ("x", "y")
    assert len(task.split("test")) == 18


@pytest.mark.brings(
    "The shell",
    "`--config FILE.toml`",
    "takes every option from it",
)
def test_every_option_may_stand_in_a_configuration(cats, monkeypatch):
    parser = argparse.ArgumentParser()
    add_report(parser)
    values = {"epochs": 2, "seeds": 2, "lr": "auto", "samples": 4, "batch_size": 4, "method": "lisa", "budget": "10m"}
    values |= {"task": "cats.csv", "label": "label", "words": "no=a,yes=b", "test": "dogs.csv", "validation": 0.2}
    values |= {"separator": ";", "encoding": "utf-8", "prompt": "{text} is", "max_tokens": 9, "text": "text"}
    values |= {"model": "m", "device": "cpu", "dtype": "float32", "out": "o.html", "store": "s", "modules": "mlp"}
    names = {action.dest for action in parser._actions} - {"help", "config", "rows"}
    assert names == set(values)
    values |= {"test": 0.2}  # both files at once have not one separator
    lines = [f"{name.replace('_', '-')} = {json.dumps(value)}" for name, value in values.items()]
    (cats / "all.toml").write_text("\n".join(lines))
    told, _ = parsed(monkeypatch, "--config", "all.toml")
    for name, value in values.items():
        assert getattr(told, name) == (str(value) if name in ("test", "validation") else value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs = ", "cannot be read as TOML"),
        ("epoch = 3", "'epoch', which is no option; pass any of model, device"),
        ("epochs = 'many'", "epochs = 'many'; pass a number"),
        ("seeds = 1.5", "seeds = 1.5; pass a whole number"),
        ("seeds = true", "seeds = True; pass a text or a number"),
        ("task = ['a.csv']", "pass a text or a number"),
        ("[report]\nepochs = 3", "'report', which is no option"),
        ("help = 1", "'help', which is no option"),
        (None, "cannot be read as TOML"),
    ],
)
def test_a_configuration_that_is_none(content, message, cats, capsys):
    if content is not None:
        (cats / "mine.toml").write_text(content)
    assert main(["report", "--config", "mine.toml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("semviz: --config=mine.toml")
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--method", "prompts"], "--method='prompts' is unknown; pass one of ['full'"),
        (["--lr", "fast"], "--lr='fast' (str); pass a positive number"),
        (["--lr", "-1"], "--lr=-1.0; pass a positive number"),
        (["--lr", "nan"], "--lr=nan"),
        (["--batch-size", "0"], "--batch-size=0; pass a whole number of at least 1"),
        (["--samples", "0"], "--samples=0"),
        (["--store", ""], "--store='' is not a path"),
        (["--store", "cats.csv"], "is a file; pass a folder, or --no-store"),
        (["--test", "1.5"], "test=1.5 is no share"),
        (["--test", "nothing.csv"], "there is no such file"),
        (["--rows", "5"], "rows=5 is for hf: datasets"),
        (["--text", "label"], "both text and label"),
        (["--task", "mood"], "--label is for a .csv file"),
        (["--task", "https://example.org/a.csv"], "is an address"),
        (["--task", "no/such/folder.txt"], "ending '.txt'"),
        (["--words", "no=a"], "words for the labels ['no'], and the file has the labels ['no', 'yes']"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_a_model_is_loaded(typed, message, cats, capsys, monkeypatch):
    monkeypatch.setattr(sv, "load_model", None, raising=False)
    assert main(["report", "--task", "cats.csv", "--label", "label", *typed]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("semviz: ")
    assert said.count("\n") == 1
    assert not (cats / "semviz-runs").exists()


def test_a_word_is_a_packaged_task_even_beside_a_file_of_its_name(cats):
    assert asked_task.asked_task(options("--task", "dialect")).name == "dialect"
    with pytest.raises(sv.SemvizError, match=r"no packaged task 'moods'.*Task\.from_file"):
        cli._task(options("--task", "moods"))
