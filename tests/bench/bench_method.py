"""Measured curves: every boundary of every pair finetuned, each at its own learning rate, and scored on test rows.

    python tests/bench/bench_method.py --store runs/method               # all pairs that are there
    python tests/bench/bench_method.py --pairs mood trec --seeds 3
    python tests/bench/bench_method.py --pairs smollm2-trec smollm2-sst2 --seeds 2       # hours

Prints Markdown; finished runs are kept in the store, so a stopped table goes on. The curves go into measured.json, by
which bench_candidates.py and bench_probes.py judge what chooses a boundary.
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import replace
from datetime import date
from pathlib import Path

import measured
import torch
from pairs import PAIRS, REPEATED, load, missing, scopes, settings, title

import semviz as sv
from semviz.common import formats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=[name for name in PAIRS if PAIRS[name] != "SmolLM2"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", default="runs/method")
    options = parser.parse_args()
    print(f"{date.today()}, {torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}\n")
    print("| pair | k | rate | seeds | score | 95 % | benefit |\n|---|---|---|---|---|---|---|")
    for name in options.pairs:
        if missing(name):
            print(f"{title(name)}: needs {missing(name)}, which is not there.\n")
            continue
        model, task = load(name)
        runs = swept(name, model, task, Path(options.store) / name, options.seeds)
        print("\n".join(lines_of(name, runs)), flush=True)


def lines_of(name: str, runs: sv.Runs) -> list[str]:
    """One row a boundary, and one for the model before finetuning."""
    is_loss = runs.score == "loss"
    keys = ("loss", "loss_low", "loss_high") if is_loss else ("accuracy", "low", "high")
    lines = []
    for row in runs.table().to_dict("records"):
        value, low, high = (f"{row[key]:.3f}" if is_loss else f"{100 * row[key]:.1f}" for key in keys)
        measured_at = f"{row['boundary']} | {row['lr']:.2g} | {row['runs']}"
        lines.append(
            f"| {title(name)} | {measured_at} | {value} | {low} to {high} | {formats.percent(row['benefit'])} |"
        )
    untrained = f"{runs.zero_shot:.3f}" if is_loss else f"{100 * runs.zero_shot:.1f}"
    return [*lines, f"| {title(name)} | untrained | | | {untrained} | | 0 % |"]


def swept(name: str, model: sv.LanguageModel, task: sv.Task, store: Path, seeds: int) -> sv.Runs:
    """Runs of a pair's boundaries, its curve kept; a deep model's get one seed first, and some of them the others."""
    deep, given = PAIRS[name] == "SmolLM2", {"store": store, "progress": False, **settings(name)}
    runs = sv.sweep(model, task, scopes(name, model), seeds=range(1 if deep else seeds), **given)
    measured.keep(curve_of(name, model, runs))
    if deep and seeds > 1:
        repeated = [sv.Scope.above(model, k) for k in REPEATED]
        again = sv.sweep(model, task, repeated, seeds=range(seeds), **given)
        runs = replace(runs, runs=(*runs, *(run for run in again if run.seed)))
        measured.keep(curve_of(name, model, runs))
    return runs


def curve_of(name: str, model: sv.LanguageModel, runs: sv.Runs) -> measured.Curve:
    """What was measured, for `measured.json`."""
    table = runs.table().set_index("boundary")
    score = "loss" if runs.score == "loss" else "accuracy"
    rows = " and ".join(f"{value} {key}" for key, value in settings(name).items())
    columns = {"scores": table[score].round(4), "rates": table["lr"], "seeds": table["runs"]}
    by_boundary = {key: column.to_dict() for key, column in columns.items()}
    setting = f"{rows}, {date.today()}"
    return measured.Curve(title(name), model.n_blocks, score, runs.zero_shot, **by_boundary, setting=setting)


if __name__ == "__main__":
    main()
