"""Which blocks train, and what that costs."""

# Importing them registers the exports of a scope and the training methods.
from semviz.scopes import exports as exports
from semviz.scopes import methods as methods
