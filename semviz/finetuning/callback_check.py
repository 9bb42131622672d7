"""The check that a caller's callbacks have left the weights of the user's model alone, which a training shares."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from semviz.common.errors import SemvizError

if TYPE_CHECKING:
    from semviz.finetuning.user_callbacks import UserCallback
    from semviz.lm.model import LanguageModel


@contextmanager
def weights_left_alone(
    model: LanguageModel, callbacks: Sequence[UserCallback], checkpoints: Path | None
) -> Iterator[None]:
    """Check after a training, however it ends, that the model's weights are as they were; no check without callbacks.

    What trains are copies, but frozen weights are the model's own: a copy of them would take as much memory again. The
    comparison reads all of them once, and sees writes to `.data` too.

    Args:
        model: The user's model.
        callbacks: The caller's.
        checkpoints: Those of the training, removed where it cannot be gone on with; None for temporary ones.

    Raises:
        SemvizError: If a weight has changed.
    """
    if not callbacks:
        yield
        return
    before = model.weights_hash
    try:
        yield
    finally:
        if model.weights_hash != before:
            if checkpoints is not None:
                shutil.rmtree(checkpoints, ignore_errors=True)
            names = ", ".join(dict.fromkeys(type(noted.callback).__name__ for noted in callbacks))
            raise SemvizError(
                f"While it trained with callbacks ({names}), weights of the model itself were changed: frozen ones are "
                "not copied. Load the model again, and let callbacks write only to parameters with requires_grad."
            )
