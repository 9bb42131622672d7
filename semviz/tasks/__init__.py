"""Texts, the prompts built from them, their tokens, and batched forward passes."""
