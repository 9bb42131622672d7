"""Do intervals cover what they are said to, and are verdicts as seldom wrong as they say? A simulation; needs no model.

    python tests/bench/bench_coverage.py                       # all, about two minutes on one core
    python tests/bench/bench_coverage.py scores --times 2000   # some of it, more often
    python tests/bench/bench_coverage.py verdicts law

What is to be covered: the expected score, over training seeds and over the population of test rows. With one seed and
no other scope with several it is that one training's expected score, over test rows alone, as the table says.

Scores: seed s answers row i correctly with probability expit(θ + 2·b(i) + τ·a(s)); b and a are standard normal, new
for each repetition. Rows are thus easy or hard for all seeds (two seeds' answers correlate by about .3 to .4), θ gives
the expected score, and τ the standard deviation of a training's true score that the column names (at most a fifth of
the way to the nearest end, so .002 at .99). Verdicts: nine scopes of equal expected score, each with seeds of its own,
share b; to that comes .8·x(i) for each scope. Losses are exp(b)/2 + seeds + half as much noise of the row, in nats.

Law: validation rows of the probes 0, L/2 and L−1 of 8 blocks, one seed, 300 rows, from a score of .4 to .85.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).parents[1]))

from made import above, made_run, made_runs

from semviz.common.intervals import difference_intervals, mean_intervals
from semviz.experiments.probe_fitting import fit_probes
from semviz.experiments.suffix_law import law_curves

Array = NDArray[np.float64]

SEEDS = (1, 2, 3, 5, 10)
ROWS = (50, 500)
SCORES = (0.5, 0.7, 0.9, 0.97, 0.99)
NOISE = (0.0, 0.01, 0.02)
HARD, OWN = 2.0, 0.8  # standard deviations, in logits, of a row's difficulty and of what it is to one scope alone
SCOPES = 4  # in a table of scores; they lend each other seed noise
_DRAWS = np.random.default_rng(0).standard_normal(20_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[int], None]] = {"scores": scores, "verdicts": verdicts, "law": law}
    parser.add_argument("parts", nargs="*", choices=[[], *parts], default=[])
    parser.add_argument("--times", type=int, help="repetitions of every cell")
    options = parser.parse_args()
    usual = {"scores": 150, "verdicts": 200, "law": 50}
    for part in options.parts or parts:
        parts[part](options.times or usual[part])


def scores(times: int) -> None:
    """Coverage of a scope's score."""
    print(
        f"\nCoverage of 95 % intervals of a score; tables of {SCOPES} scopes, {times} times; mean width in brackets.\n"
    )
    _print_row(["seeds", "rows", "seed noise", *(f"true score {score}" for score in SCORES)], is_head=True)
    for seeds in SEEDS:
        for rows in ROWS:
            for noise in NOISE if seeds > 1 else NOISE[:1]:
                cells = [_score_cell(score, seeds=seeds, rows=rows, noise=noise, times=times) for score in SCORES]
                _print_row([seeds, rows, noise if seeds > 1 else "not covered", *cells])
    print("\nThe same for a scope with one seed beside three with three seeds each, which lend their seed noise:\n")
    _print_row(["seeds", "rows", "seed noise", *(f"true score {score}" for score in SCORES)], is_head=True)
    for rows in ROWS:
        for noise in NOISE:
            cells = [_score_cell(s, seeds=3, rows=rows, noise=noise, times=2 * times, lone=True) for s in SCORES]
            _print_row(["1 (3)", rows, noise, *cells])


def _score_cell(score: float, *, seeds: int, rows: int, noise: float, times: int, lone: bool = False) -> str:
    """Coverage and mean width."""
    rng = np.random.default_rng([seeds, rows, int(1000 * score), int(1000 * noise)])
    covered, widths = [], []
    for _ in range(times):
        groups = [answers(rng, score=score, seeds=seeds, rows=rows, noise=noise) for _ in range(SCOPES)]
        if lone:
            groups[-1] = groups[-1][:1]
        for found in mean_intervals(groups)[-1 if lone else 0 :]:
            covered.append(found.low <= score <= found.high)
            widths.append(found.high - found.low)
    return f"{100 * np.mean(covered):.1f} % ({100 * np.mean(widths):.1f})"


def answers(
    rng: np.random.Generator, *, score: float, seeds: int, rows: int, noise: float = 0.0, hard: Array | None = None
) -> Array:
    """Right and wrong answers of one scope, shape (seeds, rows); `hard` is what rows share with other scopes."""
    own = 0.0 if hard is None else OWN
    shift, slope = _logit(score, own)
    tau = min(noise, min(score, 1 - score) / 5) / slope
    shared = rng.standard_normal(rows) if hard is None else hard
    difficulty = HARD * shared + (own * rng.standard_normal(rows) if own else 0.0)
    chance = expit(shift + difficulty + tau * rng.standard_normal((seeds, 1)))
    return (rng.random((seeds, rows)) < chance).astype(float)


@cache
def _logit(score: float, own: float) -> tuple[float, float]:
    """The shift that gives this expected score, and how fast the score changes with it."""
    difficulty = np.hypot(HARD, own) * _DRAWS
    shift = float(brentq(lambda x: expit(x + difficulty).mean() - score, -30, 30))
    chance = expit(shift + difficulty)
    return shift, float((chance * (1 - chance)).mean())


