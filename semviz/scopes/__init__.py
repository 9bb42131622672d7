"""Which blocks train, and what that costs."""
