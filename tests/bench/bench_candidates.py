"""What every cheap way of choosing a boundary recommends before anything is trained, against measured curves.

    python tests/bench/bench_candidates.py                       # all pairs that are there
    python tests/bench/bench_candidates.py --pairs mood where

Readouts × vocabularies × metrics × rules of the profile, readability (a classifier on each space's answer states) and
the gradient's share above each boundary, beside plain depths. The curves are those of measured.json; what chooses sees
training rows only. Traces are kept in --store, so that a stopped table goes on. Prints Markdown.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import measured
import numpy as np
import pandas as pd
import torch
from pairs import PAIRS, load, missing, title
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import semviz as sv
from semviz.common import formats
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.suffix_model import Suffix
from semviz.tasks.streaming import stream
from semviz.tasks.tokenizing import encode

METRICS = ("lens", "semantic", "target", "rank", "virtual")
RULES = ("surplus", "law", "drop", "virtual peak")
ENOUGH = 0.95  # of the best readability, and what is left of the gradient
GRADIENT_ROWS = 128


@dataclass(frozen=True)
class Candidate:
    """A way of choosing, its boundary on one pair, and what it predicts for each boundary 0…L−1, if it does."""

    name: str
    boundary: int
    predicted: np.ndarray | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS))
    parser.add_argument("--store", type=Path, default=Path("runs/candidates"))
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    print(f"{date.today()}, {torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}\n")
    curves, rows = measured.load(), []
    for name in options.pairs:
        if missing(name):
            print(f"{title(name)}: needs {missing(name)}, which is not there.\n")
            continue
        curve = curves[title(name)]
        for candidate in candidates(name, curve.n_blocks, options.store):
            rows.append(scored(candidate, curve))
    table = pd.DataFrame(rows)
    print_overall(table)
    print_choices(table)


def scored(candidate: Candidate, curve: measured.Curve) -> dict[str, object]:
    """One row: what the candidate's boundary loses on this pair, and how its prediction ranks the boundaries."""
    regret, rho = curve.regret(candidate.boundary), np.nan
    if candidate.predicted is not None:
        ks = [k for k in sorted(curve.scores) if np.isfinite(candidate.predicted[k])]
        predicted, benefits = [candidate.predicted[k] for k in ks], [curve.benefit(k) for k in ks]
        rho = spearmanr(predicted, benefits).statistic if np.ptp(predicted) else np.nan
    return {
        "pair": curve.pair,
        "candidate": candidate.name,
        "boundary": candidate.boundary,
        "frozen": candidate.boundary / curve.n_blocks,
        "regret": regret,
        "share": regret / curve.improvement,
        "unit": "nats" if curve.score == "loss" else "points",
        "rho": rho,
        "half": curve.regret(curve.n_blocks // 2),
        "fine": regret <= (0.01 if curve.score != "loss" else 0.0) or regret <= 0.02 * curve.improvement,
    }


def candidates(name: str, blocks: int, store: Path) -> Iterator[Candidate]:
    """All candidates on one pair."""
    for depth, k in (("quarter", blocks / 4), ("half", blocks / 2), ("three quarters", 3 * blocks / 4)):
        yield Candidate(depth, round(k), -np.arange(blocks, dtype=float))
    model, task = load(name)
    for vocab in ("full", "labels") if task.labels else ("full",):
        for readout in ("raw", "translated"):
            trace = traced(model, task, readout, vocab, store / f"{name}-{readout}-{vocab}.parquet")
            for metric in METRICS[:-1]:
                for rule in RULES:
                    gain = trace.gain(metric, rule=rule)
                    where = f"{metric}, {readout}, {vocab}"
                    if rule == "virtual peak" and (metric, vocab) != ("lens", "full"):
                        continue
                    label = f"virtual peak, {readout}" if rule == "virtual peak" else f"{rule}: {where}"
                    yield Candidate(label, gain.boundary, gain.benefit[:-1] if rule == "surplus" else None)
    if task.labels:
        readable = readability(model, task)
        reached = int(np.argmax(readable >= ENOUGH * readable.max()))
        yield Candidate("readability", min(max(reached, 1), blocks - 1), readable.max() - readable[:-1])
    share = gradient_share(model, task)
    yield Candidate("gradient share", int(np.flatnonzero(share >= 0.5)[-1]), share)


def traced(model: sv.LanguageModel, task: sv.Task, readout: str, vocab: str, file: Path) -> sv.Trace:
    """The pair's trace of training rows, made once."""
    if not file.exists():
        made = sv.trace(model, task, metrics=METRICS, readout=readout, vocab=vocab, detail=0, progress=False)
        made.save(file)
    return sv.Trace.load(file)


@torch.no_grad()
def readability(model: sv.LanguageModel, task: sv.Task) -> np.ndarray:
    """Accuracy of a cross-validated ridge classifier on each space's answer states, shape (L+1,)."""
    encoded = encode(model, task, "train")
    last = encoded.ids.lengths - 1
    states = np.zeros((len(encoded), model.n_blocks + 1, model.anatomy.width), dtype=np.float32)

    def start(batch):
        at = torch.arange(len(batch.rows)), torch.as_tensor(last[batch.rows])
        return lambda space, hidden: states.__setitem__(
            (batch.rows, space), model.anatomy.output_frame(hidden[at]).float().numpy()
        )

    stream(model, encoded, start, label="Reading answers", progress=False)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 7)))
    return np.asarray(
        [cross_val_score(classifier, states[:, i], encoded.labels, cv=folds).mean() for i in range(states.shape[1])]
    )


