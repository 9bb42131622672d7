"""What silently goes wrong when part of a model is frozen: each guard fails here if it is taken away."""

from __future__ import annotations

import pytest
import torch
from small import tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import ScopeError, SemvizError
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.suffix_model import Suffix
from semviz.lm import copies

QUICK = {"epochs": 1, "batch_size": 8, "lr": 3e-3, "progress": False}


def batch_of(model, task, boundary=0, rows=4):
    encoded_task = EncodedTask(model, task, progress=False)
    part = encoded_task.part("train", boundary)
    return encoded_task.collator(part)(list(range(rows)))


# Gradient leak through the prefix.


def test_hooks_that_make_inputs_require_gradients_stay_with_the_user(tiny, mood):
    tiny.model.enable_input_require_grads()
    suffix = Suffix(tiny, sv.Scope.half(tiny), cached=False).train()
    suffix(**batch_of(tiny, mood))["loss"].backward()
    assert tiny.model.get_input_embeddings()._forward_hooks
    assert not suffix.network.get_input_embeddings()._forward_hooks


def test_a_leak_into_the_prefix_is_refused(tiny, mood, monkeypatch):
    tiny.model.enable_input_require_grads()
    monkeypatch.setattr(copies, "_remove_checkpointing", lambda network: None)
    suffix = Suffix(tiny, sv.Scope.half(tiny), cached=False).train()
    with pytest.raises(ScopeError, match="enable_input_require_grads"):
        suffix(**batch_of(tiny, mood))


@pytest.mark.parametrize("cache", [True, False])
def test_checkpointing_changes_memory_and_not_the_result(tiny, mood, cache):
    scope = sv.Scope.half(tiny)
    plain, less = (sv.finetune(tiny, mood, scope, checkpointing=c, cache=cache, **QUICK) for c in (False, True))
    assert plain.key == less.key
    for name, value in plain.weights.items():
        torch.testing.assert_close(value, less.weights[name], atol=1e-6, rtol=0)


def test_checkpointing_recomputes_trained_blocks_only(tiny, mood):
    suffix = Suffix(tiny, sv.Scope.half(tiny), cached=False).train()
    suffix.checkpoint()
    calls = [0] * 4
    for i, block in enumerate(suffix.network.model.layers):
        block.self_attn.register_forward_hook(lambda *_args, i=i: calls.__setitem__(i, calls[i] + 1))
    suffix(**batch_of(tiny, mood))["loss"].backward()
    assert calls == [1, 1, 2, 2]


# Tied head.


def test_a_tied_head_is_frozen_untied_or_refused():
    tied = sv.load_model((tiny_llama(tie_word_embeddings=True), word_tokenizer()))
    with pytest.raises(ScopeError, match="untie=True"):
        sv.Scope.of(tied, [4], head=True)
    free = sv.Scope.of(tied, [4], head=True, untie=True)
    head = tied.model.lm_head.weight.numel()
    assert free.trainable == sv.Scope.last(tied).trainable + head
    assert free.total == sv.Scope.last(tied).total + head


def test_training_an_untied_head_leaves_the_embeddings_alone(mood):
    tied = sv.load_model((tiny_llama(tie_word_embeddings=True), word_tokenizer()))
    before = tied.model.get_input_embeddings().weight.detach().clone()
    run = sv.finetune(tied, mood, sv.Scope.of(tied, [4], head=True, untie=True), **QUICK)
    tuned = sv.load_run(tied, run)
    assert torch.equal(tied.model.get_input_embeddings().weight, before)
    assert torch.equal(tuned.model.get_input_embeddings().weight, before)
    assert not torch.equal(tuned.model.lm_head.weight, before)
    assert tied.model.lm_head.weight is tied.model.get_input_embeddings().weight
    assert not tuned.anatomy.tied
    after = sv.trace(tuned, mood, split="test", metrics="lens", progress=False)
    assert after.accuracy == pytest.approx(run.accuracy)


