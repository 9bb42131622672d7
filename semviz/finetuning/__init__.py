"""Training one scope: Hugging Face Trainer on the blocks above the boundary, from cached states."""
