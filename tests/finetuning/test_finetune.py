from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from architectures import gemma2, gpt2, opt
from small import tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.finetuning.cache_check import why_not_cacheable
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.evaluation import evaluate
from semviz.finetuning.prefix_cache import run_prefix
from semviz.finetuning.suffix_model import Suffix

QUICK = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "progress": False}


def state(model):
    return {name: value.clone() for name, value in model.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_users_model_is_bit_identical_afterwards(tiny, mood, method):
    tiny.model.train()
    tiny.model.lm_head.requires_grad_(False)
    before, flags = state(tiny), [p.requires_grad for p in tiny.model.parameters()]
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = (random.random(), np.random.rand(), torch.rand(1))
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    sv.finetune(tiny, mood, sv.Scope.half(tiny), method=method, **QUICK)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    assert same(before, state(tiny))
    assert [p.requires_grad for p in tiny.model.parameters()] == flags
    assert tiny.model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.model.modules())


def test_a_crash_in_training_leaves_the_model_alone(tiny, mood, monkeypatch):
    before = state(tiny)
    monkeypatch.setattr(Suffix, "forward", lambda *_a, **_k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), cache=False, **QUICK)
    assert same(before, state(tiny))


def test_only_the_scope_trains(tiny, mood):
    scope = sv.Scope.of(tiny, [2, 4])
    run = sv.finetune(tiny, mood, scope, **QUICK)
    names = {name.split(".")[2] for name in run.weights if "layers" in name}
    assert names == {"1", "3"}
    assert run.trainable == scope.trainable == sum(w.numel() for w in run.weights.values())
    before = state(tiny)
    assert all(not torch.equal(before[name], value) for name, value in run.weights.items())


@pytest.mark.parametrize("boundary", [1, 3])
def test_cached_and_uncached_training_end_in_the_same_weights(tiny, mood, boundary):
    scope = sv.Scope.above(tiny, boundary)
    cached, plain = (sv.finetune(tiny, mood, scope, cache=cache, **QUICK) for cache in (True, False))
    assert cached.cached
    assert not plain.cached
    assert cached.weights.keys() == plain.weights.keys()
    for name, value in cached.weights.items():
        torch.testing.assert_close(value, plain.weights[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", [gpt2, gemma2, opt])
def test_other_families_resume_from_their_cache(family, mood):
    torch.manual_seed(0)
    network = family()
    network.resize_token_embeddings(len(word_tokenizer()))
    model = sv.load_model((network.eval(), word_tokenizer()))
    encoded_task = EncodedTask(model, mood, progress=False)
    part = encoded_task.part("train", 2)
    suffix = Suffix(model, sv.Scope.above(model, 2), cached=True)
    assert why_not_cacheable(encoded_task, suffix, part) == ""


def test_a_wrong_cache_is_noticed_and_not_used(tiny, mood, monkeypatch):
    def noisy(*args, **options):
        caches = run_prefix(*args, **options)
        for cache in caches.values():
            cache.states.add_(1.0)
        return caches

    monkeypatch.setattr("semviz.finetuning.encoded_task.run_prefix", noisy)
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)
    assert not run.cached
    assert "not used" in run.note


def test_the_prefix_cache_holds_the_states_of_its_space(tiny, mood):
    encoded_task = EncodedTask(tiny, mood, progress=False)
    encoded = encoded_task.part("train", 0).encoded
    cache = run_prefix(tiny, encoded, [2], progress=False)[2]
    ids = torch.as_tensor(encoded.ids[5]).unsqueeze(0)
    with torch.no_grad():
        hidden = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(cache[5], hidden[2][0], atol=1e-5, rtol=1e-5)
    assert cache.nbytes == encoded.tokens * 32 * 4


def test_the_prefix_has_no_dropout_and_gets_no_gradient(mood):
    model = sv.load_model((tiny_llama(attention_dropout=0.5), word_tokenizer()))
    suffix = Suffix(model, sv.Scope.above(model, 2), cached=False).train()
    batch = EncodedTask(model, mood, progress=False)
    part = batch.part("train", 0)
    seen = []
    boundary = suffix.network.model.layers[1].register_forward_hook(lambda _m, _a, out: seen.append(out))
    inputs = batch.collator(part)([0, 1])
    suffix(**inputs)["loss"].backward()
    suffix(**inputs)
    boundary.remove()
    assert not seen[0].requires_grad
    assert torch.equal(seen[0], seen[1])
    frozen = [p for name, p in suffix.network.named_parameters() if name.startswith(("model.embed", "model.layers.0"))]
    assert frozen
    assert all(p.grad is None for p in frozen)


def test_gradient_checkpointing_of_the_user_stays_the_users(mood):
    network = tiny_llama()
    network.gradient_checkpointing_enable()
    model = sv.load_model((network, word_tokenizer()))
    run = sv.finetune(model, mood, sv.Scope.half(model), **QUICK)
    assert run.cached
    assert network.is_gradient_checkpointing


def test_learning_is_real_and_loads_back(tiny, mood):
    run = sv.finetune(tiny, mood, epochs=12, batch_size=8, lr=3e-3, progress=False)
    assert run.accuracy == 1.0
    assert run.f1 == 1.0
    assert run.auroc == 1.0
    assert run.curve["loss"].iloc[-1] < run.curve["loss"].iloc[0] / 5
    tuned = sv.load_run(tiny, run)
    after = sv.trace(tuned, mood, split="test", metrics="lens", progress=False)
    assert after.accuracy == 1.0
    assert tuned.hash != tiny.hash


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tiny, mood):
    one, two, other = (sv.finetune(tiny, mood, seed=s, **QUICK) for s in (0, 0, 1))
    assert all(torch.equal(one.weights[k], two.weights[k]) for k in one.weights)
    assert one.key == two.key != other.key
    assert any(not torch.equal(one.weights[k], other.weights[k]) for k in one.weights)


