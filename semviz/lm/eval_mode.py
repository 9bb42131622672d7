"""Evaluation mode for a while, with the mode of every module restored exactly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

from semviz.lm.quantization import not_repacked

_LOCKS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode inside the `with` block, and restore the mode of every submodule after it.

    `model.train(was_training)` alone would also switch submodules that the user has set apart, such as a frozen
    part that is kept in evaluation mode while the rest trains. Threads take turns: otherwise the second would restore
    the mode that the first has set.
    """
    with _lock_of(model):
        training = model.training
        modes = [(module, module.training) for module in model.modules()]
        try:
            model.eval()
            with not_repacked(model):
                yield
        finally:
            # Through train() first, since classes may do more there than set the flag.
            model.train(training)
            for module, mode in modes:
                module.training = mode


def _lock_of(model: nn.Module) -> threading.RLock:
    with _LOCKS_GUARD:
        return _LOCKS.setdefault(model, threading.RLock())
