"""`run.save_model` on models that carry adapters: whole, or refused by name before anything is written."""

from __future__ import annotations

import peft
import pytest
import torch
from small import mood_task, plain_text, tiny_llama, word_tokenizer
from transformers import AutoModelForCausalLM

import semviz as sv
from semviz.common.errors import SemvizError

QUICK = {"epochs": 1, "batch_size": 8, "lr": 1e-2, "progress": False}
IDS = torch.arange(4, 14)[None]
Q = ["q_proj"]
CARRIED = {
    "none": (lambda: None, ""),
    "lora": (lambda: peft.LoraConfig(target_modules=Q), ""),
    "saved norm": (lambda: peft.LoraConfig(target_modules=Q, modules_to_save=["norm"]), ""),
    "ia3": (lambda: peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[]), ""),
    "vera": (lambda: peft.VeraConfig(target_modules=Q, r=4), ""),
    "prompts in attention": (
        lambda: peft.AdaptionPromptConfig(adapter_len=3, adapter_layers=2, task_type="CAUSAL_LM"),
        r"LlamaForCausalLM does not load this model again: .*adapter that cannot be merged",
    ),
    "replicated": (
        lambda: peft.LoraConfig(target_modules=Q, layer_replication=[(0, 3), (1, 4)]),
        r"layers\.\d.* and .*layers\.\d.* are one weight in this model, as after peft's layer_replication",
    ),
}


def logits(network):
    with torch.no_grad():
        return network(input_ids=IDS).logits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tie", [False, True], ids=["", "tied"])
@pytest.mark.parametrize("kind", CARRIED)
def test_a_model_with_an_adapter_is_saved_whole_or_refused_by_name(tmp_path, kind, tie):
    make, refusal = CARRIED[kind]
    torch.manual_seed(0)
    network = tiny_llama(tie_word_embeddings=tie)
    config = make()
    if config is not None:
        network = peft.get_peft_model(network, config)
        with torch.no_grad():
            for p in network.parameters():
                if p.requires_grad:
                    p.add_(0.1 * torch.randn_like(p))
    model = sv.load_model((network.eval(), word_tokenizer()), general_text=plain_text())
    run = sv.finetune(model, mood_task(), sv.Scope.last(model), **QUICK)
    if refusal:
        with pytest.raises(SemvizError, match=refusal):
            run.save_model(tmp_path / "saved")
        assert list(tmp_path.iterdir()) == []
        return
    run.save_model(tmp_path / "saved")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "saved"))
    torch.testing.assert_close(found, logits(run.model().model), rtol=0, atol=2e-5)
