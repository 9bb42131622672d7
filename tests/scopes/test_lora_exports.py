"""LoRA on a scope for other trainers sits on exactly its layers, by peft's own rule, and carries what was measured."""

from __future__ import annotations

import copy
import json
import shlex
from dataclasses import replace

import peft
import pytest
import torch
import yaml
from families import FAMILIES, LAYERS, family
from lora_rules import adapted, lora_config
from small import mood_task, plain_text, tiny_llama, word_tokenizer
from test_exports import BLOCKS, DEEP, MODELS, linears, model_and_parts
from transformers import Trainer, TrainingArguments

import semviz as sv
from semviz.common.errors import ScopeError
from semviz.finetuning.training_arguments import _WARMUP
from semviz.lm.anatomy import find_anatomy
from semviz.lm.parts import parts_of
from semviz.scopes import export_settings
from semviz.scopes.scope import Scope

pytestmark = pytest.mark.every_kind

TRAINERS = ("axolotl", "llama-factory", "ms-swift", "unsloth")
QUICK = {"epochs": 2, "batch_size": 8, "progress": False}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "qwen2-moe"])
def test_lora_sits_on_exactly_these_layers(name, blocks):
    network, parts = model_and_parts(name)
    scope = Scope(blocks, DEEP, parts)
    wanted = linears(network, scope)
    for trainer in TRAINERS:
        if trainer == "unsloth" and name in ("gpt2", "opt"):
            with pytest.raises(ScopeError, match=r"unsloth puts LoRA on .* is none of them; export to"):
                scope.export(trainer, method="lora")
            continue
        assert adapted(network, lora_config(trainer, scope.export(trainer, method="lora"))) == wanted != set(), trainer


@pytest.mark.brings(
    "What comes out",
    '`scope.export(trainer, method="lora")`, `run.export(trainer)`',
    "a config that puts LoRA on exactly these layers, or a refusal",
)
def test_whatever_is_given_is_right_in_all_families():
    given = 0
    for name in FAMILIES:
        network = family(name)
        parts = parts_of(find_anatomy(network, layers=LAYERS.get(name)))
        if not parts.names.linears:
            continue
        for blocks in ((1,), (len(parts.blocks),)):
            scope = Scope(blocks, len(parts.blocks), parts)
            for trainer in TRAINERS:
                try:
                    text = scope.export(trainer, method="lora")
                except ScopeError:
                    continue
                try:
                    found = adapted(network, lora_config(trainer, text))
                except ValueError as error:
                    if "Mamba" in str(error):  # peft says so itself, in every trainer
                        continue
                    raise
                assert found == linears(network, scope), (name, trainer, blocks)
                given += 1
    assert given > 500


@pytest.fixture(scope="module")
def task():
    return mood_task()


@pytest.fixture(scope="module")
def model():
    return sv.load_model((tiny_llama(blocks=DEEP), word_tokenizer()), general_text=plain_text())


@pytest.fixture(scope="module")
def run(model, task):
    """LoRA on blocks 2, 5 and 12, at a rate that YAML would take for a text, with arguments of its own."""
    arguments = {"weight_decay": 0.01, "lr_scheduler_type": "linear", "gradient_accumulation_steps": 2}
    scope = Scope.of(model, [2, 5, 12])
    return sv.finetune(model, task, scope, method="lora", lr=1e-5, seed=3, arguments=arguments, **QUICK)


@pytest.fixture(scope="module")
def full(model, task):
    return sv.finetune(model, task, Scope.above(model, 9), lr=3e-4, seed=1, **QUICK)


def test_the_warmup_is_that_of_finetune():
    assert export_settings._WARMUP == _WARMUP


def test_a_run_of_lora_tells_its_rank_and_layers(run, model):
    wanted = linears(model.model, run.scope)
    for trainer in TRAINERS:
        config = lora_config(trainer, run.export(trainer))
        assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 16, 0.0)
        assert adapted(model.model, config) == wanted


