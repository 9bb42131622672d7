"""Batches, and what happens when they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.common.ragged import Ragged
from semviz.tasks.streaming import batch_rows, stream
from semviz.tasks.tokenizing import encode

QUIET = {"progress": False}


def test_ragged_rows_are_the_rows_that_were_put_in():
    rows = [np.array([3, 1]), np.array([4]), np.array([1, 5, 9])]
    ragged = Ragged.of(rows)
    assert len(ragged) == 3
    assert all(np.array_equal(a, b) for a, b in zip(ragged, rows, strict=True))
    np.testing.assert_array_equal(ragged[-1], rows[2])
    np.testing.assert_array_equal(ragged.lengths, [2, 1, 3])
    np.testing.assert_array_equal(ragged.owners, [0, 0, 1, 2, 2, 2])
    np.testing.assert_array_equal(ragged.positions, [0, 1, 0, 0, 1, 2])
    assert [row.tolist() for row in ragged.take([2, 0])] == [[1, 5, 9], [3, 1]]
    with pytest.raises(IndexError):
        ragged[3]


def test_every_row_is_in_one_batch_longest_first(tiny, stories, monkeypatch):
    monkeypatch.setattr("semviz.tasks.streaming._BATCH_TOKENS", {"cpu": 40})
    encoded = encode(tiny, stories, "train")
    found = list(batch_rows(encoded, device=torch.device("cpu")))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(encoded)))
    lengths = encoded.ids.lengths[np.concatenate(found)]
    assert (np.diff(lengths) <= 0).all()
    assert all(len(rows) * encoded.ids.lengths[rows[0]] <= 40 for rows in found)


def short_of_memory(monkeypatch, model, most):
    """Fail like an allocator whenever more than so many padded tokens come at once, halfway through the blocks."""
    seen = []
    block = model.anatomy.blocks[2]
    forward = block.forward

    def failing(hidden_states, *args, **kwargs):
        seen.append(hidden_states.shape[:2].numel())
        if seen[-1] > most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return forward(hidden_states, *args, **kwargs)

    monkeypatch.setattr(block, "forward", failing)
    return seen


def test_out_of_memory_halves_the_batch_and_changes_no_number(tiny, stories, monkeypatch):
    whole = sv.trace(tiny, stories, **QUIET)
    calibration = sv.calibrate(tiny, **QUIET)
    seen = short_of_memory(monkeypatch, tiny, 100)
    with pytest.warns(RuntimeWarning, match="Out of memory: going on with batches of"):
        again = sv.trace(tiny, stories, calibration=calibration, **QUIET)
    for key in whole.values:
        np.testing.assert_allclose(whole.values[key], again.values[key], atol=2e-5)
    # Once it is known what fits, no larger batch is tried again.
    assert max(seen[seen.index(next(n for n in seen if n <= 100)) :]) <= 100
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.model.modules())


def test_out_of_memory_does_not_count_general_text_twice(tiny, monkeypatch):
    monkeypatch.setenv("SEMVIZ_CACHE", "")
    whole = sv.calibrate(tiny, **QUIET)
    short_of_memory(monkeypatch, tiny, 200)
    with pytest.warns(RuntimeWarning, match="Out of memory"):
        again = sv.calibrate(tiny, **QUIET)
    torch.testing.assert_close(again.means, whole.means, atol=1e-5, rtol=1e-4)
    assert again.positions == whole.positions
    assert again.temperature == pytest.approx(whole.temperature, rel=1e-3)


def test_a_single_sample_that_does_not_fit_says_what_to_pass(tiny, stories, monkeypatch):
    calibration = sv.calibrate(tiny, **QUIET)
    short_of_memory(monkeypatch, tiny, 3)
    with pytest.warns(RuntimeWarning), pytest.raises(SemvizError, match=r"single sample.*max_tokens"):
        sv.trace(tiny, stories, calibration=calibration, **QUIET)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny, stories):
    encoded = encode(tiny, stories, "train")

    def start(_batch):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        stream(tiny, encoded, start, label="", progress=False)
    assert not tiny.model.training


def test_a_trace_that_cannot_fit_is_refused_before_it_starts(tiny, stories, monkeypatch, capsys):
    monkeypatch.setattr("semviz.traces.tracing._ANNOUNCED_BYTES", 1)
    sv.trace(tiny, stories, progress=True)
    assert "This trace will hold" in capsys.readouterr().err
    monkeypatch.setattr("semviz.common.memory.free", lambda: 1000)
    with pytest.raises(SemvizError, match="samples="):
        sv.trace(tiny, stories, **QUIET)
