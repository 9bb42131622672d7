"""The method's own table: what every way of choosing a boundary recommends, and what it loses.

    python tests/bench/bench_method.py --store runs/method               # all pairs that are there
    python tests/bench/bench_method.py --pairs mood trec --seeds 3
    python tests/bench/bench_method.py --pairs smollm2-trec smollm2-sst2 --seeds 2       # hours; its curves alone

Every boundary of every pair is finetuned, each at its own learning rate, and scored on test rows; what chooses sees
training and validation rows only. Prints Markdown; finished runs are kept in the store, so a stopped table goes on. The
curves go into measured.json, which bench_candidates.py reads.
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import replace
from datetime import date
from pathlib import Path

import measured
import numpy as np
import pandas as pd
import torch
from bench_probes import followed
from pairs import PAIRS, REPEATED, load, missing, scopes, settings, title

import semviz as sv
from semviz.common import formats
from semviz.experiments.comparison import regrets
from semviz.scopes.cost_units import units

METRICS = ("semantic", "lens", "target", "virtual", "rank")
METRIC = "semantic"  # the profile that the rules read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=[name for name in PAIRS if PAIRS[name] != "SmolLM2"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", default="runs/method")
    options = parser.parse_args()
    print(f"{date.today()}, {torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}\n")
    studies = []
    for name in options.pairs:
        if missing(name):
            print(f"{title(name)}: needs {missing(name)}, which is not there.\n")
            continue
        model, task = load(name)
        runs = swept(name, model, task, Path(options.store) / name, options.seeds)
        if PAIRS[name] != "SmolLM2":  # of which some boundaries are measured, and any may be recommended
            studies.append(Study(name, model, task, runs))
    if not studies:
        return
    print(
        "Every candidate over all pairs; regret as a share of full finetuning's improvement, so that pairs compare:\n"
    )
    _print(
        "| candidate | mean regret | worst | no worse than half on | mean cost against full |",
        overall(studies),
    )
    print("\nMeasured, over seeds (95 % interval over seeds and test rows); boundary 0 is full finetuning:\n")
    head = "| pair | k | rate | score | 95 % | benefit | profile's benefit | probes' benefit |"
    _print(head, [line for study in studies for line in study.curve()])
    print("\nWhat each candidate recommends, and its regret (best measured − measured there):\n")
    head = "| pair | candidate | k | score | regret | cost against full |"
    _print(head, [line for study in studies for line in study.lines()])
    print("\nSpearman of predicted and measured benefit over the boundaries (95 %):\n")
    names = ["benefit", "law", "drop", "surplus", "virtual peak", "probes"]
    _print("| pair | β, R², ν | " + " | ".join(names) + " |", [study.ranks() for study in studies])


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


def _print(head: str, lines: list[str]) -> None:
    print(head + "\n" + "|---" * (head.count("|") - 1) + "|\n" + "\n".join(lines), flush=True)


def overall(studies: list[Study]) -> list[str]:
    """One row a candidate."""
    table = pd.concat([study.choices.assign(pair=study.name) for study in studies])
    half = table[table["choice"] == "half"].set_index("pair")["regret"]
    lines = []
    groups = sorted(table.groupby("choice", sort=False), key=lambda pair: pair[1]["share"].mean())
    for choice, rows in groups:
        fine = int((rows["regret"].to_numpy() <= half[rows["pair"]].to_numpy() + 1e-12).sum())
        share, worst = formats.percent(rows["share"].mean(), digits=1), formats.percent(rows["share"].max(), digits=1)
        lines.append(f"| {choice} | {share} | {worst} | {fine} of {len(rows)} | {rows['cost'].mean():.2f} |")
    return lines


class Study:
    """One pair: its runs, its profile, its probes (those of the runs that they lead to, first seed)."""

    def __init__(self, name: str, model: sv.LanguageModel, task: sv.Task, runs: sv.Runs) -> None:
        self.name, self.runs = f"{name} ({model.name.removesuffix('-llama')})", runs
        self.gain = sv.trace(model, task, metrics=METRICS, progress=False).gain(METRIC)
        self.probes, _ = followed(runs)
        self.is_loss = runs.score == "loss"
        profile = self.gain.recommend()
        boundaries = {
            **self.gain.candidates,
            "profile, ε = 2 %": profile.boundary,
            "probes, ε = 2 %": self.probes.boundary,
            "probes, ε = 5 %": followed(runs, epsilon=0.05)[0].boundary,
            "probes, λ = 0.1": self.probes.recommend(weight=0.1).boundary,
        }
        self.choices = regrets(runs, boundaries)
        full = runs.table().set_index("boundary")["loss" if self.is_loss else "accuracy"][0]
        # Predicted, since the runs may have been made on a busy machine.
        spent = [sum(units(scope, epochs=3).values()) for scope in sv.Scope.suffixes(model)]
        self.choices["cost"] = [spent[k] / spent[0] for k in self.choices["boundary"]]
        self.choices["share"] = self.choices["regret"] / abs(full - runs.zero_shot)

    def lines(self) -> list[str]:
        lines = []
        for row in self.choices.itertuples():
            regret = f"{formats.number(row.regret)} nats" if self.is_loss else f"{100 * row.regret:.1f} points"
            score = f"{row.score:.3f}" if self.is_loss else f"{100 * row.score:.1f} %"
            lines.append(f"| {self.name} | {row.choice} | {row.boundary} | {score} | {regret} | {row.cost:.2f} |")
        return lines

    def curve(self) -> list[str]:
        lines = []
        for row in self.runs.table().to_dict("records"):
            k = row["boundary"]
            keys = ("loss", "loss_low", "loss_high") if self.is_loss else ("accuracy", "low", "high")
            value, low, high = (f"{row[key]:.3f}" if self.is_loss else f"{100 * row[key]:.1f}" for key in keys)
            predicted = f"{formats.percent(self.gain.benefit[k])} | {formats.percent(self.probes.benefit[k])}"
            benefit = formats.percent(row["benefit"])
            line = f"| {self.name} | {k} | {row['lr']:.2g} | {value} | {low} to {high} | {benefit} | {predicted} |"
            lines.append(line)
        before = f"{self.runs.zero_shot:.3f}" if self.is_loss else f"{100 * self.runs.zero_shot:.1f}"
        return [*lines, f"| {self.name} | untrained | | {before} | | 0 % | | |"]

    def ranks(self) -> str:
        found = self.runs.agreement(self.gain, self.probes).spearman().set_index("source")
        cells = []
        for source in ("benefit", "law", "drop", "surplus", "virtual peak", "probes"):
            row = found.loc[source]
            undefined = not np.isfinite(row["rho"])
            cells.append("–" if undefined else f"{row['rho']:.2f} ({row['low']:.2f} to {row['high']:.2f})")
        gain = self.gain
        law = f"{gain.beta:.2f}, {gain.r2:.2f}, {gain.nonmonotone:.2f}" + ("" if gain.applies else ": no law")
        return f"| {self.name} | {law} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
