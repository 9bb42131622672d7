"""Texts, the prompts made of them, their tokens, and batches through a model."""
