"""What a config of another trainer really trains: right for every export, and typos are told."""

from __future__ import annotations

import copy
import json
import re

import peft
import pytest
import yaml
from lora_rules import adapted, lora_config
from small import tiny_llama
from test_exports import BLOCKS, DEEP, MODELS, by_axolotl, by_llama_factory, by_swift, model_and_parts
from transformers import LlamaConfig

import semviz as sv
from semviz.cli import main
from semviz.common.errors import ModelError, SemvizError
from semviz.scopes.config_files import DECISIVE
from semviz.scopes.scope import Scope

NAMES = [name for name in MODELS if name != "qwen2-moe"]  # whose exports of LoRA are refused


def written(tmp_path, text, name="config.yml"):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text), encoding="utf-8")
    return path


def checked(config, network=None, **options):
    return sv.check_config(config, tiny_llama(blocks=DEEP) if network is None else network, **options)


@pytest.mark.parametrize("blocks", [BLOCKS["suffix"], BLOCKS["gaps"], BLOCKS["layer-1"]], ids=str)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("trainer", ["axolotl", "ms-swift"])
def test_what_is_exported_is_what_is_said(tmp_path, name, blocks, trainer):
    network, parts = model_and_parts(name)
    scope = Scope(blocks, DEEP, parts)
    found = checked(written(tmp_path, scope.export(trainer)), network)
    assert (found.trainer, found.blocks, found.trainable) == (trainer, blocks, scope.trainable)
    assert found.total == scope.total
    assert found.warnings == ()
    assert found.frame()["trained"].sum() == scope.trainable


def test_freezing_by_llama_factory(tmp_path):
    network, parts = model_and_parts("gpt2")
    scope = Scope((9, 10, 11, 12), DEEP, parts)
    found = checked(written(tmp_path, scope.export("llama-factory")), network)
    assert (found.trainer, found.blocks, found.trainable) == ("llama-factory", scope.blocks, scope.trainable)
    assert found.warnings == ()
    assert "transformer.ln_f" in repr(found)


@pytest.mark.parametrize("blocks", [BLOCKS["suffix"], BLOCKS["gaps"], BLOCKS["layer-1"]], ids=str)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trainer", ["axolotl", "llama-factory", "ms-swift"])
def test_adapters_that_are_exported_are_what_is_said(tmp_path, name, blocks, trainer):
    network, parts = model_and_parts(name)
    text = Scope(blocks, DEEP, parts).export(trainer, method="lora")
    found = checked(written(tmp_path, text), network)
    lora = peft.get_peft_model(copy.deepcopy(network), lora_config(trainer, text))
    assert found.trainable == sum(p.numel() for p in lora.parameters() if p.requires_grad) > 0
    assert (found.blocks, found.warnings, found.trainer) == (blocks, (), trainer)


def test_an_adapter_that_was_saved(tmp_path):
    from small import mood_task, plain_text, word_tokenizer

    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
    run = sv.finetune(model, mood_task(), Scope.of(model, [2, 4]), method="lora", lr=1e-2, epochs=1, progress=False)
    folder = run.save_adapter(tmp_path / "adapter")
    for config in (folder, folder / "adapter_config.json", json.loads((folder / "adapter_config.json").read_text())):
        found = sv.check_config(config, model)
        assert (found.trainer, found.blocks, found.trainable) == ("peft", (2, 4), run.trainable)
        assert found.warnings == ()


AXOLOTL_FREEZE = [
    ("model.layer.11.", {}, r"'model.layer.11.' matches no parameter.*Nothing trains"),  # a typo
    ("model.layers.1", {2, 11, 12}, r"also matches blocks 11, 12, whose numbers begin alike; end it in a period"),
    ("lm_head.weight", {}, "matches no parameter. The head is tied to the embeddings"),
    ("model.layers.(1|2)", {2, 3, 11, 12}, "also matches blocks 11, 12"),
    ("^model.layers.(10|11)[.]", {11, 12}, None),
    ("model.layers.1[01].", {11, 12}, None),
]


