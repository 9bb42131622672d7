"""What people bring as a model: every kind of folder and file, objects in memory, and options of from_pretrained."""

from __future__ import annotations

import json
import shutil

import pytest
import tokenizer_kinds
import torch
from small import plain_text, tiny_llama, word_tokenizer
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
)

import semviz as sv
from semviz.common.errors import ModelError

TEXT = plain_text()
IDS = torch.arange(4, 14)[None]


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def saved(folder, model=None, tokenizer=True, **options):
    (model or tiny_llama()).save_pretrained(folder, **options)
    if tokenizer:
        word_tokenizer().save_pretrained(folder)
    return folder


def refusal(*args, **options) -> str:
    with pytest.raises(ModelError) as refused:
        sv.load_model(*args, **options)
    return str(refused.value)


# Files of weights


@pytest.fixture
def sharded(tmp_path):
    folder = saved(tmp_path / "sharded", max_shard_size="30KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 4
    return folder, shards


@pytest.mark.brings(
    "Models",
    "a folder of `save_pretrained`, whole or in shards",
    "loads it (safetensors only)",
)
def test_a_sharded_folder_is_the_model(sharded):
    model = sv.load_model(sharded[0], general_text=TEXT)
    assert torch.equal(logits(model.model), logits(tiny_llama()))


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 997\n"


def damage(file, how):
    if how == "missing":
        file.unlink()
    elif how == "pointer":
        file.write_text(POINTER)
    else:
        whole = file.read_bytes()
        file.write_bytes(
            {"cut": whole[:-9], "empty": b"", "cut in the header": whole[:20], "html": b"<html></html>"}[how]
        )


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "lacks 1 of its"),
        ("pointer", "git lfs pull"),
        ("cut", "cut off"),
        ("empty", "cut off"),
        ("cut in the header", "cut off"),
        ("html", "cut off"),
    ],
)
@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.brings(
    "Models",
    "a folder with a missing, cut or empty shard",
    "names the file",
)
def test_a_broken_shard_is_named(sharded, how, words, which):
    folder, shards = sharded
    damage(shards[which], how)
    said = refusal(folder)
    assert shards[which].name in said
    assert words in said
    assert shards[1].name not in said


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.brings(
    "Models",
    "a Git LFS pointer in place of a file",
    "names the file, and how to fetch it",
)
def test_a_pointer_in_place_of_any_file_is_named(tmp_path, file):
    folder = saved(tmp_path / "model")
    (folder / file).write_text(POINTER)
    assert all(word in refusal(folder) for word in (file, "git lfs pull"))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"weight_map": 3}'])
