from __future__ import annotations

import html
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import made_parts, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import ScopeError


def test_named_scopes(tiny):
    assert sv.Scope.full(tiny).blocks == (1, 2, 3, 4)
    assert sv.Scope.half(tiny).blocks == (3, 4)
    assert sv.Scope.last(tiny).blocks == (4,)
    assert sv.Scope.above(tiny, 1).boundary == 1


def test_trainable_counts_are_those_of_torch(tiny):
    made = [sv.Scope.of(tiny, blocks) for blocks in ((1, 2, 3, 4), (3, 4), (2,), (1, 4))]
    made += [sv.Scope.above(tiny, 2, tail=tail, head=head) for tail in (True, False) for head in (True, False)]
    for scope in made:
        counted = {id(p): p.numel() for m in scope.modules(tiny) for p in m.parameters()}
        assert scope.trainable == sum(counted.values())
    assert scope.total == sum(p.numel() for p in tiny.model.parameters())


def test_labels(tiny):
    assert sv.Scope.of(tiny, [4]).label == "block 4 of 4"
    assert sv.Scope.of(tiny, [2, 3, 4]).label == "blocks 2–4 of 4"
    assert sv.Scope.of(tiny, [4, 1, 2]).label == "blocks 1–2, 4 of 4"


def test_the_head_counts_once_whether_tied_or_not():
    for parts, own in ((made_parts(4), 5), (made_parts(4, head=7), 7)):  # tied to 5 embeddings, or a head of its own
        frozen, trained = (sv.Scope((3, 4), 4, parts, head=head) for head in (False, True))
        assert frozen.trainable == 20 + 1
        assert trained.trainable == 20 + 1 + own
        assert frozen.total == 40 + 1 + 5 + parts.head
        assert trained.total == frozen.total + parts.tied_head
        assert trained.share == trained.trainable / trained.total
        assert sv.Scope((3, 4), 4, parts, tail=False).trainable == 20


def test_a_scope_counts_its_own_blocks_where_blocks_differ():
    parts = replace(made_parts(4, tail=0), blocks=(1, 20, 300, 4000))
    wanted = {(1,): 1, (2,): 20, (3, 4): 4300, (1, 4): 4001, (1, 2, 3, 4): 4321}
    assert {blocks: sv.Scope(blocks, 4, parts).trainable for blocks in wanted} == wanted


def test_module_names_are_those_of_blocks_norm_and_head():
    scope = sv.Scope((2, 4), 4, made_parts(4), head=True)
    assert scope.block_names() == ["model.layers.1", "model.layers.3"]
    assert scope.module_names() == ["model.layers.1", "model.layers.3", "model.norm", "lm_head"]
    assert replace(scope, tail=False, head=False).module_names() == scope.block_names()
    other = replace(scope.parts.names, blocks=("a", "b", "c", "d"), head="out")
    assert (
        scope.module_names(other) == [*scope.block_names(other), "model.norm", "out"] == ["b", "d", "model.norm", "out"]
    )


def test_the_table_of_a_scope_has_a_row_for_each_block():
    parts = made_parts(3, each=7)
    scope = sv.Scope((2,), 3, parts)
    frame = scope.frame()
    assert list(frame) == ["block", "trained", "parameters"]
    assert frame.to_numpy().tolist() == [[1, False, 7], [2, True, 7], [3, False, 7]]
    assert scope._repr_html_() == f"<p>{html.escape(repr(scope))}</p>{frame.to_html(border=0)}"
    assert repr(scope) == "Scope(block 2 of 3: 8 of 27 parameters, 30 %)"


def test_a_snippet_is_of_this_scope(tiny):
    scope = sv.Scope.of(tiny, [2, 4])
    assert "trains blocks 2, 4 of 4," in scope.export("transformers")
    with pytest.raises(ScopeError, match="'magic'"):
        scope.export("magic")


def test_a_tied_head_trains_only_when_it_may_be_untied():
    tied = sv.load_model((tiny_llama(tie_word_embeddings=True), word_tokenizer()))
    for make in (lambda **options: sv.Scope.of(tied, [4], **options), lambda **o: sv.Scope.above(tied, 3, **o)):
        with pytest.raises(ScopeError, match="untie=True"):
            make(head=True)
        assert make(head=True, untie=True).head
        assert not make(untie=True).head


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


def test_ranges_and_suffixes(tiny):
    assert [s.boundary for s in sv.Scope.suffixes(tiny)] == [0, 1, 2, 3]
    ranges = sv.Scope.ranges(tiny)
    assert len(ranges) == len(set(ranges)) == 10
    assert all(s.is_range for s in ranges)
    assert sum(s.is_suffix for s in ranges) == 4
    assert not sv.Scope.of(tiny, [1, 3]).is_range
    assert not sv.Scope.above(tiny, 2, tail=False).is_suffix


def test_numpy_integers_are_block_numbers(tiny):
    assert sv.Scope.of(tiny, np.array([3, 4])) == sv.Scope.half(tiny)
    assert sv.Scope.above(tiny, np.int64(2)) == sv.Scope.half(tiny)


def test_labels_say_what_differs_from_the_default(tiny):
    assert sv.Scope.of(tiny, [4], tail=False).label == "block 4 of 4, norm frozen"
    assert sv.Scope.of(tiny, [4], head=True).label == "block 4 of 4 and the head"


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_applying_a_scope_puts_everything_back(crash, tied):
    model = sv.load_model((tiny_llama(tie_word_embeddings=tied), word_tokenizer()))
    network = model.model
    network.train()
    network.model.layers[0].eval()
    network.lm_head.requires_grad_(False)
    kept = torch.ones_like(network.model.norm.weight)
    network.model.norm.weight.grad = kept
    before = {name: value.clone() for name, value in network.state_dict().items()}
    flags, modes = [p.requires_grad for p in network.parameters()], [m.training for m in network.modules()]
    scope = sv.Scope.of(model, [2, 4], head=True, untie=True)
    try:
        with scope.apply(model) as applied:
            assert applied is network
            free = {id(p): p.numel() for p in network.parameters() if p.requires_grad}
            assert sum(free.values()) == scope.trainable
            assert not network.model.layers[0].training
            assert network.model.layers[1].training
            for p in network.parameters():
                p.data.add_(1.0)
            if crash:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [p.requires_grad for p in network.parameters()] == flags
    assert [m.training for m in network.modules()] == modes
    assert network.model.norm.weight.grad is kept
    assert (network.lm_head.weight is network.get_input_embeddings().weight) == tied


def test_numpys_blocks_make_the_scope_of_pythons(tiny):
    made = sv.Scope(tuple(np.arange(3, 5)), tiny.n_blocks, tiny.parts)
    assert made == sv.Scope.of(tiny, [3, 4])
    assert all(type(block) is int for block in made.blocks)


def test_a_scope_checks_its_model_once(tiny, monkeypatch):
    checked = []
    monkeypatch.setattr("semviz.lm.model.check_model", lambda model: checked.append(model) or model)
    makers = (sv.Scope.full, sv.Scope.half, sv.Scope.last, sv.Scope.suffixes, sv.Scope.ranges)
    for number, make in enumerate((*makers, lambda model: sv.Scope.of(model, [2])), start=1):
        make(tiny)
        assert len(checked) == number
