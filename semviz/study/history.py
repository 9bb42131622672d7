"""`History`: the finished runs of one model on one task, and those of them that can be compared fairly."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.scores import score_named
from semviz.experiments.runs import Runs
from semviz.finetuning.recipe import Recipe, run_key

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.experiments.probes import Probes
    from semviz.experiments.run_store import Store
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.run import Run
    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope
    from semviz.study.opened_task import OpenedTask


class History:
    """Finished runs of one model on one task.

    Attributes:
        runs: All of them, the oldest first.
        comparable: Those that may stand in one chart, see `comparable`.
        together: These, with the scores of the untrained model; None if there is none.
        probes: What they predict of every boundary; None as long as they cannot.
        problems: What is wrong with files in the store that cannot be read.
    """

    def __init__(self, store: Store, model: LanguageModel, opening: OpenedTask) -> None:
        """Read from a store the runs of a model on a task.

        A run belongs to them if its key does, so weights, texts and version are the same; runs with further
        `arguments` of Trainer do not.
        """
        self._opening = opening
        self.runs: list[Run] = []
        self.problems: list[str] = []
        for key in store.keys():  # noqa: SIM118 (a store is no mapping)
            try:
                run = store.find(key)
            except SemvizError as error:
                self.problems.append(str(error))
                continue
            if run is not None and key == run_key(model, opening.task, run.scope, recipe_of(run)):
                self.runs.append(run)
        self.add()

    def add(self, *runs: Run) -> None:
        """Take up finished runs; one with the same key is replaced."""
        keys = {run.key for run in runs}
        self.runs = [*(run for run in self.runs if run.key not in keys), *runs]
        self.comparable = comparable(self.runs)
        self.together: Runs | None = None
        self.probes: Probes | None = None
        if not self.comparable:
            return
        opening, untrained = self._opening, tuple(self._opening.validation.rows.tolist())
        # Without the gain: a point that is called recommended would read as praise for what it has measured.
        self.together = Runs(tuple(self.comparable), zero_shot=opening.untrained, untrained_rows=untrained)
        with suppress(SemvizError):  # not all of the three have been run
            self.probes = self.together.probes()

    def find(self, key: str) -> Run:
        """A run by its key.

        Raises:
            SemvizError: If there is none.
        """
        for run in self.runs:
            if run.key == key:
                return run
        known = [run.key for run in self.runs]
        raise SemvizError(f"There is no run {checks.short_repr(key)}; pass one of {known}, or finetune() first.")


def comparable(runs: Iterable[Run]) -> list[Run]:
    """The runs that may stand in one chart: as long as the newest, and of each scope, method and seed the best rate.

    Rates are compared by the validation score, so a scope that was tried at a poor one does not look worse than it is.
    """
    given = list(runs)
    if not given:
        return []
    newest = given[-1]
    best: dict[tuple[object, ...], Run] = {}
    for run in given:
        if (run.epochs, run.batch_size) != (newest.epochs, newest.batch_size) or run.diverged:
            continue
        same = (run.scope, run.method, run.seed)
        if same not in best or _worth(run) > _worth(best[same]):
            best[same] = run
    return list(best.values())


def _worth(run: Run) -> float:
    return score_named(run.score).sign * run.validation


def run_once(bench: EncodedTask, scope: Scope, recipe: Recipe, *, store: Store, control: Control) -> Run:
    """Finetune a scope, or read the finished run from the store.

    Raises:
        Cancelled: If asked to stop; the store is then as before.
        SemvizError: As in `finetune`.
    """
    run = store.find(run_key(bench.model, bench.task, scope, recipe))
    if run is not None:
        return run
    # Here, since Trainer takes seconds to import, and pictures need it not.
    from semviz.finetuning.finetune import train_scope

    return store.add(train_scope(bench, scope, recipe, control=control, progress=False))


def recipe_of(run: Run) -> Recipe:
    """How a run was trained, as far as it says: further `arguments` of Trainer are not stored."""
    return Recipe(run.method, "auto" if run.rates else run.lr, run.epochs, run.batch_size, run.seed)
