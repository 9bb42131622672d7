"""What statistics read from several runs: a protocol that `Runs` fulfils, so that `Runs` can pass itself."""

# ruff: noqa: D102 - the members are documented where they are made: Runs.

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from semviz.common.provenance import Source
    from semviz.experiments.scope_names import ScopeName
    from semviz.finetuning.run import Run
    from semviz.scopes.scope import Scope


class MeasuredRuns(Protocol):
    """Finished runs on one task, as `semviz.Runs` holds them."""

    @property
    def runs(self) -> tuple[Run, ...]: ...
    @property
    def model(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def source(self) -> Source: ...
    @property
    def score(self) -> str: ...
    @property
    def zero_shot(self) -> float: ...
    @property
    def untrained_rows(self) -> tuple[float, ...]: ...
    def groups(self) -> dict[tuple[Scope, str], list[Run]]: ...
    def table(self) -> pd.DataFrame: ...
    def scope_names(self) -> list[ScopeName]: ...
    def answer(self) -> str: ...
    def __iter__(self) -> Iterator[Run]: ...
