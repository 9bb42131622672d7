"""Small made-up studies for the figure and report tests: the shapes of a trace, a gain and runs, without a model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from semviz.common.metric_facts import MetricFacts, without_function
from semviz.experiments.scope_names import ScopeName
from semviz.lm.parts import Names, Parts
from semviz.traces.difference import TraceDifference
from semviz.traces.metrics import METRICS
from semviz.traces.trace import Trace

TEXT = (
    "The film was so slow that half of the room had left before the second act , and yet the last scene made me "
    "cry like a child again"
)
WORDS = TEXT.split(" ")
LABELS = ("joy", "sadness", "anger", "surprise")
SHAPES = {
    "semantic": np.array([7.4, 6.9, 6.6, 5.9, 4.6, 3.7, 3.1, 2.8, 2.6]),
    "lens": np.array([10.2, 9.1, 8.8, 7.4, 5.2, 3.6, 2.7, 2.2, 1.9]),
    "target": np.array([1.00, 0.98, 0.97, 0.93, 0.86, 0.80, 0.76, 0.74, 0.73]),
    "virtual": np.array([0.0, 0.62, 0.85, 0.95, 1.00, 1.04, 1.01, 1.01, 0.97]),
    "rank": np.array([0.86, 0.81, 0.78, 0.66, 0.44, 0.30, 0.21, 0.17, 0.14]),
}
SPREAD = {"semantic": 0.8, "lens": 1.1, "target": 0.05, "virtual": 0.06, "rank": 0.1}


@dataclass(frozen=True)
class FakeGain:
    facts: MetricFacts
    deviation: np.ndarray
    deviation_low: np.ndarray
    deviation_high: np.ndarray
    gains: np.ndarray
    gains_low: np.ndarray
    gains_high: np.ndarray
    boundary: int
    chosen_share: np.ndarray
    fitted: np.ndarray
    predicted: np.ndarray
    rule: str = "law"
    beta: float = 0.35
    r2: float = 0.93
    nonmonotone: float = 0.04
    message: str = "Freeze blocks 1–4, train blocks 5–8 (law rule on the semantic deviation)."

    flat: bool = False

    @property
    def metric(self) -> str:
        return self.facts.key

    @property
    def n_blocks(self) -> int:
        return len(self.gains)

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "block": np.arange(1, self.n_blocks + 1),
                "gain": self.gains,
                "low": self.gains_low,
                "high": self.gains_high,
            }
        )


@dataclass(frozen=True)
class FakeRuns:
    frame: pd.DataFrame
    task: str = "mood"
    model: str = "demo"
    score: str = "accuracy"
    zero_shot: float | None = 0.23
    sentence: str = (
        "Training blocks 5–8 of 8 keeps 98 % of full finetuning's benefit with half of the parameters, "
        "1.9 times as fast."
    )

    def table(self) -> pd.DataFrame:
        return self.frame.copy()

    def scope_names(self) -> list[ScopeName]:
        """The names in the frame, taken apart."""
        return [
            ScopeName(tuple(str(name).removesuffix(f", {method}").split(" = ")), None, str(method))
            for name, method in zip(self.frame["name"], self.frame["method"], strict=True)
        ]

    def answer(self) -> str:
        return self.sentence


def make_trace(
    *,
    samples: int = 200,
    tokens: int = 26,
    blocks: int = 8,
    detail: int = 4,
    words: tuple[str, ...] | None = None,
    labels: tuple[str, ...] | None = LABELS,
    nearest: bool = True,
    path: str = "slerp",
    model: str = "demo",
    model_hash: str = "3f2a9c11",
    candidates: int | None = 50_000,
    seed: int = 0,
) -> Trace:
    """Make a classification trace: the first ``detail`` samples have every token, the others their answer only."""
    rng = np.random.default_rng(seed)
    text = [(" " if i else "") + w for i, w in enumerate((words or (*WORDS, "\n", "Mood", ":"))[: tokens - 1])]
    vocabulary = dict(enumerate([*(labels or ("next",)), *dict.fromkeys(text), "<s>", "\u202eevil", "<0xE4>", " $x$"]))
    ids = {word: i for i, word in vocabulary.items()}
    rows = []
    for sample in range(samples):
        label = int(rng.integers(len(labels))) if labels else 0
        guess = label if rng.random() < 0.7 or not labels else int(rng.integers(len(labels)))
        sequence = ["<s>", *text]
        for position, token in enumerate(sequence):
            is_answer = position == len(sequence) - 1
            if sample >= detail and not is_answer:
                continue
            special = position == 0
            target = label if is_answer else -1 if special else ids[sequence[position + 1]]
            rows.append(
                {
                    "sample": sample,
                    "position": position,
                    "token_id": ids[token],
                    "token": token,
                    "target_id": target,
                    "target": vocabulary[target] if target >= 0 else "",
                    "label": labels[label] if labels else None,
                    "role": "answer" if is_answer else "special" if special else "context",
                    "predicted": vocabulary[guess],
                    "correct": guess == label if is_answer else None,
                }
            )
    positions = pd.DataFrame(rows)
    positions["correct"] = positions["correct"].astype("boolean")
    gone = positions["target_id"].to_numpy() < 0
    values = {}
    for key, shape in SHAPES.items():
        curve = np.interp(np.linspace(0, 1, blocks + 1), np.linspace(0, 1, len(shape)), shape)
        level = rng.normal(0, 1, (len(rows), 1)) * SPREAD[key]
        noise = rng.normal(0, 0.35, (len(rows), blocks + 1)) * SPREAD[key]
        raw = np.maximum(curve + level * np.linspace(0.2, 1, blocks + 1) + noise, 0)
        raw[gone] = np.nan
        values[key] = raw.astype(np.float32)
    shape = (len(rows), blocks + 1)
    close = rng.integers(0, len(vocabulary), (*shape, 3)).astype(np.int32) if nearest else None
    first = rng.integers(0, len(vocabulary), shape).astype(np.int32)
    whole = int((positions["sample"] < detail).sum())
    paths = make_paths(rng, whole, blocks)
    paths[gone[:whole]] = np.nan
    meta = {
        "model": model, "model_hash": model_hash, "task": "mood", "kind": "classification", "split": "train",
        "samples": samples, "positions": samples, "vocab": "full", "ridge": 0.1, "tau": 0.043, "fidelity": 0.81,
        "path": path, "centred": False, "detail": detail, "semviz": "0.1.0", "seconds": 3.4,
        "parts": asdict(make_parts(blocks)), "readout": "raw", "candidates": candidates,
        "label_names": list(labels or ()),
    }  # fmt: skip
    of_answers = positions.loc[positions["role"] == "answer", "label"]
    return Trace(
        positions=positions,
        values=values,
        nearest=close,
        top1=first if nearest else None,
        vocabulary=vocabulary,
        facts={key: without_function(METRICS[key]) for key in values},
        meta=meta,
        paths=paths,
        label_probabilities=None if labels is None else make_label_probabilities(of_answers, labels, blocks),
    )


def make_label_probabilities(of_answers: pd.Series, labels: tuple[str, ...], blocks: int) -> np.ndarray:
    """Make probabilities of labels that begin as a blind guess and grow towards the right label."""
    rng = np.random.default_rng(11)
    right = np.array([[label == name for name in labels] for label in of_answers], dtype=float)
    depth = np.linspace(0, 1, blocks + 1)[:, None]
    logits = 4 * depth**2 * right[:, None, :] + depth * rng.normal(0, 0.5, (len(right), 1, len(labels)))
    odds = np.exp(logits)
    return (odds / odds.sum(-1, keepdims=True)).astype(np.float32)


def make_paths(rng: np.random.Generator, rows: int, blocks: int) -> np.ndarray:
    """Walk from somewhere off the target's direction to somewhere near it, inside the unit circle."""
    depth = np.linspace(0, 1, blocks + 1)
    angle = np.deg2rad(88 - 62 * depth**1.6) + rng.normal(0, 0.05, (rows, blocks + 1))
    length = 0.45 + 0.35 * depth + rng.normal(0, 0.05, (rows, blocks + 1)) + 0.25 * np.sin(np.pi * depth)
    length = np.clip(length, 0.05, 0.99)
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=-1).astype(np.float32)


