"""Measured curves of all pairs, kept beside the benchmarks: hours of training that a new rule need not repeat."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "measured.json"


@dataclass(frozen=True)
class Curve:
    """What finetuning above each measured boundary reached on test rows.

    `scores` and `rates` go by boundary; `untrained` is the score before; `score` is `"accuracy"` or `"loss"`.
    """

    pair: str
    n_blocks: int
    score: str
    untrained: float
    scores: dict[int, float]
    rates: dict[int, float]
    seeds: dict[int, int]
    setting: str

    @property
    def sign(self) -> int:
        return -1 if self.score == "loss" else 1

    def at(self, boundary: int) -> float:
        """The score there, on a straight line between the nearest measured boundaries."""
        ks = sorted(self.scores)
        return float(np.interp(boundary, ks, [self.scores[k] for k in ks]))

    @property
    def improvement(self) -> float:
        """What full finetuning improves, as a positive number."""
        return self.sign * (self.scores[0] - self.untrained)

    def benefit(self, boundary: int) -> float:
        """Share of full finetuning's improvement."""
        return self.sign * (self.at(boundary) - self.untrained) / self.improvement

    def regret(self, boundary: int) -> float:
        """Best measured score minus the score there, in the score's unit, at least 0."""
        return max(self.sign * score for score in self.scores.values()) - self.sign * self.at(boundary)


def load() -> dict[str, Curve]:
    """All curves by pair."""
    record = json.loads(FILE.read_text(encoding="utf-8"))
    by_boundary = ("scores", "rates", "seeds")
    return {
        pair: Curve(pair, **{k: {int(b): v for b, v in x.items()} if k in by_boundary else x for k, x in one.items()})
        for pair, one in record.items()
    }


def keep(curve: Curve) -> None:
    """Add or replace a pair's curve in the file."""
    record = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    fields = {name: value for name, value in vars(curve).items() if name != "pair"}
    record[curve.pair] = fields
    FILE.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
