from __future__ import annotations

import subprocess
import sys

import pytest

import semviz as sv
from semviz.cli import main


def test_the_line_from_a_folder_and_a_csv_file(model_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["body,kind"]
    lines += [f"the cat {i % 7} was {'good' if i % 2 else 'bad'},{5 if i % 2 else 1}" for i in range(60)]
    (tmp_path / "cats.csv").write_text("\n".join(lines))
    asked = ["report", "--model", str(model_folder), "--task", "cats.csv", "--text", "body", "--label", "kind"]
    assert main([*asked, "--prompt", "{text} mood :", "--words", "1=no, 5=yes", "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    for words in ("trainable", "accuracy", "predicted", "measured", "full", "half", "last", "On cats, train block"):
        assert words in said
    assert "The probes among them say" in said
    page = (tmp_path / "semviz-report.html").read_text(encoding="utf-8")
    assert "cats" in page
    assert "What the other boundaries would give" in page
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def cats(folder, rows=240):
    lines = ["text,label"]
    lines += [f"the cat {i % 7} was {'good' if i % 2 else 'bad'},{'yes' if i % 2 else 'no'}" for i in range(rows)]
    (folder / "cats.csv").write_text("\n".join(lines))
    return ["--task", str(folder / "cats.csv"), "--label", "label", "--out", str(folder / "report.html")]


def test_a_report_with_a_budget_says_its_plan_first_and_what_it_took(model_folder, tmp_path, capsys):
    assert main(["report", "--model", str(model_folder), *cats(tmp_path), "--budget", "10m", "--epochs", "2"]) == 0
    said = capsys.readouterr().out
    plan, trace, answer, took = (
        said.index(words)
        for words in ("Plan for cats", "Trace(", "Recommended by these runs", "for all of it; it took")
    )
    assert plan < trace < answer < took
    assert "All of it fits 10 min 0 s." in said
    assert "Found under a budget of 10 min 0 s (nothing was left out)" in said
    steps = said[plan:trace]
    for words in ("load the model", "calibrate", "trace 168 training rows", "once and keep", "finetune", "score the"):
        assert words in steps
    assert "Found under a budget" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_short_report_says_no_plan(model_folder, tmp_path, capsys):
    assert main(["report", "--model", str(model_folder), *cats(tmp_path, 60), "--epochs", "1"]) == 0
    said = capsys.readouterr().out.lower()
    assert "plan for" not in said
    assert "budget" not in said


def test_a_budget_in_which_nothing_fits_is_refused_before_anything_is_trained(model_folder, tmp_path, capsys):
    assert main(["report", "--model", str(model_folder), *cats(tmp_path), "--budget", "0.01s"]) == 2
    said = capsys.readouterr().err
    assert "Nothing useful fits into 0.01 s" in said
    assert "at least" in said
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "moods"], "mood"),
        (["--out", "nowhere/report.html"], "no folder"),
        (["--seeds", "0"], "at least 1"),
        (["--budget", "soon"], "10 min"),
        (["--model", "./nothing"], "no model folder"),
        (["--task", "missing.csv"], "cannot be read as CSV: there is no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(model_folder, arguments, message, capsys):
    defaults = [] if "--model" in arguments else ["--model", str(model_folder)]
    assert main(["report", *defaults, *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("semviz: ")
    assert message in said
    assert "Traceback" not in said


def test_lab_without_a_notebook(capsys):
    assert main(["lab", "nothing.ipynb"]) == 2
    assert "no notebook" in capsys.readouterr().err


def test_importing_semviz_loads_nothing_heavy():
    heavy = ("torch", "transformers", "plotly", "pandas", "numpy", "datasets", "sklearn")
    code = f"import sys, semviz; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_exists():
    import semviz

    for name in semviz.__all__:
        assert getattr(semviz, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = semviz.nonsense


def test_figures_and_results_do_not_import_torch():
    code = "import sys, semviz.figures, semviz.report.page; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_cache_is_listed_and_cleared(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEMVIZ_CACHE", str(tmp_path / "cache"))
    assert main(["cache"]) == 0
    assert "0 calibrations" in capsys.readouterr().out
    sv.calibrate(tiny, progress=False)
    (tmp_path / "cache" / "broken.semviz.safetensors").write_bytes(b"no tensors")
    (tmp_path / "cache" / "mine.txt").write_text("keep")
    assert main(["cache"]) == 0
    listed = capsys.readouterr().out
    assert "2 calibrations" in listed
    assert f"  {tiny.name}: " in listed
    assert "  unreadable: " in listed
    assert main(["cache", "clear"]) == 0
    assert "Removed 2 of 2" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mine.txt"]


def test_a_cache_that_is_off_holds_nothing(monkeypatch, capsys):
    monkeypatch.setenv("SEMVIZ_CACHE", "")
    assert main(["cache"]) == 0
    assert "SEMVIZ_CACHE is empty" in capsys.readouterr().out
