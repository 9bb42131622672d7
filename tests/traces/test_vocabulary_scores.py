"""Scores reduced strip by strip against the same in one piece, in float64."""

from __future__ import annotations

import pytest
import torch

from semviz.traces.vocabulary_scores import Scoring, best_candidates, score_positions

N, C = 9, 101


@pytest.fixture(params=[1, 7, 40, 1000], ids="strip of {}".format)
def strip(request, monkeypatch):
    monkeypatch.setattr("semviz.traces.vocabulary_scores._STRIP", {"cpu": request.param * N})
    return request.param


@pytest.fixture
def logits():
    return 5 * torch.randn(N, C, generator=torch.Generator().manual_seed(0))


def product(logits):
    return lambda columns: logits[:, columns]


def score(product, target, *, keep):
    (found,) = score_positions(product, target, Scoring(C, keep))
    return found


def test_surprise_rank_and_best_are_those_of_the_whole(strip, logits):
    target = torch.arange(N) * 11
    found = score(product(logits), target, keep=3)
    exact = torch.nn.functional.cross_entropy(logits.double(), target, reduction="none")
    torch.testing.assert_close(found.surprise.double(), exact, rtol=1e-5, atol=1e-5)
    own = logits.gather(-1, target[:, None])
    assert found.better.tolist() == (logits > own).sum(-1).tolist()
    torch.testing.assert_close(found.best, logits.topk(3).indices)
    torch.testing.assert_close(score(product(logits), target, keep=1).best[:, 0], logits.argmax(-1))
    torch.testing.assert_close(best_candidates(product(logits), C, N, logits.device), logits.argmax(-1))


def test_huge_and_equal_scores(strip):
    logits = torch.full((N, C), 3.0)
    logits[:, 50] = 1e4
    target = torch.full((N,), 50)
    found = score(product(logits), target, keep=1)
    assert found.surprise.tolist() == [0.0] * N
    assert found.better.tolist() == [0.0] * N
    others = score(product(logits), torch.zeros(N, dtype=torch.int64), keep=1)
    assert others.better.tolist() == [1.0] * N
    torch.testing.assert_close(others.surprise, torch.full((N,), 1e4 - 3))


def test_candidates_that_are_ruled_out_change_nothing(strip, logits):
    logits[:, :45] = -torch.inf
    target = torch.arange(N) + 50
    found = score(product(logits), target, keep=1)
    exact = torch.nn.functional.cross_entropy(logits.double(), target, reduction="none")
    torch.testing.assert_close(found.surprise.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_target_never_counts_as_better_than_itself(strip, logits):
    """Products of another shape can round another way."""

    def rounding(columns):
        return logits[:, columns] - (1e-3 if isinstance(columns, torch.Tensor) else 0)

    target = logits.argmax(-1)
    assert score(rounding, target, keep=1).better.tolist() == [0.0] * N


def test_two_ways_of_scoring_share_one_product(strip, logits):
    """One of them over all candidates, the other over the first 90 with weights of their own."""
    weights = torch.linspace(0.5, 2, 90)
    calls = []

    def counted(columns):
        calls.append(columns)
        return logits[:, columns]

    weighted = Scoring(90, keep=3, of=lambda products, columns: products * weights[columns])
    target = torch.arange(N) * 9
    plain, other = score_positions(counted, target, Scoring(C, keep=1), weighted)
    for found, scores, keep in ((plain, logits, 1), (other, logits[:, :90] * weights, 3)):
        exact = torch.nn.functional.cross_entropy(scores.double(), target, reduction="none")
        torch.testing.assert_close(found.surprise.double(), exact, rtol=1e-5, atol=1e-5)
        assert found.better.tolist() == (scores > scores.gather(-1, target[:, None])).sum(-1).tolist()
        torch.testing.assert_close(found.best, scores.topk(keep).indices)
    assert sum(isinstance(columns, slice) for columns in calls) == -(-C // strip)
