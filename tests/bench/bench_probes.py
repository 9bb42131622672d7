"""Probes that check themselves: what they recommend, what that loses, and what finding it costs.

    python tests/bench/bench_probes.py simulate                       # measured curves with noise drawn anew; a minute
    python tests/bench/bench_probes.py replay --store runs/method     # what bench_method.py made; a minute

*Simulate*: the curves are those of measured.json (test scores over seeds), taken for the truth; validation rows are
drawn from them, as hard for every boundary (correlation 0.6), with a point of seed noise; losses get the scatter that
the curve has about a straight line. *Replay*: nothing is drawn; the probes are runs in a store that were made with its
first seed, and what is lost is that of test rows over all seeds.

Time is the cost table's times the number of learning rates tried (simulate: the same number everywhere), as a share of
a sweep over eight boundaries, or all of them where there are fewer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import measured
import numpy as np
import pandas as pd
from pairs import PAIRS, load
from scipy.special import ndtr

import semviz as sv
from semviz.common.scores import score_named
from semviz.experiments.kept_benefit import enough, smoothed
from semviz.experiments.next_boundary import bracket, next_boundary
from semviz.experiments.probes import Probes
from semviz.experiments.run_store import Store
from semviz.experiments.runs import Runs
from semviz.experiments.suffix_law import fit_suffix_law
from semviz.finetuning.run import Run
from semviz.gains.scaling_law import EPSILON

EPOCHS, SEED_NOISE, ROWS = 3, 0.01, 300
Choice = tuple[int, list[int]]  # the boundary, and what was trained for it


@dataclass(frozen=True)
class Curve:
    """Scores by boundary, larger is better; `scatter` is the noise of a loss, 0 for accuracies."""

    name: str
    scores: np.ndarray
    untrained: float
    scatter: float = 0.0

    @property
    def tolerated(self) -> float:
        """The regret of the goal: a point, or 2 % of full finetuning's improvement if that is more."""
        return max(0.0 if self.scatter else 0.01, 0.02 * (self.scores[0] - self.untrained)) + 1e-9


def costs(n_blocks: int) -> np.ndarray:
    k = np.arange(n_blocks)
    return (k + 3 * EPOCHS * (n_blocks - k)) / (3 * EPOCHS * n_blocks)


def eight(n_blocks: int) -> np.ndarray:
    return np.unique(np.linspace(0, n_blocks - 1, min(8, n_blocks)).round().astype(int))


def curves() -> list[Curve]:
    """The measured curves; between measured boundaries a score is taken on a straight line."""
    found = []
    for curve in measured.load().values():
        scores = np.asarray([curve.sign * curve.at(k) for k in range(curve.n_blocks)])
        x, scatter = np.arange(len(scores)), 0.0
        if curve.score == "loss":
            scatter = float(np.std(scores - np.polyval(np.polyfit(x, scores, 1), x)))
        found.append(Curve(curve.pair, scores, curve.sign * curve.untrained, scatter))
    return found


@dataclass(frozen=True)
class Drawn:
    """Improvements of validation scores by boundary, whether full finetuning's is beyond noise, and one row's worth."""

    improvement: np.ndarray
    helps: bool
    one_row: float


def drawn(curve: Curve, rng: np.random.Generator) -> Drawn:
    n_blocks = len(curve.scores)
    if curve.scatter:
        noisy = curve.scores + curve.scatter * rng.standard_normal(n_blocks)
        return Drawn(noisy - curve.untrained, helps=True, one_row=0.0)
    hard = rng.standard_normal(ROWS)
    shares = np.append(curve.scores + SEED_NOISE * rng.standard_normal(n_blocks), curve.untrained)
    own = rng.standard_normal((n_blocks + 1, ROWS))
    right = ndtr(np.sqrt(0.6) * hard + np.sqrt(0.4) * own) < shares[:, None]
    gained = right[:-1].astype(float) - right[-1]
    noise = np.sqrt(gained[0].var() / ROWS + (0.05 * right[0].std()) ** 2)
    return Drawn(gained.mean(1), helps=bool(gained[0].mean() > 1.96 * noise), one_row=1 / ROWS)


def step(seen: Drawn, *, epsilon: float = EPSILON, most: int | None = None, smooth: bool = True) -> Choice:
    """What `probe` does, on improvements instead of runs."""
    n_blocks, measured = len(seen.improvement), [0, len(seen.improvement) - 1]
    while seen.helps:
        ks = sorted(measured)
        line = smoothed(seen.improvement[ks]) if smooth else seen.improvement[ks]
        keeps = enough(line, float(line[0]), epsilon=epsilon, one_row=seen.one_row)
        kept = dict(zip(ks, keeps.tolist(), strict=True))
        k = next_boundary(kept, n_blocks, most=most)
        if k is None:
            return bracket(kept, n_blocks)[0], measured
        measured.append(k)
    return 0, measured


