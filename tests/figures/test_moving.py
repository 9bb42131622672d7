"""A boundary that moves: the overlay turns the picture of one boundary into exactly that of another."""

from __future__ import annotations

import copy
import itertools
import json
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic_runs import make_probes, make_ranges

from semviz.common.errors import SemvizError
from semviz.figures import (
    benefit_curve,
    dark,
    gain,
    group_profile,
    label_profile,
    pareto,
    profile,
    sample_heatmap,
    token_heatmap,
    transition_map,
)
from semviz.figures.drawing import style
from semviz.figures.drawing.heatmap_rows import choose_spaces
from semviz.figures.drawing.updates import moved, moved_pareto


def as_json(figure):
    return json.loads(json.dumps(figure.to_plotly_json()))


def apply(figure, overlay):
    """Do to a figure's JSON what the Explorer's pictures do; the overlay itself goes through JSON."""
    made, overlay = copy.deepcopy(figure), json.loads(json.dumps(overlay))
    for key, value in overlay["layout"].items():
        _assign(made["layout"], key, value)
    for number, changes in overlay["data"]:
        for key, value in changes.items():
            _assign(made["data"][number], key, value)
    return made


def _assign(node, key, value):
    *path, last = re.findall(r"[a-z0-9_]+", key)
    for part in path:
        node = node[int(part)] if part.isdigit() else node.setdefault(part, {})
    node[last] = value


def size(overlay):
    return len(json.dumps(overlay, ensure_ascii=False, separators=(",", ":")).encode())


BLOCKS = (1, 3, 8, 48)
LABELS = tuple(f"a rather long label {i}" for i in range(77))


