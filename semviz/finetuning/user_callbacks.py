"""Callbacks of the caller's: which can be used, a fresh one for each training, and what they are in a run's key."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from semviz.common import checks
from semviz.common.errors import SemvizError


@dataclass(frozen=True, eq=False)
class UserCallback:
    """A callback of the caller's.

    Attributes:
        callback: The callback.
        identity: What it did when it was passed, as far as it can be told: its class, the class's code, and its
            attributes. Two that may differ do: an attribute that shows its address is that of one object only.
    """

    callback: TrainerCallback
    identity: tuple[str, str, str]

    def fresh(self) -> TrainerCallback:
        """The callback for one training: one whose state Trainer saves begins as it was, others are as they are."""
        return copy.deepcopy(self.callback) if isinstance(self.callback, ExportableState) else self.callback


def known(callbacks: Iterable[Any], *, searched: bool) -> tuple[UserCallback, ...]:
    """Take note of callbacks.

    Args:
        callbacks: What was passed, or what this function has returned.
        searched: Whether the learning rate is searched for.

    Raises:
        SemvizError: If one is no callback, or would hear of two trainings at once.
    """
    noted = []
    for i, item in enumerate(callbacks):
        if isinstance(item, UserCallback):
            noted.append(item)
        else:
            instead = "an instance, such as transformers.EarlyStoppingCallback(2)"
            callback = checks.of_class(f"callbacks[{i}]", item, TrainerCallback, instead)
            noted.append(UserCallback(callback, _identity(callback)))
        if searched and not isinstance(noted[-1].callback, ExportableState):
            raise SemvizError(
                f"callbacks[{i}] ({type(noted[-1].callback).__name__}) would hear of all trainings of the search for a "
                "learning rate, two of them at a time; pass a number as lr=."
            )
    return tuple(noted)


def _identity(callback: TrainerCallback) -> tuple[str, str, str]:
    kind = type(callback)
    try:
        code = hashlib.blake2b(inspect.getsource(kind).encode(), digest_size=8).hexdigest()
    except (OSError, TypeError):  # typed into an interpreter
        code = ""
    return f"{kind.__module__}.{kind.__qualname__}", code, json.dumps(vars(callback), default=repr, sort_keys=True)
