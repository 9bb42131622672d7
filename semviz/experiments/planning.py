"""`plan()`: what finetunes would do and take, from a few measured steps; and what of it fits into a budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from semviz.common import distributed, formats
from semviz.common.errors import SemvizError
from semviz.common.progress import Control
from semviz.experiments.asked_sweep import AskedSweep, check_sweep
from semviz.experiments.budget import Deadline, Size, as_seconds, largest_that_fits
from semviz.experiments.next_boundary import costliest_path
from semviz.experiments.plan import Plan, PlanStep
from semviz.experiments.run_store import Store
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.learning_rates import expected_trainings
from semviz.finetuning.memory_guard import check_memory
from semviz.finetuning.recipe import Recipe, run_key
from semviz.finetuning.step_timing import StepTimes, time_steps
from semviz.lm.model import check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.scopes.costs import Costs, price_scopes
from semviz.scopes.scope import Scope
from semviz.tasks.splits import SPLITS
from semviz.tasks.task import check_task

if TYPE_CHECKING:
    from peft import PeftConfig

    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task

_SLOW_STEP = 1.0  # seconds from which on only the largest and the smallest scope are timed
_ROUGH_FLOPS, _ROUGH_STEP = 2e9, 0.05  # a slow processor's operations a second, seconds that a step takes at least
WORTH_SAYING = 60.0  # seconds


def plan(
    model: LanguageModel,
    task: Task,
    scopes: Iterable[Scope] | None = None,
    *,
    methods: Sequence[str | PeftConfig] = ("full",),
    seeds: Sequence[int] = (0,),
    lr: float | Literal["auto"] = "auto",
    epochs: float = 3,
    batch_size: int = 32,
    checkpointing: bool = False,
    modules: str = "all",
    arguments: dict[str, Any] | None = None,
    budget: float | str | None = None,
    store: str | Path | None = None,
) -> Plan:
    """Say what a sweep would do and take, without training anything to the end.

    A few steps of two or three of the scopes are timed on the task's own rows, by the code that trains; the cost table
    of `estimate_costs` scales them to the others.

    Args:
        model: A loaded model; it is not changed.
        task: Its rows say how many steps there are.
        scopes: As in `sweep`; by default those that `probe` trains at most.
        methods: As in `sweep`.
        seeds: As in `sweep`.
        lr: As in `sweep`.
        epochs: As in `sweep`.
        batch_size: As in `sweep`.
        checkpointing: As in `sweep`.
        modules: As in `sweep`.
        arguments: As in `sweep`.
        budget: Seconds, or a text such as `"10 min"`: the plan then leaves out what changes the answer least, until the
            rest fits.
        store: Folder of finished runs, which need no time.

    Returns:
        A `Plan`; `sweep`, `probe` and `recommend` with the same budget follow it.

    Raises:
        SemvizError: If the budget is no time or nothing useful fits into it, or as in `sweep`.
    """
    check_task(task)
    if scopes is None:
        scopes = [Scope.above(model, k) for k in costliest_path(check_model(model).n_blocks)]
    asked = check_sweep(
        model,
        scopes,
        methods=methods,
        seeds=seeds,
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        checkpointing=checkpointing,
        modules=modules,
        arguments=arguments,
    )
    clock = None if budget is None else Deadline.start(as_seconds(budget))
    estimate = measure(EncodedTask(model, task, progress=False), asked)
    return estimate.fit(asked, clock=clock, store=None if store is None else Store(store))


@on_fitting_threads
@default_surroundings()
def measure(encoded_task: EncodedTask, asked: AskedSweep, *, control: Control | None = None) -> Estimate:
    """Time a few steps of two or three of the scopes: the largest, the smallest, and one between them if that is quick.

    Raises:
        Cancelled: If asked to stop.
        SemvizError: If there are several processes, or the largest scope would not fit into the session's memory.
    """
    if distributed.is_distributed():
        raise SemvizError("A plan measures steps in one process; leave budget= out under accelerate launch.")
    control = control or Control()
    encoded = encoded_task.part("train", 0).encoded
    prices = price_scopes(encoded_task.model, encoded, batch_size=asked.recipe.batch_size)
    trained = sorted(asked.trained, key=lambda pair: _units(prices, *pair), reverse=True)
    largest, smallest = trained[0], trained[-1]
    check_memory(encoded_task, *largest, cache=True)
    first = time_steps(encoded_task, [largest], control=control)
    others = [] if smallest == largest else [smallest]
    if len(trained) > 2 and first.scopes[0].step < _SLOW_STEP:
        others.append(trained[len(trained) // 2])
    if not others:
        return Estimate(encoded_task, asked, first, prices)
    more = time_steps(encoded_task, others, control=control)
    times = StepTimes((*first.scopes, *more.scopes), more.prefix_token or first.prefix_token)
    return Estimate(encoded_task, asked, times, prices)


def worth_saying(encoded_task: EncodedTask, asked: AskedSweep) -> bool:
    """Whether finetunes could take more than a minute, so that measuring a step is worth its seconds."""
    model, encoded = encoded_task.model, encoded_task.part("train", 0).encoded
    flops = 6 * encoded.tokens * model.parts.total * asked.recipe.epochs
    steps = asked.recipe.steps(len(encoded))
    trainings = len(asked.trained) * (len(asked.seeds) - 1 + expected_trainings(asked.recipe.lr, steps))
    return trainings * (flops / _ROUGH_FLOPS + steps * _ROUGH_STEP) > WORTH_SAYING and not distributed.is_distributed()


def _units(prices: Costs, scope: Scope, recipe: Recipe) -> float:
    """What one epoch's steps cost, without the frozen prefix."""
    cost = prices.of(scope, method=recipe.method, modules=recipe.modules, epochs=1, checkpointing=recipe.checkpointing)
    return cost.units["forward"] + cost.units["backward"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """Seconds and bytes of any sweep over a task, from a few measured steps.

    Attributes:
        encoded_task: The whole task.
        asked: The sweep whose scopes were timed.
        times: What was measured.
        prices: What every scope costs.
    """

    encoded_task: EncodedTask
    asked: AskedSweep
    times: StepTimes
    prices: Costs

    def fit(self, asked: AskedSweep, *, clock: Deadline | None = None, store: Store | None = None) -> Plan:
        """Plan a sweep; with a deadline, as much of it as is planned to be done in time.

        Args:
            asked: The sweep: scopes that were timed, or others of this task.
            clock: When the budget is spent.
            store: Finished runs.

        Raises:
            SemvizError: If nothing useful fits into what is left.
        """
        task = self.encoded_task.task
        spent = 0.0 if clock is None else clock.spent
        if clock is None or clock.budget is None:
            return replace(self.plan(asked, task, store), spent=spent)
        rows = {name: len(task.splits[name]) for name in SPLITS}
        recipe = asked.recipe
        whole = Size(len(asked.scopes), len(asked.seeds), recipe.epochs, **rows, searched=recipe.lr == "auto")

        def planned(size: Size) -> Plan:
            return self.plan(_of_size(asked, size, self.encoded_task), _rows_of_size(task, size), store)

        size = largest_that_fits(
            whole, recipe.batch_size, lambda size: planned(size).seconds, budget=clock.budget, spent=spent
        )
        return replace(planned(size), budget=clock.budget, spent=spent, cuts=_cuts(whole, size))

    def plan(self, sweep: AskedSweep, task: Task, store: Store | None) -> Plan:
        """Plan a sweep over this task or a subset of it."""
        model = self.encoded_task.model
        tokens = {name: self._tokens(name, len(task.splits[name])) for name in task.splits}
        rows = {name: len(split) for name, split in task.splits.items()}
        model_hash = model.hash if store is not None else ""
        steps: list[PlanStep] = []
        for scope, recipe in sweep.trained:
            cost = self.prices.of(
                scope, method=recipe.method, modules=recipe.modules, checkpointing=recipe.checkpointing
            )
            rate = recipe.lr
            for seed in sweep.seeds:
                searched = recipe.lr == "auto" and seed == sweep.seeds[0]
                trainings = expected_trainings("auto", recipe.steps(rows["train"])) if searched else 1.0
                # Later seeds train at the rate that was found with the first one.
                key = run_key(model, task, scope, replace(recipe, seed=seed, lr=rate), model_hash=model_hash)
                found = store.find(key) if store is not None and store.has(key) else None
                done, rate = found is not None, rate if found is None else found.lr
                seconds = 0.0 if done else self._run(scope, recipe, trainings, rows["train"], tokens)
                what = f"finetune {scope.label}" + (f" by {recipe.method}" if recipe.method != "full" else "")
                what += f", seed {seed}" if len(sweep.seeds) > 1 else ""
                steps.append(PlanStep(what, rows["train"], seconds, cost.bytes, done, scope, recipe.method, seed))
        highest = max((s.scope.boundary for s in steps if s.scope is not None and not s.done), default=0)
        weights = int(model.parts.total * self.prices.weight_bytes)
        if highest:
            every = sum(tokens.values())
            size = int(every * self.prices.state_bytes)
            what = f"run blocks 1–{highest} once and keep their states" if highest > 1 else "run block 1 once"
            seconds = every * self.times.prefix_token * highest
            steps.insert(0, PlanStep(what, sum(rows.values()), seconds, weights + size))
        scored = tokens["validation"] + tokens["test"]
        untrained = scored * self._forward_token()
        steps.append(PlanStep("score the untrained model", rows["validation"] + rows["test"], untrained, weights))
        return Plan(model.name, tuple(steps), task, sweep)

    def _run(self, scope: Scope, recipe: Recipe, trainings: float, train_rows: int, tokens: dict[str, float]) -> float:
        """Seconds of one run."""
        step, setup, token = self._interpolated(_units(self.prices, scope, recipe))
        return (
            trainings * (setup + recipe.steps(train_rows) * step + tokens["validation"] * token)
            + tokens["test"] * token
        )

    def _interpolated(self, units: float) -> tuple[float, float, float]:
        """Seconds of a step, of the beginning and of scoring a token, between the scopes that were timed."""
        timed = sorted((_units(self.prices, t.scope, self._recipe(t.method)), t) for t in self.times.scopes)
        at = [x for x, _ in timed]
        values = [[getattr(t, name) for _, t in timed] for name in ("step", "setup", "token")]
        step, setup, token = (float(np.interp(units, at, of)) for of in values)
        return step, setup, token

    def _recipe(self, method: str) -> Recipe:
        return replace(self.asked.recipe, method=method)

    def _forward_token(self) -> float:
        """Seconds of scoring a token through all blocks."""
        return max(t.token + self.times.prefix_token * t.scope.boundary for t in self.times.scopes)

    def _tokens(self, split: str, rows: int) -> float:
        """Tokens of so many rows of a split, as they are read."""
        whole = len(self.encoded_task.task.splits[split])
        return self.encoded_task.part(split, 0).encoded.tokens * rows / max(1, whole)


def _of_size(asked: AskedSweep, size: Size, encoded_task: EncodedTask) -> AskedSweep:
    """The sweep with so many scopes and seeds: the scopes are spread evenly, from the largest to the smallest."""
    by_size = sorted(asked.scopes, key=lambda scope: -scope.trainable)
    kept = {by_size[int(i)] for i in np.linspace(0, len(by_size) - 1, size.scopes).round()}
    recipe = replace(asked.recipe, epochs=size.epochs)
    scopes = tuple(scope for scope in asked.scopes if scope in kept)
    width = encoded_task.model.anatomy.width if asked.recipe.lr == "auto" and not size.searched else None
    return AskedSweep(scopes, recipe, asked.methods, asked.seeds[: size.seeds], width)


def _rows_of_size(task: Task, size: Size) -> Task:
    rows = {"train": size.train, "validation": size.validation, "test": size.test}
    if all(len(task.splits[name]) == count for name, count in rows.items()):
        return task
    return task.subset(**rows)


def _cuts(whole: Size, size: Size) -> tuple[str, ...]:
    """What a size leaves out of the whole, in words."""
    names = {
        "train": "training rows",
        "validation": "validation rows",
        "test": "test rows",
        "epochs": "epochs",
        "scopes": "scopes",
        "seeds": "seeds",
    }
    cuts = [
        f"{formats.number(getattr(size, key))} of {formats.number(getattr(whole, key))} {name}"
        for key, name in names.items()
        if getattr(size, key) != getattr(whole, key)
    ]
    if size.searched != whole.searched:
        cuts.append("a usual learning rate for each scope instead of a search")
    return tuple(cuts)
