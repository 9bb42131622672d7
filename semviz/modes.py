"""Training and evaluation mode, put back exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode inside the `with` block, and every submodule back in its own mode after it.

    `model.train(was_training)` alone would also switch submodules that the user has set apart, such as a frozen
    part that is kept in evaluation mode while the rest trains.
    """
    training = model.training
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        # Through train() first, since classes may do more there than set the flag.
        model.train(training)
        for module, mode in modes:
            module.training = mode