def by_law(seen: Drawn) -> Choice:
    """What three probes and the law recommended before: a boundary that nobody measured."""
    n_blocks = len(seen.improvement)
    ks = sorted({0, n_blocks // 2, n_blocks - 1})
    if not seen.helps:
        return 0, ks
    shares = seen.improvement[ks] / seen.improvement[0]
    _, lines = fit_suffix_law(n_blocks - np.asarray(ks, dtype=float), shares, n_blocks)
    return int(np.flatnonzero(lines[0][:n_blocks] >= 1 - EPSILON)[-1]), ks


def half(seen: Drawn) -> Choice:
    k = len(seen.improvement) // 2
    return k, [k]


WAYS: dict[str, Callable[[Drawn], Choice]] = {
    "**probes** (default)": step,
    "at most three": partial(step, most=3),
    "at most four, below the half too": partial(step, most=4),
    "down to one block": partial(step, most=99),
    "not smoothed": partial(step, smooth=False),
    "ε = 1 %": partial(step, epsilon=0.01),
    "ε = 5 %": partial(step, epsilon=0.05),
    "three probes and the law": by_law,
    "freeze half": half,
    "train all": lambda _seen: (0, [0]),
}


def simulate(times: int) -> None:
    found = curves()
    print("| way | pairs | regret | within the goal | no worse than half | time against eight | trains at cost |")
    print("|---|---|---|---|---|---|---|")
    for way, choose in WAYS.items():
        rows = [row for curve in found for row in _tried(curve, choose, times)]
        table = pd.DataFrame(rows)
        parts = {"all": table, "demo": table[table["demo"]], "others": table[~table["demo"]]}
        for part, some in parts.items():
            if part == "all" or way.startswith("**"):
                goal = f"{some['within'].mean() * some['pair'].nunique():.1f} of {some['pair'].nunique()}"
                print(
                    f"| {way} | {part} | {some['regret'].mean():.1%} | {goal} | {some['safe'].mean():.0%} | "
                    f"{some['time'].mean():.0%} | {some['cost'].mean():.2f} |",
                    flush=True,
                )
    print("\n| pair | regret | within the goal | no worse than half | time | of a full sweep | trains at cost | runs |")
    print("|---|---|---|---|---|---|---|---|")
    for curve in found:
        mean = pd.DataFrame(_tried(curve, step, times)).drop(columns="pair").mean()
        print(
            f"| {curve.name} | {mean['regret']:.1%} | {mean['within']:.0%} | {mean['safe']:.0%} | {mean['time']:.0%} | "
            f"{mean['sweep']:.0%} | {mean['cost']:.2f} | {mean['runs']:.1f} |"
        )


def _tried(curve: Curve, choose: Callable[[Drawn], Choice], times: int) -> Iterable[dict[str, object]]:
    rng = np.random.default_rng(0)
    cost, n_blocks = costs(len(curve.scores)), len(curve.scores)
    for _ in range(times):
        k, measured = choose(drawn(curve, rng))
        regret, half = (curve.scores.max() - curve.scores[j] for j in (k, n_blocks // 2))
        yield {
            "pair": curve.name,
            "demo": "demo" in curve.name,
            "regret": regret / (curve.scores[0] - curve.untrained),
            "within": regret <= curve.tolerated,
            "safe": regret <= half + 1e-12,
            "time": cost[measured].sum() / cost[eight(n_blocks)].sum(),
            "sweep": cost[measured].sum() / cost.sum(),
            "cost": cost[k],
            "runs": len(measured),
        }


def followed(runs: Runs, *, epsilon: float = EPSILON) -> tuple[Probes, list[int]]:
    """Probe out of runs that are there, first seed only; and what was looked at, in this order."""
    first = min(run.seed for run in runs)
    alone = replace(runs, runs=tuple(run for run in runs if run.seed == first))
    there = {run.scope.boundary for run in alone if run.scope.is_suffix and run.method == "full"}
    measured = [0, runs.runs[0].scope.n_blocks - 1]
    while True:
        probes = alone.probes(measured, epsilon=epsilon)
        k = next_boundary(probes.kept, probes.n_blocks) if probes.helps else None
        if k is None or k not in there:
            return probes, measured
        measured.append(k)


def stored(model: sv.LanguageModel, task: sv.Task, folder: Path) -> Runs:
    """The runs of a store, without training anything."""
    store = Store(folder)
    found = [run for key in store.keys() if (run := store.find(key)) is not None]  # noqa: SIM118
    first = min(run.seed for run in found)
    whole = sv.sweep(model, task, [sv.Scope.full(model)], seeds=[first], store=folder, progress=False, **how(found[0]))
    return replace(whole, runs=tuple(run.named(model, task) for run in found))


def how(run: Run) -> dict[str, float]:
    return {"epochs": run.epochs, "batch_size": run.batch_size}


def replay(names: list[str], store: Path) -> None:
    print("| pair | measured | recommends | regret | goal | half's regret | time against eight | of those stored |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        runs = stored(*load(name), store / name)
        probes, measured = followed(runs)
        score = score_named(runs.score)
        table = runs.table().set_index("boundary")
        reached = score.sign * table[score.name]
        improvement = reached[0] - score.sign * runs.zero_shot
        n_blocks = probes.n_blocks
        rates = {run.scope.boundary: max(1, len(run.rates)) for run in reversed(runs.runs)}
        time = {k: probes.cost[k] * rates[k] for k in rates}
        reference = [k for k in eight(n_blocks).tolist() if k in time] if n_blocks <= 8 else sorted(time)[:8]
        regret, half = (reached.max() - reached[k] for k in (probes.boundary, n_blocks // 2))
        goal = max(0.01 if score.is_share else 0.0, 0.02 * improvement)
        spent = sum(time[k] for k in measured)
        print(
            f"| {runs.task} ({runs.model}) | {', '.join(map(str, measured))} | {probes.boundary} | {regret:.3f} "
            f"({regret / improvement:.1%}) | {goal:.3f} | {half:.3f} | "
            f"{spent / sum(time[k] for k in reference):.0%} | {spent / sum(time.values()):.0%} of {len(time)} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulate", "replay"))
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS))
    parser.add_argument("--store", type=Path, default=Path("runs/method"), help="with a folder for each pair")
    parser.add_argument("--times", type=int, default=300)
    options = parser.parse_args()
    replay(options.pairs, options.store) if options.what == "replay" else simulate(options.times)


if __name__ == "__main__":
    main()
