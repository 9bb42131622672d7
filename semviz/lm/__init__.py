"""A causal LM: loaded, its parts found and proven, copied, cut."""
