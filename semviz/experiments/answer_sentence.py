"""The answer of several runs: which blocks to train, in a few sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from semviz.common import formats
from semviz.common.intervals import ONE_SEED
from semviz.experiments.evidence import Evidence
from semviz.experiments.kept_benefit import enough, smoothed

if TYPE_CHECKING:
    import pandas as pd

    from semviz.common.scores import Score

_UNSCORED = "no run has a score on validation rows"


def answer(
    table: pd.DataFrame,
    *,
    task: str,
    score: Score,
    zero_shot: float,
    zero_shot_validation: float,
    evidence: Evidence,
    epsilon: float,
    may_be_noise: Callable[[int], bool],
) -> str:
    """Say which blocks to train, with its cost and score against full finetuning.

    Args:
        table: What `Runs.table` returns; the scores of a scope whose runs all diverged are NaN.
        task: Name of the task.
        score: The score that compares the runs.
        zero_shot: Score of test rows before finetuning.
        zero_shot_validation: Score of validation rows before finetuning.
        evidence: What the runs rest on; where that is little, the answer begins with it.
        epsilon: ε, the share of full finetuning's benefit that may be given up.
        may_be_noise: Says of a row of the table whether its improvement on validation rows may be none.

    Returns:
        A few sentences. The scope named is the smallest that keeps 1 − ε of full finetuning's benefit on validation
        rows, as probes judge it, or, where full finetuning does not help there beyond noise, the best one that does;
        the scores are those of test rows, with their 95 % intervals.
    """
    trained = table[np.isfinite(table["validation"])]
    sentences = [evidence.caution]
    if trained.empty:
        why = "every run diverged. Pass a smaller lr" if (table["diverged"] == table["runs"]).all() else _UNSCORED
        sentences.append(f"On {task}, nothing can be said: {why}.")
    else:
        sentences.append(
            _choice(
                trained,
                task=task,
                score=score,
                zero_shot=zero_shot,
                zero_shot_validation=zero_shot_validation,
                evidence=evidence,
                epsilon=epsilon,
                may_be_noise=may_be_noise,
            )
        )
        sentences.append(_failures(table))
    return " ".join(sentence for sentence in sentences if sentence)


def _choice(
    table: pd.DataFrame,
    *,
    task: str,
    score: Score,
    zero_shot: float,
    zero_shot_validation: float,
    evidence: Evidence,
    epsilon: float,
    may_be_noise: Callable[[int], bool],
) -> str:
    """Choose a scope among those that trained."""
    improvement = score.sign * (table["validation"] - zero_shot_validation)
    improvement = improvement.round(12)  # means of equal scores differ in their last digits
    full = table.loc[table["share"].idxmax()]
    full_improvement = improvement[full.name]
    if not full_improvement > 0 or may_be_noise(full.name):
        sure = [i for i in table.index if improvement[i] > 0 and not may_be_noise(i)]
        return _choice_without_full(table, improvement, sure, full, task=task, score=score, zero_shot=zero_shot)
    one_row = 1 / evidence.validation_rows if score.is_share and evidence.validation_rows else 0.0
    curve = _falling(table, improvement)
    close = table[enough(curve.to_numpy(), float(curve[full.name]), epsilon=epsilon, one_row=one_row)]
    best = close.sort_values("trainable", kind="stable").iloc[0]
    reached = _reached(best, score)
    advice, count = f"On {task}, train {best['scope']}", formats.si(best["trainable"])
    before = _beside_before([best, full], score, zero_shot)
    if best.name == full.name:
        if len(table) == 1:
            return f"{advice} ({count} parameters), beside which nothing was measured: it reaches {reached}.{before}"
        return (
            f"{advice} ({count} parameters): no smaller scope that was tried keeps "
            f"{formats.percent(1 - epsilon)} of its benefit; it reaches {reached}.{before}"
        )
    speed = _speed(best, full, searched=evidence.searched)
    return (
        f"{advice}: {count} parameters ({formats.percent(best['share'])} of the model) reach {reached} "
        f"against {_reached(full, score)} with {_scope_name(full)}{speed}.{before}"
    )


def _falling(table: pd.DataFrame, improvement: pd.Series) -> pd.Series:
    """Smooth the improvements of suffixes as probes do, so that runs and probes give the same advice."""
    curve = improvement.astype(float)
    suffixes = table[table["suffix"] & (table["method"] == "full")].sort_values("boundary").index
    if len(suffixes):
        seeds = (table["runs"] - table["diverged"])[suffixes].tolist()
        curve[suffixes] = smoothed(improvement[suffixes].to_numpy(dtype=float), seeds)
    return curve


def _choice_without_full(
    table: pd.DataFrame,
    improvement: pd.Series,
    sure: list[int],
    full: pd.Series,
    *,
    task: str,
    score: Score,
    zero_shot: float,
) -> str:
    """Choose among those that surely improve the validation score, where the largest scope does not."""
    before = score.in_words(zero_shot)
    best = table.loc[improvement[sure or table.index].idxmax()]
    reached = _reached(best, score)
    if not sure:
        perfect = score.is_share and zero_shot == 1
        hint = "There is nothing to improve on these rows." if perfect else 'More rows, more epochs or lr="auto" may.'
        return (
            f"On {task}, nothing that was tried helped{_beyond_noise(improvement.max())}: {before} before finetuning, "
            f"{reached} with "
            f"{best['scope']}. {hint}"
        )
    return (
        f"On {task}, train {best['scope']}: {formats.si(best['trainable'])} parameters reach "
        f"{reached}, from {before}. Training {full['scope']} did not help{_beyond_noise(improvement[full.name])} "
        f"({_reached(full, score)}), so no share of its benefit can be kept.{_beside_before([best], score, zero_shot)}"
    )


def _beyond_noise(improvement: float) -> str:
    """What an improvement that does not count was measured as, if it was one at all."""
    return " validation rows beyond noise" if improvement > 0 else ""


def _reached(row: pd.Series, score: Score) -> str:
    """Write a scope's score with its interval: `91.0 % accuracy (95 %: 88.1 % to 93.3 %, one seed)`."""
    value, low, high = (float(row[column]) for column in score.columns)
    if not (math.isfinite(low) and math.isfinite(high)):
        return score.in_words(value)
    seeds = ", one seed" if row["covers"] == ONE_SEED else ""
    return f"{score.in_words(value)} (95 %: {score.number(low)} to {score.number(high)}{seeds})"


