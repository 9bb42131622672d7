"""Every kind of configuration that the installed peft has: it trains a scope and merges, or is refused by name."""

from __future__ import annotations

import copy
import json
import warnings

import pytest
import torch
from architectures import gpt2
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from small import mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.finetuning.finetune import Recipe, run_key
from semviz.finetuning.run import Run
from semviz.finetuning.suffix_model import Suffix
from semviz.scopes.methods.peft_kinds import KINDS, REFUSED

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
