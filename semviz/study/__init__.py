"""A study step by step, without a widget."""