def make_difference(before: Trace | None = None, **options: Any) -> TraceDifference:
    """Make a difference as finetuning leaves it: nearer in the upper spaces, the same at space 0, a few get worse."""
    before = before or make_trace(**options)
    rng = np.random.default_rng(7)
    after = replace(
        before, values=dict(before.values), meta={**before.meta, "model": "tuned", "model_hash": "81bb02e4"}
    )
    for key, values in before.values.items():
        depth = np.linspace(0, 1, before.n_blocks + 1) ** 2
        strength = rng.normal(-0.5, 0.4, (len(values), 1)) * SPREAD.get(key, 0.1) * 2
        after.values[key] = (values + strength * depth).astype(np.float32)
    if before.top1 is not None:
        top1 = before.top1.copy()
        top1[:, -1] = 0
        after = replace(after, top1=top1)
    return after - before


def make_text_trace(*, samples: int = 30, tokens: int = 20, blocks: int = 8) -> Trace:
    """Make a language-modelling trace: every token counts, no labels."""
    full = make_trace(samples=samples, tokens=tokens, blocks=blocks, detail=samples, labels=None)
    positions = full.positions.assign(
        role=np.where(full.positions["target_id"] < 0, "special", "next"), label=None, correct=None
    )
    meta = {**full.meta, "kind": "language modelling", "label_names": []}
    return replace(full, positions=positions, meta=meta, label_probabilities=None)


