"""The answer of several runs: which blocks to train, in a few sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semviz.common import formats
from semviz.common.intervals import ONE_SEED

if TYPE_CHECKING:
    import pandas as pd

    from semviz.common.scores import Score

_CLOSE = 0.05  # share of full finetuning's benefit that may be given up for fewer parameters
_FEW_ROWS = 30
_FEW_STEPS = 10


@dataclass(frozen=True)
class Evidence:
    """What an answer rests on.

    Attributes:
        test_rows, validation_rows: How many there are.
        steps: Optimizer steps of a run.
        searched: Whether learning rates were searched for.
    """

    test_rows: int
    validation_rows: int
    steps: int
    searched: bool


def answer(
    table: pd.DataFrame,
    *,
    task: str,
    score: Score,
    zero_shot: float,
    zero_shot_validation: float,
    evidence: Evidence,
) -> str:
    """Say which blocks to train, with its cost and score against full finetuning.

    Args:
        table: What `Runs.table` returns; the scores of a scope whose runs all diverged are NaN.
        task: Name of the task.
        score: The score that compares the runs.
        zero_shot: Score of test rows before finetuning.
        zero_shot_validation: Score of validation rows before finetuning.
        evidence: What the runs rest on; where that is little, the answer begins with it.

    Returns:
        A few sentences. The scope named is the smallest that keeps 95 % of full finetuning's benefit on validation
        rows, or, where full finetuning does not help there, the best one; the scores are those of test rows, with their
        95 % intervals.
    """
    trained = table[np.isfinite(table["validation"])]
    sentences = [_little(evidence)]
    if trained.empty:
        sentences.append(f"On {task}, nothing can be said: every run diverged. Pass a smaller lr.")
    else:
        sentences.append(
            _choice(
                trained,
                task=task,
                score=score,
                zero_shot=zero_shot,
                zero_shot_validation=zero_shot_validation,
                searched=evidence.searched,
            )
        )
        sentences.append(_failures(table))
    return " ".join(sentence for sentence in sentences if sentence)


def _little(evidence: Evidence) -> str:
    """Say what there is too little of."""
    counts = (
        (evidence.test_rows, _FEW_ROWS, "test row"),
        (evidence.validation_rows, _FEW_ROWS, "validation row"),
        (evidence.steps, _FEW_STEPS, "optimizer step"),
    )
    # Runs that do not know their validation rows have none.
    few = [f"{n} {what}{'s' if n != 1 else ''}" for n, enough, what in counts if 0 < n < enough]
    if not few:
        return ""
    listed = few[0] if len(few) == 1 else f"{', '.join(few[:-1])} and {few[-1]}"
    return f"A trial, not evidence: only {listed}."


def _choice(
    table: pd.DataFrame, *, task: str, score: Score, zero_shot: float, zero_shot_validation: float, searched: bool
) -> str:
    """Choose a scope among those that trained."""
    improvement = score.sign * (table["validation"] - zero_shot_validation)
    improvement = improvement.round(12)  # means of equal scores differ in their last digits
    full = table.loc[table["share"].idxmax()]
    full_improvement = improvement[full.name]
    if not full_improvement > 0:
        return _choice_without_full(table, improvement, full, task=task, score=score, zero_shot=zero_shot)
    close = table[improvement >= (1 - _CLOSE) * full_improvement]
    best = close.sort_values("trainable", kind="stable").iloc[0]
    reached = _reached(best, score)
    advice, count = f"On {task}, train {best['scope']}", formats.si(best["trainable"])
    noise = _within_noise(full, score, zero_shot)
    if best.name == full.name:
        return (
            f"{advice} ({count} parameters): no smaller scope that was tried keeps "
            f"{formats.percent(1 - _CLOSE)} of its benefit; it reaches {reached}.{noise}"
        )
    return (
        f"{advice}: {count} parameters ({formats.percent(best['share'])} of the model) reach {reached} "
        f"against {_reached(full, score)} with {_scope_name(full)}{_speed(best, full, searched=searched)}.{noise}"
    )


def _choice_without_full(
    table: pd.DataFrame, improvement: pd.Series, full: pd.Series, *, task: str, score: Score, zero_shot: float
) -> str:
    """Choose where the largest scope does not improve the validation score."""
    before = score.in_words(zero_shot)
    best = table.loc[improvement.idxmax()]
    reached = _reached(best, score)
    if not improvement.max() > 0:
        return (
            f"On {task}, nothing that was tried helped: {before} before finetuning, {reached} with "
            f'{best["scope"]}. More rows, more epochs or lr="auto" may.'
        )
    return (
        f"On {task}, train {best['scope']}: {formats.si(best['trainable'])} parameters reach "
        f"{reached}, from {before}. Training {full['scope']} did not help ({_reached(full, score)}), so no "
        f"share of its benefit can be kept.{_within_noise(best, score, zero_shot)}"
    )


def _reached(row: pd.Series, score: Score) -> str:
    """Write a scope's score with its interval: `91.0 % accuracy (95 %: 88.1 % to 93.3 %, one seed)`."""
    value, low, high = (float(row[column]) for column in score.columns)
    if not (math.isfinite(low) and math.isfinite(high)):
        return score.in_words(value)
    seeds = ", one seed" if row["covers"] == ONE_SEED else ""
    return f"{score.in_words(value)} (95 %: {score.number(low)} to {score.number(high)}{seeds})"


def _within_noise(row: pd.Series, score: Score, zero_shot: float) -> str:
    """A sentence where a scope's interval holds the score before finetuning."""
    _, low, high = (float(row[column]) for column in score.columns)
    if not low <= zero_shot <= high:
        return ""
    return f" Before finetuning it was {score.in_words(zero_shot)}, which {row['scope']} cannot be told apart from."


def _scope_name(row: pd.Series) -> str:
    """What the largest scope is called in a sentence."""
    is_full = row["boundary"] == 0 and row["suffix"] and row["method"] == "full"
    return "full finetuning" if is_full else f"{row['scope']} ({row['method']})"


def _speed(best: pd.Series, full: pd.Series, *, searched: bool) -> str:
    """How much faster a scope trains than the largest one, and whether the search for learning rates counts."""
    ratio = float(full["seconds"] / best["seconds"]) if best["seconds"] > 0 else math.nan
    if not math.isfinite(ratio):
        return ""
    ratio, way = (ratio, "faster") if ratio >= 1 else (1 / ratio, "slower")
    if ratio < 1.05:
        return ", in the same time"
    return f", {ratio:.1f} times {way}" + (" at its learning rate, the search for it not counted" if searched else "")


def _failures(table: pd.DataFrame) -> str:
    """Name the runs that diverged and so count for nothing."""
    failed = table[table["diverged"] > 0]
    if failed.empty:
        return ""
    named = ", ".join(f"{n} of {runs} of {scope}" for n, runs, scope in failed[["diverged", "runs", "scope"]].values)
    return f"Runs that diverged and were left out: {named}."
