"""Runs and traces that never were, with numbers whose right answers are known."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
from small import made_parts

from semviz.common.metric_facts import without_function
from semviz.experiments.runs import Runs
from semviz.finetuning.run import Run
from semviz.scopes.scope import Scope
from semviz.traces.metrics import METRICS
from semviz.traces.trace import Trace


def above(k, blocks=4, **options):
    return Scope(tuple(range(k + 1, blocks + 1)), blocks, made_parts(blocks), **options)


def made_run(scope, rows, *, validation_rows=None, score="accuracy", diverged=False, **options) -> Run:
    """A run that never was, with these scores of test rows, and of validation rows where they differ."""
    rows = tuple(float(value) for value in rows)
    held_out = rows if validation_rows is None else tuple(float(value) for value in validation_rows)
    made = {
        "key": f"{scope.label} {options.get('method', 'full')} {options.get('seed', 0)}",
        "model_name": "made",
        "task": "made up",
        "score": score,
        "scope": scope,
        "method": "full",
        "seed": 0,
        "lr": 1e-3,
        "rates": {},
        "epochs": 3,
        "steps": 10,
        "batch_size": 8,
        "accuracy": float(np.mean(rows)) if score == "accuracy" else 0.5,
        "loss": float(np.mean(rows)) if score == "loss" else 1.0,
        "validation": float(np.mean(held_out)) if held_out else np.nan,
        "validation_loss": float("inf") if diverged else 1.0,
        "validation_rows": held_out,
        "f1": None,
        "auroc": None,
        "rows": rows,
        "trainable": scope.trainable,
        "seconds": 1.0,
        "prefix_seconds": 0.0,
        "search_seconds": 0.0,
        "tokens_per_second": 100.0,
        "peak_bytes": 1000,
        "cached": scope.boundary > 0,
        "curve": pd.DataFrame({"step": [1], "loss": [1.0]}),
        "note": "",
        "environment": {},
    }
    return Run(**{**made, **options})


def made_runs(*runs, zero_shot=0.0, **options) -> Runs:
    return Runs(tuple(runs), zero_shot=zero_shot, **options)


def made_trace(profile, *, samples=50, noise=0.0, metric="semantic", virtual=None, seed=0) -> Trace:
    """A trace whose samples scatter around a profile."""
    rng = np.random.default_rng(seed)
    values = {metric: _scatter(rng, profile, samples, noise)}
    if virtual is not None:
        values["virtual"] = _scatter(rng, virtual, samples, noise)
    positions = pd.DataFrame({"sample": range(samples), "role": "answer"})
    return Trace(
        positions=positions,
        values=values,
        nearest=None,
        top1=None,
        vocabulary={},
        facts={key: without_function(METRICS[key]) for key in values},
        meta={"parts": asdict(made_parts(len(profile) - 1, tail=1, head=5, embeddings=5)), "detail": 0},
        paths=np.zeros((0, len(profile), 2), dtype=np.float32),
    )


def _scatter(rng, profile, samples, noise):
    return (np.asarray(profile) + noise * rng.standard_normal((samples, len(profile)))).astype(np.float32)