@pytest.mark.parametrize(("pattern", "blocks", "warning"), AXOLOTL_FREEZE)
def test_patterns_of_axolotl(pattern, blocks, warning):
    network = tiny_llama(blocks=DEEP, tie_word_embeddings=True)
    found = checked({"base_model": "x", "unfrozen_parameters": [pattern]}, network)
    assert set(found.blocks) == set(blocks)
    chosen = by_axolotl(yaml.safe_dump({"unfrozen_parameters": [pattern]}), network)
    assert found.trainable == sum(p.numel() for name, p in network.named_parameters() if name in chosen)
    said = " ".join(found.warnings)
    assert (not said) if warning is None else re.search(warning, said)


def test_rows_of_a_parameter():
    network = tiny_llama(blocks=DEEP)
    width = network.config.hidden_size
    for pattern, rows in (("[:10]", 10), ("[3]", 1), ("[40:]", network.config.vocab_size - 40)):
        found = checked({"unfrozen_parameters": [f"^model.embed_tokens.weight${pattern}"]}, network)
        assert found.trainable == rows * width
        assert found.blocks == ()
        assert "trains embeddings" in repr(found)


@pytest.mark.brings(
    "What comes out",
    "`semviz check config.yml` of a trainer's config with a typo",
    "says that everything trains",
)
def test_a_misspelt_key_trains_everything_and_is_told():
    found = checked({"base_model": "x", "unfrozen_parameter": ["model.layers.11."]})
    assert found.trainable == found.total
    assert found.blocks == tuple(range(1, DEEP + 1))
    assert "unfrozen_parameter is no key of axolotl and does nothing; unfrozen_parameters is" in found.warnings[0]


SWIFT_FREEZE = [
    ({"freeze_parameters": ["model.layers.0."]}, set(range(2, 13)), None),
    ({"freeze_parameters": ["model.layer."]}, set(range(1, 13)), "freeze_parameters: 'model.layer.' matches no param"),
    ({"trainable_parameters": ["model.layers.11."]}, set(range(1, 13)), "does nothing, since nothing is frozen"),
    ({"freeze_parameters_ratio": 1, "trainable_parameters": ["model.layers.11."]}, {12}, None),
    ({"freeze_parameters_ratio": 1, "trainable_parameters_regex": r"layers\.1\."}, {2}, None),
    ({"freeze_parameters_ratio": 1, "trainable_parameters_regex": r"layer\.1\."}, set(), "matches no parameter"),
    (
        {"freeze_parameters": ["model.layers.0."], "trainable_parameters": ["model.layers."]},
        set(range(1, 13)),
        "train all the same, since trainable_parameters is read after it",
    ),
    ({"freeze_parameters_regex": r"embed|layers\.[0-9]\."}, {11, 12}, None),
]


@pytest.mark.parametrize(("options", "blocks", "warning"), SWIFT_FREEZE)
def test_freezing_by_ms_swift(options, blocks, warning):
    found = checked({"model": "x", "tuner_type": "full", **options})
    assert set(found.blocks) == blocks
    said = " ".join(found.warnings)
    assert (not said) if warning is None else warning in said


def test_the_order_of_ms_swift_is_that_of_its_code(tmp_path):
    network, parts = model_and_parts("llama")
    text = Scope((3, 12), DEEP, parts).export("ms-swift")
    found = checked(written(tmp_path, text, "train.sh"), network)
    assert found.trainable == sum(p.numel() for n, p in network.named_parameters() if n in by_swift(text, network))
    assert found.blocks == (3, 12)


