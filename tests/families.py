"""Tiny random causal LMs of many families, in which every part of a readout matters."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)

# What most configs call the same; a family takes the entries that it knows.
_SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "sliding_window": 4,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "state_size": 8,
    "mamba_d_state": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 4,
    "chunk_size": 4,
    "ffn_dim": 48,
    "attention_heads": 4,
    "final_logit_softcapping": 2.0,
    "logits_soft_cap": 2.0,
    "output_logit_soft_cap": 2.0,
    "logits_scaling": 3.0,
    "logit_scale": 0.3,
    "lm_head_multiplier": 0.3,
    "is_decoder": True,
}
_LATENT = {"num_key_value_heads": 4}  # attention through a latent has no groups
_SPARSE = {**_LATENT, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 64}
_LINEAR = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
_CONV = {"layer_types": ["conv", "full_attention", "conv"]}
_SHARED = {
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
}
_INPUTS_PER_LAYER = {"vocab_size_per_layer_input": 96, "hidden_size_per_layer_input": 8}

# name: model type, and what its config needs beyond the small size
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "afmoe": ("afmoe", {}),
    "apertus": ("apertus", {}),
    "arcee": ("arcee", {}),
    "bamba": ("bamba", {"attn_layer_indices": [1]}),
    "bart": ("bart", {"decoder_layers": 3, "decoder_ffn_dim": 48, "decoder_attention_heads": 4}),
    "bert": ("bert", {}),
    "big-bird": ("big_bird", {"attention_type": "original_full"}),
    "biogpt": ("biogpt", {}),
    "bitnet": ("bitnet", {}),
    "bloom": ("bloom", {}),
    "codegen": ("codegen", {"rotary_dim": 8}),
    "cohere": ("cohere", {}),
    "cohere2": ("cohere2", {}),
    "cohere2-moe": ("cohere2_moe", {}),
    "ctrl": ("ctrl", {"dff": 48}),
    "dbrx": (
        "dbrx",
        {
            "d_model": 32,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
            "ffn_config": {"ffn_hidden_size": 24, "moe_top_k": 2},
        },
    ),
    "deepseek-v2": ("deepseek_v2", _LATENT),
    "deepseek-v3": ("deepseek_v3", {**_LATENT, "first_k_dense_replace": 1}),
    "deepseek-v3.2": ("deepseek_v32", _SPARSE),
    "diffllama": ("diffllama", {}),
    "doge": ("doge", {}),
    "dots1": ("dots1", {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2}),
    "ernie4.5": ("ernie4_5", {}),
    "ernie4.5-moe": ("ernie4_5_moe", {}),
    "exaone4": ("exaone4", {}),
    "falcon": ("falcon", {"alibi": False}),
    "falcon-alibi": ("falcon", {"alibi": True}),
    "falcon-new": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-h1": ("falcon_h1", {"mamba_d_ssm": 64}),
    "falcon-mamba": ("falcon_mamba", {}),
    "flex-olmo": ("flex_olmo", {}),
    "gemma": ("gemma", {}),
    "gemma2": ("gemma2", {}),
    "gemma3": ("gemma3_text", {}),
    "gemma4": ("gemma4_text", _INPUTS_PER_LAYER),
    "gemma4-shared-keys": (
        "gemma4_text",
        {
            **_INPUTS_PER_LAYER,
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "glm": ("glm", {}),
    "glm4": ("glm4", {}),
    "glm4-moe": ("glm4_moe", {}),
    "glm5": ("glm_moe_dsa", _SPARSE),
    "gpt": ("openai-gpt", {}),
    "gpt2": ("gpt2", {}),
    "gpt-bigcode": ("gpt_bigcode", {}),
    "gpt-neo": ("gpt_neo", {"attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 4}),
    "gpt-neox": ("gpt_neox", {}),
    "gpt-oss": ("gpt_oss", {}),
    "gptj": ("gptj", {"rotary_dim": 8}),
    "granite": ("granite", {}),
    "granite-moe": ("granitemoe", {}),
    "granite-moe-hybrid": (
        "granitemoehybrid",
        {"layer_types": ["mamba", "attention", "mamba"], "shared_intermediate_size": 24},
    ),
    "helium": ("helium", {}),
    "hunyuan": ("hunyuan_v1_dense", {}),
    "hunyuan-moe": ("hunyuan_v1_moe", {}),
    "hyperclovax": ("hyperclovax", {}),
    "inkling": ("inkling_text", {"swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 8}),
    "jamba": ("jamba", {}),
    "jetmoe": ("jetmoe", {}),
    "kimi-linear": ("kimi_linear", {**_LATENT, "q_lora_rank": None, "linear_head_dim": 8, "linear_num_heads": 4}),
    "lfm2": ("lfm2", _CONV),
    "lfm2-moe": ("lfm2_moe", _CONV),
    "llama": ("llama", {}),
    "llama4": ("llama4_text", {}),
    "longcat-flash": (
        "longcat_flash",
        {
            **_LATENT,
            "num_layers": 2,
            "ffn_hidden_size": 48,
            "expert_ffn_hidden_size": 24,
            "moe_topk": 2,
            "zero_expert_num": 2,
        },
    ),
    "mamba": ("mamba", {}),
    "mamba2": ("mamba2", {"num_heads": 8, "n_groups": 1}),
    "minicpm3": ("minicpm3", {**_LATENT, "dim_model_base": 16}),
    "minimax": ("minimax", {}),
    "ministral": ("ministral", {}),
    "mistral": ("mistral", {}),
    "mixtral": ("mixtral", {}),
    "modernbert-decoder": ("modernbert-decoder", {}),
    "mpt": ("mpt", {}),
    "nanochat": ("nanochat", {}),
    "nemotron": ("nemotron", {}),
    "nemotron-h": (
        "nemotron_h",
        {
            "layers_block_type": ["mamba", "attention", "moe", "mlp"],
            "ssm_state_size": 8,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "n_groups": 2,
            "moe_shared_expert_intermediate_size": 24,
        },
    ),
    "olmo": ("olmo", {}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", {}),
    "olmo-hybrid": ("olmo_hybrid", {}),
    "olmoe": ("olmoe", {}),
    "opt": ("opt", {"word_embed_proj_dim": 32}),
    "opt-projected": ("opt", {"word_embed_proj_dim": 16}),
    "opt-post-norm": ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "persimmon": ("persimmon", {}),
    "phi": ("phi", {}),
    "phi3": ("phi3", {}),
    "phimoe": ("phimoe", {}),
    "qwen2": ("qwen2", {}),
    "qwen2-moe": ("qwen2_moe", {}),
    "qwen3": ("qwen3", {}),
    "qwen3-moe": ("qwen3_moe", {}),
    "qwen3-next": ("qwen3_next", _LINEAR),
    "qwen3.5": ("qwen3_5_text", _LINEAR),
    "qwen3.5-moe": ("qwen3_5_moe_text", _LINEAR),
    "recurrent-gemma": ("recurrent_gemma", {"block_types": ["recurrent", "recurrent", "attention"]}),
    "rwkv": ("rwkv", {"rescale_every": 2, "num_hidden_layers": 4, "attention_hidden_size": 32}),
    "seed-oss": ("seed_oss", {}),
    "smollm3": ("smollm3", {}),
    "stablelm": ("stablelm", {}),
    "stablelm-parallel": ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True}),
    "starcoder2": ("starcoder2", {}),
    "vaultgemma": ("vaultgemma", {}),
    "xglm": ("xglm", {}),
    "xlstm": ("xlstm", {"num_heads": 4}),
    "youtu": ("youtu", _LATENT),
    "zamba": ("zamba", {**_SHARED, "n_mamba_heads": 2}),
    "zamba2": ("zamba2", {**_SHARED, "n_mamba_heads": 8}),
}

_EYE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_PATCHES = {**_EYE, "image_size": 8, "patch_size": 4}
_QWEN_EYE = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "out_hidden_size": 32, "num_heads": 2}
_QWEN_TEXT = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}

# name: model type, its text decoder's type and options, and its vision tower
VISION: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "gemma3-vision": ("gemma3", "gemma3_text", {}, {**_PATCHES, "model_type": "siglip_vision_model"}),
    "idefics3": ("idefics3", "llama", {}, _PATCHES),
    "internvl": ("internvl", "qwen2", {}, {**_EYE, "image_size": [8, 8], "patch_size": [4, 4]}),
    "llama4-vision": (
        "llama4",
        "llama4_text",
        {},
        {**_PATCHES, "vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32},
    ),
    "llava": ("llava", "llama", {}, {**_PATCHES, "model_type": "clip_vision_model"}),
    "mistral3": ("mistral3", "mistral", {}, {**_PATCHES, "model_type": "pixtral", "head_dim": 8}),
    "paligemma2": ("paligemma", "gemma2", {}, {**_PATCHES, "model_type": "siglip_vision_model"}),
    "qwen2-vl": ("qwen2_vl", "qwen2_vl_text", _QWEN_TEXT, {"depth": 1, "embed_dim": 16, "hidden_size": 32}),
    "qwen2.5-vl": ("qwen2_5_vl", "qwen2_5_vl_text", _QWEN_TEXT, _QWEN_EYE),
    "qwen3-vl": ("qwen3_vl", "qwen3_vl_text", _QWEN_TEXT, {**_QWEN_EYE, "deepstack_visual_indexes": [0]}),
    "smolvlm": ("smolvlm", "llama", {}, _PATCHES),
}

# Families whose blocks transformers does not mark as layers
LAYERS = {"ctrl": "transformer.h", "gpt": "transformer.h"}


def config_of(kind: str, **options: Any) -> PreTrainedConfig:
    """A config of a family in the small size."""
    known = CONFIG_MAPPING[kind]
    entries = {*known().to_dict(), *known.attribute_map}
    return known(**{**{k: v for k, v in _SMALL.items() if k in entries}, **options})


def family(name: str) -> PreTrainedModel:
    """A tiny random model of one of `FAMILIES` or `VISION`, in evaluation mode."""
    torch.manual_seed(0)
    if name in VISION:
        kind, text, options, vision = VISION[name]
        text_config = config_of(text, **options).to_dict()
        # Tokens that stand for images are left at their ids beyond the vocabulary.
        config = CONFIG_MAPPING[kind](text_config=text_config, vision_config=vision)
        model = AutoModelForImageTextToText.from_config(config)
    else:
        kind, options = FAMILIES[name]
        model = AutoModelForCausalLM.from_config(config_of(kind, **options))
    return uneven(model).eval()


def uneven(model: PreTrainedModel) -> PreTrainedModel:
    """Move norms away from the identity and biases from nothing: a readout that skips them would go unseen."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model
