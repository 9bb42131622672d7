"""Tiny models of other architectures, whose blocks take or give something of their own."""

from __future__ import annotations

from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=3, n_head=4, n_positions=64))


def gemma2():
    """Softcapped logits, a tied head, and alternating kinds of attention."""
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=60,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            final_logit_softcapping=2.0,
            max_position_embeddings=64,
            initializer_range=0.5,
        )
    )


def opt():
    """Projects between the last block and the head."""
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=60,
            hidden_size=32,
            word_embed_proj_dim=16,
            ffn_dim=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=64,
        )
    )
