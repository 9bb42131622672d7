"""Where each trainer puts LoRA, given a snippet for it: each hands its own words to peft's `LoraConfig`."""

from __future__ import annotations

import copy
import shlex

import peft
import yaml


def lora_config(trainer: str, text: str) -> peft.LoraConfig:
    """The configuration that a trainer would make of a snippet."""
    return {"axolotl": of_axolotl, "llama-factory": of_llama_factory, "ms-swift": of_swift, "unsloth": of_unsloth}[
        trainer
    ](text)


def of_axolotl(text: str) -> peft.LoraConfig:
    """Mirrors `_build_peft_lora_config` of axolotl/loaders/adapter.py and the validators of its schema."""
    cfg = yaml.safe_load(text)
    assert cfg["adapter"] == "lora"
    assert "unfrozen_parameters" not in cfg
    assert "peft_layers_to_transform" in cfg or "peft_layers_pattern" not in cfg
    assert all(isinstance(number, int) for number in cfg.get("peft_layers_to_transform", []))
    return peft.LoraConfig(
        r=cfg["lora_r"],
        lora_alpha=cfg["lora_alpha"],
        target_modules=cfg["lora_target_modules"],
        layers_to_transform=cfg.get("peft_layers_to_transform"),
        layers_pattern=cfg.get("peft_layers_pattern"),
        lora_dropout=cfg["lora_dropout"],
        fan_in_fan_out=cfg.get("lora_fan_in_fan_out"),
        use_dora=cfg.get("peft_use_dora", False),
        use_rslora=cfg.get("peft_use_rslora", False),
        bias="none",
    )


def of_llama_factory(text: str) -> peft.LoraConfig:
    """Mirrors `_setup_lora_tuning` of llamafactory/model/adapter.py and `split_arg` of its arguments."""
    args = yaml.safe_load(text)
    assert args["finetuning_type"] == "lora"
    target = [item.strip() for item in args["lora_target"].split(",")]
    assert target != ["all"]
    return peft.LoraConfig(
        r=args["lora_rank"],
        target_modules=target,
        lora_alpha=args["lora_alpha"],
        lora_dropout=args["lora_dropout"],
        use_rslora=args.get("use_rslora", False),
        use_dora=args.get("use_dora", False),
    )


def of_swift(text: str) -> peft.LoraConfig:
    """Mirrors `TunerArguments` and `prepare_adapter` of ms-swift."""
    command = shlex.split(text, comments=True)
    assert command[:2] == ["swift", "sft"]
    args: dict[str, list[str]] = {}
    for word in command[2:]:
        if word.startswith("--"):
            args[word[2:]] = []
        else:
            args[list(args)[-1]].append(word)
    assert args["tuner_type"] == ["lora"]
    target = args["target_regex"][0] if "target_regex" in args else args["target_modules"]
    return peft.LoraConfig(
        r=int(args["lora_rank"][0]),
        target_modules=target,
        lora_alpha=int(args["lora_alpha"][0]),
        lora_dropout=float(args["lora_dropout"][0]),
        use_rslora=args.get("use_rslora") == ["true"],
        use_dora=args.get("use_dora") == ["true"],
    )


def of_unsloth(text: str) -> peft.LoraConfig:
    """Mirrors `FastLlamaModel.get_peft_model` of unsloth/models/llama.py, which refuses or warns of other names."""
    made = {}

    class FastLanguageModel:
        @staticmethod
        def get_peft_model(model, *, r, target_modules, lora_alpha, random_state, use_rslora=False, **kwargs):
            accepted = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
            assert accepted.issuperset(target_modules)
            made["config"] = peft.LoraConfig(
                r=r, lora_alpha=lora_alpha, target_modules=target_modules, use_rslora=use_rslora, **kwargs
            )

    lines = [line for line in text.splitlines() if not line.startswith("from unsloth")]
    exec("\n".join(lines[: lines.index(")") + 1]), {"FastLanguageModel": FastLanguageModel, "model": None})
    return made["config"]


def adapted(network, config) -> set[str]:
    """Names of the modules, and parameters, that peft puts adapters on."""
    model = peft.get_peft_model(copy.deepcopy(network), config).get_base_model()
    return {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
