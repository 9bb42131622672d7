"""Models that cannot be loaded, code that must not run, and mistakes on the command line."""

from __future__ import annotations

import json
import shutil

import httpx
import pytest
import torch
from huggingface_hub import errors as hub
from refusals import case, check_words, files_in, refused
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.cli import main
from semviz.common.errors import ModelError


@pytest.fixture(scope="module")
def some():
    """A model that must stay as it is."""
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(model_folder, here):
    """A model folder that a test may break."""
    shutil.copytree(model_folder, here / "model")
    return here / "model"


# The hub


def answer(status):
    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/someone/model"))


PREFACE = "{status} Client Error. (Request ID: Root=1-2;3)\n\nCannot access the url.\n"
HUB = {
    "gated": (lambda: hub.GatedRepoError(PREFACE, response=answer(403)), "gated", "log in"),
    "misspelt": (
        lambda: hub.RepositoryNotFoundError(PREFACE, response=answer(401)),
        "no such repository",
        "misspelling",
    ),
    "another revision": (lambda: hub.RevisionNotFoundError(PREFACE, response=answer(404)), "revision="),
    "offline by wish": (lambda: hub.OfflineModeIsEnabled("Cannot reach"), "HF_HUB_OFFLINE"),
    "not in the cache": (lambda: hub.LocalEntryNotFoundError("no entry"), "cannot be reached"),
    "a broken server": (lambda: hub.HfHubHTTPError("502 Bad Gateway", response=answer(502)), "502 Bad Gateway"),
    "no network": (lambda: httpx.ConnectError("[Errno -3] name resolution"), "name resolution"),
    "too slow": (lambda: httpx.ReadTimeout("timed out"), "timed out"),
    "no right to the cache": (lambda: PermissionError(13, "Permission denied", "/root/.cache"), "Permission denied"),
    "no message": (lambda: RuntimeError(), "RuntimeError"),
    "an impolite one": (lambda: ValueError("a\u202eb\x1b[31m" + "x" * 5000), r"a\u202eb\x1b[31mx"),
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped by transformers"])
@pytest.mark.parametrize("name", HUB)
def test_the_hub_says_no(some, here, monkeypatch, name, wrapped):
    make, *words = HUB[name]

    def fail(*_args, **_options):
        try:
            raise make()
        except Exception as error:
            if not wrapped:
                raise
            raise OSError(str(error) or type(error).__name__) from error

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", fail)
    one = case(name, lambda _: sv.load_model("someone/model"), "Cannot load 'someone/model'", *words, kind=ModelError)
    refused(one.values[0], some, here)


def test_a_hub_id_without_a_network(some, here):
    one = case("", lambda _: sv.load_model("someone/that-is-not-here"), "someone/that-is-not-here", "Pass None")
    refused(one.values[0], some, here)


# Folders


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def pickled(folder):
    torch.save(tiny_llama().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without(folder, name):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({key: value for key, value in weights.items() if name not in key}, folder / "model.safetensors")


FOLDERS = {
    "pickled weights": (pickled, "pickled", "save_pretrained"),
    "weights cut off": (lambda f: cut(f / "model.safetensors"), "model.safetensors", "cut off"),
    "weights missing": (lambda f: without(f, "layers.2"), "model.layers.2", "random"),
    "weights of another width": (lambda f: config(f, hidden_size=64), "Cannot load 'model'"),
    "more blocks than weights": (lambda f: config(f, num_hidden_layers=6), "model.layers.4", "random"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "Cannot load 'model'"),
    "a config that is a list": (lambda f: (f / "config.json").write_text("[]"), "Cannot load 'model'"),
    "a config nested deeply": (lambda f: (f / "config.json").write_text("[" * 200_000), "Cannot load 'model'"),
    "an unknown family": (lambda f: config(f, model_type="warp"), "warp"),
    "an encoder-decoder": (lambda f: config(f, is_encoder_decoder=True), "encoder-decoder"),
    "no tokenizer": (lambda f: [p.unlink() for p in f.glob("token*")], "no tokenizer", "tokenizer="),
    "a tokenizer that is no JSON": (lambda f: (f / "tokenizer.json").write_text("x"), "Cannot load 'model'"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_that_are_no_models(some, folder, name):
    change, *words = FOLDERS[name]
    change(folder)
    refused(case(name, lambda _: sv.load_model("model"), *words, kind=ModelError).values[0], some, folder.parent)


CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path({marker!r}).write_text("ran")

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_code_in_a_repository_runs_only_when_it_was_allowed_by_name(some, folder, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("modules")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(elsewhere))
    marker = elsewhere / "marker"
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    config(folder, model_type="own", auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"})
    for options in ({}, {"trust_remote_code": False}):
        words = ("Cannot load 'model'", "trust_remote_code=True")
        one = case("", lambda _, o=options: sv.load_model("model", **o), *words, kind=ModelError).values[0]
        refused(one, some, folder.parent)
        assert not marker.exists()
    for wrong in (1, "yes", None, "False"):
        one = case(
            "", lambda _, w=wrong: sv.load_model("model", trust_remote_code=w), "trust_remote_code=", "True or False"
        )
        refused(one.values[0], some, folder.parent)
        assert not marker.exists()
    model = sv.load_model("model", trust_remote_code=True, general_text=plain_text())
    assert marker.exists()
    assert type(model.model).__name__ == "OwnModel"


@pytest.mark.parametrize("asked", ["evil/kernel", "kernels-community/flash-attn2", "paged|evil/kernel@main:forward"])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_attention_of_another_repository_is_fetched_only_when_it_was_allowed_by_name(
    some, folder, monkeypatch, key, asked
):
    fetched = []
    module = "transformers.integrations.hub_kernels"
    monkeypatch.setattr(f"{module}.is_kernels_available", lambda: True)
    monkeypatch.setattr(f"{module}.get_kernel", lambda name, **_: fetched.append(name) or 1 / 0)
    config(folder, **{key: asked})
    one = case("", lambda _: sv.load_model("model"), asked, "trust_remote_code=True", kind=ModelError).values[0]
    refused(one, some, folder.parent)
    assert fetched == []
    with pytest.raises(ModelError):  # what the stand-in raises
        sv.load_model("model", trust_remote_code=True)
    assert fetched == [asked.partition("|")[2].partition("@")[0] or asked]


# The command line

ROWS = "\n".join(["body,kind", *(f"the cat {i % 7} was good,{'yes' if i % 2 else 'no'}" for i in range(40))])
CSV = {
    "whole": ROWS,
    "empty": "",
    "head": "body,kind",
    "gaps": ROWS + "\n,yes",
    "gap": ROWS + "\nthe dog,",
    "one": "\n".join(["body,kind", *["the cat,yes"] * 40]),
    "ragged": ROWS + "\na,b,c,d",
    "binary": b"\xff\xfe\x00\x01" * 50,
}
LINES = {
    "no command": ([], "command", "--help"),
    "an unknown command": (["trace"], "'trace'", "--help"),
    "an unknown option": (["report", "--modle", "x"], "--modle", "--help"),
    "an option without its value": (["report", "--model"], "--model", "--help"),
    "seeds of text": (["report", "--seeds", "x"], "--seeds", "'x'"),
    "seeds of a fraction": (["report", "--seeds", "1.5"], "--seeds", "'1.5'"),
    "a negative number of seeds": (["report", "--seeds", "-1"], "--seeds=-1", "at least 1"),
    "no epochs": (["report", "--epochs", "0"], "--epochs=0", "positive"),
    "epochs of NaN": (["report", "--epochs", "nan"], "--epochs=nan", "positive"),
    "epochs without end": (["report", "--epochs", "inf"], "--epochs=inf", "positive"),
    "a page that is a folder": (["report", "--out", "."], "--out=.", "is a folder"),
    "a page without a name": (["report", "--out", ""], "--out=''", "name of a file"),
    "a page with a null": (["report", "--out", "a\0b"], "--out=", "name of a file"),
    "a store that is a file": (["report", "--store", "whole.csv"], "--store=whole.csv", "is a file"),
    "a task that is not packaged": (["report", "--task", "Mood"], "'Mood'", "'mood'"),
    "a task that is a folder": (["report", "--task", "folder.csv"], "--task=folder.csv", "cannot be read as CSV"),
    "words that are no pairs": (
        ["report", "--task", "whole.csv", "--label", "kind", "--words", "sad,happy"], "--words=sad,happy", "1=sad",
    ),
    "words of a packaged task": (["report", "--words", "happy=good,sad=bad"], "--words", "--task=FILE.csv"),
    "an empty file": (["report", "--task", "empty.csv", "--text", "body"], "--task=empty.csv", "cannot be read"),
    "no rows": (["report", "--task", "head.csv", "--text", "body"], "texts", "empty"),
    "a row without a text": (["report", "--task", "gaps.csv", "--text", "body"], "texts[40]", "is empty"),
    "a row without a label": (["report", "--task", "gap.csv", "--text", "body", "--label", "kind"], "labels[40]"),
    "one class": (["report", "--task", "one.csv", "--text", "body", "--label", "kind"], "1 class", "at least two"),
    "ragged rows": (["report", "--task", "ragged.csv", "--text", "body"], "--task=ragged.csv", "line 42 has 4 fields"),
    "no text at all": (["report", "--task", "binary.csv", "--text", "body"], "--task=binary.csv", "cannot be read"),
    "no such column": (["report", "--task", "whole.csv"], "'text'", "'body'"),
    "no such labels": (["report", "--task", "whole.csv", "--text", "body", "--label", "sort"], "'sort'", "'kind'"),
    "no place for the text": (["report", "--task", "whole.csv", "--text", "body", "--prompt", "mood"], "prompt='mood'"),
    "a device": (["report", "--device", "gpu"], "device='gpu'", '"cpu"'),
    "a model that is not there": (["report", "--model", "./none"], "./none", "config.json"),
    "a notebook that is a folder": (["lab", "."], "no notebook", "pass a path"),
    "a name that moves the cursor": (["report", "--task", "a\x1b[2J\u202eb"], r"a\x1b[2J\u202eb"),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_mistakes_on_the_command_line_are_one_line(here, capsys, name):
    arguments, *words = LINES[name]
    for stem, content in CSV.items():
        (here / f"{stem}.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    (here / "folder.csv").mkdir()
    before = files_in(here)
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse's way
        code = end.code
    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith("semviz: ")
    assert said.count("\n") == 1, said
    assert said.endswith("\n")
    for word in words:
        assert word in said, said
    assert "Traceback" not in said
    assert not any(ord(c) < 32 for c in said[:-1])
    assert files_in(here) == before


@pytest.mark.parametrize("message", ["", "no advice", "pass\nthat", "pass \u202e", "pass " + "x" * 900])
def test_a_message_in_another_style_is_found(message):
    """The tests of bad input are only as good as this."""
    with pytest.raises(AssertionError):
        check_words(ModelError(message), ())