def verdicts(times: int) -> None:
    """Family-wise false verdicts, and power."""
    print(f"\nTables of eight comparisons that have a false verdict (stated: at most 5 %); {times} tables.\n")
    _print_row(["seeds", "rows", "seed noise", "score .7", "score .9", "score .97", "loss"], is_head=True)
    for seeds in SEEDS[1:]:
        for rows in ROWS:
            for noise in NOISE:
                cells = [_false_verdicts([score] * 9, seeds, rows, noise, times) for score in (0.7, 0.9, 0.97)]
                cells.append(_false_verdicts(None, seeds, rows, noise, times))
                _print_row([seeds, rows, noise, *cells])
    print("\nHow often a scope that is 5 points worse (.85 against .9) is found, among eight; 500 rows:\n")
    _print_row(["seeds", *(f"seed noise {noise}" for noise in NOISE)], is_head=True)
    for seeds in SEEDS[1:]:
        cells = [_false_verdicts([0.9, 0.85, *[0.9] * 7], seeds, 500, noise, times, first=True) for noise in NOISE]
        _print_row([seeds, *cells])


def _false_verdicts(
    true: list[float] | None, seeds: int, rows: int, noise: float, times: int, *, first: bool = False
) -> str:
    """Share of tables with a verdict, or of those with one on the first comparison."""
    rng, decided = np.random.default_rng([seeds, rows, int(1000 * noise), int(1000 * sum(true or [0]))]), []
    for _ in range(times):
        hard = rng.standard_normal(rows)
        if true is None:
            groups = [_losses(rng, hard, seeds, noise) for _ in range(9)]
        else:
            groups = [answers(rng, score=s, seeds=seeds, rows=rows, noise=noise, hard=hard) for s in true]
        found = difference_intervals([group - groups[0] for group in groups[1:]])
        verdict = [interval.low > 0 or interval.high < 0 for interval in found]
        decided.append(verdict[0] if first else any(verdict))
    return f"{100 * np.mean(decided):.1f} %"


def _losses(rng: np.random.Generator, hard: Array, seeds: int, noise: float) -> Array:
    """Losses in nats of one scope, shape (seeds, rows)."""
    common = np.exp(hard)
    own = rng.standard_normal(len(hard)) + rng.standard_normal((seeds, len(hard)))
    return 0.5 * common + noise * rng.standard_normal((seeds, 1)) + 0.25 * common * own / np.sqrt(2)


def law(times: int) -> None:
    """Coverage of the suffix law's intervals, at probes and between them."""
    blocks = 8
    k = np.arange(blocks + 1)
    curves = {
        "lawful": law_curves(blocks - k, blocks, np.array([2.0]), np.array([0.7]))[0],
        "lawful, steep": law_curves(blocks - k, blocks, np.array([0.5]), np.array([1.5]))[0],
        "two plateaus": np.array([1, 0.99, 0.97, 0.93, 0.80, 0.78, 0.76, 0.74, 0]),
        "late step": np.array([1, 1, 1, 0.99, 0.97, 0.5, 0.45, 0.42, 0]),
        "straight": 1 - k / blocks,
    }
    print(f"\nCoverage of the suffix law's 95 % intervals by boundary, {times} times; probes at 0, 4 and 7.\n")
    names = [f"k={i}" + (" (probe)" if i in (4, 7) else "") for i in range(1, 8)]
    _print_row(["truth", "seed noise", *names, "mean width", "law alone"], is_head=True)
    for name, curve in curves.items():
        for noise in (0.0, 0.02):
            rng, covered, widths, alone = np.random.default_rng(7), np.zeros(blocks + 1), [], []
            for _ in range(times):
                probes = fit_probes(_probe_runs(rng, curve, noise))
                covered += (probes.low <= curve) & (curve <= probes.high)
                widths.append((probes.high - probes.low)[1:8].mean())
                ends = np.quantile(probes.drawn, [0.025, 0.975], axis=0)
                alone.append((ends[1] - ends[0])[1:8].mean())
            shares = [f"{100 * share:.0f} %" for share in covered[1:8] / times]
            _print_row([name, noise, *shares, f"{np.mean(widths):.2f}", f"{np.mean(alone):.2f}"])


def _probe_runs(rng: np.random.Generator, curve: Array, noise: float, *, rows: int = 300):
    """Three probes whose validation rows are as hard for all of them."""
    hard = rng.standard_normal(rows)
    low, high = 0.4, 0.85

    def row_scores(score: float) -> tuple[float, ...]:
        return tuple(answers(rng, score=score, seeds=1, rows=rows, hard=hard)[0])

    runs = []
    for k in (0, 4, 7):
        true = round(low + (high - low) * curve[k] + noise * rng.standard_normal(), 3)
        runs.append(made_run(above(k, 8), row_scores(true)))
    return made_runs(*runs, zero_shot=low, untrained_rows=row_scores(low))


def _print_row(cells: list[object], *, is_head: bool = False) -> None:
    print("| " + " | ".join(map(str, cells)) + " |" + ("\n" + "|---" * len(cells) + "|" if is_head else ""), flush=True)


if __name__ == "__main__":
    main()
