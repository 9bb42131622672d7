"""Where a model comes from: what another process loads from there is the same model."""

from __future__ import annotations

import pickle

import pytest
import torch
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import ModelError
from semviz.lm.origin import save_whole

WAYS = {
    "a folder": lambda folder: (folder, {}),
    "a path": lambda folder: (str(folder), {}),
    "its dtype": lambda folder: (folder, {"dtype": "bf16"}),
    "its blocks and text": lambda folder: (folder, {"layers": "model.layers", "general_text": plain_text(3)}),
    "another tokenizer": lambda folder: (folder, {"tokenizer": str(folder)}),
    "its attention": lambda folder: (folder, {"attn_implementation": "eager"}),
    "the demo": lambda folder: (None, {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_loaded_from_an_origin_is_the_same_model(way, model_folder):
    source, options = WAYS[way](model_folder)
    model = sv.load_model(source, **options)
    again = sv.load_model(**pickle.loads(pickle.dumps(model.origin)).arguments)
    assert (again.hash, again.weights_hash, again.name) == (model.hash, model.weights_hash, model.name)
    assert again.general_text == model.general_text
    assert again.model.dtype == model.model.dtype
    assert again.anatomy.block_names == model.anatomy.block_names


@pytest.mark.parametrize("named", [False, True], ids=["its base is in its config", "base="])
def test_an_adapter_is_loaded_on_its_base_again(named, model_folder, tmp_path):
    import peft
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model_folder)
    config = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(network, config).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    model = sv.load_model(tmp_path, **({"base": model_folder} if named else {}))
    assert sv.load_model(**model.origin.arguments).hash == model.hash != sv.load_model(model_folder).hash


def test_a_folder_is_found_from_anywhere(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(model_folder.parent)
    model = sv.load_model(model_folder.name)
    monkeypatch.chdir(tmp_path)
    assert sv.load_model(**model.origin.arguments).hash == model.hash


def test_what_was_in_memory_has_no_origin(model_folder):
    assert sv.load_model((tiny_llama(), word_tokenizer())).origin is None
    assert sv.load_model(model_folder, tokenizer=word_tokenizer()).origin is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_in_memory_is_saved_whole(dtype, tmp_path):
    model = sv.load_model((tiny_llama().to(dtype), word_tokenizer()))
    save_whole(model.model, model.tokenizer, tmp_path / "deep" / "saved")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "deep" / "saved").iterdir()}
    save_whole(model.model, model.tokenizer, tmp_path / "deep" / "saved")  # once
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "deep" / "saved").iterdir()} == before
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["saved"]
    again = sv.load_model(tmp_path / "deep" / "saved", dtype=dtype)
    assert again.weights_hash == model.weights_hash
    # `.to` rounds rotary frequencies too, which no file holds.
    assert (again.hash == model.hash) == (dtype == torch.float32)


def test_adapters_in_memory_are_refused_in_words(tmp_path):
    import peft

    network = peft.get_peft_model(tiny_llama(), peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ModelError, match="save the adapter and pass load_model"):
        save_whole(network, word_tokenizer(), tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_saved_is_refused_in_words(tmp_path, monkeypatch):
    network = tiny_llama()

    def fail(folder) -> None:
        raise OSError("no space")

    monkeypatch.setattr(network, "save_pretrained", fail)
    with pytest.raises(ModelError, match=r"no space.*pass load_model"):
        save_whole(network, word_tokenizer(), tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_hashes_of_weights_follow_the_weights_alone(model_folder):
    model = sv.load_model(model_folder)
    before, whole = model.weights_hash, model.hash
    model.model.model.layers[0].register_forward_hook(lambda module, args, output: output[0] * 2)
    assert model.weights_hash == before
    with torch.no_grad():
        model.model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    assert model.weights_hash != before
    assert whole
