"""Which blocks train, and what that costs."""

# It registers the exports of a scope.
from semviz.scopes import exports as exports
