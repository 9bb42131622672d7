"""Adapters in a folder: each weight in the file is loaded, or the adapter is refused."""

from __future__ import annotations

import json

import peft
import pytest
import torch
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import ModelError

IDS = torch.arange(4, 14)[None]
Q = ["q_proj"]
KINDS = {
    "lora": lambda: peft.LoraConfig(target_modules=Q, r=4, init_lora_weights=False),
    "all layers": lambda: peft.LoraConfig(target_modules="all-linear", r=4, init_lora_weights=False),
    "dora": lambda: peft.LoraConfig(target_modules=Q, r=4, use_dora=True, init_lora_weights=False),
    "bias": lambda: peft.LoraConfig(target_modules=Q, bias="all", init_lora_weights=False),
    "saved head": lambda: peft.LoraConfig(target_modules=Q, modules_to_save=["lm_head"], init_lora_weights=False),
    "tokens": lambda: peft.LoraConfig(target_modules=Q, trainable_token_indices=[5, 6], init_lora_weights=False),
    "ia3": lambda: peft.IA3Config(target_modules=[*Q, "down_proj"], feedforward_modules=["down_proj"]),
    "loha": lambda: peft.LoHaConfig(target_modules=Q),
    "vera": lambda: peft.VeraConfig(target_modules=Q, r=4),
    "vera, projections drawn": lambda: peft.VeraConfig(target_modules=Q, r=4, save_projection=False),
    "randlora": lambda: peft.RandLoraConfig(target_modules=Q, r=4),
    "vblora": lambda: peft.VBLoRAConfig(target_modules=Q, vector_length=16, num_vectors=8),
    "norms": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"]),
    "prompts in attention": lambda: peft.AdaptionPromptConfig(adapter_len=3, adapter_layers=2, task_type="CAUSAL_LM"),
}


def logits(network):
    with torch.no_grad():
        return network(input_ids=IDS).logits


def loaded(folder, blocks):
    base = (tiny_llama(blocks=blocks), word_tokenizer())
    return sv.load_model(folder, base=base, general_text=plain_text())


def saved_adapter(folder, config, blocks=4):
    torch.manual_seed(0)
    adapted = peft.get_peft_model(tiny_llama(blocks=blocks), config).eval()
    with torch.no_grad():
        for p in adapted.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    adapted.save_pretrained(folder)
    return logits(adapted)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_loads_whole_on_its_base_and_not_on_one_with_fewer_layers(tmp_path, kind):
    expected = saved_adapter(tmp_path, KINDS[kind]())
    torch.testing.assert_close(logits(loaded(tmp_path, 4).model), expected, rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match=r"does not fit .* base="):
        loaded(tmp_path, 2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "change",
    [{"layers_to_transform": [0]}, {"exclude_modules": ["k_proj"]}, {"target_modules": ["q_proj"]}],
    ids=str,
)
def test_weights_that_the_config_leaves_out_are_told(tmp_path, change):
    config = peft.LoraConfig(target_modules=["q_proj", "k_proj"], use_dora=True, init_lora_weights=False)
    expected = saved_adapter(tmp_path, config)
    torch.testing.assert_close(logits(loaded(tmp_path, 4).model), expected, rtol=0, atol=1e-5)
    file = tmp_path / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | change))
    with pytest.raises(ModelError, match=r"weights in its file have no place .*such as model\.layers\..*a whole copy"):
        loaded(tmp_path, 4)
