from __future__ import annotations

import pytest
from small import tiny_llama, word_tokenizer

import semviz as sv
from semviz.errors import ScopeError


def test_named_scopes(tiny):
    assert sv.Scope.full(tiny).blocks == (1, 2, 3, 4)
    assert sv.Scope.half(tiny).blocks == (3, 4)
    assert sv.Scope.last(tiny).blocks == (4,)
    assert sv.Scope.above(tiny, 1).boundary == 1


def test_trainable_counts_are_those_of_torch(tiny):
    for blocks in ((1, 2, 3, 4), (3, 4), (2,), (1, 4)):
        scope = sv.Scope.of(tiny, blocks)
        counted = {id(p): p.numel() for m in scope.modules(tiny) for p in m.parameters()}
        assert scope.trainable == sum(counted.values())
    assert scope.total == sum(p.numel() for p in tiny.model.parameters())


def test_labels(tiny):
    assert sv.Scope.of(tiny, [4]).label == "block 4 of 4"
    assert sv.Scope.of(tiny, [2, 3, 4]).label == "blocks 2–4 of 4"
    assert sv.Scope.of(tiny, [4, 1, 2]).label == "blocks 1–2, 4 of 4"


@pytest.mark.parametrize("blocks", [(), (0, 1), (5,), (2, 1), (1, 1), ("1",)])
def test_bad_blocks(tiny, blocks):
    with pytest.raises(ScopeError, match="pass"):
        sv.Scope(blocks, 4, tiny.parts)


@pytest.mark.parametrize("boundary", [-1, 4, 1.5, None])
def test_bad_boundaries(tiny, boundary):
    with pytest.raises(ScopeError, match="0 to 3"):
        sv.Scope.above(tiny, boundary)


def test_a_scope_of_another_depth(tiny):
    other = sv.load_model((tiny_llama(blocks=2), word_tokenizer()))
    with pytest.raises(ScopeError, match="4 blocks and the model has 2"):
        sv.Scope.last(tiny).modules(other)
