"""What holds for every text, task, metric and scope, tried on ones that hypothesis makes up."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import made_parts, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common import checks
from semviz.common.errors import ScopeError, SemvizError, TaskError
from semviz.common.token_text import ELLIPSIS, html_label, short_label
from semviz.scopes.scope import Scope
from semviz.tasks.tokenizing import NO_TARGET, encode
from semviz.traces.metrics import METRICS, View
from semviz.traces.semantic_bases import SemanticBases
from semviz.traces.virtual_path import Arc
from semviz.traces.vocabulary_scores import Scoring, score_positions

# Few examples and always the same ones: a test that fails on some days only helps nobody.
tried = settings(max_examples=40, deadline=None, derandomize=True, database=None)
few = settings(tried, max_examples=12)

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.binary(max_size=9),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def hidden(text):
    """Characters that draw nothing; joiners and flags' tags inside a cluster are part of its spelling."""
    drawn = {"\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))}
    return [c for c in text if unicodedata.category(c) in HIDDEN and c not in drawn]


# Tokens


@tried
@given(st.text(st.characters(), max_size=200), st.integers(1, 30))
def test_a_token_is_shown_on_one_line_and_not_too_long(text, width):
    shown = short_label(text, width=width)
    assert not hidden(shown)
    assert not set(shown) & set("\n\r\t")
    assert len(shown) <= 16 * width + len(ELLIPSIS) + 10 * width  # graphemes of bounded length
    assert bool(shown) == bool(text)
    shown.encode()


@tried
@given(st.text(max_size=100))
def test_escaping_is_undone_by_reading(text):
    escaped = html_label(text)
    assert not set(escaped) & set("<>$")
    assert unescape(escaped) == text


@tried
@given(st.one_of(ANYTHING, st.text(st.characters(), max_size=300)))
def test_what_was_got_is_said_on_one_short_line(value):
    said = checks.short_repr(value)
    assert len(said) <= 80
    assert said.isprintable()
    said.encode()


# Arguments


@tried
@given(ANYTHING)
def test_a_value_passes_as_it_is_or_is_refused_by_name(value):
    for check in (
        lambda: checks.whole_number("it", value, maximum=9) == value,
        lambda: checks.positive("it", value) == value,
        lambda: checks.flag("it", value) is value,
        lambda: checks.one_of("it", value, ["full", "lora"]) == value,
        lambda: checks.as_path("it", value) == Path(os.fsdecode(value)),
        lambda: checks.one_text("it", value) == value,
        lambda: checks.texts("it", value) == list(value),
    ):
        said = "it; pass"
        try:
            assert check()
        except SemvizError as error:
            said = str(error)
        assert re.match("it.*pass|it.*drop", said), said


@tried
@given(ANYTHING, ANYTHING, ANYTHING)
def test_tasks_of_anything_are_made_or_refused(texts, labels, prompt):
    try:
        task = sv.Task.from_texts(texts, labels, prompt=prompt)
    except TaskError:
        return
    assert len(task.splits) == 3


# Tasks


@tried
@given(st.lists(st.tuples(WORDS, st.sampled_from(["a", "b", "c"])), min_size=4, max_size=60), st.integers(0, 99))
def test_splits_take_every_row_once_and_keep_its_label(rows, seed):
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    if len(set(labels)) < 2:
        with pytest.raises(TaskError, match="at least two"):
            sv.Task.from_texts(texts, labels)
        return
    if 2 * len(set(labels)) > len(rows):
        with pytest.raises(TaskError, match="hardly classes"):
            sv.Task.from_texts(texts, labels)
        return
    task = sv.Task.from_texts(texts, labels, seed=seed)
    frame = task.frame()
    assert sorted(zip(frame["text"], frame["label"], strict=True)) == sorted(rows)
    assert set(frame["split"]) <= {"train", "validation", "test"}
    assert task.hash == sv.Task.from_texts(texts, labels, seed=seed).hash
    changed = sv.Task.from_texts([texts[0] + "!", *texts[1:]], labels, seed=seed)
    assert changed.hash != task.hash


@pytest.fixture(scope="module")
def model():
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())


def prompts(words):
    return st.lists(st.lists(st.sampled_from(words), min_size=1, max_size=20).map(" ".join), min_size=8, max_size=20)


@few
@given(data=st.data())
def test_targets_are_the_next_tokens_and_the_answer(model, data):
    texts = data.draw(prompts(["cat", "dog", "unheard", "<eos>", "🦓", "was", "."]))
    labels = [("yes", "no")[i % 2] for i in range(len(texts))]
    limit = data.draw(st.one_of(st.none(), st.integers(6, 40)))
    task = sv.Task.from_texts(texts, labels, prompt="{text} mood :", max_tokens=limit)
    encoded = encode(model, task, "train")
    for row, label in enumerate(task.split("train").labels):
        ids, targets, counted = encoded.ids[row], encoded.targets[row], encoded.counted[row]
        assert len(ids) == len(targets) == len(counted) <= (limit or model.context)
        assert counted.sum() == 1
        assert counted[-1]
        assert targets[-1] == encoded.label_ids[label]
        inner = targets[:-1]
        assert ((inner == ids[1:]) | (inner == NO_TARGET)).all()