LLAMA_FACTORY_FREEZE = [
    ({"freeze_trainable_layers": 2}, {11, 12}, None),
    ({}, {11, 12}, None),  # its default
    ({"freeze_trainable_layers": -3}, {1, 2, 3}, None),
    ({"freeze_trainable_layers": 20}, set(range(1, 13)), "the model has 12 blocks, so all of them train"),
    ({"freeze_trainable_layers": 1, "freeze_trainable_modules": "self_attn"}, {12}, None),
    ({"freeze_trainable_layers": 1, "freeze_trainable_modules": "atention"}, set(), "there is no module 'atention'"),
    (
        {"freeze_trainable_layers": 1, "freeze_extra_modules": "norm"},
        set(range(1, 13)),
        "'norm' is also part of model.",
    ),
]


@pytest.mark.parametrize(("options", "blocks", "warning"), LLAMA_FACTORY_FREEZE)
def test_freezing_by_layers_of_llama_factory(options, blocks, warning):
    network = tiny_llama(blocks=DEEP)
    found = checked({"stage": "sft", "finetuning_type": "freeze", **options}, network)
    assert set(found.blocks) == blocks
    said = " ".join(found.warnings)
    assert (not said) if warning is None else warning in said
    if warning is None and options.get("freeze_trainable_modules", "all") == "all":
        text = {"finetuning_type": "freeze", "freeze_trainable_layers": 2, "freeze_trainable_modules": "all", **options}
        names = by_llama_factory(yaml.safe_dump(text), network)
        assert found.trainable == sum(p.numel() for n, p in network.named_parameters() if n in names)


LORA = [
    ({"lora_target": "q_proj,v_prj"}, "llama-factory", "The target 'v_prj' is no module"),
    (
        {"lora_target_modules": ["q_proj"], "adapter": "lora", "peft_layers_to_transform": [10, 12]},
        "axolotl",
        "no layer 12",
    ),
    ({"lora_target_modules": ["lm_head", "q_proj"], "adapter": "lora"}, "axolotl", "outside the blocks too: lm_head"),
    (
        {"lora_target_modules": ".*q_proj", "adapter": "lora", "peft_layers_to_transform": [11]},
        "axolotl",
        "ignored by some of its versions, where the targets are one",
    ),
    ({"tuner_type": "lora", "target_regex": "layers.11.*q_proj"}, "ms-swift", "matches no module: it must match whole"),
    ({"adapter": "lora", "lora_target_linear": True, "unfrozen_parameters": ["x"]}, "axolotl", "beside an adapter"),
    ({"peft_type": "LORA", "target_modules": ["q_prj"]}, "peft", "peft stops"),
]


@pytest.mark.parametrize(("config", "trainer", "warning"), LORA)
def test_adapters_that_are_probably_not_meant(config, trainer, warning):
    found = checked(config)
    assert found.trainer == trainer
    assert warning in " ".join(found.warnings)


def test_a_string_target_trains_every_block_and_not_the_chosen_ones():
    found = checked({"lora_target_modules": ".*q_proj", "adapter": "lora", "peft_layers_to_transform": [11]})
    assert found.blocks == tuple(range(1, DEEP + 1))