def test_a_head_of_its_own_trains_when_asked_to(tiny, mood):
    scope = sv.Scope.of(tiny, [3, 4], head=True, tail=False)
    run = sv.finetune(tiny, mood, scope, **QUICK)
    before = tiny.model.state_dict()
    changed = {name for name, value in run.weights.items() if not torch.equal(value, before[name])}
    assert "lm_head.weight" in changed
    assert "model.norm.weight" not in run.weights
    assert run.trainable == scope.trainable == sum(w.numel() for w in run.weights.values())


# Optimizer membership.


def test_an_optimizer_with_a_stray_parameter_is_refused(tiny, mood, monkeypatch):
    made = copies.private_copy

    def stray(*args, **options):
        network = made(*args, **options)
        network.get_input_embeddings().weight.requires_grad_(True)
        return network

    monkeypatch.setattr("semviz.finetuning.suffix_model.private_copy", stray)
    with pytest.raises(SemvizError, match="embed_tokens"):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), cache=False, **QUICK)


def test_an_optimizer_that_misses_a_parameter_is_refused(tiny, mood, monkeypatch):
    made = copies.private_copy

    def short(*args, **options):
        network = made(*args, **options)
        network.model.norm.weight.requires_grad_(False)
        return network

    monkeypatch.setattr("semviz.finetuning.suffix_model.private_copy", short)
    with pytest.raises(SemvizError, match=r"model\.norm\.weight"):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)


# Divergence.


def test_a_finite_loss_far_above_guessing_stops_the_run(tiny, mood):
    run = sv.finetune(tiny, mood, **{**QUICK, "lr": 100.0, "epochs": 20})
    assert run.diverged
    assert "guessing" in run.note or "not finite" in run.note
    assert run.steps < 20 * len(mood.split("train")) / 8


@pytest.mark.parametrize("logging", [{}, {"logging_strategy": "no"}], ids=["as usual", "unlogged"])
def test_a_rate_that_kills_the_blocks_is_told(logging, tiny, mood):
    run = sv.finetune(tiny, mood, arguments=logging, **{**QUICK, "lr": 1e6, "epochs": 2})
    assert run.diverged
    assert "so training stopped; pass a smaller lr." in run.note
    assert run.steps < 14


def test_a_head_that_is_still_empty_is_not_dead(mood):
    network = tiny_llama()
    with torch.no_grad():
        network.lm_head.weight.zero_()  # the loss is that of guessing, and hardly moves
    run = sv.finetune(sv.load_model((network, word_tokenizer())), mood, **{**QUICK, "lr": 1e-9, "epochs": 2})
    assert not run.diverged


def test_a_bad_start_is_no_divergence(tiny, mood):
    # The labels' words are improbable at first: the loss begins far above a guess over the vocabulary and falls.
    run = sv.finetune(tiny, mood, **{**QUICK, "epochs": 4})
    assert not run.diverged
    assert run.note == ""


# Trainer's arguments.


@pytest.mark.parametrize(
    ("name", "instead"),
    [("learning_rate", "lr="), ("seed", "seed="), ("num_train_epochs", "epochs="), ("gradient_checkpointing", "check")],
)
def test_arguments_that_are_decided_elsewhere(tiny, mood, name, instead):
    with pytest.raises(SemvizError, match=instead):
        sv.finetune(tiny, mood, arguments={name: 1}, **QUICK)


def test_arguments_that_do_not_exist(tiny, mood):
    with pytest.raises(SemvizError, match="TrainingArguments"):
        sv.finetune(tiny, mood, arguments={"no_such_thing": 1}, **QUICK)


def test_arguments_reach_the_trainer_and_the_key(tiny, mood):
    plain = sv.finetune(tiny, mood, **QUICK)
    decayed = sv.finetune(tiny, mood, arguments={"weight_decay": 0.5}, **QUICK)
    assert plain.key != decayed.key
    assert any(not torch.equal(plain.weights[key], decayed.weights[key]) for key in plain.weights)


def test_bf16_on_request(tiny, mood):
    run = sv.finetune(tiny, mood, arguments={"bf16": True}, **QUICK)
    assert {w.dtype for w in run.weights.values()} == {torch.float32}
    assert not run.diverged
