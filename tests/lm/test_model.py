from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from small import tiny_llama, word_tokenizer
from transformers import AutoModelForCausalLM

import semviz as sv
from semviz.common.errors import ModelError, SemvizError


def test_folder_and_live_objects_give_the_same_model(model_folder):
    loaded, live = sv.load_model(model_folder), sv.load_model((tiny_llama(), word_tokenizer()))
    assert loaded.hash == live.hash
    assert loaded.name == "tiny"
    assert loaded.model.dtype == torch.float32
    assert "4 blocks, width 32" in repr(loaded)
    assert sv.load_model(loaded) is loaded


def test_hash_changes_with_one_weight():
    network = tiny_llama()
    before = sv.load_model((network, word_tokenizer())).hash
    with torch.no_grad():
        network.model.norm.weight[3] += 1e-3
    assert sv.load_model((network, word_tokenizer())).hash != before


def test_a_live_model_keeps_its_mode_and_flags():
    network = tiny_llama().train()
    network.lm_head.requires_grad_(False)
    sv.load_model((network, word_tokenizer()))
    assert network.training
    assert not network.lm_head.weight.requires_grad
    assert network.model.norm.weight.requires_grad


def test_peft_models_are_looked_through(mood):
    peft = pytest.importorskip("peft")
    wrapped = peft.get_peft_model(tiny_llama(), peft.LoraConfig(target_modules=["q_proj"], r=2))
    model = sv.load_model((wrapped, word_tokenizer()), general_text=[" ".join(["cat dog"] * 20)] * 5)
    assert sv.trace(model, mood, metrics="lens", progress=False).n_blocks == 4


def test_bfloat16_on_request(model_folder):
    model = sv.load_model(model_folder, dtype="bfloat16")
    assert model.model.dtype == torch.bfloat16
    assert model.anatomy.error < 3e-2


@pytest.fixture
def folder(model_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    return copy


def test_a_folder_without_a_config(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json.*save_pretrained"):
        sv.load_model(folder)


def test_pickled_weights_are_refused_unread(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(ModelError, match="does not load pickled weights"):
        sv.load_model(folder)


def test_torn_weights(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"copy/model.safetensors is cut off"):
        sv.load_model(folder)


def test_encoder_decoders_are_refused_before_their_weights_are_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="encoder-decoder"):
        sv.load_model(tmp_path)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(ModelError, match="no model folder"):
        sv.load_model(tmp_path / "nothing")


@pytest.mark.parametrize(
    "error",
    [OSError("Repository Not Found for url"), OSError("You are trying to access a gated repo."), ConnectionError()],
)
def test_hub_errors_become_one_sentence(monkeypatch, error):
    from transformers import AutoConfig

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(AutoConfig, "from_pretrained", fail)
    with pytest.raises(ModelError, match=r"Cannot load 'someone/model': .*Pass None for the packaged demo"):
        sv.load_model("someone/model")


def test_hub_ids_reach_transformers_with_safe_options(monkeypatch, model_folder):
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    calls = {}

    def redirect(cls, name):
        real = cls.from_pretrained

        def load(path, **options):
            # AutoTokenizer asks AutoConfig again, with the path that it was redirected to.
            calls.setdefault(name, (path, options))
            return real(model_folder, **{k: v for k, v in options.items() if k != "revision"})

        monkeypatch.setattr(cls, "from_pretrained", load)

    for cls, name in ((AutoConfig, "config"), (AutoTokenizer, "tokenizer"), (AutoModelForCausalLM, "model")):
        redirect(cls, name)
    model = sv.load_model("someone/model", revision="v1")
    assert model.name == "someone/model"
    assert {path for path, _ in calls.values()} == {"someone/model"}
    assert all(options["revision"] == "v1" for _, options in calls.values())
    assert all(options["trust_remote_code"] is False for _, options in calls.values())
    assert calls["model"][1]["use_safetensors"] is True


@pytest.mark.parametrize("source", [3, ("a", "b"), (1, 2, 3), ["x"]])
def test_other_sources(source):
    with pytest.raises(ModelError, match="pass"):
        sv.load_model(source)


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"dtype": "fast"}, {"device": "gpu"}])
def test_unknown_devices_and_dtypes(model_folder, options):
    with pytest.raises(ModelError, match="pass"):
        sv.load_model(model_folder, **options)


def test_an_offloaded_model_traces_like_the_whole_one(mood):
    from accelerate import cpu_offload
    from small import plain_text, tiny_llama, word_tokenizer

    whole = sv.load_model((tiny_llama(tie_word_embeddings=True), word_tokenizer()), general_text=plain_text())
    expected, counts, digest = sv.trace(whole, mood, progress=False), whole.parts, whole.hash
    network = cpu_offload(tiny_llama(tie_word_embeddings=True), execution_device="cpu")
    assert any(p.is_meta for p in network.parameters())
    away = sv.load_model((network, word_tokenizer()), general_text=plain_text())
    found = sv.trace(away, mood, progress=False)
    for key, values in expected.values.items():
        np.testing.assert_allclose(found.values[key], values, atol=1e-5)
    assert away.parts == counts
    assert away.hash == digest
    with pytest.raises(SemvizError, match="offloaded"):
        sv.finetune(away, mood, progress=False)


def test_a_device_map_is_passed_on(model_folder, mood):
    parts = [
        "model.embed_tokens",
        "model.rotary_emb",
        "model.norm",
        "lm_head",
        *(f"model.layers.{i}" for i in range(4)),
    ]
    places = {name: "disk" if name.endswith("2") else "cpu" for name in parts}
    model = sv.load_model(model_folder, device_map=places)
    assert model.model.hf_device_map["model.layers.2"] == "disk"
    found, expected = (sv.trace(m, mood, metrics="lens", progress=False) for m in (model, sv.load_model(model_folder)))
    np.testing.assert_allclose(found.values["lens"], expected.values["lens"], atol=1e-5)


def test_the_packaged_model_is_loaded_without_a_bar_and_others_as_transformers_does(model_folder, monkeypatch):
    from transformers.utils import logging

    seen = []
    original = AutoModelForCausalLM.from_pretrained

    def loading(*args, **options):
        seen.append(logging.is_progress_bar_enabled())
        return original(*args, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loading)
    before = logging.is_progress_bar_enabled()
    try:
        for shown in (True, False):
            (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
            sv.load_model()
            sv.load_model(model_folder)
            assert logging.is_progress_bar_enabled() == shown
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()
    assert seen == [False, True, False, False]
