"""The training methods that semviz brings, a file each: what a module in this folder registers is there."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

# Whoever takes the registry from here gets it filled.
from semviz.common.training_methods import METHODS as METHODS
from semviz.common.training_methods import find_method as find_method

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")