def test_a_broken_index_is_named(sharded, content):
    folder, _ = sharded
    (folder / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in refusal(folder)


@pytest.mark.brings(
    "Models",
    "a folder of checkpoints",
    "names those to pass",
)
def test_a_folder_of_folders_names_those_to_pass(tmp_path):
    for place in ("checkpoint-1", "checkpoint-2"):
        saved(tmp_path / place)
    said = refusal(tmp_path)
    assert "checkpoint-1" in said
    assert "checkpoint-2" in said
    saved(tmp_path / "models--a--b" / "snapshots" / "0123")
    assert "0123" in refusal(tmp_path / "models--a--b")


# Tokenizers


@pytest.mark.parametrize("form", ["object", "folder"])
@pytest.mark.brings(
    "Models",
    "a folder without a tokenizer",
    "takes `tokenizer=`: an object, a folder or an id",
)
def test_a_folder_without_a_tokenizer_takes_one(tmp_path, form):
    folder = saved(tmp_path / "model", tokenizer=False)
    assert "tokenizer=" in refusal(folder)
    tokenizer = word_tokenizer()
    if form == "folder":
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        tokenizer = tmp_path / "tokenizer"
    model = sv.load_model(folder, tokenizer=tokenizer, general_text=TEXT)
    assert model.tokenizer("the cat")["input_ids"] == word_tokenizer()("the cat")["input_ids"]


def test_a_tokenizer_that_is_nowhere(tmp_path):
    assert "tokenizer='nowhere'" in refusal(saved(tmp_path / "model"), tokenizer="./nowhere").replace("./", "")


# Objects in memory


@pytest.mark.brings(
    "Models",
    "a model in memory, alone",
    "takes its tokenizer from where it came",
)
def test_only_a_model_brings_its_tokenizer_from_where_it_came(tmp_path):
    folder = saved(tmp_path / "model")
    network = AutoModelForCausalLM.from_pretrained(folder)
    model = sv.load_model(network, general_text=TEXT)
    assert model.model is network
    assert model.tokenizer("the cat")["input_ids"] == word_tokenizer()("the cat")["input_ids"]
    assert model.name == "model"


@pytest.mark.brings(
    "Models",
    "a model in memory that came from nowhere",
    "asks for `tokenizer=`",
)
def test_only_a_model_from_nowhere_asks_for_a_tokenizer():
    assert "(model, tokenizer)" in refusal(tiny_llama())
    assert sv.load_model(tiny_llama(), tokenizer=word_tokenizer(), general_text=TEXT).n_blocks == 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: (word_tokenizer(), tiny_llama()), "model first"),
        (lambda: (tiny_llama(), None), "(model, tokenizer)"),
        (lambda: (tiny_llama(),), "(model, tokenizer)"),
        (lambda: [tiny_llama(), word_tokenizer(), 3], "(model, tokenizer)"),
        (lambda: torch.nn.Linear(2, 2), "not a model"),
        (lambda: 3, "not a model"),
        (lambda: b"bytes", "not a model"),
    ],
)
@pytest.mark.brings(
    "Models",
    "something else than a model",
    "says what to pass",
)
def test_other_objects_are_refused(make, words):
    assert words in refusal(make())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "bf16"}, "model.to(torch.bfloat16)"),
        ({"device": "meta"}, "model.to('meta')"),
        ({"device_map": "auto"}, "device_map="),
        ({"revision": "main"}, "revision="),
        ({"base": "demo"}, "base="),
        ({"gguf_file": "a.gguf"}, "gguf_file="),
        ({"attn_implementation": "eager"}, "attn_implementation="),
    ],
)
@pytest.mark.parametrize("loaded", [False, True])
def test_options_that_would_do_nothing_are_refused(options, words, loaded):
    source = (tiny_llama(), word_tokenizer())
    if loaded:
        source = sv.load_model(source, general_text=TEXT)
    assert words in refusal(source, **options)


def test_options_that_say_what_is_so_are_taken():
    model = sv.load_model((tiny_llama(), word_tokenizer()), dtype="float32", device="cpu", general_text=TEXT)
    assert sv.load_model(model, dtype=torch.float32) is model


# Checkpoints of something else


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cls", [LlamaForSequenceClassification, LlamaForTokenClassification])
@pytest.mark.brings(
    "Models",
    "a checkpoint of a classifier",
    "refuses it: its head predicts no tokens",
)
def test_a_classifiers_checkpoint_is_no_causal_lm(tmp_path, cls, tied):
    config = tiny_llama(tie_word_embeddings=tied).config
    folder = saved(tmp_path / "classifier", cls(config))
    said = refusal(folder)
    assert cls.__name__ in said
    assert "label words" in said


