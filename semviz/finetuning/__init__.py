"""One scope trained: Hugging Face Trainer on the blocks above the boundary, from cached states."""
