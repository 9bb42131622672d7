"""Every kind of configuration that the installed peft has: it trains a scope and merges, or is refused by name."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import warnings
from types import SimpleNamespace

import peft
import pytest
import torch
from architectures import gpt2
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from small import made_parts, mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.common.formats import si
from semviz.experiments.run_store import Store
from semviz.explorer.code_export import code_of
from semviz.finetuning.finetune import Recipe, run_key
from semviz.finetuning.learning_rates import first_guess
from semviz.finetuning.run import Run
from semviz.finetuning.suffix_model import Suffix
from semviz.scopes.methods.peft_configs import config_of
from semviz.scopes.methods.peft_kinds import KINDS, REFUSED

pytestmark = pytest.mark.every_kind

QUICK = {"epochs": 1, "batch_size": 16, "lr": 1e-2, "progress": False}
CONFIGS = {getattr(kind, "value", kind): made for kind, made in PEFT_TYPE_TO_CONFIG_MAPPING.items()}

# Sizes that fit a width of 32, where the defaults are for larger models; and what a kind cannot do without.
SIZES = {
    "ADALORA": {"total_step": 10},
    "ADAMSS": {"r": 8, "num_subspaces": 2},
    "BEFT": {"target_modules": ["q_proj", "k_proj"]},
    "C3A": {"block_size": 16},
    "CARTRIDGE": {"num_virtual_tokens": 2},
    "CPT": {"cpt_token_ids": [1, 2], "cpt_mask": [1, 1], "cpt_tokens_type_mask": [1, 1], "task_type": "CAUSAL_LM"},
    "DELORA": {"r": 4},
    "FOURIERFT": {"n_frequency": 20},
    "GRALORA": {"r": 4, "alpha": 8},
    "HIRA": {"r": 4},
    "LILY": {"r": 4},
    "MISS": {"r": 4},
    "OFT": {"oft_block_size": 4},
    "PEANUT": {"r": 4},
    "PSOFT": {"r": 4},
    "PVERA": {"r": 4},
    "RANDLORA": {"r": 4},
    "ROAD": {"group_size": 16},
    "SHIRA": {"r": 4},
    "TRAINABLE_TOKENS": {"token_indices": [1]},
    "VBLORA": {"num_vectors": 8, "vector_length": 16},
    "VERA": {"r": 4},
    "WAVEFT": {"n_frequency": 20},
    "XLORA": {"hidden_size": 32, "adapters": {}},
}
# What peft has for GPT-2's own linear layers; the others say that they have none.
FOR_CONV1D = {
    *("DEFT", "FOURIERFT", "FROD", "GRALORA", "HIRA", "IA3", "LN_TUNING", "LORA", "PVERA", "RANDLORA", "TINYLORA"),
    *("UNILORA", "VBLORA", "VERA", "WAVEFT"),
}


def config(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CONFIGS[kind](**SIZES.get(kind, {}))


def model_of(name):
    torch.manual_seed(0)
    network = gpt2() if name == "gpt2" else tiny_llama(attention_bias=name == "biased")
    if name == "gpt2":
        network.resize_token_embeddings(len(word_tokenizer()))
    return sv.load_model((network.eval(), word_tokenizer()), general_text=plain_text())


@pytest.fixture(scope="module")
def models():
    return {name: model_of(name) for name in ("llama", "gpt2", "biased")}


@pytest.fixture(scope="module")
def task():
    return mood_task()


def test_every_kind_of_the_installed_peft_is_decided():
    decided = {*KINDS, *REFUSED}
    assert not set(KINDS) & set(REFUSED)
    assert set(CONFIGS) <= decided, "decide in peft_kinds.py: does it merge into the blocks?"


def logits_of(suffix, model, text="the red cat was good . mood :"):
    ids = torch.as_tensor([model.tokenizer(text)["input_ids"]])
    suffix.head.has_target = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        return suffix.network(input_ids=ids).logits


def trained_and_merged(model, task, scope, method, monkeypatch, **options):
    """Finetune; return the run and how far the merged model is from what was trained, in shares of its logits."""
    seen = []
    real = Suffix.weights

    def spy(self, method):
        seen.append(self.eval())
        return real(self, method)

    monkeypatch.setattr(Suffix, "weights", spy)
    run = sv.finetune(model, task, scope, method=method, cache=False, **{**QUICK, **options})
    (suffix,) = seen
    ours = logits_of(suffix, model)
    ids = torch.as_tensor([model.tokenizer("the red cat was good . mood :")["input_ids"]])
    with torch.no_grad():
        merged = sv.load_run(model, run).model(input_ids=ids).logits[0]
        before = model.model(input_ids=ids).logits[0]
    size = ours.abs().max()
    return run, float((merged - ours).abs().max() / size), float((before - ours).abs().max() / size)


@pytest.mark.parametrize("network", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", sorted(CONFIGS))
@pytest.mark.brings(
    "Methods",
    "any configuration of peft's as `method=`",
    "trains on the scope's blocks and merges, or is refused by name",
)
def test_a_kind_trains_above_a_boundary_and_merges_or_is_refused_by_name(models, task, monkeypatch, kind, network):
    if kind in REFUSED:
        with pytest.raises(SemvizError, match=f"^method={CONFIGS[kind].__name__}") as caught:
            Recipe(config(kind))
        assert REFUSED[kind] in str(caught.value)
        return
    model = models["biased" if kind == "BEFT" else network]
    scope = sv.Scope.half(model)
    if network == "gpt2" and kind not in FOR_CONV1D and kind != "BEFT":
        words = rf"^peft cannot put {KINDS[kind]} on these layers|finds nothing to train"
        with pytest.raises(SemvizError, match=words):
            sv.finetune(model, task, scope, method=config(kind), **QUICK)
        return
    asked = config(kind)
    given, before = copy.deepcopy(asked), {name: w.clone() for name, w in model.model.state_dict().items()}
    run, error, moved = trained_and_merged(model, task, scope, asked, monkeypatch)
    assert error < 1e-5
    assert moved > 100 * error
    assert run.weights
    assert run.trainable > 0
    assert all(torch.equal(w, before[name]) for name, w in model.model.state_dict().items())
    assert vars(asked) == vars(given)
    changed = {name for name, w in run.weights.items() if not torch.equal(w, before[name])}
    assert changed
    blocks = tuple(f"{name}." for name in scope.block_names())
    assert all(name.startswith(blocks) for name in changed)
    cached = sv.finetune(model, task, scope, method=asked, **QUICK)
    assert cached.cached
    assert cached.key == run.key
    for name, weight in cached.weights.items():
        torch.testing.assert_close(weight, run.weights[name], rtol=1e-3, atol=1e-5)
    after = sv.trace(sv.load_run(model, cached), task, split="test", metrics="lens", progress=False)
    assert after.accuracy == pytest.approx(cached.accuracy)
    assert after.sample_means("lens")[model.n_blocks].mean() == pytest.approx(cached.loss, rel=1e-4)
    again = Run.from_record(json.loads(json.dumps(run.record())))
    assert run_key(model, task, scope, Recipe(again.method, 1e-2, 1, 16)) == run.key


@pytest.mark.parametrize("kind", sorted(set(CONFIGS) & set(KINDS)))
def test_an_export_of_every_kind_makes_the_same_configuration(models, task, kind):
    model = models["biased" if kind == "BEFT" else "llama"]
    run = sv.finetune(model, task, sv.Scope.last(model), method=config(kind), **QUICK)
    for trainer in ("peft", "trl"):
        text = run.export(trainer)
        compile(text, trainer, "exec")
        # TRL need not be here for what is the same in both.
        text = text.partition("model = get_peft_model")[0].replace("from trl import SFTConfig, SFTTrainer", "")
        names = {"model": copy.deepcopy(model.model)}
        exec(text, names)
        made = names["config"]
        assert type(made) is CONFIGS[kind]
        assert settings_of(made.to_dict()) == settings_of(run.adapter.settings)
        adapted = peft.get_peft_model(names["model"], made)
        assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == run.trainable
        first = text.splitlines()[0]
        assert first.startswith(f"# Written by semviz: {KINDS[kind]} on ")
        assert first.endswith(f" of block 4 of 4; {si(run.trainable)} parameters train.")


def settings_of(fields):
    """Fields of a configuration that decide what trains, in a form in which order is nothing."""
    left_out = {"base_model_name_or_path", "inference_mode", "peft_version"}
    return {
        key: sorted(value) if isinstance(value, list | set) and all(isinstance(v, str) for v in value) else value
        for key, value in json.loads(json.dumps(fields, default=list)).items()
        if key not in left_out
    }


@pytest.mark.parametrize(
    ("method", "start"),
    [
        ("lora", "LoRA on the linear layers"),
        ({"target_modules": ["q_proj"]}, "LoRA on self_attn.q_proj"),
        ({"target_modules": ["q_proj", "v_proj"], "use_dora": True}, "DoRA on self_attn.q_proj, self_attn.v_proj"),
        ({"target_modules": r".*(2.self_attn.q_proj|3.mlp.up_proj)"}, "LoRA on the layers that are listed below"),
        ("ia3", "IA3 on self_attn.k_proj, self_attn.v_proj, mlp.down_proj"),
    ],
    ids=str,
)
def test_the_first_line_of_an_export_names_the_method_the_layers_and_how_much_trains(models, task, method, start):
    model = models["llama"]
    run = sv.finetune(
        model, task, sv.Scope.half(model), method=method if isinstance(method, str) else lora(**method), **QUICK
    )
    for trainer in ("peft", "trl"):
        first = run.export(trainer).splitlines()[0]
        assert first == f"# Written by semviz: {start} of blocks 3–4 of 4; {si(run.trainable)} parameters train."


SAVED = {
    # Not AdaMSS, whose clusters peft draws anew by whatever random numbers come next.
    **{kind: (kind, {}) for kind in sorted(KINDS) if kind != "ADAMSS"},
    **{f"{k} drawn": (k, {"save_projection": False}) for k in ("VERA", "PVERA", "RANDLORA", "FROD", "TINYLORA")},
    "UNILORA indices": ("UNILORA", {"save_indices": True}),
    "IA3 lists": ("IA3", {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}),
    "IA3 expressions": ("IA3", {"target_modules": r".*(k|down)_proj", "feedforward_modules": r".*\.down_proj"}),
    "IA3 names": ("IA3", {"target_modules": ["q_proj", "mlp.up_proj"], "feedforward_modules": ["mlp.up_proj"]}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", SAVED)
def test_the_adapter_of_each_kind_is_saved_as_configured_and_loads_in_peft_and_here(models, task, tmp_path, case):
    kind, options = SAVED[case]
    model = models["biased" if kind == "BEFT" else "llama"]
    method = CONFIGS[kind](**SIZES.get(kind, {}) | options)
    run = sv.finetune(model, task, sv.Scope.half(model), method=method, **QUICK)
    folder = run.save_adapter(tmp_path / "adapter")
    settings = json.loads((folder / "adapter_config.json").read_text())
    for name, value in options.items():
        if name.startswith("save_"):
            assert settings[name] is value
    ids = torch.arange(4, 14)[None]
    of_peft = peft.PeftModel.from_pretrained(copy.deepcopy(model.model), folder).eval()
    base = (copy.deepcopy(model.model), model.tokenizer)
    ours = sv.load_model(folder, base=base, general_text=plain_text()).model
    with torch.no_grad():
        expected, before = sv.load_run(model, run).model(ids).logits, model.model(ids).logits
        found = [of_peft(ids).logits, ours(ids).logits]
    near = 2e-5 * float(expected.abs().max())
    assert (expected - before).abs().max() > 10 * near
    for one in found:
        torch.testing.assert_close(one, expected, rtol=0, atol=near)


def lora(**options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.LoraConfig(**options)


AS_PEOPLE_SET_IT = {
    "r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "target_modules": ["q_proj", "v_proj"],
    "use_dora": True,
    "use_rslora": True,
}


@pytest.mark.parametrize(
    "options",
    [
        AS_PEOPLE_SET_IT,
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "gaussian"},
        {"rank_pattern": {r"2\.self_attn\.q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        {"exclude_modules": ["q_proj"]},
        {"target_modules": r".*layers\.2\..*_proj"},
        {"bias": "all"},
        {"bias": "lora_only", "lora_bias": True},
        {"layers_to_transform": [2, 3]},
    ],
    ids=lambda options: " ".join(options)[:40],
)
def test_settings_of_lora_train_from_the_cache_as_without_and_leave_the_model_alone(models, task, monkeypatch, options):
    model = models["biased"]
    before = {name: w.clone() for name, w in model.model.state_dict().items()}
    # Bias is trained where peft finds one; in this model attention alone has any.
    targets = {"target_modules": ["q_proj", "k_proj"]} if "bias" in options else {}
    run, error, moved = trained_and_merged(model, task, sv.Scope.half(model), lora(**options, **targets), monkeypatch)
    assert error < 1e-5
    assert moved > 100 * error
    cached = sv.finetune(model, task, sv.Scope.half(model), method=lora(**options, **targets), **QUICK)
    assert (cached.cached, run.cached) == (True, False)
    for name, weight in cached.weights.items():
        torch.testing.assert_close(weight, run.weights[name], rtol=1e-3, atol=1e-5)
    assert all(torch.equal(w, before[name]) for name, w in model.model.state_dict().items())


def test_dora_on_the_own_linear_layers_of_gpt2(models, task, monkeypatch):
    _, error, moved = trained_and_merged(
        models["gpt2"], task, sv.Scope.last(models["gpt2"]), lora(use_dora=True, target_modules=["c_attn"]), monkeypatch
    )
    assert error < 1e-5 < moved


def moved_layers(model, run):
    before = model.model.state_dict()
    return {name.removesuffix(".weight") for name, w in run.weights.items() if not torch.equal(w, before[name])}


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["q_proj", "v_proj"], "2.self_attn.q_proj 2.self_attn.v_proj 3.self_attn.q_proj 3.self_attn.v_proj"),
        (r".*\.2\..*(k|o)_proj", "2.self_attn.k_proj 2.self_attn.o_proj"),
        (["2.mlp.up_proj", "layers.3.self_attn.o_proj"], "2.mlp.up_proj 3.self_attn.o_proj"),
    ],
    ids=["names", "expression", "parts of names"],
)
@pytest.mark.brings(
    "Methods",
    "`target_modules` as names, endings or patterns",
    "matches them by peft's rules, inside the scope",
)
def test_targets_are_matched_by_pefts_rules_against_the_names_of_the_models_blocks(models, task, targets, expected):
    model = models["llama"]
    run = sv.finetune(model, task, sv.Scope.half(model), method=lora(target_modules=targets), **QUICK)
    assert moved_layers(model, run) == {f"model.layers.{name}" for name in expected.split()}
    whole = peft.get_peft_model(copy.deepcopy(model.model), lora(target_modules=targets))
    of_peft = {n.removeprefix("base_model.model.") for n, m in whole.named_modules() if hasattr(m, "lora_A")}
    assert moved_layers(model, run) == {n for n in of_peft if n.startswith(("model.layers.2.", "model.layers.3."))}


@pytest.mark.parametrize("excluded", [["v_proj"], ["2.self_attn.v_proj", "k_proj"], r".*\.(v_proj|3\..*)"], ids=str)
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], r".*\.(q|v)_proj"], ids=["names", "expression"])
def test_what_is_excluded_gets_no_adapter_as_with_peft(models, task, targets, excluded):
    model = models["llama"]
    chosen = {"target_modules": targets, "exclude_modules": excluded}
    run = sv.finetune(model, task, sv.Scope.half(model), method=lora(**chosen), **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that match nothing
        whole = peft.get_peft_model(copy.deepcopy(model.model), lora(**chosen))
    of_peft = {n.removeprefix("base_model.model.") for n, m in whole.named_modules() if hasattr(m, "lora_A")}
    assert moved_layers(model, run) == {n for n in of_peft if n.startswith(("model.layers.2.", "model.layers.3."))}


@pytest.mark.parametrize("targets", [None, "all-linear", "ALL-LINEAR"])
def test_without_targets_all_linear_layers_of_the_blocks_get_adapters(models, task, targets):
    model = models["llama"]
    run = sv.finetune(model, task, sv.Scope.last(model), method=lora(target_modules=targets), **QUICK)
    assert moved_layers(model, run) == {f"model.layers.3.{name}" for name in model.parts.names.linears}
    plain = sv.finetune(model, task, sv.Scope.last(model), method="lora", **QUICK)
    assert run.trainable == plain.trainable


def test_an_equal_configuration_trains_what_the_registered_method_trains(models, task):
    model = models["llama"]
    own = sv.finetune(model, task, sv.Scope.half(model), method=lora(r=8, lora_alpha=16), **QUICK)
    registered = sv.finetune(model, task, sv.Scope.half(model), method="lora", **QUICK)
    assert own.key != registered.key
    for name, weight in own.weights.items():
        assert torch.equal(weight, registered.weights[name])
    three = sv.finetune(model, task, sv.Scope.half(model), method=peft.IA3Config(), **QUICK)
    four = sv.finetune(model, task, sv.Scope.half(model), method="ia3", **QUICK)
    assert all(torch.equal(weight, four.weights[name]) for name, weight in three.weights.items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target_modules": ["oops"]}, "'oops' is no module in the blocks.*down_proj, gate_proj, k_proj"),
        ({"target_modules": ["q_proj", "oops"]}, "'oops' is no module in the blocks"),
        ({"target_modules": "lm_head"}, "'lm_head' is no module in the blocks"),
        ({"target_modules": ["layers.0.self_attn.q_proj"]}, "is no module in the blocks of this scope"),
        ({"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]}, r"exclude_modules=.'q_proj'. leaves no module"),
        ({"exclude_modules": ".*"}, r"exclude_modules='\.\*' leaves no module"),
        ({"target_modules": ["q_proj", "oops"], "exclude_modules": ["oops"]}, "'oops' is no module in the blocks"),
        ({"target_modules": []}, r"target_modules=\[\], which names no module; pass names such as"),
        ({"target_modules": ""}, "target_modules='', which names no module; pass names such as"),
        ({"target_modules": ["q_proj"], "rank_pattern": {"k_proj": 2}}, "rank_pattern: 'k_proj' is none of .*: q_proj"),
        ({"alpha_pattern": {"q_proj": 2, "oops": 3}}, "alpha_pattern: 'oops' is none of .*: down_proj, gate_proj"),
        ({"rank_pattern": {"layers.0.self_attn.q_proj": 2}}, "rank_pattern: 'layers.0.self_attn.q_proj' is none of"),
        ({"rank_pattern": {"q_proj": 2}, "exclude_modules": ["q_proj"]}, "rank_pattern: 'q_proj' is none of"),
        ({"target_modules": ["self_attn"]}, r"^peft cannot put LoRA on these layers"),
        ({"layers_to_transform": [0, 1]}, r"layers_to_transform=\[0, 1\] contradicts the scope.*2, 3"),
        ({"layers_to_transform": 3}, r"layers_to_transform=\[3\] contradicts the scope"),
        ({"layers_to_transform": [2, 3], "layers_pattern": "h"}, "none that layers_pattern fits"),
        ({"modules_to_save": ["lm_head"]}, r"LoraConfig\(…\) has modules_to_save"),
        ({"trainable_token_indices": [1]}, "has trainable_token_indices"),
        ({"layer_replication": [[0, 2]]}, "has layer_replication"),
        ({"target_parameters": ["mlp.experts.up_proj"]}, "has target_parameters"),
        ({"init_lora_weights": "eva"}, "has eva_config|init_lora_weights='eva'"),
        ({"lora_bias": True}, "^peft cannot merge LoRA into these layers"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, dict) else "",
)
def test_what_contradicts_the_scope_or_cannot_be_merged_is_refused_before_anything_trains(
    models, task, monkeypatch, options, words
):
    monkeypatch.setattr("semviz.finetuning.scope_trainer.fit", lambda *_a, **_k: pytest.fail("trained"))
    with pytest.raises(SemvizError, match=words):
        sv.finetune(models["llama"], task, sv.Scope.half(models["llama"]), method=lora(**options), **QUICK)


def key_of(config, **options):
    scope = sv.Scope((3, 4), 4, made_parts(4))
    return run_key(SimpleNamespace(hash="a" * 12), mood_task(), scope, Recipe(config, 1e-3, **options))


def test_equal_configurations_have_one_key_and_what_decides_nothing_is_in_none():
    key = key_of(lora(r=16))
    same = [
        {"lora_alpha": 8, "lora_dropout": 0, "bias": "none"},  # the defaults, written
        {"lora_alpha": 8.0, "lora_dropout": 0.0},
        {"target_modules": "all-linear"},
        {"inference_mode": True, "base_model_name_or_path": "a/b", "task_type": "CAUSAL_LM", "revision": "main"},
        {"fan_in_fan_out": True},  # told by the layers
        {"layers_to_transform": [2, 3]},  # refused where it is not the scope
        {"rank_pattern": {}, "exclude_modules": []},
    ]
    assert {key_of(lora(r=16, **options)) for options in same} == {key}
    other = [
        {"lora_alpha": 16}, {"lora_dropout": 0.1}, {"target_modules": ["q_proj"]}, {"target_modules": "q_proj"},
        {"target_modules": ["q_proj", "v_proj"]}, {"use_dora": True}, {"use_rslora": True}, {"bias": "all"},
        {"init_lora_weights": False}, {"init_lora_weights": "pissa"}, {"rank_pattern": {"q_proj": 4}},
        {"rank_pattern": {"q_proj": 5}}, {"exclude_modules": ["q_proj"]},
    ]  # fmt: skip
    assert len({key, key_of(lora(r=8)), key_of("lora"), *(key_of(lora(r=16, **o)) for o in other)}) == len(other) + 3
    one, two = (lora(target_modules=list(names)) for names in (["v_proj", "q_proj"], ["q_proj", "v_proj", "v_proj"]))
    assert key_of(one) == key_of(two)
    assert key_of(peft.LoHaConfig()) != key_of(peft.LoKrConfig())


def test_a_run_says_what_was_set_and_is_stored_found_and_traced(models, task, tmp_path, monkeypatch):
    model, options = models["llama"], {**QUICK, "store": tmp_path, "keep_weights": True}
    asked = [lora(**AS_PEOPLE_SET_IT), lora(r=4, lora_alpha=4)]
    runs = sv.sweep(model, task, [sv.Scope.half(model)], methods=["full", *asked], **options)
    assert [run.method for run in runs] == [
        "full", "DoRA r=16 alpha=32 dropout=0.05 rslora q_proj+v_proj", "LoRA r=4 alpha=4"
    ]  # fmt: skip
    assert "half, LoRA r=4 alpha=4" in set(runs.table()["name"])
    assert runs.pareto().data
    monkeypatch.setattr("semviz.experiments.sweep.train_scope", lambda *_a, **_k: pytest.fail("trained again"))
    again = sv.sweep(model, task, [sv.Scope.half(model)], methods=["full", *asked], **options)
    assert [run.record() for run in again] == [run.record() for run in runs]
    stored = Store(tmp_path).find(runs.runs[1].key)
    assert {key: json.loads(text) for key, text in stored.peft_config.items()}["r"] == 16
    rebuilt = config_of(stored.method)
    assert {key: getattr(rebuilt, key) for key in AS_PEOPLE_SET_IT} == {
        **AS_PEOPLE_SET_IT, "target_modules": {"q_proj", "v_proj"}
    }  # fmt: skip
    assert (stored.trace(model, task, progress=False) - sv.trace(model, task, progress=False)).metrics


@pytest.mark.brings(
    "Methods",
    "a stored run of adapters, where peft is not installed",
    "loads it",
)
def test_a_stored_run_loads_where_peft_is_not(models, task, tmp_path):
    model = models["llama"]
    sv.sweep(model, task, [sv.Scope.last(model)], methods=[lora(r=4)], store=tmp_path, **QUICK)
    program = (
        "import sys; sys.modules['peft'] = None\n"
        "from semviz.experiments.run_store import Store\n"
        "store = Store(sys.argv[1]); (key,) = store.keys(); run = store.find(key); print(run.method, '|', run)\n"
        "from semviz.finetuning.recipe import Recipe\n"
        "try: Recipe(run.method); print('kept')\n"
        "except Exception as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("LoRA r=4 | Run(tiny mood: block 4 of 4, LoRA r=4, ")
    assert found.stdout.endswith("kept\n")


def test_a_configured_method_travels_to_other_processes():
    recipe = Recipe(lora(r=4, target_modules=["q_proj"]))
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe
    assert again.method.config == recipe.method.config
    assert again.training_method.title == "LoRA r=4 q_proj"


def test_prices_plans_and_the_first_rate_of_a_configuration_are_those_of_its_kind(models, task):
    model, config = models["llama"], lora(r=16)
    costs, scope = sv.estimate_costs(model, task), sv.Scope.half(model)
    assert costs.of(scope, method=config).units == costs.of(scope, method="lora").units
    assert costs.frame(method=config)["share"].tolist() == costs.frame(method="lora")["share"].tolist()
    assert first_guess(32, Recipe(config).method) == first_guess(32, "lora")
    assert first_guess(32, Recipe(peft.IA3Config()).method) == first_guess(32, "ia3")
    planned = sv.plan(model, task, [scope], methods=[config], lr=1e-2, epochs=1)
    assert any("by LoRA r=16" in what for what in planned.frame()["what"])
    run = sv.finetune(model, task, scope, method=config, **{**QUICK, "lr": "auto", "batch_size": 40})
    assert first_guess(32, "lora") in run.rates


def test_a_study_takes_a_configuration_keeps_it_and_writes_its_code(models, task, tmp_path):
    pytest.importorskip("anywidget")
    app = sv.Explorer(models["llama"], task, store=tmp_path, progress=False)
    try:
        app.study.set(method=lora(r=4, target_modules=["q_proj"]), steps=2, lr=1e-2, batch_size=16)
        assert app.tuning.method.value == "LoRA r=4 q_proj"
        app.study.finetune().wait()
        (run,) = app.study.history.runs
        assert run.method == "LoRA r=4 q_proj"
        app.study.set(method="full")
        app.study.restore(run.key)
        assert app.study.settings.method == run.method
        assert "method=peft.LoraConfig(r=4, target_modules=['q_proj'])" in code_of(app.study)
    finally:
        app.close()
    study = sv.Study(models["llama"], task, store=tmp_path, progress=False)
    assert [found.key for found in study.history.runs] == [run.key]
    study.close()


def test_what_is_no_method_says_what_to_pass():
    for wrong in (3, None, "dora", {"r": 8}, peft.LoraConfig):
        with pytest.raises(SemvizError, match="method="):
            Recipe(wrong)
    with pytest.raises(SemvizError, match="peft_type"):
        Recipe(peft.PeftConfig())
    made = peft.ShiraConfig()
    made.mask_fn = lambda *_a, **_k: None
    with pytest.raises(SemvizError, match="mask_fn set by hand"):
        Recipe(made)
