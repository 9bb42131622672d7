"""What is read of a task to tokenize it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from semviz.tasks.splits import Split

Scoring = Literal["sum", "mean"]


class TaskLike(Protocol):
    """Texts in a template, with or without label words: a `Task`, which describes the attributes."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def prompt(self) -> str:
        """Template that contains `{text}`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty for language modelling."""

    @property
    def words(self) -> tuple[str, ...]:
        """The word that stands for each label."""

    @property
    def splits(self) -> Mapping[str, Split]:
        """Texts and labels by name."""

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a prompt are read; None if texts are not to be cut."""

    @property
    def scoring(self) -> Scoring:
        """How words of several tokens are scored."""

    def split(self, name: str, /) -> Split:
        """One split by name."""
