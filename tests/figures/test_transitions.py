"""Transition map: its geometry against the d-dimensional one, and what is in the figure's JSON."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import synthetic
import torch

from semviz.common.errors import SemvizError
from semviz.figures import dark, transition_map
from semviz.figures.drawing import style
from semviz.figures.drawing.transition_plane import route_of, samples_with_routes, virtual_transition
from semviz.report.text_twins import transition_twin
from semviz.traces.metrics import METRICS
from semviz.traces.virtual_path import Arc


def _named(figure, name):
    return [t for t in figure.data if t.name == name]


def _notes(figure):
    return figure.layout.title.subtitle.text.replace("<br>", " ")


# Geometry


@pytest.mark.parametrize("kind", ["slerp", "lerp"])
def test_the_virtual_way_is_the_projection_of_the_one_in_all_dimensions(kind):
    torch.manual_seed(0)
    origin, goal = torch.randn(1, 40, dtype=torch.float64), torch.randn(1, 40, dtype=torch.float64)
    arc = Arc(origin, goal, kind)
    across = torch.randn(40, dtype=torch.float64)
    across -= (across @ arc.end[0]) * arc.end[0]
    axes = torch.stack([arc.end[0], across / across.norm()])
    way = np.linspace(0, 1, 9)
    expected = torch.cat([arc.at(float(t)) for t in way]) @ axes.T
    np.testing.assert_allclose(
        virtual_transition((arc.start @ axes.T)[0].numpy(), way, kind), expected.numpy(), atol=1e-9
    )


@pytest.mark.parametrize("kind", ["slerp", "lerp"])
@pytest.mark.parametrize("start", [(1.0, 0.0), (-1.0, 0.0), (0.0, 0.0)])
def test_the_virtual_way_from_the_target_its_opposite_and_out_of_the_plane_is_finite(kind, start):
    points = virtual_transition(np.array(start), np.linspace(0, 1, 9), kind)
    np.testing.assert_allclose(points[[0, -1]], [start, (1, 0)], atol=1e-9)
    assert np.isfinite(points).all()
    assert (np.hypot(*points.T) <= 1 + 1e-9).all()


# Picture


def test_factual_and_virtual_points_are_drawn_one_a_space(trace):
    figure = transition_map(trace, sample=1, position=5)
    row = trace.positions.query("sample == 1 and position == 5").index[0]
    (states,), (twins,) = _named(figure, "factual states"), _named(figure, "virtual states")
    np.testing.assert_allclose(np.c_[states.x, states.y], trace.paths[row], rtol=1e-4)
    expected = virtual_transition(trace.paths[row, 0], np.linspace(0, 1, 9), "slerp")
    np.testing.assert_allclose(np.c_[twins.x, twins.y], expected, atol=1e-4)
    assert list(states.marker.color) == list(range(9))
    assert (states.marker.cmin, states.marker.cmax) == (0, 8)
    (threads,) = _named(figure, "same space")
    assert threads.x[3:5] == (states.x[2], twins.x[2])
    assert threads.x[5] is None
    assert [a.text for a in figure.layout.annotations] == ["<b>target ␣that</b>", *map(str, range(9))]


def test_both_axes_have_the_same_scale_and_show_origin_target_and_circle(trace):
    layout = transition_map(trace).layout
    assert layout.yaxis.scaleanchor == "x"
    assert layout.xaxis.range[0] < 0 < 1 < layout.xaxis.range[1]
    assert layout.yaxis.range[0] < 0 < layout.yaxis.range[1]
    circle = next(s for s in layout.shapes if s.name == "unit circle")
    assert (circle.x0, circle.x1, circle.y0, circle.y1) == (-1, 1, -1, 1)
    assert layout.xaxis.title.text == "cosine with the semantic basis of “surprise”"


def test_hover_tells_cosine_deviation_neighbours_and_what_the_plane_hides(trace):
    (states,) = _named(transition_map(trace), "factual states")
    row = trace.positions.query("sample == 0 and role == 'answer'").index[0]
    shown = states.customdata[4]
    assert shown[0] == "4"
    assert float(shown[1]) == pytest.approx(trace.paths[row, 4, 0], abs=6e-4)
    assert float(shown[2]) == pytest.approx(trace.values["virtual"][row, 4], abs=6e-3)
    assert len(shown[3].split(", ")) == 3
    share = (trace.paths[row, 4] ** 2).sum()
    assert shown[5] == f"{100 * share:.0f} % of its squared length"
    for words in ("space %{customdata[0]}", "cosine with the target", "virtual deviation", "nearest", "head"):
        assert words in states.hovertemplate
    bare = replace(trace, values={"lens": trace.values["lens"]}, nearest=None, top1=None)
    (states,) = _named(transition_map(bare), "factual states")
    assert len(states.customdata[0]) == 3


def test_notes_say_how_much_the_plane_holds(trace):
    row = trace.positions.query("sample == 0 and role == 'answer'").index[0]
    share = (trace.paths[row] ** 2).sum(1)
    notes = _notes(transition_map(trace))
    assert f"holds {100 * share.mean():.0f} % of the states’ squared length" in notes
    assert f"space 0: {100 * share[0]:.0f} %, space 8: {100 * share[-1]:.0f} %" in notes
    assert "out of the plane are not seen" in notes


def test_the_answer_or_the_last_position_with_a_target_is_taken(trace, text_trace):
    assert transition_map(trace).layout.meta == {"sample": 0, "position": 25, "blocks": 8}
    assert "(sample 0, token 25)" in transition_map(trace).layout.title.text
    rows = text_trace.positions.query("sample == 3 and target_id >= 0")
    assert transition_map(text_trace, sample=3).layout.meta["position"] == rows["position"].max()
    part = next(part for part in trace.by("label").values() if part.detailed and part.detailed[0] > 0)
    assert transition_map(part).layout.meta["sample"] == part.detailed[0]


def test_a_boundary_is_ringed_and_the_frozen_part_is_thin(trace):
    figure = transition_map(trace, boundary=4)
    (ring,), (states,) = _named(figure, "boundary"), _named(figure, "factual states")
    assert (ring.x[0], ring.y[0]) == (states.x[4], states.y[4])
    assert ring.marker.color == style.LIGHT.boundary
    (frozen,), (trained,) = _named(figure, "through frozen blocks"), _named(figure, "factual transition")
    assert frozen.x == states.x, "the trained part covers its end"
    assert trained.x == states.x[4:]
    assert [t.name for t in figure.data].index(frozen.name) < [t.name for t in figure.data].index(trained.name)
    assert frozen.line.width < trained.line.width
    assert "The ring marks the boundary" in _notes(figure)
    assert not _named(transition_map(trace), "boundary")
    assert not _named(transition_map(trace), "through frozen blocks")
    (rest,) = _named(transition_map(trace, boundary=8), "factual transition")
    assert rest.x == states.x[8:], "one point, which draws nothing"
    with pytest.raises(SemvizError, match="from 0"):
        transition_map(trace, boundary=9)


def test_what_cannot_be_drawn_says_what_to_pass(trace, difference):
    with pytest.raises(SemvizError, match=r"sample=40 has no stored path. Pass one of 0, 1, 2, 3, or sv.trace\("):
        transition_map(trace, sample=40)
    with pytest.raises(SemvizError, match=r"position=99 of sample 0 was not traced. Pass one of 0, 1, 2, .* 25"):
        transition_map(trace, position=99)
    with pytest.raises(SemvizError, match=r"Position 0 of sample 0 has no target.* Pass one of 1, 2"):
        transition_map(trace, position=0)
    with pytest.raises(SemvizError, match="No sample of this trace has a stored path"):
        transition_map(synthetic.make_trace(samples=3, detail=0))
    with pytest.raises(SemvizError, match=r"difference.after"):
        transition_map(difference)
    lost = replace(trace, paths=np.full_like(trace.paths, np.nan))
    assert samples_with_routes(lost) == []
    assert samples_with_routes(trace) == [0, 1, 2, 3]
    with pytest.raises(SemvizError, match="no position with a target"):
        transition_map(lost)


def test_hostile_texts_are_only_text(hostile):
    found = []
    positions = hostile.positions.query("sample == 0 and target_id >= 0")["position"]
    for position in positions:
        found += synthetic.texts(transition_map(hostile, position=int(position)))
    whole = " ".join(found)
    for bad in ("<img", "<script", "</script", "$", "\u202e", "\n"):
        assert bad not in whole
    assert "“&lt;img src=x" in whole
    assert "%&#123;z}" in whole, "a title is a template where a figure has meta"


def test_deep_models_number_some_spaces_and_get_a_bar():
    figure = transition_map(synthetic.make_trace(samples=1, detail=1, blocks=48), boundary=31)
    numbers = [int(a.text) for a in figure.layout.annotations if a.text.isdigit()]
    assert {0, 48} <= set(numbers)
    assert 31 not in numbers, "the ring has its number"
    assert _named(figure, "boundary")[0].text == ("<b>31</b>",)
    assert len(numbers) < 14
    (states,) = _named(figure, "factual states")
    assert states.marker.colorbar.title.text == "space"
    one = transition_map(synthetic.make_trace(samples=1, tokens=2, detail=1, blocks=1))
    (states,) = _named(one, "factual states")
    assert len(states.x) == 2
    assert states.marker.colorbar.title.text is None


def test_lerp_traces_draw_their_own_way():
    made = synthetic.make_trace(samples=1, detail=1)
    straight = replace(made, meta={**made.meta, "path": "lerp"})
    (one,), (two,) = (_named(transition_map(t), "virtual states") for t in (made, straight))
    assert one.x[0] == two.x[0]
    assert one.x[4] != two.x[4] or one.x[2] != two.x[2]


def test_the_dark_map_keeps_its_points(trace):
    turned = dark(transition_map(trace, boundary=4))
    assert style.LIGHT.predicted not in turned.to_json()
    assert style.LIGHT.boundary not in turned.to_json()
    assert _named(turned, "factual states")[0].x == _named(transition_map(trace), "factual states")[0].x


def test_the_twin_holds_the_same_numbers(trace):
    twin = transition_twin(trace, sample=1)
    route = route_of(trace, 1, None)
    assert len(twin.rows) == 9
    assert all(len(row) == len(twin.columns) for row in twin.rows)
    assert float(twin.rows[3][1]) == pytest.approx(route.factual[3, 0], abs=6e-4)
    assert twin.rows[8][3:5] == ["1", "0"]
    assert twin.columns[-2:] == ["nearest", "head"]
    assert METRICS["virtual"].key in trace.values


def test_the_twin_of_hostile_texts_is_not_escaped_twice(hostile):
    texts = " ".join(cell for row in transition_twin(hostile, sample=0).rows for cell in row)
    assert "&lt;" not in texts.replace("&lt;i…", "")