def test_all_linear_layers_are_those_that_trainers_take():
    network = tiny_llama(blocks=DEEP)
    wanted = adapted(network, peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    linear = sum(4 * (m.in_features + m.out_features) for n, m in network.named_modules() if n in wanted)
    for config in (
        {"adapter": "qlora", "lora_r": 4, "lora_target_linear": True},
        {"stage": "sft", "lora_rank": 4},
        {"tuner_type": "lora", "lora_rank": 4},
    ):
        assert checked(config, network).trainable == linear


def test_modules_to_save_train_whole():
    found = checked({"adapter": "lora", "lora_target_modules": ["q_proj"], "lora_modules_to_save": ["lm_head"]})
    head = found.frame().set_index("part").loc["head"]
    assert head["trained"] == head["parameters"] > 0
    assert found.warnings == ()


@pytest.mark.brings(
    "What comes out",
    "a config for a model of 70 B parameters",
    "counts what it trains without loading weights",
)
def test_seventy_billion_parameters_are_counted_without_weights(tmp_path):
    LlamaConfig(
        vocab_size=128256, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
        num_key_value_heads=8, architectures=["LlamaForCausalLM"],
    ).save_pretrained(tmp_path)  # fmt: skip
    found = sv.check_config({"unfrozen_parameters": [r"model.layers.7\d."]}, tmp_path)
    assert found.total == 70_553_706_496
    assert found.blocks == tuple(range(71, 81))
    assert found.trainable == 10 * 855_654_400


BAD = [
    ({"epochs": 3}, {}, "has none of the keys of a trainer.*pass trainer="),
    ({"tuner_type": "full", "unfrozen_parameters": ["x"]}, {}, "keys of more than one trainer"),
    ({"epochs": 3}, {"trainer": "torchtune"}, "'torchtune' is unknown"),
    (
        {"adapter": "llama-adapter"},
        {"trainer": "axolotl"},
        "is not checked here, though axolotl has it; lora and qlora are",
    ),
    ({"finetuning_type": "freeze", "use_llama_pro": True}, {}, "adds blocks"),
    ({"unfrozen_parameters": ["model.layers.(1"]}, {}, "is not a regular expression"),
    ("nowhere.yml", {}, "cannot be read"),
    (3, {}, "is not a path"),
]


UNKNOWN_KINDS = [
    *(("finetuning_type", kind, "llama-factory") for kind in ("Lora", "FULL", "Freeze", "qlora", "none", "", None, 3)),
    *(
        (key, kind, "ms-swift")
        for key in ("tuner_type", "train_type", "sft_type")
        for kind in ("Full", "LORA", "galore", "fll", "qlora", "", None, ["full"])
    ),
    *(("adapter", kind, "axolotl") for kind in ("Lora", "QLoRA", "dora", "full", True, ["lora"])),
]


@pytest.mark.parametrize(("key", "kind", "trainer"), UNKNOWN_KINDS)
def test_a_kind_that_a_trainer_does_not_know_is_refused_with_those_that_it_knows(key, kind, trainer):
    with pytest.raises(SemvizError) as caught:
        checked({key: kind}, trainer=trainer)
    assert f"{key}: {kind!r} is none of the kinds that {trainer} knows; it knows lora, " in str(caught.value)


@pytest.mark.parametrize(
    ("config", "trainer"),
    [
        ({"finetuning_type": "oft"}, "llama-factory"),
        *(({"tuner_type": kind}, "ms-swift") for kind in ("adalora", "longlora", "vera", "boft", "reft", "bone")),
    ],
)
def test_a_kind_that_a_trainer_knows_and_semviz_cannot_count_is_refused_as_such(config, trainer):
    (kind,) = config.values()
    with pytest.raises(SemvizError, match=rf"'{kind}' is not checked here, though {trainer} has it; lora\b.* are\."):
        checked(config)


EVERY = set(range(1, DEEP + 1))
IDLE = [
    ("axolotl", {"base_model": "x", "lora_r": 8, "lora_target_linear": True}, EVERY, "lora_r, lora_target_linear do"),
    ("axolotl", {"peft_layers_to_transform": [11]}, EVERY, "peft_layers_to_transform does nothing without adapter"),
    ("axolotl", {"adapter": None, "lora_target_modules": ["q_proj"]}, EVERY, "Set adapter: lora where they are meant"),
    ("axolotl", {"lora_r": 8, "unfrozen_parameters": ["model.layers.11."]}, {12}, "lora_r does nothing"),
    ("axolotl", {"unfrozen_parameters": []}, EVERY, "is empty and freezes nothing; all weights train"),
    ("axolotl", {"unfrozen_parameters": None}, EVERY, "is empty and freezes nothing; all weights train"),
    ("axolotl", {"unfrozen_parameters": ""}, EVERY, "is empty and freezes nothing; all weights train"),
    ("axolotl", {"unfrozen_parameters": [""]}, EVERY, "'' matches every parameter, so all weights train"),
    ("axolotl", {"unfrozen_parameters": "model.layers.11."}, {12}, "axolotl stops at a text; write a list"),
    ("llama-factory", {"finetuning_type": "full", "freeze_trainable_layers": 2}, EVERY, "beside finetuning_type: full"),
    ("llama-factory", {"finetuning_type": "full", "lora_target": "q_proj"}, EVERY, "lora_target does nothing beside"),
    ("llama-factory", {"finetuning_type": "full", "use_dora": True}, EVERY, "use_dora: LLaMA-Factory stops"),
    ("llama-factory", {"finetuning_type": "full", "use_llama_pro": True}, EVERY, "use_llama_pro: LLaMA-Factory stops"),
    ("llama-factory", {"freeze_trainable_layers": 2}, EVERY, "without finetuning_type: LoRA trains. Set fin"),
    ("llama-factory", {"freeze_extra_modules": "norm"}, EVERY, "freeze_extra_modules does nothing without finetuning"),
    ("llama-factory", {"finetuning_type": "freeze", "lora_rank": 4}, {11, 12}, "lora_rank does nothing beside"),
    ("ms-swift", {"tuner_type": "lora", "freeze_parameters_ratio": 1}, EVERY, "Set tuner_type: full where they are"),
    ("ms-swift", {"trainable_parameters": ["model.layers.11."]}, EVERY, "does nothing without tuner_type: LoRA trains"),
    ("ms-swift", {"train_type": "full", "lora_rank": 8, "target_modules": "q_proj"}, EVERY, "beside train_type: full"),
]


@pytest.mark.parametrize(("trainer", "config", "blocks", "warning"), IDLE)
def test_settings_that_do_nothing_are_told(trainer, config, blocks, warning):
    found = checked(config, trainer=trainer)
    assert set(found.blocks) == blocks
    assert len(found.warnings) == 1
    assert warning in found.warnings[0]


@pytest.mark.parametrize(
    ("trainer", "config"),
    [
        ("axolotl", {"adapter": None, "lora_r": None, "lora_target_linear": None, "lora_target_modules": []}),
        ("axolotl", {"adapter": "", "lora_target_linear": False}),
        ("llama-factory", {"finetuning_type": "full", "use_dora": False, "lora_target": ""}),
        ("ms-swift", {"tuner_type": "full", "use_dora": "false", "lora_rank": None}),
    ],
)
def test_settings_that_are_off_are_not_told(trainer, config):
    found = checked(config, trainer=trainer)
    assert found.warnings == ()
    assert found.trainable == found.total


REPEATED = [
    ("config.yml", "base_model: x\nunfrozen_parameters: [model.layers.1.]\nunfrozen_parameters: [model.layers.11.]\n"),
    ("config.json", '{"tuner_type": "lora", "freeze_parameters_regex": "embed|model.norm|layers.([0-9]|10)[.]", '
     '"lm": {"a": 1, "a": 2}, "tuner_type": "full"}'),
    ("train.sh", "swift sft --train_type lora --freeze_parameters_regex 'embed|model.norm|layers.([0-9]|10)[.]' "
     "--train_type full"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), REPEATED, ids=[name for name, _ in REPEATED])
def test_a_key_that_is_given_twice_is_told_and_the_last_counts(tmp_path, name, text):
    found = checked(written(tmp_path, text, name))
    assert found.blocks == (12,)
    assert len(found.warnings) == 1
    assert re.match(r"(unfrozen_parameters|tuner_type|train_type) is given 2 times; the last", found.warnings[0])


def test_keys_that_are_merged_in_yaml_are_not_given_twice(tmp_path):
    text = "usual: &usual {unfrozen_parameters: [x]}\n<<: *usual\nunfrozen_parameters: [model.layers.11.]\n"
    found = checked(written(tmp_path, text))
    assert (found.blocks, found.warnings) == ((12,), ())


COMMAND = (
    "swift sft --tuner_type full --freeze_parameters_ratio 1 --trainable_parameters model.layers.3. model.layers.7."
)
SCRIPTS = [
    f"{COMMAND}",
    f"{COMMAND} 2>&1 | tee log",
    f"{COMMAND} && echo done",
    f"{COMMAND}|tee log",
    f"{COMMAND} > log.txt 2>&1 &",
    f"{COMMAND} &> log.txt; echo done",
    f"{COMMAND} >>log.txt 2>/dev/null",
    f"{COMMAND}\necho done\npython other.py --tuner_type lora",
    f"{COMMAND} # all of it\necho done",
    f"for lr in 1e-5 1e-4; do {COMMAND} --learning_rate $lr; done",
    f"for lr in 1e-5 1e-4\ndo\n  {COMMAND}\ndone",
    f"(cd there && CUDA_VISIBLE_DEVICES=0,1 nohup {COMMAND})",
    f'#!/bin/bash\n# it\'s swift sft --tuner_type lora\nset -e\n{COMMAND} --output_dir "out/$(date +%F)"',
    f"if [ -d data ]; then\n  {COMMAND} --output_dir out/$(date +%F) || exit 1\nfi",
    COMMAND.replace("--", "\\\n    --") + " \\\n    2>&1 | tee log",
    COMMAND.replace("--tr", "> log 2>&1 --tr"),
    COMMAND.replace("--freeze_parameters_ratio 1", "--freeze_parameters_ratio='1' --system 'a | b; c > d'"),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_command_ends_where_the_shell_ends_it(tmp_path, script):
    found = checked(written(tmp_path, script, "train.sh"))
    assert (found.trainer, found.blocks, found.warnings) == ("ms-swift", (4, 8), ())


def test_the_first_of_two_commands_is_checked_and_that_is_told(tmp_path):
    found = checked(written(tmp_path, f"{COMMAND}\nswift sft --tuner_type lora", "train.sh"))
    assert found.blocks == (4, 8)
    assert found.warnings == ("The file has 2 commands of ms-swift's; the first is checked.",)


NO_NUMBERS = [
    *(
        ({"stage": "sft", "finetuning_type": "freeze"}, "freeze_trainable_layers", value)
        for value in ("two", None, "", [2], 2.5, True, "2x", {})
    ),
    *(({"tuner_type": "full"}, "freeze_parameters_ratio", v) for v in ("a", None, [1, "2"], "nan", "inf", "", True)),
    *(({"stage": "sft"}, "lora_rank", value) for value in ("x", None, 8.5, [8], "inf")),
    *(({"tuner_type": "lora"}, "lora_rank", value) for value in ("x", None, [])),
    *(({"adapter": "lora", "lora_target_linear": True}, "lora_r", value) for value in ("eight", [8], "", {})),
    *(
        ({"adapter": "lora", "lora_target_modules": ["q_proj"]}, "peft_layers_to_transform", value)
        for value in ("five", ["a"], [1.5], {"a": 1}, True)
    ),
    *(({"peft_type": "LORA", "target_modules": ["q_proj"]}, "layers_to_transform", v) for v in ("five", ["a"], [None])),
]


@pytest.mark.parametrize(("config", "key", "value"), NO_NUMBERS)
def test_what_is_no_number_is_refused_by_key_and_value(config, key, value):
    with pytest.raises(SemvizError, match=rf"^{key}: {re.escape(repr(value))} is (not a|no list of) "):
        checked({**config, key: value})


@pytest.mark.parametrize("value", [3, {"a": 1}, [3], [None]])
@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"base_model": "x"}, "unfrozen_parameters"),
        ({"adapter": "lora"}, "lora_target_modules"),
        ({"adapter": "lora", "lora_target_linear": True}, "lora_target_modules"),
        ({"tuner_type": "lora"}, "target_modules"),
    ],
)
def test_what_are_no_names_is_refused_by_key_and_value(config, key, value):
    with pytest.raises(SemvizError, match=rf"^{key}: {re.escape(repr(value))} is not a list of names"):
        checked({**config, key: value})


