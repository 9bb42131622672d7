from __future__ import annotations

import math

import pytest
import torch

from semviz.traces.semantic_bases import SemanticBases, _double, fidelity


@pytest.fixture
def head():
    return torch.randn(50, 12, generator=torch.Generator().manual_seed(0))


def test_rows_are_those_of_the_pseudo_inverse(head):
    expected = torch.linalg.pinv(head.double()).T.float()
    ids = torch.tensor([3, 49, 0])
    torch.testing.assert_close(SemanticBases(head).rows(ids), expected[ids], rtol=1e-5, atol=1e-6)


def test_ridge_is_in_units_of_the_mean_eigenvalue(head):
    w = head.double()
    gram = w.T @ w
    expected = w @ torch.linalg.inv(gram + 0.1 * gram.trace() / 12 * torch.eye(12, dtype=torch.float64))
    torch.testing.assert_close(SemanticBases(head, ridge=0.1).rows(torch.arange(50)), expected.float())


def test_infinite_ridge_gives_the_heads_own_directions(head):
    torch.testing.assert_close(
        SemanticBases(head, ridge=math.inf).unit_rows(), torch.nn.functional.normalize(head, dim=-1)
    )
    close = torch.cosine_similarity(SemanticBases(head, ridge=1e6).rows(torch.arange(50)), head)
    torch.testing.assert_close(close, torch.ones(50), atol=1e-5, rtol=0)


def test_padded_rows_are_dropped_before_the_gram_matrix(head):
    padded = torch.cat([head, 100 * torch.ones(14, 12)])
    bases = SemanticBases(padded, size=50)
    assert bases.size == 50
    torch.testing.assert_close(bases.unit_rows(), SemanticBases(head).unit_rows())


def test_a_rank_deficient_head_has_bases():
    head = torch.randn(50, 12)
    head[:, 5] = 0
    assert SemanticBases(head).rows(torch.arange(3)).isfinite().all()


def test_where_the_device_has_no_float64_rows_go_to_the_cpu_first(head):
    class OnMPS:
        device = torch.device("mps")

        def cpu(self):
            return head

        def double(self):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    assert torch.equal(_double(OnMPS()), head.double())


def test_fidelity_counts_agreement(head):
    bases = SemanticBases(head, ridge=math.inf)
    cosines = bases.cosines(torch.nn.functional.normalize(head[:10], dim=-1))
    logits = torch.zeros(10, 50)
    logits[torch.arange(10), torch.arange(10)] = 1
    assert fidelity(cosines, logits) == 1.0
    logits[:5] = 0
    logits[:5, 40] = 1
    assert fidelity(cosines, logits) == 0.5


def test_cosines_are_those_with_the_unit_rows_however_they_are_made(head, monkeypatch):
    monkeypatch.setattr("semviz.traces.semantic_bases._CHUNK", 16)
    directions = torch.nn.functional.normalize(torch.randn(5, 12), dim=-1)
    for ridge in (0.0, 0.1, math.inf):
        bases = SemanticBases(head, ridge=ridge)
        found = bases.cosines(directions)
        assert bases._unit is None
        expected = directions @ torch.nn.functional.normalize(bases.rows(torch.arange(50)), dim=-1).T
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        bases.unit_rows()
        torch.testing.assert_close(bases.cosines(directions), expected, atol=1e-5, rtol=0)


def test_another_ridge_shares_the_gram_matrix(head):
    exact = SemanticBases(head)
    again = exact.with_ridge(0.1)
    assert again._gram is exact._gram
    torch.testing.assert_close(again.unit_rows(), SemanticBases(head, ridge=0.1).unit_rows())
    late = SemanticBases(head, ridge=math.inf).with_ridge(0.1)
    torch.testing.assert_close(late.unit_rows(), again.unit_rows())


def test_the_gram_matrix_of_a_wide_head_is_put_together_from_its_tiles(monkeypatch):
    monkeypatch.setattr("semviz.traces.semantic_bases._TILE", 5)
    wide = torch.randn(40, 13)
    torch.testing.assert_close(SemanticBases(wide)._gram, wide.double().T @ wide.double())