@cache
def draw_all(blocks):
    """Every kind of picture that has a boundary, as a function of it."""
    trace = synthetic.make_trace(blocks=blocks, samples=40, tokens=12, detail=2)
    labelled = synthetic.make_trace(blocks=blocks, samples=300, labels=LABELS, detail=1)
    text = synthetic.make_text_trace(blocks=blocks, samples=6)
    change = synthetic.make_difference(trace)
    found = synthetic.make_gain(blocks=blocks, boundary=blocks // 2)
    plain = synthetic.make_gain(blocks=blocks, boundary=0, negative=False, law=False)
    probes = make_probes(blocks=blocks)
    runs = make_ranges(blocks=min(blocks, 8))
    rows = choose_spaces(blocks)  # as in the Explorer: some of a deep model's, the same wherever the boundary is
    nothing = replace(probes, **{name: np.full(blocks + 1, np.nan) for name in ("benefit", "low", "high")})
    return {
        "tokens": lambda k: token_heatmap(trace, boundary=k, spaces=rows),
        "tokens of text": lambda k: token_heatmap(text, boundary=k, spaces=rows),
        "samples": lambda k: sample_heatmap(labelled, boundary=k, spaces=rows),
        "right and wrong": lambda k: sample_heatmap(trace, boundary=k, spaces=rows, order="correct"),
        "profile": lambda k: profile(trace, boundary=k),
        "labels": lambda k: label_profile(labelled, boundary=k),
        "groups": lambda k: group_profile(trace.by("label"), boundary=k),
        "transition": lambda k: transition_map(trace, boundary=k),
        "gain": lambda k: gain(found, boundary=k),
        "gain without a law": lambda k: gain(plain, boundary=k),
        "benefit": lambda k: benefit_curve(probes, boundary=k),
        "measured benefit": lambda k: benefit_curve(probes, runs, boundary=k),
        "benefit of nothing": lambda k: benefit_curve(nothing, boundary=k),
        "change of tokens": lambda k: token_heatmap(change, boundary=k, spaces=rows),
        "change of samples": lambda k: sample_heatmap(change, boundary=k, spaces=rows),
        "profile of a change": lambda k: profile(change, boundary=k),
        "dark gain": lambda k: dark(gain(found, boundary=k)),
        "dark transition": lambda k: dark(transition_map(trace, boundary=k)),
    }


KINDS = tuple(draw_all(1))
LIMITS = {"gain": 3000, "transition": 1500, "profile": 1500}
"""Largest overlay in bytes by the last word of the kind; 1,000 for all others."""


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_overlay_turns_one_picture_into_the_other(kind, blocks):
    draw = draw_all(blocks)[kind]
    boundaries = {8: (0, 3, 8), 48: (0, 31, 48)}.get(blocks, range(blocks + 1))
    drawn = {k: as_json(draw(k)) for k in boundaries}
    for a, b in itertools.product(boundaries, repeat=2):
        overlay = moved(drawn[a], b)
        assert apply(drawn[a], overlay) == drawn[b], (a, b)
        assert size(overlay) <= LIMITS.get(kind.split(" ")[-1], 1000)
    assert drawn[0] != drawn[blocks]


def test_a_move_from_a_move_is_a_move():
    figure = as_json(gain(synthetic.make_gain(), boundary=0))
    for k in (8, 3, 5):
        figure = apply(figure, moved(figure, k))
    assert figure == as_json(gain(synthetic.make_gain(), boundary=5))


def test_no_word_depends_on_the_boundary(trace):
    draws = draw_all(8)
    for kind, draw in draws.items():
        titles = {draw(k).layout.title.to_plotly_json().__repr__() for k in range(9)}
        assert len(titles) == 1, kind


def test_a_picture_without_a_boundary_and_a_boundary_that_is_not_there_are_refused(trace):
    for bare in (token_heatmap(trace), transition_map(trace), profile(trace), pareto(synthetic.make_runs())):
        with pytest.raises(SemvizError, match="drawn with boundary="):
            moved(as_json(bare), 3)
    for wrong in (-1, 9, 2.5, True, None):
        with pytest.raises(SemvizError, match="from 0"):
            moved(as_json(token_heatmap(trace, boundary=4)), wrong)


def test_frozen_bars_are_grey_and_the_recommended_boundary_keeps_its_star():
    made = synthetic.make_gain(boundary=4)
    figure = gain(made, boundary=6)
    (bars,), (negative,) = synthetic.named(figure, "gain"), synthetic.named(figure, "negative gain")
    assert [row[0] for row in bars.customdata] == [2, 3, 4, 5, 6, 8]
    assert list(bars.marker.color) == [style.LIGHT.other] * 5 + [style.LIGHT.line]
    assert list(negative.marker.color) == [style.LIGHT.negative], "layer 7"
    assert synthetic.named(gain(made, boundary=7), "negative gain")[0].marker.color == (style.LIGHT.other,)
    (legend,) = synthetic.named(figure, "negative gain: moves away")
    assert legend.marker.color == style.LIGHT.negative
    (star,) = (a for a in figure.layout.annotations if a.name == "recommended")
    assert (star.text, star.x) == ("★", 4)
    assert {s.x0 for s in synthetic.shapes(figure, "recommended")} == {4}
    assert {s.x0 for s in synthetic.shapes(figure, "boundary")} == {6}
    assert as_json(gain(made)) == as_json(gain(made, boundary=4))
    with pytest.raises(SemvizError, match="from 0"):
        gain(made, boundary=9)


def test_the_benefit_curve_marks_the_recommended_boundary_and_the_chosen_one():
    figure = benefit_curve(make_probes(), boundary=6)
    assert [s.x0 for s in synthetic.shapes(figure, "boundary")] == [6]
    assert [s.x0 for s in synthetic.shapes(figure, "recommended")] == [4]
    assert as_json(benefit_curve(make_probes())) == as_json(benefit_curve(make_probes(), boundary=4))


# Pareto


def _logarithmic():
    runs = synthetic.make_runs(zero_shot=0.7)
    small = runs.frame.assign(method="lora", trainable=(runs.frame["trainable"] * 0.01).astype(int))
    return replace(runs, frame=pd.concat([runs.frame, small]))


@pytest.mark.parametrize("runs", [synthetic.make_runs(), _logarithmic()], ids=["linear", "logarithmic"])
def test_the_scope_moves_in_the_pareto_chart(runs):
    counts = (0, 1, 850_000, 1_710_000, 5e9)
    drawn = {count: as_json(pareto(runs, trainable=count)) for count in counts}
    for a, b in itertools.product(counts, repeat=2):
        overlay = moved_pareto(drawn[a], b)
        assert apply(drawn[a], overlay) == drawn[b]
        assert size(overlay) <= 300


def test_the_scope_is_a_dotted_line_with_its_word():
    figure = pareto(_logarithmic(), trainable=850_000)
    (line,) = synthetic.shapes(figure, "this scope")
    assert (line.x0, line.x1, line.line.dash) == (850_000, 850_000, "dot")
    (word,) = (a for a in figure.layout.annotations if a.text == "this scope")
    assert word.x == pytest.approx(np.log10(850_000))
    assert not synthetic.shapes(pareto(_logarithmic(), trainable=0), "this scope")[0].visible
    assert synthetic.shapes(pareto(synthetic.make_runs(), trainable=0), "this scope")[0].visible
    with pytest.raises(SemvizError, match="marks no scope"):
        moved_pareto(as_json(pareto(synthetic.make_runs())), 3)
    for wrong in (-1, float("nan"), "many", True):
        with pytest.raises(SemvizError, match="is not a number of parameters"):
            pareto(synthetic.make_runs(), trainable=wrong)