@pytest.mark.brings(
    "Models",
    "a checkpoint of a masked LM",
    "refuses it",
)
def test_a_masked_lm_is_no_causal_lm(tmp_path):
    config = BertConfig(vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    assert "BertForMaskedLM" in refusal(saved(tmp_path / "bert", BertForMaskedLM(config)))


@pytest.mark.brings(
    "Models",
    "a body without its LM head",
    "refuses it, unless head and embeddings are one",
)
def test_a_body_alone(tmp_path):
    untied, tied = (LlamaModel(tiny_llama(tie_word_embeddings=tied).config) for tied in (False, True))
    assert "lm_head" in refusal(saved(tmp_path / "untied", untied))
    # Where embeddings and head are one, nothing is missing.
    assert sv.load_model(saved(tmp_path / "tied", tied), general_text=TEXT).n_blocks == 4


@pytest.mark.filterwarnings("ignore:torch")
@pytest.mark.brings(
    "Quantised models",
    "a quantised head",
    "refuses it in words: the head reads every space",
)
def test_a_quantised_head_is_named():
    network = torch.ao.quantization.quantize_dynamic(tiny_llama(), {torch.nn.Linear}, dtype=torch.qint8)
    said = refusal((network, word_tokenizer()))
    assert "quantised" in said
    assert "lm_head" in said


# Options


@pytest.mark.parametrize(
    ("word", "dtype"),
    [
        ("bf16", torch.bfloat16),
        ("bfloat16", torch.bfloat16),
        ("torch.bfloat16", torch.bfloat16),
        ("fp16", torch.float16),
        ("half", torch.float16),
        ("fp32", torch.float32),
        ("float", torch.float32),
        ("FP64", torch.float64),
        (torch.bfloat16, torch.bfloat16),
    ],
)
@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
@pytest.mark.brings(
    "Models",
    '`dtype="bf16"`, `"half"`, `torch_dtype=`, `torch.float16` …',
    "loads in that type",
)
def test_dtypes_by_every_name(model_folder, word, dtype, name):
    assert sv.load_model(model_folder, **{name: word}).model.dtype == dtype


@pytest.mark.parametrize("word", ["bf17", "int8", "4bit", "float8_e4m3fn", torch.int64, 32, None, "", "auto32"])
def test_other_dtypes_are_refused(model_folder, word):
    assert "dtype" in refusal(model_folder, dtype=word)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("load_in_4bit", "BitsAndBytesConfig(load_in_4bit=True)"),
        ("load_in_8bit", "BitsAndBytesConfig(load_in_8bit=True)"),
        ("use_safetensors", "safetensors only"),
        ("use_auth_token", "token="),
        ("use_flash_attention_2", "flash_attention_2"),
        ("tp_plan", "device_map="),
        ("config", "folder"),
        ("revison", "did you mean revision=?"),
        ("devicemap", "did you mean device_map=?"),
        ("attn_implementaion", "did you mean attn_implementation=?"),
        ("zzz", "from_pretrained"),
    ],
)
@pytest.mark.brings(
    "Models",
    "options of `from_pretrained` that semviz sets otherwise",
    "says by name what to pass",
)
def test_options_that_are_answered_by_name(model_folder, name, words):
    said = refusal(model_folder, **{name: True})
    assert name in said
    assert words in said


@pytest.mark.brings(
    "Models",
    "`attn_implementation=`, `revision=`, `subfolder=`, `token=` and the like",
    "hands them on to `from_pretrained`",
)
def test_options_are_handed_on(model_folder, tmp_path):
    eager = sv.load_model(model_folder, attn_implementation="eager")
    assert eager.model.config._attn_implementation == "eager"
    shutil.copytree(model_folder, tmp_path / "outer" / "inner")
    (tmp_path / "outer" / "config.json").write_text("{}")
    assert sv.load_model("some/id", general_text=TEXT, **hub_of(tmp_path, model_folder)).n_blocks == 4


def hub_of(tmp_path, model_folder):
    """A cache folder in which `some/id` is this model."""
    snapshot = tmp_path / "hub" / "models--some--id" / "snapshots" / "abc"
    shutil.copytree(model_folder, snapshot)
    refs = tmp_path / "hub" / "models--some--id" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    return {"cache_dir": str(tmp_path / "hub"), "local_files_only": True}


# Adapters


@pytest.fixture
def adapter(tmp_path):
    """A base, an adapter on it, and the adapted model itself."""
    peft = pytest.importorskip("peft")
    base = saved(tmp_path / "base")
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], r=2, init_lora_weights=False)
    network = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    network.save_pretrained(tmp_path / "adapter")
    return base, tmp_path / "adapter", network