def gradient_share(model: sv.LanguageModel, task: sv.Task) -> np.ndarray:
    """Share of the gradient's L1 norm that lies in the blocks above each boundary, before training, shape (L,)."""
    encoded_task = EncodedTask(model, task.subset(train=GRADIENT_ROWS), cache=False, progress=False)
    scope = sv.Scope.full(model)
    suffix = Suffix(
        model, scope, cached=False, own_weights=True, reading=encoded_task.reading, probe=encoded_task.probe()
    )
    part = encoded_task.part("train", 0)
    collate = encoded_task.collator(part)
    blocks = [list(block.parameters()) for block in suffix.trained]
    total: list[list[torch.Tensor]] = [[torch.zeros_like(p) for p in block] for block in blocks]
    for first in range(0, len(part), 16):
        rows = range(first, min(first + 16, len(part)))
        loss = suffix(**collate([part[i] for i in rows]))["loss"] * len(rows)
        flat = [p for block in blocks for p in block]
        gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True))
        for block in total:
            for held in block:
                gradient = next(gradients)
                if gradient is not None:
                    held += gradient
    sums = np.asarray([sum(float(g.abs().sum()) for g in block) for block in total])
    return np.cumsum(sums[::-1])[::-1] / sums.sum()


def print_overall(table: pd.DataFrame) -> None:
    """One row a candidate, over the pairs that it can be used on."""
    pairs = table["pair"].nunique()
    print(f"Over {pairs} pairs; regret as a share of full finetuning's improvement, so that pairs compare:\n")
    _print_head(
        "candidate", "pairs", "mean regret", "worst", "within goal", "no worse than half on", "mean frozen", "mean ρ"
    )
    groups = sorted(table.groupby("candidate", sort=False), key=lambda pair: pair[1]["share"].mean())
    for name, rows in groups:
        no_worse = int((rows["regret"] <= rows["half"] + 1e-12).sum())
        shares = (formats.percent(x, digits=1) for x in (rows["share"].mean(), rows["share"].max()))
        rho = "–" if rows["rho"].isna().all() else f"{rows['rho'].mean():.2f}"
        cells = [name, str(len(rows)), *shares, f"{int(rows['fine'].sum())}", str(no_worse)]
        print("| " + " | ".join([*cells, formats.percent(rows["frozen"].mean()), rho]) + " |")


def print_choices(table: pd.DataFrame) -> None:
    """One row a candidate, one column a pair: boundary and regret."""
    print("\nBoundary and regret on each pair (points of accuracy, or nats):\n")
    pairs = list(dict.fromkeys(table["pair"]))
    _print_head("candidate", *pairs)
    for name, rows in table.groupby("candidate", sort=False):
        by_pair = rows.set_index("pair")
        cells = [_cell(by_pair.loc[pair]) if pair in by_pair.index else "–" for pair in pairs]
        print("| " + " | ".join([name, *cells]) + " |")


def _cell(row: pd.Series) -> str:
    regret = formats.number(row["regret"]) if row["unit"] == "nats" else f"{100 * row['regret']:.1f}"
    return f"{row['boundary']}: {regret}"


def _print_head(*columns: str) -> None:
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")


if __name__ == "__main__":
    main()
