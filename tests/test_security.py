"""semviz asks no network, unpickles nothing, starts no programs, writes where it is told, and keeps secrets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import semviz as sv
from semviz.common.errors import ModelError, SemvizError

ROOT = Path(__file__).parents[1]
SECRET = "hf_ThisTokenMustBeSeenNowhere0123456789"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """What a whole session asked for, and the folder that it was told."""
    folder = tmp_path_factory.mktemp("session")
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "faults" / "audited_session.py", folder],
        capture_output=True, text=True, timeout=300, cwd=folder,
        env={**os.environ, "HF_TOKEN": SECRET, "SEMVIZ_CACHE": str(folder / "told" / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), folder, done.stdout + done.stderr


def test_no_network_is_asked_for(session):
    assert session[0].get("network", []) == []


def test_nothing_is_unpickled_and_no_program_is_started(session):
    assert session[0].get("unpickled", []) == []
    assert session[0].get("programs", []) == []


def test_files_are_written_where_it_was_told_and_in_the_temporary_folder_only(session):
    seen, folder, _ = session
    told = [str(folder / "told"), tempfile.gettempdir()]
    strange = [path for path in seen["written"] if not path.startswith(tuple(told)) and "__pycache__" not in path]
    assert strange == []
    # The folder lies in the temporary one itself: nothing beside what was told, and no temporary file is left.
    assert [path.name for path in folder.iterdir()] == ["told"]
    assert [path for path in seen["written"] if not path.startswith(told[0]) and Path(path).exists()] == []
    assert sorted(p.suffix for p in (folder / "told").iterdir()) == ["", "", ".html", ".parquet"]


def test_the_audit_sees_what_it_looks_for(tmp_path):
    """The hook itself can fail: what is forbidden is done, and must be seen."""
    source = (ROOT / "tests" / "faults" / "audited_session.py").read_text(encoding="utf-8")
    head, rest = source.split("import datasets  # noqa")
    deeds = (
        "watching = True\nimport pickle, pathlib, socket, subprocess\n"
        "pickle.loads(pickle.dumps(pathlib.PurePosixPath('a')))\n"
        "subprocess.run(['true'])\nopen(FOLDER / 'strange', 'w').close()\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9))\nexcept OSError:\n    pass\nprint(json.dumps(seen))\n"
    )
    assert rest
    (tmp_path / "deeds.py").write_text(head + deeds)
    done = subprocess.run([sys.executable, tmp_path / "deeds.py", tmp_path], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert set(seen) == {"unpickled", "programs", "written", "network"}
    assert str(tmp_path / "strange") in seen["written"]


def test_no_secret_of_the_environment_is_in_files_or_on_the_screen(session):
    _, folder, said = session
    assert SECRET not in said
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path.name


def test_no_secret_is_in_an_error(monkeypatch, tiny, mood):
    """The hub's errors may carry headers and addresses with a token."""
    import transformers

    monkeypatch.setenv("HF_TOKEN", SECRET)

    def refuse(*_, **__):
        raise OSError(f"401 for https://user:{SECRET}@hub/x with Authorization: Bearer {SECRET}")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(ModelError) as caught:
        sv.load_model("somebody/something")
    assert SECRET not in str(caught.value)
    assert "somebody/something" in str(caught.value)


@pytest.mark.parametrize("arguments", [
    {"hub_token": SECRET}, {"hub_token": SECRET, "no_such_argument": SECRET}, {"no_such_argument": SECRET},
    {"push_to_hub": True, "hub_token": SECRET, "hub_model_id": SECRET},
], ids=lambda arguments: "+".join(arguments))  # fmt: skip
def test_a_token_among_trainers_arguments_is_in_no_file_and_no_error(arguments, tiny, mood, tmp_path):
    with pytest.raises(SemvizError) as caught:
        sv.sweep(tiny, mood, store=tmp_path, lr=1e-3, epochs=1, progress=False, arguments=arguments)
    assert SECRET not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_nothing_in_the_package_reads_pickles_or_runs_text():
    """Read as text, so that also what no test runs is seen."""
    forbidden = re.compile(
        r"\b(?:pickle|cPickle|dill|joblib|shelve|marshal)\b|torch\.load\(|allow_pickle=True|(?<![.\w])(?:eval|exec)\("
        r"|os\.system|yaml\.load|weights_only=False|\bimport subprocess|urlopen|\bimport requests"
    )
    for path in sorted((ROOT / "semviz").rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [line for line in lines if forbidden.search(line.split("#")[0])]
        # Words in docstrings and messages ("does not load pickled weights") are no calls.
        assert not [line for line in found if "pickled" not in line], path.name


def test_no_script_or_page_of_the_package_names_a_network():
    for path in sorted((ROOT / "semviz").rglob("*")):
        if path.suffix in (".js", ".css", ".j2", ".html", ".mjs"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"""(?:src|href|url|import|fetch)\s*[=(]\s*["']?(?:https?:)?//""", text), path.name
