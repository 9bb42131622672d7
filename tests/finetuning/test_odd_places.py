"""Where results are written: one rule for paths, whatever is written there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import synthetic
from small import mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.checks import as_path
from semviz.common.errors import SemvizError
from semviz.experiments.run_store import Store

QUICK = {"epochs": 1, "batch_size": 8, "lr": 1e-2, "progress": False}


@pytest.fixture(scope="module")
def model():
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())


@pytest.fixture(scope="module")
def run(model):
    return sv.finetune(model, mood_task(), sv.Scope.last(model), method="lora", **QUICK)


@pytest.fixture(scope="module")
def trace(model):
    return sv.trace(model, mood_task(), metrics="semantic", progress=False)


@pytest.fixture(scope="module")
def write(run, trace):
    return {
        "save_model": run.save_model,
        "save_adapter": run.save_adapter,
        "store": lambda place: Store(place).add(run),
        "trace": trace.save,
        "report": _report,
    }


def _report(place):
    runs = synthetic.make_runs()
    return sv.write_report(place, trace=synthetic.make_text_trace(), gain=synthetic.make_gain(), runs=runs)


FOLDERS = ["save_model", "save_adapter", "store"]
FILES = ["trace", "report"]


@pytest.mark.parametrize("form", [str, Path, os.fsencode], ids=["text", "path", "bytes"])
@pytest.mark.parametrize("what", [*FOLDERS, *FILES])
def test_the_home_folder_is_meant_by_its_sign(tmp_path, monkeypatch, model, write, what, form):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    if what == "trace" and form is os.fsencode:
        pytest.skip("pandas takes no bytes")
    write[what](form("~/made"))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert (home / "made").is_file() if what in FILES else any((home / "made").iterdir())
    if what == "save_model":
        assert sv.load_model("~/made", general_text=plain_text()).n_blocks == model.n_blocks


@pytest.mark.parametrize("place", ["hf:foo/bar", "hf://foo/bar", "https://a.b/c", "x" * 300, "a/" + "é" * 200 + "/b"])
@pytest.mark.parametrize("what", [*FOLDERS, *FILES])
def test_what_is_no_place_on_this_machine_is_refused(tmp_path, monkeypatch, write, what, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SemvizError, match=r"is a URL; pass the path|more than 255 bytes in it.*pass a shorter one"):
        write[what](place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_below_a_file_or_a_whole_disk_is_refused(tmp_path, write, what):
    (tmp_path / "notes").write_text("mine")
    for below in ("notes", "notes/a", "notes/a/b"):
        with pytest.raises(SemvizError, match=r"notes is a file.*; pass the name of a folder"):
            write[what](tmp_path / below)
    for root in ("/", "/..", "///"):
        with pytest.raises(SemvizError, match="is a whole disk; pass the name of a folder on it"):
            write[what](root)
    assert (tmp_path / "notes").read_text() == "mine"


@pytest.mark.parametrize("what", ["save_model", "save_adapter"])
def test_a_folder_of_others_is_refused_by_the_first_of_its_files(tmp_path, monkeypatch, write, what):
    for i in range(50):
        (tmp_path / "deep" / str(i)).mkdir(parents=True)
        (tmp_path / "deep" / str(i) / "theirs").touch()
    looked = []
    real = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path, **o: looked.append(path) or real(path, **o))
    with pytest.raises(SemvizError, match=r"files that semviz has not written .*theirs"):
        write[what](tmp_path)
    assert len([path for path in looked if path.name == "theirs"]) < 20

    def closed(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rglob", closed)
    with pytest.raises(SemvizError, match=r"cannot be read \(Permission denied\).*pass another folder"):
        write[what](tmp_path)


@pytest.mark.parametrize("text", ["~", "~/a/b", "a/~", "~lock.csv", "a~"])
def test_paths_are_read_as_the_shell_reads_them(text):
    assert as_path("path", text) == as_path("path", as_path("path", text)) == Path(os.path.expanduser(text))