def test_axolotl_is_told_what_was_measured(run, full):
    lora, weights = yaml.safe_load(run.export("axolotl")), yaml.safe_load(full.export("axolotl"))
    common = ("learning_rate", "lr_scheduler", "warmup_ratio", "weight_decay", "num_epochs", "micro_batch_size", "seed")
    assert [lora[key] for key in common] == [1e-5, "linear", 0.1, 0.01, 2, 4, 3]
    assert lora["gradient_accumulation_steps"] == 2
    assert [weights[key] for key in common] == [3e-4, "cosine", 0.1, 0.0, 2, 8, 1]
    assert (lora["adapter"], lora["lora_r"], lora["lora_alpha"]) == ("lora", 8, 16)
    assert lora["peft_layers_to_transform"] == [1, 4, 11]
    assert lora["peft_layers_pattern"] == ["layers"]
    assert "adapter" not in weights


def test_llama_factory_is_told_what_was_measured(run, full):
    lora = yaml.safe_load(run.export("llama-factory"))
    without_norm = replace(full, scope=replace(full.scope, tail=False))
    weights = yaml.safe_load(without_norm.export("llama-factory"))
    assert lora["learning_rate"] == 1e-5
    assert lora["warmup_steps"] == -(-run.steps // 10)  # transformers 4 has another name for a share
    assert (lora["num_train_epochs"], lora["per_device_train_batch_size"], lora["seed"]) == (2, 4, 3)
    assert (weights["freeze_trainable_layers"], weights["learning_rate"], weights["seed"]) == (3, 3e-4, 1)
    assert "learning_rate" not in yaml.safe_load(without_norm.scope.export("llama-factory"))


def test_ms_swift_is_told_what_was_measured(run, full):
    lora = shlex.split(run.export("ms-swift"), comments=True)
    told = dict(zip(lora[2::2], lora[3::2], strict=True))
    assert float(told["--learning_rate"]) == 1e-5
    assert told["--lr_scheduler_type"] == "linear"
    assert (told["--warmup_ratio"], told["--num_train_epochs"], told["--seed"]) == ("0.1", "2", "3")
    weights = shlex.split(full.export("ms-swift"), comments=True)
    assert weights[weights.index("--learning_rate") + 1] == "0.0003"
    assert weights[weights.index("--tuner_type") + 1] == "full"


def test_the_transformers_snippet_trains_with_the_measured_arguments(full, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"model": copy.deepcopy(model.model)}
    exec(full.export("transformers"), names)
    arguments = names["arguments"]
    assert isinstance(arguments, TrainingArguments)
    told = (arguments.learning_rate, arguments.lr_scheduler_type, arguments.num_train_epochs, arguments.seed)
    assert told == (3e-4, "cosine", 2, 1)
    assert arguments.per_device_train_batch_size == 8
    assert arguments.get_warmup_steps(full.steps) == -(-full.steps // 10)
    check_that_it_trains(names["model"], arguments, full.scope)


def test_the_peft_snippet_trains_with_the_measured_arguments(run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"model": copy.deepcopy(model.model)}
    exec(run.export("peft"), names)
    config = names["config"]
    assert (config.r, config.lora_alpha) == (8, 16)
    base = names["model"].get_base_model()
    assert {n for n, m in base.named_modules() if hasattr(m, "lora_A")} == linears(model.model, run.scope)
    assert sum(p.numel() for p in names["model"].parameters() if p.requires_grad) == run.trainable
    check_that_it_trains(names["model"], names["arguments"], None)


def check_that_it_trains(network, arguments, scope):
    """Run Trainer itself for a step: what trains moves, and nothing else."""
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    ids = torch.randint(4, 40, (8, 6))
    rows = [{"input_ids": row, "labels": row} for row in ids]
    arguments = replace(arguments, max_steps=4, learning_rate=1e-2, use_cpu=True, report_to="none", save_strategy="no")
    Trainer(network, arguments, train_dataset=rows).train()
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert moved == trained != set()
    if scope is not None:
        assert sum(p.numel() for p in network.parameters() if p.requires_grad) == scope.trainable


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_trl_snippet_runs(run, full, model, tmp_path, monkeypatch, method):
    pytest.importorskip("trl")
    from datasets import Dataset

    monkeypatch.chdir(tmp_path)
    made = full if method == "full" else run
    rows = Dataset.from_dict({"text": plain_text(16)})
    names = {"model": copy.deepcopy(model.model), "tokenizer": word_tokenizer(), "dataset": rows}
    text = made.export("trl").replace('output_dir="finetuned",', 'output_dir="finetuned", use_cpu=True, bf16=False,')
    exec(text, names)
    network = names["trainer"].model
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    names["trainer"].train()
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert moved <= {name for name, p in network.named_parameters() if p.requires_grad}
    assert moved
    assert names["trainer"].args.learning_rate == made.lr
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == made.trainable


@pytest.mark.parametrize("trainer", ["trl", "unsloth"])
def test_python_for_others_compiles(run, trainer):
    text = run.export(trainer)
    compile(text, trainer, "exec")
    assert "learning_rate=1e-05" in text
    assert "random_state=3" in text or trainer == "trl"


def test_adapters_that_a_trainer_has_no_words_for_are_refused(run):
    adapter = replace(run.adapter, config=run.adapter.config.replace('"bias": "none"', '"bias": "lora_only"'))
    odd = replace(run, adapter=adapter)
    for trainer in TRAINERS:
        with pytest.raises(ScopeError, match=r"bias='lora_only', which .* is not told here; export to \"peft\""):
            odd.export(trainer)
    assert "bias='lora_only'" in odd.export("peft")


def test_adapters_on_some_layers_only_are_those_that_are_told(run, model):
    settings = run.adapter.settings
    some = [name for name in settings["target_modules"] if "q_proj" in name or name == "model.layers.1.mlp.up_proj"]
    assert len(some) == 4
    odd = replace(run, adapter=replace(run.adapter, config=json.dumps(settings | {"target_modules": some})))
    for trainer in ("axolotl", "llama-factory", "ms-swift"):
        assert adapted(model.model, lora_config(trainer, odd.export(trainer))) == set(some)
    with pytest.raises(ScopeError, match="unsloth"):
        odd.export("unsloth")
    names = {"model": copy.deepcopy(model.model)}
    exec(odd.export("peft"), names)
    assert {n for n, m in names["model"].get_base_model().named_modules() if hasattr(m, "lora_A")} == set(some)


def test_runs_that_no_trainer_has_are_refused(run, full):
    with pytest.raises(ScopeError, match=r'trained by method="lisa".*run\.scope\.export'):
        replace(full, method="lisa").export("axolotl")
    with pytest.raises(ScopeError, match='method="full" is not how the run trained'):
        run.scope.export("axolotl", method="full", run=run)
    with pytest.raises(ScopeError, match="'dora' is unknown"):
        run.scope.export("axolotl", method="dora")
    with pytest.raises(ScopeError, match="is not a run"):
        run.scope.export("axolotl", run="lora")
    with pytest.raises(ScopeError, match=r'peft is exported to as LoRA.*"transformers"'):
        full.export("peft")
    with pytest.raises(ScopeError, match="through peft"):
        run.export("transformers")


def test_ia3_of_a_run_is_written_for_peft(model, task):
    made = sv.finetune(model, task, Scope.last(model), method="ia3", lr=1e-2, **QUICK)
    names = {"model": copy.deepcopy(model.model)}
    exec(made.export("peft"), names)
    assert isinstance(names["config"], peft.IA3Config)
    assert sum(p.numel() for p in names["model"].parameters() if p.requires_grad) == made.trainable
    with pytest.raises(ScopeError, match="peft_type=IA3"):
        made.export("axolotl")


def test_an_export_of_ones_own_takes_no_run(run, monkeypatch):
    monkeypatch.setitem(sv.scopes.scope.EXPORTS, "mine", lambda scope: scope.label)
    assert run.scope.export("mine") == run.scope.label
    with pytest.raises(ScopeError, match='"mine" takes neither'):
        run.export("mine")