def test_auto_tries_rates_and_takes_the_best_on_validation(tiny, mood):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), **{**QUICK, "lr": "auto"})
    assert 3 <= len(run.rates) <= 5
    assert run.rates[run.lr] == pytest.approx(max(run.rates.values()))  # 14 steps: each rate in a whole training
    assert run.search_seconds > 0


def test_next_token_tasks_train_too(tiny, stories):
    encoded_task = EncodedTask(tiny, stories, progress=False)
    before = evaluate(Suffix(tiny, sv.Scope.last(tiny), cached=False), encoded_task, encoded_task.part("train", 0))
    run = sv.finetune(tiny, stories, **{**QUICK, "epochs": 8})
    assert run.score == "loss"
    assert run.f1 is None
    tuned = sv.load_run(tiny, run)
    encoded_task = EncodedTask(tuned, stories, progress=False)
    after = evaluate(Suffix(tuned, sv.Scope.last(tuned), cached=False), encoded_task, encoded_task.part("train", 0))
    assert after.loss < before.loss - 0.5


@torch.no_grad()
def test_evaluation_against_the_model_itself(tiny, stories):
    encoded_task = EncodedTask(tiny, stories, progress=False)
    part = encoded_task.part("test", 2)
    scores = evaluate(Suffix(tiny, sv.Scope.above(tiny, 2), cached=True), encoded_task, part)
    for row, ids in enumerate(part.encoded.ids):
        logits = tiny.model(input_ids=torch.as_tensor(ids).unsqueeze(0)).logits[0]
        counted = torch.as_tensor(part.encoded.counted[row])
        targets = torch.as_tensor(part.encoded.targets[row]).long()[counted]
        expected = torch.nn.functional.cross_entropy(logits[counted], targets)
        assert scores.rows[row] == pytest.approx(float(expected), rel=1e-4)


def test_a_diverging_run_stops_and_says_so(tiny, mood):
    run = sv.finetune(tiny, mood, **{**QUICK, "lr": 1e30, "epochs": 6})
    assert "not finite" in run.note
    assert run.steps < 6 * len(mood.split("train")) / 8


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_half_precision_models_train_in_float32(mood, dtype):
    model = sv.load_model((tiny_llama().to(dtype), word_tokenizer()))
    run = sv.finetune(model, mood, sv.Scope.half(model), **QUICK)
    assert {w.dtype for w in run.weights.values()} == {torch.float32}
    assert np.isfinite(run.loss)
    assert sv.load_run(model, run).model.dtype == dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "lora"),
        ({"lr": float("nan")}, "positive"),
        ({"lr": -1.0}, "positive"),
        ({"lr": "fast"}, "auto"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_arguments_say_what_to_pass(tiny, mood, options, message):
    with pytest.raises(SemvizError, match=message):
        sv.finetune(tiny, mood, **{**QUICK, **options})


def test_runs_without_weights_do_not_load(tiny, mood):
    run = sv.finetune(tiny, mood, keep_weights=False, **QUICK)
    with pytest.raises(SemvizError, match="keep_weights"):
        sv.load_run(tiny, run)


def test_texts_of_one_token_are_left_out_of_next_token_training(tiny):
    texts = ["the cat sat", "dog"] * 20
    task = sv.Task.from_texts(texts, test=["a bird ran", "cat"], name="short")
    run = sv.finetune(tiny, task, **{**QUICK, "epochs": 1})
    assert len(run.rows) == 1
    assert np.isfinite(run.loss)
