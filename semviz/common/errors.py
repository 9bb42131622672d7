"""The exceptions that semviz raises; their messages say what to pass instead."""

from __future__ import annotations


class SemvizError(ValueError):
    """An error that the caller can fix; the message names the argument, what was passed and what to pass instead."""


class ModelError(SemvizError):
    """A model or tokenizer that cannot be loaded, or whose parts cannot be found and proven."""


class TaskError(SemvizError):
    """Texts, labels or prompts that do not make a task."""


class ScopeError(SemvizError):
    """A set of blocks that cannot be trained on this model."""


class Cancelled(SemvizError):  # noqa: N818 (nothing is wrong: it ends a job)
    """Raised by a job that was asked to stop, through `Control.cancel`."""
