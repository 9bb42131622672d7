"""What `load_model` says of virtual tokens, and of a dtype that is passed under two names."""

from __future__ import annotations

import pytest
import torch
from peft import (
    LoraConfig,
    MultitaskPromptTuningConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import ModelError

VIRTUAL = {
    "PROMPT_TUNING": lambda: PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "MULTITASK_PROMPT_TUNING": lambda: MultitaskPromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "P_TUNING": lambda: PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=8),
    "PREFIX_TUNING": lambda: PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("kind", VIRTUAL)
def test_virtual_tokens_are_refused_in_words(kind, in_memory, tmp_path):
    network = get_peft_model(tiny_llama(), VIRTUAL[kind]())
    network.save_pretrained(tmp_path)
    pair, base = (network, word_tokenizer()), (tiny_llama(), word_tokenizer())
    source, options = (pair, {}) if in_memory else (str(tmp_path), {"base": base})
    with pytest.raises(ModelError, match=f"is a {kind} adapter: it puts virtual tokens before each text"):
        sv.load_model(source, general_text=plain_text(), **options)


@pytest.mark.parametrize("in_memory", [True, False])
def test_other_adapters_are_read(in_memory, tmp_path):
    network = get_peft_model(tiny_llama(), LoraConfig(target_modules=["q_proj"])).eval()
    network.save_pretrained(tmp_path)
    pair = (network, word_tokenizer())
    source, base = (pair, None) if in_memory else (str(tmp_path), (tiny_llama(), word_tokenizer()))
    assert sv.load_model(source, base=base, general_text=plain_text()).n_blocks == 4


@pytest.mark.parametrize("older", ["fp32", "float16", torch.float32])
@pytest.mark.parametrize("dtype", ["bf16", torch.bfloat16])
def test_two_names_of_a_dtype_are_refused(dtype, older):
    with pytest.raises(ModelError, match=r"Got dtype=.*bf.*16.* and torch_dtype=.*; pass dtype= alone"):
        sv.load_model(dtype=dtype, torch_dtype=older)


@pytest.mark.parametrize(
    "options",
    [
        {"torch_dtype": "bf16"},
        {"dtype": "bf16", "torch_dtype": "bf16"},
        {"dtype": "bf16", "torch_dtype": None},
        {"dtype": "bf16", "torch_dtype": torch.bfloat16},
        {"dtype": "bf16", "torch_dtype": "bfloat16"},
        {"dtype": "bf16", "torch_dtype": "auto"},
    ],
    ids=str,
)
def test_one_dtype_under_either_name_is_the_models(options):
    assert sv.load_model(**options).model.dtype == torch.bfloat16
