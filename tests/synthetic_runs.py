"""Small made-up results of runs for the figure tests: probes, agreements, comparisons, ranges and learning curves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import synthetic


@dataclass(frozen=True)
class FakeProbes:
    """A prediction with three probe runs, of the shapes that a suffix law gives."""

    benefit: np.ndarray
    low: np.ndarray
    high: np.ndarray
    points: pd.DataFrame
    boundary: int = 4
    epsilon: float = 0.05
    model: str = "demo"
    task: str = "mood"
    message: str = "Freeze blocks 1–4, train blocks 5–8: 96 % of full finetuning's improvement is predicted."

    @property
    def n_blocks(self) -> int:
        return len(self.benefit) - 1


@dataclass(frozen=True)
class FakeAgreement:
    table: pd.DataFrame
    ranks: pd.DataFrame
    model: str = "demo"
    task: str = "mood"

    def frame(self) -> pd.DataFrame:
        return self.table.copy()

    def spearman(self) -> pd.DataFrame:
        return self.ranks.copy()


@dataclass(frozen=True)
class FakeComparison:
    table: pd.DataFrame
    model: str = "demo"
    task: str = "mood"
    score: str = "accuracy"
    reference: str = "full"

    def frame(self) -> pd.DataFrame:
        return self.table.copy()


@dataclass(frozen=True)
class FakeScope:
    label: str


@dataclass(frozen=True)
class FakeRun:
    curve: pd.DataFrame
    scope: FakeScope = field(default_factory=lambda: FakeScope("blocks 5–8 of 8"))
    method: str = "full"
    seed: int = 0
    lr: float = 3e-4
    model_name: str = "demo"
    task: str = "mood"


def make_ranges(*, blocks: int = 8, score: str = "accuracy", **options: Any) -> synthetic.FakeRuns:
    """Make the runs of every contiguous range; training more and higher blocks scores more."""

    def accuracy(first: int, last: int) -> float:
        return 0.5 + 0.2 * ((last - first + 1) / blocks) ** 0.5 + 0.1 * last / blocks - 0.03 * (first == 1)

    rows = []
    for first in range(1, blocks + 1):
        for last in range(first, blocks + 1):
            share = (last - first + 1) / blocks
            value = accuracy(first, last)
            rows.append(
                {
                    "scope": f"block{'s' * (first < last)} {first}{f'–{last}' if first < last else ''} of {blocks}",
                    "name": f"k={first - 1}" if last == blocks else f"blocks {first}–{last}",
                    "boundary": first - 1, "method": "full", "runs": 3, "lr": 3e-4,
                    "trainable": int(share * 1_600_000), "share": 0.92 * share,
                    "accuracy": value, "low": value - 0.02, "high": value + 0.02,
                    "loss": 3 - value, "loss_low": 2.98 - value, "loss_high": 3.02 - value,
                    "seconds": 40 * (1 - (first - 1) / blocks), "speedup": 1.0, "predicted": np.nan,
                    "benefit": (value - 0.23) / (accuracy(1, blocks) - 0.23), "first": first, "last": last,
                    "suffix": last == blocks,
                }
            )  # fmt: skip
    frame = pd.DataFrame(rows).astype({"first": "Int64", "last": "Int64"})
    return synthetic.FakeRuns(frame, score=score, **options)


def make_probes(*, blocks: int = 8, **options: Any) -> FakeProbes:
    trained = blocks - np.arange(blocks + 1)
    curve = (1 - (trained / 0.8 + 1) ** -0.9) / (1 - (blocks / 0.8 + 1) ** -0.9)
    half = 0.03 + 0.1 * curve * (1 - curve)
    half[[0, blocks]] = 0
    known = [0, blocks // 2, blocks - 1]
    points = pd.DataFrame(
        {
            "boundary": known, "benefit": curve[known] + 0.01, "low": curve[known] - 0.05,
            "high": curve[known] + 0.06,
        }
    )  # fmt: skip
    return replace(FakeProbes(curve, curve - half, curve + half, points, boundary=blocks // 2), **options)


SOURCES = {"law": "benefit", "drop": "gain (nats)", "surplus": "gain", "virtual peak": "1 − cos", "probes": "benefit"}


def make_agreement(*, blocks: int = 8, sources: dict[str, str] = SOURCES, **options: Any) -> FakeAgreement:
    rng = np.random.default_rng(3)
    measured = np.linspace(1, 0.62, blocks) + rng.normal(0, 0.02, blocks)
    rows, ranks = [], []
    for number, (source, unit) in enumerate(sources.items()):
        scale = 1.0 if unit == "benefit" else 0.01 * 10**number
        predicted = scale * (measured + rng.normal(0, 0.03 + 0.05 * number, blocks))
        rows += [
            {
                "source": source, "boundary": k, "predicted": predicted[k], "measured": measured[k],
                "low": measured[k] - 0.05, "high": measured[k] + 0.05,
            }
            for k in range(blocks)
        ]  # fmt: skip
        ranks.append(
            {"source": source, "rho": 0.9 - 0.3 * number, "low": 0.4 - 0.3 * number, "high": 0.98, "unit": unit}
        )
    return FakeAgreement(pd.DataFrame(rows), pd.DataFrame(ranks), **options)


def make_comparison(*, score: str = "accuracy", names: tuple[str, ...] = (), **options: Any) -> FakeComparison:
    sign = -1 if score == "loss" else 1
    rows = []
    for i, (name, value, half) in enumerate(
        [("half = profile", 0.021, 0.012), ("k=2", 0.004, 0.015), ("k=6", -0.009, 0.013), ("last", -0.05, 0.02),
         ("half, lora", -0.012, 0.009), ("last 2, random", -0.0003, 0.03)]
    ):  # fmt: skip
        verdict = "undecided" if abs(value) < half else "better" if value > 0 else "worse"
        ends = sorted((sign * (value - half), sign * (value + half)))
        rows.append(
            {
                "name": names[i] if i < len(names) else name, "scope": f"blocks {i + 1}–8 of 8",
                "method": "lora" if "lora" in name else "full", "difference": sign * value, "low": ends[0],
                "high": ends[1], "verdict": verdict, "seeds": 3,
            }
        )  # fmt: skip
    return FakeComparison(pd.DataFrame(rows), score=score, **options)


def make_run(*, steps: int = 50, level: float = 1.2, model: str = "demo", **options: Any) -> FakeRun:
    rng = np.random.default_rng(steps)
    step = np.arange(1, steps + 1) * 4
    loss = level + 1.3 * np.exp(-step / 40) + rng.normal(0, 0.05, steps)
    return FakeRun(pd.DataFrame({"step": step, "loss": loss}), model_name=model, **options)


def make_learning(count: int = 6) -> list[FakeRun]:
    labels = ("blocks 1–8 of 8", "blocks 5–8 of 8", "block 8 of 8")
    return [
        make_run(
            steps=50 + i, level=0.9 + 0.2 * (i // 2 % 3) + 0.03 * (i % 2), scope=FakeScope(labels[i // 2 % 3]),
            seed=i % 2 + 2 * (i // 6), lr=1e-3,
        )
        for i in range(count)
    ]  # fmt: skip