def make_gain(*, blocks: int = 8, boundary: int = 4, law: bool = True, negative: bool = True) -> FakeGain:
    """Make a gain with a fitted law, or one where the law does not apply."""
    curve = np.interp(np.linspace(0, 1, blocks + 1), np.linspace(0, 1, 9), SHAPES["semantic"])
    if negative and blocks > 2:
        curve[-2] = curve[-3] + 0.12
    gains = np.r_[np.nan, -np.diff(np.log(curve))[1:]]
    half = 0.02 + 0.2 * np.abs(np.nan_to_num(gains))
    share = np.zeros(blocks + 1)
    share[boundary] = 0.83
    share[max(boundary - 1, 0)] += 0.17
    depth = np.arange(blocks + 1)
    slope = np.log(curve[1] / curve[-1]) / max(blocks - 1, 1)
    line = curve[1] * np.exp(-slope * (depth - 1.0))
    fitted = np.where((depth > 0) & law, line, np.nan)
    predicted = curve * np.exp(-0.16 * (blocks - depth))
    return FakeGain(
        facts=without_function(METRICS["semantic"]),
        deviation=curve,
        deviation_low=curve - 0.14,
        deviation_high=curve + 0.16,
        gains=gains,
        gains_low=gains - half,
        gains_high=gains + half,
        boundary=boundary,
        chosen_share=share,
        fitted=fitted,
        predicted=predicted,
        nonmonotone=0.04 if law else 0.42,
    )


def make_parts(blocks: int) -> Parts:
    """Make the parts of a small model with a tied head."""
    names = Names(tuple(f"model.layers.{i}" for i in range(blocks)), ("model.norm",), "lm_head", ("self_attn.q_proj",))
    return Parts((100_000,) * blocks, tail=128, head=0, embeddings=900_000, tied_head=900_000, names=names)


def make_runs(*, score: str = "accuracy", names: dict[int, str] | None = None, **options: Any) -> FakeRuns:
    """Make the runs of eight scopes of an 8-block model of 1.7 M parameters."""
    rows = []
    accuracy = (0.786, 0.790, 0.801, 0.812, 0.798, 0.783, 0.779, 0.768)
    known = names or {0: "full", 4: "half = profile", 7: "last"}
    for k, value in enumerate(accuracy):
        share = (8 - k) / 8 * 0.92 + (0.08 if k == 0 else 0)
        loss = 2.1 + 1.3 * (0.82 - value) * 10
        rows.append(
            {
                "scope": f"blocks {k + 1}–8 of 8" if k < 7 else "block 8 of 8",
                "name": known.get(k, f"k={k}"),
                "boundary": k,
                "method": "full",
                "runs": 3,
                "lr": (3e-4, 3e-4, 3e-4, 3e-4, 1e-3, 1e-3, 1e-3, 3e-3)[k],
                "trainable": int(share * 1_710_000),
                "share": share,
                "accuracy": value,
                "low": value - 0.021,
                "high": value + 0.019,
                "loss": loss,
                "loss_low": loss - 0.05,
                "loss_high": loss + 0.05,
                "seconds": 42.0 * (1 - 0.085 * k),
                "speedup": 1 / (1 - 0.085 * k),
                "predicted": (1.0, 0.99, 0.985, 0.98, 0.96, 0.94, 0.9, float("nan"))[k],
                "benefit": (value - 0.23) / (0.786 - 0.23),
            }
        )
    return FakeRuns(pd.DataFrame(rows), score=score, **options)


HOSTILE = ("<img src=x onerror=alert(1)>", "</script>", "$$x$$", "\u202eevil", "a\nb", "&lt;", "%{z}", "<b>x</b>")


def make_hostile_trace() -> Trace:
    """Make a trace whose tokens, labels and names try to break out of every language they pass through."""
    made = make_trace(samples=6, tokens=10, blocks=3, detail=3, words=HOSTILE, labels=("<i>joy</i>", "</script>$$y$$"))
    return replace(made, meta={**made.meta, "task": "<script>alert(2)</script>", "model": "$$m$$</script>"})


def texts(figure: Any) -> list[str]:
    """Every text that Plotly will parse as its small HTML."""
    found: list[str] = []

    def walk(node, key=""):
        if isinstance(node, dict):
            for k, child in node.items():
                walk(child, k)
        elif isinstance(node, list):
            for child in node:
                walk(child, key)
        elif isinstance(node, str) and key in ("text", "ticktext", "customdata", "hovertemplate", "name"):
            found.append(node)

    walk(json.loads(figure.to_json()))
    return found


def named(figure: Any, name: str) -> list[Any]:
    """The traces of this name."""
    return [t for t in figure.data if t.name == name]


def shapes(figure: Any, name: str) -> list[Any]:
    """The shapes of this name."""
    return [s for s in figure.layout.shapes if s.name == name]


def notes(figure: Any) -> str:
    """What stands under the title."""
    return figure.layout.title.subtitle.text.replace("<br>", " ")
