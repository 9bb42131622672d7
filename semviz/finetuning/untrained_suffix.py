"""A model as it is, read the way a task's rows are read for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semviz.finetuning.suffix_model import Suffix
from semviz.scopes.scope import Scope

if TYPE_CHECKING:
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.lm.model import LanguageModel


def untrained_suffix(model: LanguageModel, encoded_task: EncodedTask) -> Suffix:
    """Return a suffix that scores a model as it is: nothing of it trains, and no prefix is cached."""
    return Suffix(
        model,
        Scope.last(model),
        cached=False,
        own_weights=False,
        reading=encoded_task.reading,
        probe=encoded_task.probe(),
    )
