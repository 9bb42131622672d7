"""What decides a run's result is in its key, and nothing else is."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from made import above
from small import mood_task
from transformers import EarlyStoppingCallback, TrainerCallback

from semviz.finetuning.recipe import Recipe, run_key

MODEL, TASK, SCOPE, RECIPE = SimpleNamespace(hash="a" * 12), mood_task(), above(2), Recipe(lr=1e-3)
KEY = run_key(MODEL, TASK, SCOPE, RECIPE)
CHANGES = {
    "method": "lora", "lr": "auto", "epochs": 4, "batch_size": 16, "seed": 1, "checkpointing": True,
    "arguments": {"weight_decay": 0.1}, "callbacks": [EarlyStoppingCallback(2)], "modules": "mlp",
}  # fmt: skip


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_every_field_of_a_recipe_counts_but_how_memory_is_saved(field):
    # One that stops early needs scores to stop by, which are no part of the key by themselves.
    recipe = replace(RECIPE, arguments={"eval_strategy": "epoch"}) if field == "callbacks" else RECIPE
    assert run_key(MODEL, TASK, SCOPE, recipe) == KEY
    changed = replace(recipe, **{field: CHANGES[field]})
    assert (run_key(MODEL, TASK, SCOPE, changed) == KEY) == (field == "checkpointing")


@pytest.mark.parametrize("arguments", [
    {"bf16": False}, {"weight_decay": 0}, {"weight_decay": 0.0}, {"lr_scheduler_type": "cosine"},
    {"gradient_accumulation_steps": 1, "adam_beta1": 0.9}, {"report_to": "none"},
], ids=str)  # fmt: skip
def test_arguments_as_they_would_be_anyway_are_no_arguments(arguments):
    recipe = replace(RECIPE, arguments=arguments)
    assert run_key(MODEL, TASK, SCOPE, recipe) == KEY
    assert recipe.argument_texts == {}


@pytest.mark.parametrize("arguments", [
    {"bf16": True}, {"weight_decay": 0.1}, {"lr_scheduler_type": "linear"}, {"gradient_accumulation_steps": 2},
    {"warmup_steps": 0}, {"neftune_noise_alpha": 5.0}, {"train_sampling_strategy": "group_by_length"},
    {"dataloader_drop_last": True}, {"eval_strategy": "epoch", "load_best_model_at_end": True},
    {"max_grad_norm": 0.5}, {"optim": "sgd"},
    {"label_smoothing_factor": 0.1},
], ids=str)  # fmt: skip
def test_other_arguments_count(arguments):
    assert run_key(MODEL, TASK, SCOPE, replace(RECIPE, arguments=arguments)) != KEY


@pytest.mark.parametrize("arguments", [
    {"logging_steps": 5}, {"log_level": "error"}, {"save_strategy": "epoch", "output_dir": "out"},
    {"save_strategy": "steps", "save_steps": 3, "save_total_limit": 1, "output_dir": "out"}, {"eval_strategy": "epoch"},
    {"dataloader_num_workers": 2}, {"dataloader_pin_memory": True}, {"torch_empty_cache_steps": 2},
], ids=str)  # fmt: skip
def test_what_is_logged_and_saved_on_the_way_does_not_count(arguments):
    assert run_key(MODEL, TASK, SCOPE, replace(RECIPE, arguments=arguments)) == KEY


def test_scores_on_the_way_count_where_they_decide():
    decided = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 5}
    keys = {
        run_key(MODEL, TASK, SCOPE, replace(RECIPE, arguments={**decided, **more}))
        for more in ({}, {"eval_steps": 6}, {"metric_for_best_model": "accuracy"}, {"logging_steps": 3})
    }
    assert len(keys) == 3


class Counter(TrainerCallback):
    def __init__(self, start):
        self.start = start


def test_callbacks_count_by_class_and_attributes():
    def key(*callbacks):
        return run_key(MODEL, TASK, SCOPE, replace(RECIPE, callbacks=callbacks))

    one = Counter(1)
    assert key(one) == key(Counter(1)) != key(Counter(2))
    assert len({KEY, key(one), key(TrainerCallback()), key(one, one)}) == 4
    assert key(Counter(object())) != key(Counter(object()))  # nobody knows what these do


def test_a_callback_that_changes_while_it_is_used_keeps_its_runs_together():
    counter = Counter(1)
    recipe = replace(RECIPE, callbacks=[counter])
    before = run_key(MODEL, TASK, SCOPE, recipe)
    counter.start = 5
    assert run_key(MODEL, TASK, SCOPE, replace(recipe, seed=RECIPE.seed)) == before


def test_equal_values_of_other_types_are_equal():
    one = replace(RECIPE, epochs=3.0, arguments={"adam_beta1": 0.5, "weight_decay": 1})
    two = replace(RECIPE, epochs=3, arguments={"weight_decay": 1.0, "adam_beta1": 0.5})
    three = replace(two, arguments={"weight_decay": np.float64(1), "adam_beta1": np.float32(0.5)})
    assert len({run_key(MODEL, TASK, SCOPE, recipe) for recipe in (one, two, three)}) == 1


@pytest.mark.parametrize("scope", [above(1), above(2, tail=False), above(2, head=True)], ids=repr)
def test_every_part_of_a_scope_counts(scope):
    assert run_key(MODEL, TASK, scope, RECIPE) != KEY


def test_model_and_task_count_by_content():
    assert run_key(SimpleNamespace(hash="b" * 12), TASK, SCOPE, RECIPE) != KEY
    assert run_key(MODEL, replace(TASK, max_tokens=9), SCOPE, RECIPE) != KEY
    assert run_key(MODEL, replace(TASK, name="other"), SCOPE, RECIPE) == KEY
    assert run_key(MODEL, TASK, SCOPE, RECIPE, model_hash="b" * 12) != KEY