@pytest.mark.parametrize("kind", ["Lora", "lora", "QLORA", "", None, 3, ["LORA"]])
def test_a_kind_that_peft_does_not_know_is_refused_with_those_that_it_knows(kind):
    with pytest.raises(SemvizError, match=rf"peft_type: {re.escape(repr(kind))} is none of .* knows ADALORA, .*LORA, "):
        checked({"peft_type": kind, "target_modules": ["q_proj"]})


# Values of every kind at every key that decides what trains.
ODD = [None, "", "x", 0, -1, 1.5, True, [], ["x"], [1], [None], {"a": 1}, float("nan"), "(", ["("], 10**400, b"x"]
KEYS = [(trainer, key) for trainer, keys in DECISIVE.items() for key in keys]
BESIDE = {
    "axolotl": ({}, {"adapter": "lora", "lora_target_linear": True}),
    "llama-factory": tuple({"finetuning_type": kind} for kind in ("lora", "freeze", "full")),
    "ms-swift": tuple({"tuner_type": kind} for kind in ("lora", "full")),
    "peft": ({"peft_type": "LORA", "target_modules": ["q_proj"]},),
}


@pytest.mark.parametrize(("trainer", "key"), KEYS)
def test_odd_values_are_counted_or_refused_in_words(trainer, key):
    network = tiny_llama(blocks=2)
    for beside in BESIDE[trainer]:
        for value in ODD:
            try:
                found = checked({**beside, key: value}, network, trainer=trainer)
            except SemvizError:
                continue
            assert found.trainable or found.warnings


