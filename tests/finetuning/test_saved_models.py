"""`run.save_model`: the finetuned model as transformers has it, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import tokenizer_kinds
import torch
from architectures import gemma2, gpt2, opt
from safetensors import SafetensorError
from small import mood_task, plain_text, tiny_llama, word_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

import semviz as sv
from semviz.common import files
from semviz.common.errors import SemvizError
from semviz.experiments.run_store import Store
from semviz.finetuning.run import Run

pytestmark = pytest.mark.every_kind

QUICK = {"epochs": 1, "batch_size": 8, "lr": 1e-2, "progress": False}
IDS = torch.arange(4, 14)[None]
NETWORKS = {
    "llama": tiny_llama,
    "llama-tied": lambda: tiny_llama(tie_word_embeddings=True),
    "gpt2": gpt2,
    "gemma2": gemma2,
    "opt": opt,
}


def loaded(name="llama"):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    network.resize_token_embeddings(len(word_tokenizer()))
    return sv.load_model((network, word_tokenizer()), general_text=plain_text())


def logits(network):
    with torch.no_grad():
        return network(input_ids=IDS).logits


@pytest.fixture
def run(tiny, mood):
    return sv.finetune(tiny, mood, sv.Scope.last(tiny), **QUICK)


def check_saved(folder, run):
    expected = logits(run.model().model)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), expected)
    assert torch.equal(logits(sv.load_model(folder).model), expected)
    assert not torch.equal(expected, logits(run.origin[0].model))


@pytest.mark.parametrize("method", ["full", "lora", "ia3", "lisa"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.brings(
    "What comes out",
    "`run.save_model(folder)`",
    "a folder that transformers and semviz load, with the same logits",
)
def test_a_saved_model_is_the_finetuned_one(tmp_path, name, method):
    model = loaded(name)
    run = sv.finetune(model, mood_task(), sv.Scope.above(model, 1), method=method, **QUICK)
    before = logits(model.model)
    assert run.save_model(tmp_path / "saved") == tmp_path / "saved"
    assert torch.equal(logits(model.model), before)
    check_saved(tmp_path / "saved", run)
    assert not (tmp_path / "saved" / "adapter_config.json").exists()


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2"])
def test_a_head_that_was_trained_is_saved_with_weights_of_its_own(tmp_path, name):
    model = loaded(name)
    run = sv.finetune(model, mood_task(), sv.Scope.above(model, 2, head=True, untie=True), **QUICK)
    run.save_model(tmp_path)
    check_saved(tmp_path, run)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.get_output_embeddings().weight is not again.get_input_embeddings().weight
    assert model.model.config.tie_word_embeddings == (name != "llama")  # the user's own


def test_a_tied_head_that_did_not_train_stays_tied(tmp_path):
    model = loaded("llama-tied")
    sv.finetune(model, mood_task(), sv.Scope.last(model), **QUICK).save_model(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight


def test_half_precision_stays_half_precision(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "base")
    model = sv.load_model(tmp_path / "base", tokenizer=word_tokenizer(), dtype="bf16", general_text=plain_text())
    run = sv.finetune(model, mood_task(), sv.Scope.last(model), **QUICK)
    again = AutoModelForCausalLM.from_pretrained(run.save_model(tmp_path / "saved"), dtype="auto")
    assert again.dtype == torch.bfloat16
    assert torch.equal(logits(again), logits(run.model().model))


def test_generation_settings_and_chat_template_go_along(tmp_path, mood):
    tokenizer, network = word_tokenizer(), tiny_llama()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    network.generation_config.update(do_sample=True, temperature=0.7, eos_token_id=3)
    model = sv.load_model((network, tokenizer), general_text=plain_text())
    sv.finetune(model, mood, sv.Scope.last(model), **QUICK).save_model(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (again.generation_config.temperature, again.generation_config.eos_token_id) == (0.7, 3)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == tokenizer.chat_template


def test_a_generation_config_that_transformers_refuses_to_save_is_named(tmp_path, run):
    run.origin[0].model.generation_config.temperature = 0.5  # without sampling
    with pytest.raises(SemvizError, match=r"cannot be written to .*temperature.*model\.generation_config"):
        run.save_model(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_the_users_own_adapters_are_merged_too(tmp_path, mood):
    import peft

    torch.manual_seed(0)
    network = peft.get_peft_model(tiny_llama(), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    model = sv.load_model((network.eval(), word_tokenizer()), general_text=plain_text())
    run = sv.finetune(model, mood, sv.Scope.last(model), **QUICK)
    run.save_model(tmp_path)
    expected, found = logits(run.model().model), logits(AutoModelForCausalLM.from_pretrained(tmp_path))
    assert torch.allclose(expected, found, atol=1e-5)


def test_a_run_that_was_read_from_a_file_needs_the_model(tmp_path, tiny, run):
    store = Store(tmp_path / "runs")
    store.add(run)
    stored = store.find(run.key)
    with pytest.raises(SemvizError, match=r"read from a file; pass the model .*: model="):
        stored.save_model(tmp_path / "saved")
    stored.save_model(tmp_path / "saved", model=tiny)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "saved")), logits(run.model().model))
    other = sv.load_model((tiny_llama(seed=1), word_tokenizer()), general_text=plain_text())
    with pytest.raises(SemvizError, match="pass the model that the run was made with"):
        stored.save_model(tmp_path / "another", model=other)


def test_runs_that_cannot_be_saved(tmp_path, tiny, mood):
    bare = sv.finetune(tiny, mood, sv.Scope.last(tiny), keep_weights=False, **QUICK)
    with pytest.raises(SemvizError, match="kept no weights; pass keep_weights=True"):
        bare.save_model(tmp_path / "saved")
    tiny.model.model.layers[0].register_forward_hook(lambda module, args, out: out * 1.01)
    hooked = sv.finetune(tiny, mood, sv.Scope.last(tiny), **QUICK)
    with pytest.raises(SemvizError, match=r"hook or patched forward on model\.layers\.0 .*no file holds it"):
        hooked.save_model(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def content(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in Path(folder).rglob("*") if f.is_file()}


@pytest.mark.brings(
    "What comes out",
    "a folder that holds something else",
    "leaves it, and says so",
)
def test_what_else_is_in_a_folder_is_never_replaced(tmp_path, run):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(SemvizError, match=r"files that semviz has not written .*thesis\.tex.*pass another folder"):
            run.save_model(tmp_path, overwrite=overwrite)
    assert content(tmp_path) == {"thesis.tex": b"years of work"}
    with pytest.raises(SemvizError, match="is a file; pass the name of a folder"):
        run.save_model(tmp_path / "thesis.tex")
    tiny_llama().save_pretrained(tmp_path / "theirs")
    with pytest.raises(SemvizError, match="files that semviz has not written"):
        run.save_model(tmp_path / "theirs")


def test_the_same_run_is_saved_again_and_another_only_if_asked(tmp_path, tiny, mood, run):
    folder = tmp_path / "saved"
    run.save_model(folder)
    first = content(folder)
    run.save_model(folder)
    assert content(folder) == first
    other = sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)
    with pytest.raises(SemvizError, match=r"holds another run \(block 4 of 4, full\); pass .*overwrite=True"):
        other.save_model(folder)
    assert content(folder) == first
    other.save_model(folder, overwrite=True)
    assert json.loads((folder / "semviz_run.json").read_text())["run"] == other.key
    check_saved(folder, other)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SemvizError, match=r"has not written .*notes\.txt"):
        other.save_model(folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["saved"]


class Stopped(Exception):
    pass


ENDS = {
    "interrupted": (KeyboardInterrupt(), KeyboardInterrupt, ""),
    "full disk": (OSError(28, "No space left on device"), SemvizError, "Cannot write .*No space left.*Free some space"),
    "full disk in safetensors": (SafetensorError("No space left"), SemvizError, "Cannot write .*No space left"),
    "refused": (ValueError("no such dtype"), SemvizError, r"cannot be written to .*no such dtype"),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("again", [False, True])
def test_whatever_stops_it_leaves_what_was_there(tmp_path, monkeypatch, run, how, again):
    folder = tmp_path / "saved"
    if again:
        run.save_model(folder)
    before = content(tmp_path)
    error, raised, words = ENDS[how]
    whole = PreTrainedModel.save_pretrained

    def save(self, place, **options):
        whole(self, place, **options)
        raise error

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save)
    with pytest.raises(raised, match=words):
        run.save_model(folder)
    assert content(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["saved"] if again else [])


def test_a_swap_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch, run):
    folder = tmp_path / "saved"
    run.save_model(folder)
    before, rename = content(folder), os.rename

    def renamed(source, target):
        if Path(source).name == ".semviz-new":
            raise OSError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", renamed)
    with pytest.raises(SemvizError, match="Permission denied"):
        run.save_model(folder)
    assert content(folder) == before


def test_a_disk_without_room_is_told_first(tmp_path, monkeypatch, run):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 10_000))
    with pytest.raises(SemvizError, match=r"it takes 17 MB, and 10 kB are free"):
        run.save_model(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_save_are_cleared_and_an_old_folder_comes_back(tmp_path, monkeypatch, run):
    monkeypatch.setattr(files, "_YOUNG", -1)
    killed = tmp_path / ".saved.0a1b2c3d.semviz"
    (killed / ".semviz-new").mkdir(parents=True)
    (killed / ".semviz-lock").write_text("")
    run.save_model(tmp_path / "saved")
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]
    killed.mkdir()  # between the two renames
    (killed / ".semviz-lock").write_text("")
    shutil.move(tmp_path / "saved", killed / "saved")
    run.save_model(tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "saved"]
    check_saved(tmp_path / "saved", run)


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_follow_the_umask_and_links_stay_links(tmp_path, run):
    old = os.umask(0o027)
    try:
        run.save_model(tmp_path / "deep" / "saved")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "deep" / "saved").stat().st_mode) == 0o750
    assert {stat.S_IMODE(f.stat().st_mode) for f in (tmp_path / "deep" / "saved").iterdir()} == {0o640}
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run.save_model(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    check_saved(tmp_path / "real", run)


@pytest.mark.parametrize("folder", ["", 3, None, "https://example.org/model"])
def test_folders_that_are_none(run, folder):
    with pytest.raises(SemvizError, match="folder="):
        run.save_model(folder)
    with pytest.raises(SemvizError, match="overwrite="):
        run.save_model("x", overwrite="yes")


def test_the_model_of_a_run_can_be_traced(tiny, mood, run):
    model = run.model()
    assert isinstance(model, sv.LanguageModel)
    assert model.name == f"{tiny.name}, block 4 of 4 trained on tiny mood"
    assert torch.equal(logits(model.model), logits(sv.load_run(tiny, run).model))
    assert sv.trace(model, mood, metrics="lens", progress=False).accuracy is not None
    assert run.model_name == tiny.name
    bare = replace(run, origin=None)
    with pytest.raises(SemvizError, match="read from a file"):
        bare.model()
    assert torch.equal(logits(bare.model(tiny).model), logits(model.model))


def test_a_run_is_copied_and_stored_with_the_models_name(run):
    import copy
    import pickle

    bare = replace(run, origin=None)
    for again in (pickle.loads(pickle.dumps(bare)), copy.deepcopy(bare), Run.from_record(run.record())):
        assert again.model_name == again.record()["model"] == run.source.model == run.model_name


@pytest.mark.brings(
    "What comes out",
    "a `.gguf` file, traced and finetuned, then saved",
    "the folder generates text",
)
def test_a_finetuned_gguf_file_becomes_a_folder_that_writes(tmp_path, mood):
    """GGUF → trace → finetune → saved folder → generate."""
    pytest.importorskip("gguf")
    from gguf_files import write_gguf

    tokenizer = tokenizer_kinds.bpe(before="<s>")
    network = tiny_llama(vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=128)
    path = write_gguf(network, tokenizer, tmp_path / "tiny-q8.gguf", "Q8_0")
    model = sv.load_model(path, general_text=plain_text())
    assert "dequantised from Q8_0" in model.note
    trace = sv.trace(model, mood, metrics="lens", samples=20, progress=False)
    boundary = min(trace.gain().boundary, 2)
    run = sv.finetune(model, mood, sv.Scope.above(model, boundary), epochs=12, batch_size=8, lr=1e-2,
                      progress=False)  # fmt: skip
    assert run.accuracy > 0.8
    folder = run.save_model(tmp_path / "finetuned")
    again = sv.load_model(folder)
    assert torch.equal(logits(again.model), logits(run.model().model))
    assert again.note == ""  # a plain model
    found = run.predictions(progress=False)
    text = mood.prompt.replace("{text}", found.loc[found.right, "text"].iloc[0])
    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    network = AutoModelForCausalLM.from_pretrained(folder)
    written = network.generate(**inputs, max_new_tokens=3, do_sample=False)
    said = again.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :])
    assert said.split()[0][:1] == found.loc[found.right, "label"].iloc[0][:1]
