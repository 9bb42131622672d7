"""`modules=`: the attention or the MLP of each block trains, or gets adapters; and `"norm"`: the norms alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import peft
import pytest
import torch
from architectures import gpt2, opt
from families import FAMILIES, LAYERS, family
from small import made_parts, mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import ScopeError, SemvizError
from semviz.experiments.run_store import Store
from semviz.finetuning.recipe import Recipe, run_key
from semviz.lm.block_parts import parameters_of
from semviz.scopes.scope import Scope

pytestmark = pytest.mark.every_kind

QUICK = {"epochs": 1, "batch_size": 16, "lr": 1e-2, "progress": False}
ATTENTION = {"llama": "self_attn.", "gpt2": "attn.", "opt": "self_attn."}
MLP = {"llama": ("mlp.",), "gpt2": ("mlp.",), "opt": ("fc1.", "fc2.")}


@pytest.fixture(scope="module")
def models():
    made = {}
    for name, network in (("llama", tiny_llama()), ("gpt2", gpt2()), ("opt", opt())):
        torch.manual_seed(0)
        network.resize_token_embeddings(len(word_tokenizer()))
        made[name] = sv.load_model((network.eval(), word_tokenizer()), general_text=plain_text())
    return made


def changed_in_blocks(model, run):
    """Names inside the blocks, without their numbers, of weights that are not what they were."""
    before, blocks = model.model.state_dict(), run.scope.block_names()
    moved = [name for name, w in run.weights.items() if not torch.equal(w, before[name])]
    return {name.removeprefix(f"{block}.") for name in moved for block in blocks if name.startswith(f"{block}.")}


@pytest.mark.parametrize("method", ["full", "lora", "ia3", "lisa", "config"])
@pytest.mark.parametrize("modules", ["attention", "mlp"])
@pytest.mark.parametrize("name", list(ATTENTION))
@pytest.mark.brings(
    "Methods",
    '`modules="attention"` or `"mlp"`',
    "trains that part of each block",
)
def test_only_this_part_of_the_blocks_changes_and_only_it_is_kept(models, name, modules, method):
    model, task = models[name], mood_task()
    method = peft.LoraConfig(r=4) if method == "config" else method
    scope = sv.Scope.of(model, [2, 3], tail=False)
    before = {key: w.clone() for key, w in model.model.state_dict().items()}
    run = sv.finetune(model, task, scope, method=method, modules=modules, **QUICK)
    places = (ATTENTION[name],) if modules == "attention" else MLP[name]
    changed = changed_in_blocks(model, run)
    assert changed
    assert all(inner.startswith(places) for inner in changed)
    kept = {key.removeprefix(f"{block}.") for key in run.weights for block in scope.block_names() if block in key}
    assert all(inner.startswith(places) for inner in kept)
    assert (run.modules, run.scope) == (modules, scope)
    assert f", {modules}, " in repr(run)
    assert all(torch.equal(w, before[key]) for key, w in model.model.state_dict().items())
    after = sv.trace(sv.load_run(model, run), task, split="test", metrics="lens", progress=False)
    assert after.sample_means("lens")[model.n_blocks].mean() == pytest.approx(run.loss, rel=1e-4)


@pytest.mark.parametrize("name", list(ATTENTION))
def test_attention_mlp_and_norms_train_what_all_of_it_does(models, name):
    model, task = models[name], mood_task()
    scope = sv.Scope.above(model, 1, tail=False)
    runs = [sv.finetune(model, task, scope, modules=part, **QUICK) for part in ("attention", "mlp")]
    runs.append(sv.finetune(model, task, scope, method="norm", **QUICK))
    assert sum(run.trainable for run in runs) == scope.trainable
    assert len({run.key for run in runs}) == 3


def test_the_final_norm_trains_as_the_scope_says(models):
    model, task = models["llama"], mood_task()
    with_norm, without = (
        sv.finetune(model, task, sv.Scope.above(model, 2, tail=tail), modules="mlp", **QUICK) for tail in (True, False)
    )
    assert with_norm.trainable - without.trainable == model.parts.tail
    assert "model.norm.weight" in with_norm.weights
    assert "model.norm.weight" not in without.weights


@pytest.mark.parametrize("method", ["full", "lora", "norm"])
@pytest.mark.parametrize("modules", ["all", "attention", "mlp"])
def test_from_the_cache_and_without_it_the_same_is_trained(models, method, modules):
    if method == "norm" and modules != "all":
        pytest.skip("refused")
    model, task = models["llama"], mood_task()
    one, two = (
        sv.finetune(model, task, sv.Scope.half(model), method=method, modules=modules, cache=cache, **QUICK)
        for cache in (True, False)
    )
    assert one.key == two.key
    assert one.cached
    for key, weight in one.weights.items():
        torch.testing.assert_close(weight, two.weights[key], rtol=1e-4, atol=1e-5)


def test_only_what_trains_has_weights_of_its_own(models):
    from semviz.finetuning.suffix_model import Suffix

    model = models["llama"]
    users = {p.data_ptr() for p in model.model.parameters()}
    for parts, of_block in ((("attention",), 4 * 32 * 32), (("norm",), 2 * 32)):
        suffix = Suffix(model, sv.Scope.above(model, 2, tail=False), cached=False, parts=parts)
        own = [p for p in suffix.network.parameters() if p.data_ptr() not in users]
        assert sum(p.numel() for p in own) == 2 * of_block
        assert {id(p) for p in own} == {id(p) for p in suffix.network.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", sorted({*FAMILIES} - {"nanochat", "olmo"}))
@pytest.mark.brings(
    "Methods",
    '`method="norm"`',
    "trains the norms of the scope's blocks",
)
def test_norms_of_every_family_train_and_nothing_else(name):
    network = family(name)
    # Ids of the small families end at 96.
    model = sv.load_model((network, word_tokenizer()), layers=LAYERS.get(name), general_text=plain_text())
    # Zamba's blocks share one transformer.
    scope = sv.Scope.full(model) if "zamba" in name else sv.Scope.last(model)
    before = {key: w.clone() for key, w in network.state_dict().items()}
    options = {**QUICK, "epochs": 2, "batch_size": 8}
    run = sv.finetune(model, mood_task().subset(train=16, validation=8, test=8), scope, method="norm", **options)
    block = model.anatomy.blocks[-1]
    inside = {id(p) for p in parameters_of(block, ["norm"])}
    expected = {f"{scope.block_names()[-1]}.{inner}" for inner, p in block.named_parameters() if id(p) in inside}
    assert expected <= set(run.weights)
    assert all(w.ndim == 1 for w in run.weights.values())
    assert any(not torch.equal(w, before[key]) for key, w in run.weights.items())
    assert all(torch.equal(w, before[key]) for key, w in network.state_dict().items())
    assert np.isfinite(run.loss)


def test_a_model_whose_norms_have_no_weights_says_so():
    model = sv.load_model((family("nanochat"), word_tokenizer()), general_text=plain_text())
    with pytest.raises(SemvizError, match=r'has norms with weights, only attention and an MLP; pass method="full"\.'):
        sv.finetune(model, mood_task(), method="norm", **QUICK)


def test_a_model_without_attention_says_so_before_anything_trains():
    model = sv.load_model((family("mamba"), word_tokenizer()), general_text=plain_text())
    for modules, words in (("attention", "has attention with weights"), ("mlp", "has an MLP with weights")):
        with pytest.raises(ScopeError, match=words):
            sv.finetune(model, mood_task(), sv.Scope.last(model), modules=modules, **QUICK)
        with pytest.raises(ScopeError, match=words):
            sv.sweep(model, mood_task(), modules=modules, **QUICK)


def test_they_are_in_the_key_and_all_of_it_is_not():
    def key(**options):
        scope = Scope((3, 4), 4, made_parts(4))
        return run_key(SimpleNamespace(hash="a" * 12), mood_task(), scope, Recipe(lr=1e-3, **options))

    assert key(modules="all") == key()
    assert len({key(), key(modules="attention"), key(modules="mlp"), key(method="norm")}) == 4


def test_what_does_not_go_together_is_refused():
    with pytest.raises(SemvizError, match=r"modules='heads' is unknown"):
        Recipe(modules="heads")
    with pytest.raises(SemvizError, match=r'method="norm" says itself'):
        Recipe("norm", modules="mlp")


def test_targets_beside_the_part_are_refused(models):
    config = peft.LoraConfig(target_modules=["q_proj", "up_proj"])
    with pytest.raises(SemvizError, match="'up_proj' is no module in the blocks"):
        sv.finetune(models["llama"], mood_task(), method=config, modules="attention", **QUICK)


def test_norms_alone_leave_the_head_out(models):
    scope = sv.Scope.above(models["gpt2"], 1, head=True, untie=True)
    with pytest.raises(SemvizError, match=r'method="norm" trains norms alone; pass a scope with head=False\.'):
        sv.finetune(models["gpt2"], mood_task(), scope, method="norm", **QUICK)


def test_prices_count_what_trains(models):
    model = models["llama"]
    costs, scope = sv.estimate_costs(model, mood_task()), sv.Scope.above(model, 2, tail=False)
    whole, attention, mlp = (costs.of(scope, modules=modules) for modules in ("all", "attention", "mlp"))
    norm = costs.of(scope, method="norm")
    assert attention.memory["optimizer"] == 2 * 4 * 2 * 4 * 32 * 32  # two blocks, two moments of four projections
    assert sum(c.memory["gradients"] for c in (attention, mlp, norm)) == whole.memory["gradients"]
    backward = whole.units["backward"]
    through = backward - costs.of(scope, method="lora").units["backward"]  # what gradients of weights cost
    parts = [c.units["backward"] - (backward - through) for c in (attention, mlp, norm)]
    assert sum(parts) == pytest.approx(through)
    assert norm.units["forward"] == whole.units["forward"]
    assert norm.memory["weights"] - costs.of(scope, method="lora").memory["weights"] == 4 * 2 * 2 * 32


def test_sweep_probe_plan_and_study_hand_it_on(models, tmp_path):
    model, task = models["llama"], mood_task()
    options = {**QUICK, "store": tmp_path}
    runs = sv.sweep(model, task, [sv.Scope.full(model), sv.Scope.half(model)], modules="attention", **options)
    assert {run.modules for run in runs} == {"attention"}
    (found, _) = [Store(tmp_path).find(run.key) for run in runs]
    assert (found.modules, found.record()["parts"]) == ("attention", ["attention"])
    probes = sv.probe(model, task, boundaries=[0, 2], modules="attention", **options)
    assert {run.key for run in probes.runs} == {run.key for run in runs}
    planned = sv.plan(model, task, [sv.Scope.full(model)], modules="attention", lr=1e-2, epochs=1, batch_size=16,
                      store=tmp_path)  # fmt: skip
    assert planned.frame()["done"].tolist()[0]
    whole = sv.finetune(model, task, sv.Scope.last(model), **QUICK)
    with pytest.raises(SemvizError, match="differ in their modules"):
        sv.Runs((*runs, whole), zero_shot=0.5)
    study = sv.Study(model, task, store=tmp_path, progress=False)
    assert {run.key for run in study.history.runs} == {run.key for run in runs}
    study.set(modules="mlp", steps=2, lr=1e-2)
    study.freeze(2)
    study.finetune().wait()
    assert study.history.runs[-1].modules == "mlp"
    study.close()
