"""The table of the demo's README: what each boundary reaches on each packaged task, each at its own learning rate.

    python tests/bench/demo_tasks.py --store runs/demo

Prints Markdown. Finished runs are kept in the store, so that a stopped table goes on.
"""

from __future__ import annotations

import argparse
import platform
from datetime import date

import torch

import semviz as sv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["mood", "question", "where"])
    parser.add_argument("--boundaries", nargs="+", type=int, default=[0, 2, 4, 6, 7])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--store", default="runs/demo")
    options = parser.parse_args()
    model = sv.load_model()
    scopes = [sv.Scope.above(model, k) for k in options.boundaries]
    print(f"{date.today()}, {torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}\n")
    for name in options.tasks:
        task = sv.load_task(name)
        gain = sv.trace(model, task, progress=False).gain()
        runs = sv.sweep(
            model, task, scopes, seeds=range(options.seeds), epochs=options.epochs, gain=gain, store=options.store
        )
        print_task(task, runs, gain)


def print_task(task: sv.Task, runs: sv.Runs, gain: sv.Gain) -> None:
    """One task: a row a boundary, then what the profile's rules suggest."""
    accuracy = runs.score == "accuracy"
    unit = "accuracy" if accuracy else "loss (nats)"

    keys = ("accuracy", "low", "high") if accuracy else ("loss", "loss_low", "loss_high")

    def say(value: float) -> str:
        return f"{100 * value:.1f} %" if accuracy else f"{value:.3f}"

    before = f"{unit} before finetuning {say(runs.zero_shot)}"
    chance = f", chance {say(1 / len(task.labels))}" if task.labels else ""
    print(f"### {task.name}\n\n{before}{chance}; {len(task.split('train')):,} training rows.\n")
    print(f"| k | trains | parameters | {unit} | 95 % interval | learning rate | seconds | speed-up | benefit |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in runs.table().to_dict("records"):
        value, low, high = (row[key] for key in keys)
        print(
            f"| {row['boundary']} | {row['scope']} | {row['trainable']:,} | {say(value)} | {say(low)} to {say(high)} | "
            f"{row['lr']:.2g} | {row['seconds']:.1f} | {row['speedup']:.1f} × | {row['benefit']:.0%} |"
        )
    rules = ", ".join(f"{rule} {k}" for rule, k in gain.candidates.items())
    print(f"\nBoundaries that the profile suggests: {rules}. {gain.message}\n", flush=True)


if __name__ == "__main__":
    main()
