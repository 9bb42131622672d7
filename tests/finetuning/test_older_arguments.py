"""Names that are no fields any more say what to pass today, and what they say works."""

from __future__ import annotations

from dataclasses import fields

import pytest
from transformers import TrainingArguments

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.finetuning.older_arguments import _INSTEAD
from semviz.finetuning.trainer_arguments import FIELDS, check_names

TODAY = {
    "evaluation_strategy": '"eval_strategy"',
    "group_by_length": '"train_sampling_strategy": "group_by_length"',
    "warmup_ratio": '"warmup_steps": 0.1',
    "adafactor": '"optim": "adafactor"',
    "logging_dir": '"output_dir"',
    "no_cuda": "device= to load_model",
    "use_mps_device": "device= to load_model",
    "per_gpu_train_batch_size": "batch_size= to finetune",
    "per_gpu_eval_batch_size": "semviz scores the validation rows itself",
    "fp16_opt_level": '"bf16": True',
    "torchdynamo": '"torch_compile": True',
    "push_to_hub_token": "nothing is sent to a hub",
    "save_safetensors": "always saves safetensors",
    "lr": "lr= to finetune",
    "learning_rates": 'did you mean "learning_rate"',
    "weight_decays": 'did you mean "weight_decay"',
    "nothing_like_it": "TrainingArguments",
}


@pytest.mark.parametrize("name", TODAY)
@pytest.mark.parametrize("value", [True, 0.1, "hf_aaaaaaaaaaaaaaaaaaaa"])
def test_an_old_name_says_what_to_pass_today(name, value, tiny, mood):
    with pytest.raises(SemvizError) as caught:
        sv.finetune(tiny, mood, sv.Scope.last(tiny), lr=1e-3, arguments={name: value}, progress=False)
    assert TODAY[name] in str(caught.value)
    assert "hf_" not in str(caught.value)


def test_no_old_name_is_a_field_and_what_is_named_instead_is_one_that_works():
    assert not set(_INSTEAD) & ({field.name for field in fields(TrainingArguments)} | set(FIELDS))
    for instead in _INSTEAD.values():
        if instead.startswith('pass "'):
            check_names({instead.split('"')[1]: None}, callbacks=True)


def test_what_stands_for_old_values_trains(tiny, mood):
    today = {"train_sampling_strategy": "group_by_length", "warmup_steps": 0.1, "optim": "adafactor"}
    run = sv.finetune(
        tiny,
        mood,
        sv.Scope.last(tiny),
        lr=1e-3,
        epochs=1,
        arguments={**today, "eval_strategy": "epoch"},
        progress=False,
    )
    assert 0 < run.loss < 20
