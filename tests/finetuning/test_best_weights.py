"""What is kept as the best is the best: contradictions are refused, and scores that never came are told."""

from __future__ import annotations

import pytest

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.finetuning.argument_checks import METRICS

QUICK = {"lr": 3e-3, "epochs": 2, "batch_size": 16, "progress": False}
BEST = {"load_best_model_at_end": True, "eval_strategy": "epoch"}


@pytest.mark.parametrize("prefix", ["", "eval_"])
@pytest.mark.parametrize("metric", [None, *METRICS])
def test_a_direction_that_the_metric_does_not_have_is_refused(metric, prefix, tiny, mood):
    named = {} if metric is None else {"metric_for_best_model": prefix + metric}
    wrong = metric in (None, "loss")
    with pytest.raises(SemvizError, match=f"greater_is_better={wrong} would keep the worst weights.*leave it out"):
        sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments={**BEST, **named, "greater_is_better": wrong}, **QUICK)
    run = sv.finetune(
        tiny, mood, sv.Scope.last(tiny), arguments={**BEST, **named, "greater_is_better": not wrong}, **QUICK
    )
    assert f"the best {metric or 'loss'} of 2 on validation rows" in run.note


@pytest.mark.parametrize("asked", [
    {**BEST, "eval_delay": 100},
    {**BEST, "eval_strategy": "steps", "eval_steps": 2, "eval_delay": 100},
    {"eval_strategy": "epoch", "eval_delay": 100},
    {**BEST, "eval_delay": 100, "metric_for_best_model": "accuracy"},
])  # fmt: skip
def test_scores_that_never_came_are_told(asked, tiny, mood):
    note = sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments=asked, **QUICK).note
    assert "were not scored on the way, so its weights are those of the last step" in note
    assert "the best" not in note


@pytest.mark.parametrize(
    "asked", [{}, BEST, {"eval_strategy": "epoch"}, {**BEST, "eval_strategy": "steps", "eval_steps": 10**9}]
)
def test_a_training_that_was_scored_or_should_not_be_says_nothing_of_it(asked, tiny, mood):
    assert "not scored" not in sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments=asked, **QUICK).note