# Scores and metrics


@tried
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(2, 60), st.sampled_from([1e-3, 1.0, 30.0]))
def test_scores_are_those_of_float64(seed, n, size, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, size, generator=generator)
    target = torch.randint(size, (n,), generator=generator)
    (found,) = score_positions(lambda columns: logits[:, columns], target, Scoring(size, keep=1))
    exact = torch.nn.functional.cross_entropy(logits.double(), target, reduction="none")
    torch.testing.assert_close(found.surprise.double(), exact, atol=1e-4 * max(1, scale), rtol=1e-4)
    own = logits.gather(1, target[:, None])
    assert found.better.tolist() == (logits > own).sum(1).tolist()
    assert (found.surprise >= 0).all()


@tried
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(2, 12), st.integers(3, 40), st.floats(0, 1))
def test_metrics_stay_in_their_range(seed, n, width, size, depth):
    generator = torch.Generator().manual_seed(seed)
    states, head = torch.randn(n, width, generator=generator), torch.randn(size, width, generator=generator)
    target = torch.randint(size, (n,), generator=generator)
    bases = SemanticBases(head, ridge=0.1)
    start = torch.nn.functional.normalize(torch.randn(n, width, generator=generator), dim=-1)
    arc = Arc(start, bases.unit_rows(target))
    view = View(
        space=1, depth=depth, states=states, arc=arc, target=target, candidates=bases.unit_rows, temperature=0.1,
        size=size, read=lambda columns: states @ head[columns].T,
    )  # fmt: skip
    for key, metric in METRICS.items():
        values = metric.function(view)
        assert values.shape == (n,), key
        assert torch.isfinite(values).all(), key
        assert metric.low is None or (values >= metric.low - 1e-6).all(), key
        assert metric.high is None or (values <= metric.high + 1e-6).all(), key


# Scopes and thresholds


@tried
@given(st.integers(1, 40), st.data())
def test_a_scope_counts_what_it_trains(blocks, data):
    chosen = data.draw(st.sets(st.integers(1, blocks), min_size=1))
    tail, head = data.draw(st.booleans()), data.draw(st.booleans())
    parts = made_parts(blocks, head=data.draw(st.integers(0, 9)))
    scope = Scope(tuple(sorted(chosen)), blocks, parts, tail=tail, head=head)
    assert scope.boundary == min(chosen) - 1
    assert scope.is_range == (len(chosen) == max(chosen) - min(chosen) + 1)
    assert 0 < scope.trainable <= scope.total
    own_head = (parts.head or parts.tied_head) if head else 0
    assert scope.trainable == 10 * len(chosen) + (parts.tail if tail else 0) + own_head
    numbers = scope.label.removeprefix("blocks ").removeprefix("block ").split(" of ")[0].split(", ")
    listed = [range(int(part.split("–")[0]), int(part.split("–")[-1]) + 1) for part in numbers]
    assert sorted(block for part in listed for block in part) == sorted(chosen)


@tried
@given(st.integers(1, 9), st.lists(st.one_of(st.integers(-3, 12), st.booleans(), st.floats()), max_size=5))
def test_blocks_that_are_none_are_refused(blocks, chosen):
    fine = bool(chosen) and all(type(b) is int and 1 <= b <= blocks for b in chosen)
    fine = fine and all(a < b for a, b in pairwise(chosen))
    try:
        Scope(tuple(chosen), blocks, made_parts(blocks))
    except ScopeError:
        assert not fine
    else:
        assert fine


@pytest.fixture(scope="module")
def gain(model):
    texts = [f"the {('cat', 'dog')[i % 2]} was {('good', 'bad')[i // 2 % 2]} ." for i in range(40)]
    labels = [("yes", "no")[i // 2 % 2] for i in range(40)]
    task = sv.Task.from_texts(texts, labels, prompt="{text} mood :")
    return sv.trace(model, task, metrics="lens", progress=False).gain()


@tried
@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_the_threshold_is_monotone_and_its_inverse_freezes_no_more(gain, thetas):
    frozen = [gain.threshold(theta) for theta in sorted(thetas)]
    assert frozen == sorted(frozen)
    assert all(0 <= k < gain.n_blocks for k in frozen)
    assert all(gain.threshold(gain.theta_of(k)) <= k for k in range(gain.n_blocks))


@tried
@given(ANYTHING)
def test_thresholds_and_boundaries_of_anything(gain, value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    for ask, fine in (
        (gain.threshold, number and 0 <= value <= 1),
        (gain.scope, value is None or (type(value) is int and 0 <= value < gain.n_blocks)),
    ):
        try:
            ask(value)
        except SemvizError:
            assert not fine
        else:
            assert fine or math.isclose(value, 0)