@pytest.mark.brings(
    "Models",
    "a folder of a peft adapter",
    "loads it on the base that it names",
)
def test_an_adapters_folder_is_the_adapted_model(adapter):
    base, folder, network = adapter
    model = sv.load_model(folder, general_text=TEXT)
    assert torch.equal(logits(model.model), logits(network))
    assert (logits(model.model) - logits(tiny_llama())).abs().max() > 0.01
    assert model.name == "adapter"
    assert "LORA adapter on base" in repr(model)
    assert model.tokenizer("the cat")["input_ids"] == word_tokenizer()("the cat")["input_ids"]
    assert base.exists()


@pytest.mark.parametrize("form", ["folder", "pair", "loaded", "model"])
@pytest.mark.brings(
    "Models",
    "an adapter and `base=`, also a model in memory",
    "puts it on a copy of that base",
)
def test_an_adapter_takes_the_base_that_is_passed_and_leaves_it_as_it_is(adapter, tmp_path, form):
    base, folder, network = adapter
    moved = tmp_path / "moved"
    base.rename(moved)
    assert "base=" in refusal(folder)
    live = AutoModelForCausalLM.from_pretrained(moved)
    names = [name for name, _ in live.named_modules()]
    given = {
        "folder": lambda: moved,
        "pair": lambda: (live, word_tokenizer()),
        "loaded": lambda: sv.load_model((live, word_tokenizer()), general_text=TEXT),
        "model": lambda: live,
    }[form]()
    model = sv.load_model(folder, base=given, general_text=TEXT)
    assert torch.equal(logits(model.model), logits(network))
    assert [name for name, _ in live.named_modules()] == names
    assert not hasattr(live, "peft_config")


@pytest.mark.brings(
    "Models",
    "an adapter, to finetune on",
    "trains above it, with the adapter merged into the copy",
)
def test_an_adapted_folder_trains(adapter, mood):
    model = sv.load_model(adapter[1], general_text=TEXT)
    run = sv.finetune(model, mood, sv.Scope.last(model), lr=1e-3, epochs=1, progress=False)
    assert run.value >= 0
    assert torch.equal(logits(model.model), logits(adapter[2]))


@pytest.mark.brings(
    "Models",
    "an adapter made for another base",
    "refuses it",
)
def test_an_adapter_on_another_base_is_refused(adapter, tmp_path):
    wide = saved(tmp_path / "wide", tiny_llama(hidden_size=64))
    deep = saved(tmp_path / "deep", tiny_llama(blocks=6))
    for other in (wide, deep):
        said = refusal(adapter[1], base=other)
        assert "does not fit" in said
        assert "base=" in said


def test_an_adapter_of_a_larger_vocabulary(tmp_path):
    peft = pytest.importorskip("peft")
    base = saved(tmp_path / "base")
    network = AutoModelForCausalLM.from_pretrained(base)
    network.resize_token_embeddings(network.config.vocab_size + 3)
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
    network = peft.get_peft_model(network, config).eval()
    network.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    model = sv.load_model(tmp_path / "adapter", general_text=TEXT)
    assert torch.equal(logits(model.model), logits(network))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_model_name_or_path": None}, "base="),
        ({"base_model_name_or_path": "/gone/model"}, "/gone/model"),
        ({"task_type": "SEQ_CLS"}, "SEQ_CLS"),
    ],
)
def test_adapters_that_name_no_base_or_another_task(adapter, change, words):
    file = adapter[1] / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert words in refusal(adapter[1])


def test_broken_adapters(adapter):
    folder = adapter[1]
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_text(POINTER)
    assert "git lfs pull" in refusal(folder)
    weights.rename(folder / "adapter_model.bin")
    assert "pickled" in refusal(folder)
    weights.write_bytes(whole)
    (folder / "adapter_config.json").write_text("[]")
    assert "adapter_config.json" in refusal(folder)


