"""What training improved on validation rows, and whether that is more than noise: one meaning for probes and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semviz.common.bootstrap import means_over_seeds_and_rows
from semviz.gains.scaling_law import Array

if TYPE_CHECKING:
    from semviz.common.scores import Score
    from semviz.finetuning.run import Run

USUAL_NOISE = 0.05
"""Noise of seeds where nothing is known of it, in a seed's standard deviations of rows: 2 points at 80 % accuracy."""
_SURELY_HELPS = 0.975  # share of resamples in which training improves the model, so that its interval excludes 0


def validation_scores(runs: Sequence[Run]) -> Array:
    """Score of each validation row by seed, shape (seeds, n); runs that diverged have none."""
    rows = [run.validation_rows for run in runs if not run.diverged]
    return np.asarray(rows, dtype=float) if rows else np.empty((0, 0))


def improvements(
    groups: Sequence[Array], untrained: Sequence[float], *, lenders: Sequence[Array] = (), score: Score, seed: int = 0
) -> Array:
    """Mean improvement of several scopes on validation rows, and draws of what it might have been.

    Args:
        groups: Score of each row by training seed: for each scope, shape (its seeds, n).
        untrained: Score of each row before finetuning.
        lenders: Further scopes, whose seeds say how much seeds vary.
        score: Which score.
        seed: Seed of the bootstrap over seeds and rows.

    Returns:
        Shape (B + 1, scopes); the first row is what was measured. Positive is better, whatever the score.
    """
    means = means_over_seeds_and_rows(
        groups,
        fixed=np.asarray(untrained),
        lenders=[scores for scores in lenders if scores.shape[1]],
        usual=USUAL_NOISE,
        are_shares=score.is_share,
        seed=seed,
    )
    return np.asarray(score.sign * (means[:, 1:] - means[:, :1]))


def is_beyond_noise(improvement: Array) -> bool:
    """Say whether an improvement is one: measured, and in all but 2.5 % of its draws.

    Args:
        improvement: A column of what `improvements` returns, shape (B + 1,).
    """
    return bool(improvement[0] > 0 and (improvement[1:] > 0).mean() >= _SURELY_HELPS)


def may_be_noise(groups: Sequence[Sequence[Run]], i: int, untrained: Sequence[float], *, score: Score) -> bool:
    """Say whether one scope's improvement may be none; False where the scores of rows are not known.

    Full finetuning's is judged here to the same draws as by probes.

    Args:
        groups: The runs of each scope and method.
        i: Which of them.
        untrained: Score of each validation row before finetuning.
        score: Which score.
    """
    scores = [validation_scores(group) for group in groups]
    own, others = scores[i], scores[:i] + scores[i + 1 :]
    if not own.size or own.shape[1] != len(untrained):
        return False
    return not is_beyond_noise(improvements([own], untrained, lenders=others, score=score)[:, 0])