@pytest.mark.parametrize("value", [" 3 ", 3.0, "3"])
def test_numbers_may_be_texts(value):
    found = checked({"stage": "sft", "finetuning_type": "freeze", "freeze_trainable_layers": value})
    assert (found.blocks, found.warnings) == ((10, 11, 12), ())


@pytest.mark.parametrize(("config", "options", "message"), BAD)
def test_configs_that_are_none(config, options, message):
    with pytest.raises(SemvizError, match=message):
        checked(config, **options)


@pytest.mark.parametrize("text", ["just words", "[1, 2]", "a: [", "\x00"])
def test_files_that_are_no_configs(tmp_path, text):
    with pytest.raises(SemvizError, match=r"config\.yml (holds|is neither|cannot)"):
        checked(written(tmp_path, text))


def test_the_shell(tmp_path, capsys):
    model = tmp_path / "model"
    tiny_llama(blocks=DEEP).config.save_pretrained(model)
    good = written(tmp_path, Scope((12,), DEEP, model_and_parts("llama")[1]).export("axolotl"))
    assert main(["check", str(good), "--model", str(model), "--parts"]) == 0
    out = capsys.readouterr().out
    assert "config.yml (axolotl) on model trains block 12 of 12 and model.norm: 10,336 of" in out
    assert "block 11       10304        0" in out
    bad = written(tmp_path, "unfrozen_parameters: [model.layer.3.]")
    assert main(["check", str(bad), "--model", str(model)]) == 1
    assert "! unfrozen_parameters: 'model.layer.3.' matches no parameter." in capsys.readouterr().out
    idle = written(tmp_path, "base_model: x\nlora_r: 8\nlora_target_linear: true")
    assert main(["check", str(idle), "--model", str(model)]) == 1
    assert "! lora_r, lora_target_linear do nothing without adapter: all weights train" in capsys.readouterr().out
    wrong = written(tmp_path, "finetuning_type: freeze\nfreeze_trainable_layers: two")
    assert main(["check", str(wrong), "--model", str(model)]) == 2
    assert "semviz: freeze_trainable_layers: 'two' is not a number" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "no.yml"), "--model", str(model)]) == 2
    assert "semviz: " in capsys.readouterr().err


def test_a_model_that_is_none(tmp_path):
    with pytest.raises(ModelError):
        sv.check_config({"stage": "sft"}, tmp_path)
    with pytest.raises(ModelError, match="is not a model"):
        sv.check_config({"stage": "sft"}, 3)
