"""The Explorer's own widgets, each with its JavaScript."""
