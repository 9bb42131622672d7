"""The built-in training methods, one per file: every module in this folder is imported, and registers its own."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

# Imported from here, the registry is filled.
from semviz.common.training_methods import METHODS as METHODS
from semviz.common.training_methods import find_method as find_method

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
