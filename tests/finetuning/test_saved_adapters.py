"""`run.save_adapter`: adapters unmerged, as peft has them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import peft
import pytest
import torch
from architectures import gpt2
from quantised_layers import EightBit, quantise
from small import mood_task, plain_text, tiny_llama, word_tokenizer
from transformers import AutoModelForCausalLM

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.common.training_methods import METHODS, TrainingMethod
from semviz.experiments.run_store import Store
from semviz.scopes.methods import peft_adapters

pytestmark = pytest.mark.every_kind

QUICK = {"epochs": 2, "batch_size": 8, "lr": 3e-2, "progress": False}
IDS = torch.arange(4, 14)[None]
# A merged adapter is the trained one up to the rounding of the merge.
NEAR = {"rtol": 0, "atol": 2e-5}


def logits(network):
    with torch.no_grad():
        return network(input_ids=IDS).logits


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    tiny_llama().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(base_folder):
    return sv.load_model(base_folder, general_text=plain_text())


@pytest.fixture(scope="module")
def run(model):
    return sv.finetune(model, mood_task(), sv.Scope.of(model, [2, 4]), method="lora", **QUICK)


def check_loads(folder, run, base):
    expected = logits(run.model().model)
    assert not torch.allclose(expected, logits(base), **NEAR)
    torch.testing.assert_close(logits(peft.PeftModel.from_pretrained(base, folder).eval()), expected, **NEAR)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("method", ["lora", "ia3"])
@pytest.mark.parametrize("blocks", [[4], [2, 4], [1, 2, 3, 4]], ids=str)
@pytest.mark.brings(
    "What comes out",
    "`run.save_adapter(folder)`",
    "peft's own files, unmerged; peft and semviz load them",
)
def test_peft_and_semviz_load_what_was_trained(tmp_path, base_folder, model, method, blocks, cache):
    made = sv.finetune(model, mood_task(), sv.Scope.of(model, blocks), method=method, cache=cache, **QUICK)
    folder = made.save_adapter(tmp_path / "adapter")
    check_loads(folder, made, AutoModelForCausalLM.from_pretrained(base_folder))
    again = sv.load_model(folder)
    torch.testing.assert_close(logits(again.model), logits(made.model().model), **NEAR)
    lora = peft.PeftModel.from_pretrained(tiny_llama(), folder, is_trainable=True)
    assert sum(p.numel() for p in lora.parameters() if p.requires_grad) == made.trainable


def test_the_files_are_those_of_peft(tmp_path, base_folder, run):
    run.save_adapter(tmp_path)
    names = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {f.name for f in tmp_path.iterdir()} == names | {"semviz_run.json"}
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base_folder)
    assert (config["r"], config["lora_alpha"], config["task_type"]) == (8, 16, "CAUSAL_LM")
    assert config["inference_mode"] is True
    layers = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    layers += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert sorted(config["target_modules"]) == sorted(f"model.layers.{b}.{layer}" for b in (1, 3) for layer in layers)
    assert peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path) is not None


def test_layers_that_store_their_weights_the_other_way_round(tmp_path):
    torch.manual_seed(0)
    network = gpt2().eval()
    network.resize_token_embeddings(len(word_tokenizer()))
    network.save_pretrained(tmp_path / "base")
    model = sv.load_model((network, word_tokenizer()), general_text=plain_text())
    for method in ("lora", "ia3"):
        made = sv.finetune(model, mood_task(), sv.Scope.last(model), method=method, **QUICK)
        check_loads(made.save_adapter(tmp_path / method), made, AutoModelForCausalLM.from_pretrained(tmp_path / "base"))


def test_half_precision(tmp_path, base_folder):
    model = sv.load_model(base_folder, dtype="bf16", general_text=plain_text())
    made = sv.finetune(model, mood_task(), sv.Scope.last(model), method="lora", **QUICK)
    folder = made.save_adapter(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.bfloat16)
    found = logits(peft.PeftModel.from_pretrained(base, folder).eval())
    torch.testing.assert_close(found, logits(made.model().model), rtol=0.05, atol=0.1)


def test_a_stored_run_keeps_its_adapter(tmp_path, base_folder, model, run):
    store = Store(tmp_path / "runs")
    kept = store.add(run)
    stored = store.find(run.key)
    for one in (kept, stored):
        assert one.adapter.settings == run.adapter.settings
        assert set(one.weights) == set(run.weights)
        assert {n: t.tolist() for n, t in one.adapter.tensors.items()} == {
            n: t.tolist() for n, t in run.adapter.tensors.items()
        }
    stored.save_adapter(tmp_path / "bare")  # without the model: neither tried, nor with a tokenizer
    assert not (tmp_path / "bare" / "tokenizer.json").exists()
    check_loads(tmp_path / "bare", run, AutoModelForCausalLM.from_pretrained(base_folder))
    stored.save_adapter(tmp_path / "whole", model=model)
    assert (tmp_path / "whole" / "tokenizer.json").exists()
    torch.testing.assert_close(logits(sv.load_run(model, stored).model), logits(run.model().model), **NEAR)


def test_a_damaged_store_is_told(tmp_path, run):
    store = Store(tmp_path / "runs")
    store.add(run)
    (file,) = (tmp_path / "runs").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(SemvizError, match="was changed after it was written"):
        store.find(run.key).save_adapter(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_runs_without_adapters_say_what_to_do(tmp_path, model, run):
    full = sv.finetune(model, mood_task(), sv.Scope.last(model), **QUICK)
    lisa = sv.finetune(model, mood_task(), sv.Scope.last(model), method="lisa", **QUICK)
    for made in (full, lisa):
        assert made.adapter is None
        with pytest.raises(SemvizError, match=f'method="{made.method}" trains .*own weights.*run.save_model'):
            made.save_adapter(tmp_path / "adapter")
    with pytest.raises(SemvizError, match=r"trained before adapters were kept.*or train (it )?again"):
        replace(run, adapter=None).save_adapter(tmp_path / "adapter")
    with pytest.raises(SemvizError, match="kept no weights"):
        replace(run, weights={}, adapter=None).save_adapter(tmp_path / "adapter")


def test_a_store_of_before_has_runs_without_adapters(tmp_path, run):
    store = Store(tmp_path)
    store.add(replace(run, adapter=None))
    assert store.find(run.key).adapter is None


def test_adapters_on_a_model_that_carries_one_belong_to_no_base(tmp_path):
    torch.manual_seed(0)
    network = peft.get_peft_model(tiny_llama(), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    model = sv.load_model((network.eval(), word_tokenizer()), general_text=plain_text())
    made = sv.finetune(model, mood_task(), sv.Scope.last(model), method="lora", **QUICK)
    with pytest.raises(SemvizError, match=r"on a model that carries one already.* Pass run\.save_model"):
        made.save_adapter(tmp_path / "adapter")


def test_where_the_base_is(tmp_path, base_folder, run, tiny, mood, monkeypatch):
    def named(folder):
        return json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]

    assert named(run.save_adapter(tmp_path / "hub", base="org/model")) == "org/model"
    monkeypatch.chdir(base_folder.parent)
    relative = sv.load_model("tiny", general_text=plain_text())
    made = sv.finetune(relative, mood, sv.Scope.last(relative), method="lora", **QUICK)
    assert named(made.save_adapter(tmp_path / "relative")) == str(base_folder)  # wherever it is read from
    in_memory = sv.finetune(tiny, mood, sv.Scope.last(tiny), method="lora", **QUICK)
    folder = in_memory.save_adapter(tmp_path / "in memory")
    assert named(folder) is None
    with pytest.raises(SemvizError, match="does not say which model it was trained on; pass it: base="):
        sv.load_model(folder)
    again = sv.load_model(folder, base=base_folder)
    torch.testing.assert_close(logits(again.model), logits(in_memory.model().model), **NEAR)
    with pytest.raises(SemvizError, match="base="):
        run.save_adapter(tmp_path / "x", base=3)


def test_an_adapter_that_peft_would_load_otherwise_is_not_written(tmp_path, run):
    text = json.dumps(run.adapter.settings | {"lora_alpha": 64})
    with pytest.raises(SemvizError, match=r"peft loads this adapter otherwise .*not written; pass run\.save_model"):
        replace(run, adapter=replace(run.adapter, config=text)).save_adapter(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_not_replaced(tmp_path, run, base_folder):
    shutil.copytree(base_folder, tmp_path / "base")
    with pytest.raises(SemvizError, match="files that semviz has not written"):
        run.save_adapter(tmp_path / "base")
    run.save_adapter(tmp_path / "adapter")
    run.save_adapter(tmp_path / "adapter")
    run.save_model(tmp_path / "adapter")  # of the same run
    assert not (tmp_path / "adapter" / "adapter_config.json").exists()


def test_beside_quantised_weights_only_adapters_are_saved(tmp_path):
    network = quantise(tiny_llama(), EightBit)
    model = sv.load_model((network, word_tokenizer()), general_text=plain_text())
    made = sv.finetune(model, mood_task(), sv.Scope.last(model), method="lora", **QUICK)
    with pytest.raises(SemvizError, match=r"quantised weights .* round them anew; pass run\.save_adapter"):
        made.save_model(tmp_path / "model")
    made.save_adapter(tmp_path / "adapter")
    base = quantise(tiny_llama(), EightBit)
    found = logits(peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval())
    torch.testing.assert_close(found, logits(made.model().model), **NEAR)


KINDS = {
    "dora": lambda layers: peft.LoraConfig(target_modules=layers, use_dora=True),
    "rslora": lambda layers: peft.LoraConfig(target_modules=layers, use_rslora=True, r=4, lora_alpha=3),
    "some": lambda _: peft.LoraConfig(target_modules=["q_proj", "down_proj"]),
    "pattern": lambda _: peft.LoraConfig(target_modules=r".*self_attn\.(q|v)_proj"),
    "without": lambda layers: peft.LoraConfig(target_modules=layers, exclude_modules=["q_proj"]),
    "ranks": lambda layers: peft.LoraConfig(
        target_modules=layers, rank_pattern={"q_proj": 3, "mlp.up_proj": 5}, alpha_pattern={"v_proj": 7}
    ),
    "bias": lambda layers: peft.LoraConfig(target_modules=layers, bias="lora_only"),
    "pissa": lambda layers: peft.LoraConfig(target_modules=layers, init_lora_weights="pissa"),
    "loha": lambda layers: peft.LoHaConfig(target_modules=layers),
    "lokr": lambda layers: peft.LoKrConfig(target_modules=layers),
    "oft": lambda layers: peft.OFTConfig(target_modules=layers, r=0, oft_block_size=8),
    "boft": lambda layers: peft.BOFTConfig(target_modules=layers, boft_block_size=8),
    "hra": lambda layers: peft.HRAConfig(target_modules=layers),
    "randlora": lambda layers: peft.RandLoraConfig(target_modules=layers),
    "fourier": lambda layers: peft.FourierFTConfig(target_modules=layers, n_frequency=50),
    "adalora": lambda layers: peft.AdaLoraConfig(target_modules=layers, total_step=100),
    "gralora": lambda layers: peft.GraloraConfig(target_modules=layers),
    "layer norms": lambda _: peft.LNTuningConfig(target_modules=["input_layernorm"]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.brings(
    "What comes out",
    "adapters of any of peft's kinds",
    "saved as they were configured, or refused by name",
)
def test_every_kind_of_adapter_is_saved_as_it_was_configured(tmp_path, base_folder, model, monkeypatch, kind):
    def config(_, layers):
        return KINDS[kind](list(layers))

    monkeypatch.setitem(
        METHODS,
        "mine",
        TrainingMethod(
            key="mine",
            title="mine",
            own_weights=False,
            prepare=peft_adapters.make_prepare("mine", config),
            merged=peft_adapters.merged,
        ),
    )
    made = sv.finetune(model, mood_task(), sv.Scope.of(model, [2, 4]), method="mine", **QUICK)
    state = model.hash
    folder = made.save_adapter(tmp_path)
    assert model.hash == state
    expected = logits(made.model().model)
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    assert not torch.allclose(expected, logits(base), rtol=0, atol=1e-3)
    found = logits(peft.PeftModel.from_pretrained(base, folder).eval())
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-4)
    assert made.adapter.settings["peft_type"] == KINDS[kind](["q_proj"]).peft_type.value
    assert all(
        name.startswith(("model.layers.1.", "model.layers.3.")) for name in made.adapter.settings["target_modules"]
    )
