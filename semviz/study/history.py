"""`History`: the finished runs of one model on one task, and which of them can be compared fairly."""

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
        runs: All of them, oldest first.
        comparable: Those that can be shown in one chart; see the function `comparable`.
        together: The comparable runs with the scores of the untrained model; None if there are no runs.
        probes: What the suffixes among these runs say of every boundary, and which to train; None until full finetuning
            and one other have been run.
        problems: Why some files in the store cannot be read.
    """

    def __init__(self, store: Store, model: LanguageModel, opening: OpenedTask) -> None:
        """Read the runs of a model on a task from a store.

        A run is included if its key matches, so the model, the texts and the version are the same, whatever they were
        called then; runs with further `arguments` of Trainer are not.
        """
        self._opening = opening
        self.runs: list[Run] = []
        self.problems: list[str] = []
        model_hash = model.hash  # once: it reads all weights
        for key in store.keys():  # noqa: SIM118 (a store is not a mapping)
            try:
                run = store.find(key)
            except SemvizError as error:
                self.problems.append(str(error))
                continue
            if run is None:
                continue
            if key == run_key(model, opening.task, run.scope, recipe_of(run), model_hash=model_hash):
                self.runs.append(run.named(model, opening.task))
        self.add()

    def add(self, *runs: Run) -> None:
        """Add finished runs; an earlier run with the same key is replaced."""
        keys = {run.key for run in runs}
        self.runs = [*(run for run in self.runs if run.key not in keys), *runs]
        self.comparable = comparable(self.runs)
        self.together: Runs | None = None
        self.probes: Probes | None = None
        if not self.comparable:
            return
        opening, untrained = self._opening, tuple(self._opening.validation.rows.tolist())
        # Without the gain: a point labelled "profile" would look as if its measured score were the reason.
        self.together = Runs(tuple(self.comparable), zero_shot=opening.untrained, untrained_rows=untrained)
        with suppress(SemvizError):  # full finetuning, or any other suffix, was not run
            self.probes = self.together.probes()

    def find(self, key: str) -> Run:
        """Return the run with this key.

        Raises:
            SemvizError: If there is no such run.
        """
        for run in self.runs:
            if run.key == key:
                return run
        keys = [run.key for run in self.runs]
        raise SemvizError(f"There is no run {checks.short_repr(key)}; pass one of {keys}, or call finetune() first.")


def comparable(runs: Iterable[Run]) -> list[Run]:
    """Select the runs that can be compared: as long as the newest, and the best rate of each scope and method.

    Rates are compared by the validation score, so a scope does not look worse for a poor rate that was also tried.
    Seeds that were only run at other rates are left out, as they are no seeds of that run; or, where more seeds have
    looked for rates of their own, all that have not.
    """
    all_runs = list(runs)
    if not all_runs:
        return []
    newest = all_runs[-1]

    def conditions(run: Run) -> tuple[object, ...]:
        # The model too: a user may edit it while a study is open.
        return run.epochs, run.batch_size, run.arguments, run.parts, run.model_hash, run.task_hash

    alike = [run for run in all_runs if conditions(run) == conditions(newest) and not run.diverged]
    groups: dict[tuple[Scope, str], list[Run]] = {}
    for run in alike:
        groups.setdefault((run.scope, run.method), []).append(run)
    chosen = {run.key for group in groups.values() for run in _seeds_of_the_best(group)}
    return [run for run in alike if run.key in chosen]


def _seeds_of_the_best(runs: list[Run]) -> list[Run]:
    """Of one scope and method, the best run and those that are seeds of it, one for each seed."""
    ranked = sorted(runs, key=_validation_rank, reverse=True)
    best = ranked[0]
    at_its_rate = {run.seed: run for run in reversed(ranked) if run.lr == best.lr}
    searched = {run.seed: run for run in reversed(ranked) if run.rates and best.rates}
    return list((searched if len(searched) > len(at_its_rate) else at_its_rate).values())


def _validation_rank(run: Run) -> float:
    """Validation score, negated where lower is better."""
    return score_named(run.score).sign * run.validation


def run_once(bench: EncodedTask, scope: Scope, recipe: Recipe, *, store: Store, control: Control) -> Run:
    """Finetune a scope, or read the finished run from the store.

    Raises:
        Cancelled: If asked to stop; the store is then unchanged.
        SemvizError: As in `finetune`.
    """
    run = store.find(run_key(bench.model, bench.task, scope, recipe))
    if run is not None:
        return run.named(bench.model, bench.task)
    # Imported here: Trainer takes seconds to import, and pictures do not need it.
    from semviz.finetuning.finetune import train_scope

    return store.add(train_scope(bench, scope, recipe, control=control, progress=False))


def recipe_of(run: Run) -> Recipe:
    """Return how a run was trained, as far as it is stored: further `arguments` of Trainer are not."""
    return Recipe(
        run.method, "auto" if run.rates else run.lr, run.epochs, run.batch_size, run.seed, modules=run.modules
    )