def test_a_base_for_a_whole_model_would_do_nothing(model_folder):
    assert "base=" in refusal(model_folder, base="demo")


# GGUF


@pytest.fixture(scope="module")
def network():
    return tiny_llama(vocab_size=len(tokenizer_kinds.bpe()), num_key_value_heads=2)


def gguf_of(network, path, form="F32"):
    pytest.importorskip("gguf")
    from gguf_files import write_gguf

    return write_gguf(network, tokenizer_kinds.bpe(before="<s>"), path, form)


def ids_of(model):
    return model.tokenizer("the film was good")["input_ids"]


@pytest.mark.brings(
    "Models",
    "a `.gguf` file",
    "reads it; the same logits as the model that it was made of",
)
def test_a_gguf_file_is_the_model(network, tmp_path):
    model = sv.load_model(gguf_of(network, tmp_path / "tiny.gguf"))
    assert torch.equal(logits(model.model), logits(network))
    assert ids_of(model) == tokenizer_kinds.bpe(before="<s>")("the film was good")["input_ids"]
    assert model.name == "tiny"


@pytest.mark.parametrize(
    ("form", "note", "far"),
    [
        ("F16", "converted from F16", 0.005),
        ("Q8_0", "dequantised from Q8_0", 0.02),
        ("Q4_0", "dequantised from Q4_0", 0.3),
    ],
)
@pytest.mark.brings(
    "Models",
    "a quantised `.gguf` file",
    "dequantises it, and says so in its repr",
)
def test_quantised_gguf_files_are_dequantised_and_said(network, tmp_path, form, note, far):
    model = sv.load_model(gguf_of(network, tmp_path / "tiny.GGUF", form))
    assert f"{note} to float32" in repr(model)
    weights = dict(network.named_parameters())
    for name, parameter in model.model.named_parameters():
        error = (parameter - weights[name]).norm() / weights[name].norm()
        assert error < far, name


@pytest.mark.brings(
    "Models",
    "a folder with `.gguf` files, or `gguf_file=`",
    "reads the one there is, or asks which",
)
def test_folders_with_gguf_files(network, tmp_path):
    gguf_of(network, tmp_path / "a.gguf")
    assert sv.load_model(tmp_path).name == "a"
    gguf_of(network, tmp_path / "b.gguf", "Q8_0")
    said = refusal(tmp_path)
    assert "gguf_file='a.gguf'" in said
    assert "b.gguf" in said
    assert "Q8_0" in sv.load_model(tmp_path, gguf_file="b.gguf").note
    assert "a.gguf" in refusal(tmp_path, gguf_file="c.gguf")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.gguf", POINTER.encode(), "git lfs pull"),
        ("a.gguf", b"", "not a GGUF file"),
        ("a.gguf", b"GGML....", "not a GGUF file"),
        ("a-00001-of-00002.gguf", b"GGUF....", "--merge"),
    ],
)
def test_broken_gguf_files(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    said = refusal(tmp_path / name)
    assert name in said
    assert words in said


@pytest.mark.brings(
    "Models",
    "a `.gguf` file, to trace and finetune",
    "does both",
)
def test_a_gguf_file_is_traced_and_finetuned(network, tmp_path):
    model = sv.load_model(gguf_of(network, tmp_path / "tiny.gguf", "Q8_0"))
    texts = [f"the film was {'good' if i % 2 else 'bad'} and {i}" for i in range(40)]
    labels = ["yes" if i % 2 else "no" for i in range(40)]
    task = sv.Task.from_texts(texts, labels, prompt="{text} Label:")
    trace = sv.trace(model, task, metrics="lens", progress=False)
    assert trace.n_blocks == 4
    run = sv.finetune(model, task, sv.Scope.above(model, 2), lr=1e-3, epochs=1, progress=False)
    assert set(run.weights) == {
        name for name, _ in LlamaForCausalLM(network.config).named_parameters() if _trained(name)
    }


def _trained(name):
    return name.startswith(("model.layers.2.", "model.layers.3.", "model.norm"))
