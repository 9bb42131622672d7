"""The answer of several runs: which blocks to train, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semviz.common import formats

if TYPE_CHECKING:
    import pandas as pd

    from semviz.common.scores import Score

_CLOSE = 0.05  # share of full finetuning's benefit that may be given up for fewer parameters


def answer(table: pd.DataFrame, *, task: str, score: Score, zero_shot: float, zero_shot_validation: float) -> str:
    """Say which blocks to train, with its cost and score against full finetuning.

    Args:
        table: What `Runs.table` returns.
        task: Name of the task.
        score: The score that compares the runs.
        zero_shot: Score of test rows before finetuning.
        zero_shot_validation: Score of validation rows before finetuning.

    Returns:
        One sentence or two. The scope named is the smallest that keeps 95 % of full finetuning's benefit on validation
        rows, or, where full finetuning does not help there, the best one; the scores are those of test rows.
    """
    improvement = score.sign * (table["validation"] - zero_shot_validation)
    improvement = improvement.round(12)  # means of equal scores differ in their last digits
    full = table.loc[table["share"].idxmax()]
    full_improvement = improvement[full.name]
    if not full_improvement > 0:
        return _answer_without_full(table, improvement, full, task=task, score=score, zero_shot=zero_shot)
    close = table[improvement >= (1 - _CLOSE) * full_improvement]
    best = close.sort_values("trainable", kind="stable").iloc[0]
    reached = score.in_words(best[score.name])
    advice, count = f"On {task}, train {best['scope']}", formats.si(best["trainable"])
    if best["scope"] == full["scope"]:
        return (
            f"{advice} ({count} parameters): no smaller scope that was tried keeps "
            f"{formats.percent(1 - _CLOSE)} of its benefit; it reaches {reached}."
        )
    return (
        f"{advice}: {count} parameters ({formats.percent(best['share'])} of the model) reach {reached} "
        f"against {score.in_words(full[score.name])} with full finetuning, {best['speedup']:.1f} times faster."
    )


def _answer_without_full(
    table: pd.DataFrame, improvement: pd.Series, full: pd.Series, *, task: str, score: Score, zero_shot: float
) -> str:
    """Answer where the largest scope does not improve the validation score."""
    before = score.in_words(zero_shot)
    best = table.loc[improvement.fillna(-np.inf).idxmax()]
    reached = score.in_words(best[score.name])
    if not improvement.max() > 0:
        return (
            f"On {task}, nothing that was tried helped: {before} before finetuning, {reached} with "
            f'{best["scope"]}. More rows, more epochs or lr="auto" may.'
        )
    return (
        f"On {task}, train {best['scope']}: {formats.si(best['trainable'])} parameters reach "
        f"{reached}, from {before}. Training {full['scope']} did not help ({score.in_words(full[score.name])}), so no "
        "share of its benefit can be kept."
    )
