"""What the outputs of a run read of it, and which model and task they are made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from semviz.common.errors import SemvizError
from semviz.common.provenance import Source
from semviz.scopes.export_settings import MeasuredRun

if TYPE_CHECKING:
    from torch import Tensor

    from semviz.finetuning.kept_adapter import KeptAdapter
    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope
    from semviz.tasks.task import Task


class RunLike(MeasuredRun, Protocol):
    """A run's settings and what it kept."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def scope(self) -> Scope: ...  # noqa: D102
    @property
    def cached(self) -> bool: ...  # noqa: D102
    @property
    def weights(self) -> Mapping[str, Tensor]: ...  # noqa: D102
    @property
    def adapter(self) -> KeptAdapter | None: ...  # noqa: D102
    @property
    def origin(self) -> tuple[LanguageModel, Task] | None: ...  # noqa: D102
    @property
    def source(self) -> Source: ...  # noqa: D102
    def record(self) -> dict[str, Any]: ...  # noqa: D102


def model_of(run: RunLike, model: LanguageModel | None) -> LanguageModel:
    """Return the model that was passed, or the one that the run was made with.

    Raises:
        SemvizError: If there is neither.
    """
    from semviz.lm.model import check_model

    if model is not None:
        return check_model(model)
    if run.origin is None:
        raise SemvizError("The run was read from a file; pass the model that it was made with: model=.")
    return run.origin[0]


def model_and_task_of(
    run: RunLike, model: LanguageModel | None, task: Task | None, *, same_task: bool = True
) -> tuple[LanguageModel, Task]:
    """Return what was passed, or what the run was made with.

    Args:
        run: The run.
        model: The model before finetuning, or None.
        task: The task, or None.
        same_task: Refuse another task than the run's.

    Raises:
        SemvizError: If there is neither, or the task is another one.
    """
    from semviz.tasks.task import check_task

    if run.origin is None and (model is None or task is None):
        raise SemvizError(
            "The run was read from a file; pass the model and the task that it was made with: model=, task=."
        )
    task = check_task(task) if task is not None else run.origin[1]  # type: ignore[index]
    if same_task:
        run.source.check("The run", Source("", "", task.name, task.lineage), "pass the task that it was made with")
    return model_of(run, model), task


def require_weights(run: RunLike) -> None:
    """Refuse a run without weights.

    Raises:
        SemvizError: If it kept none.
    """
    if not run.weights:
        raise SemvizError("The run kept no weights; pass keep_weights=True to finetune or sweep.")