def _beside_before(rows: list[pd.Series], score: Score, zero_shot: float) -> str:
    """A sentence where scopes that improved validation rows are no better, or worse, on test rows than before."""
    before = score.in_words(zero_shot)
    scopes = {str(row["scope"]): tuple(float(row[column]) for column in score.columns[1:]) for row in rows}
    worse, unclear = [], []
    for scope, ends in scopes.items():
        worst, best = score.worst_first(*ends)
        if score.sign * (best - zero_shot) < 0:
            worse.append(scope)
        elif score.sign * (worst - zero_shot) <= 0:
            unclear.append(scope)
    if worse:
        return f" On test rows this is worse than the {before} before finetuning, so do not use {' or '.join(worse)}."
    if unclear:
        return f" Before finetuning it was {before}, which {' and '.join(unclear)} cannot be told apart from."
    return ""


def _scope_name(row: pd.Series) -> str:
    """What the largest scope is called in a sentence."""
    is_full = row["boundary"] == 0 and row["suffix"] and row["method"] == "full"
    if is_full:
        return "full finetuning"
    return str(row["scope"]) if row["method"] == "full" else f"{row['scope']} by {row['method']}"


def _speed(best: pd.Series, full: pd.Series, *, searched: bool) -> str:
    """How much faster a scope trains than the largest one, and whether the search for learning rates counts."""
    seconds, others = float(best["seconds"]), float(full["seconds"])
    if not (seconds > 0 and others > 0):
        return ""
    ratio, way = (others / seconds, "faster") if others >= seconds else (seconds / others, "slower")
    speed = ", in the same time" if ratio < 1.05 else f", {ratio:.1f} times {way}"
    return speed + (" at its learning rate, the search for it not counted" if searched else "")


def _failures(table: pd.DataFrame) -> str:
    """Name the runs that diverged and so count for nothing."""
    failed = table[table["diverged"] > 0]
    if failed.empty:
        return ""
    named = ", ".join(f"{n} of {runs} of {scope}" for n, runs, scope in failed[["diverged", "runs", "scope"]].values)
    return f"Runs that diverged and were left out: {named}."
