"""What looking for a learning rate costs, and what it loses against trying every rate in a whole training.

    python tests/bench/bench_rates.py --store runs/rates                  # all pairs that are there
    python tests/bench/bench_rates.py --pairs mood trec --boundaries 0 4

The full search trains at the first guess, at √10 times more and less, and further beyond an edge as long as it has the
best validation score, five rates at most. Prints Markdown; finished runs are kept in the store, so a stopped table goes
on.
"""

from __future__ import annotations

import argparse
import math
import platform
from datetime import date
from pathlib import Path

import torch
import workloads
from pairs import PAIRS, load

import semviz as sv
from semviz.common.scores import score_named
from semviz.finetuning.learning_rates import first_guess

STEP, MOST = math.sqrt(10), 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS))
    parser.add_argument("--boundaries", nargs="+", type=int, help="all by default")
    parser.add_argument("--store", default="runs/rates")
    options = parser.parse_args()
    print(f"{date.today()}, {torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}\n")
    print("| pair | k | rate | full search | steps | seconds | test score | full search | difference |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.pairs:
        if PAIRS[name] != "demo" and not workloads.REAL.is_dir():
            print(f"{name}: needs {workloads.REAL}, which is not there.\n")
            continue
        model, task = load(name)
        for k in options.boundaries or range(model.n_blocks):
            if k < model.n_blocks:
                print(line(name, model, task, k, Path(options.store) / name), flush=True)


def line(name: str, model: sv.LanguageModel, task: sv.Task, k: int, store: Path) -> str:
    """One scope: the rate that is found and that of the full search, cost in trainings, and both scores."""
    scope = sv.Scope.above(model, k) if k else sv.Scope.full(model)
    searched = _run(model, task, scope, "auto", store)
    best = full_search(model, task, scope, store)
    training = searched.seconds - searched.prefix_seconds
    steps = f"≤ {cost_in_steps(searched):.2f}"
    difference = score_named(task.score).sign * (searched.value - best.value)
    return (
        f"| {name} | {k} | {searched.lr:.2g} | {best.lr:.2g} | {steps} | {1 + searched.search_seconds / training:.2f} "
        f"| {searched.value:.3f} | {best.value:.3f} | {difference:+.3f} |"
    )


def cost_in_steps(run: sv.Run) -> float:
    """Steps of all trainings of a run, the loser of the last two included, in those of one."""
    from semviz.finetuning.learning_rates import duel_steps

    trials = len(run.rates)
    return 1 + (trials * run.trial_steps + duel_steps(run.steps, trials)) / run.steps if run.trial_steps else trials


def full_search(model: sv.LanguageModel, task: sv.Task, scope: sv.Scope, store: Path) -> sv.Run:
    """The run of the rate with the best validation score, each rate in a whole training."""
    guess, runs = first_guess(model.anatomy.width, "full"), {}
    sign = score_named(task.score).sign

    def rank(rate: float) -> float:
        return -math.inf if runs[rate].diverged else sign * runs[rate].validation

    for rate in (guess, guess * STEP, guess / STEP):
        runs[rate] = _run(model, task, scope, rate, store)
    while len(runs) < MOST:
        second, best = sorted(runs, key=rank)[-2:]
        beyond = {max(runs): best * STEP, min(runs): best / STEP}.get(best)
        if beyond is None or rank(best) == rank(second):
            break
        runs[beyond] = _run(model, task, scope, beyond, store)
    return runs[max(runs, key=rank)]


def _run(model: sv.LanguageModel, task: sv.Task, scope: sv.Scope, lr: float | str, store: Path) -> sv.Run:
    return sv.sweep(model, task, [scope], lr=lr, store=store, progress=False).runs[0]


if __name__ == "__main__":
    main()
