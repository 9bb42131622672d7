"""Group profile: what is in the figure's JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import synthetic

from semviz.common.errors import SemvizError
from semviz.figures import dark, group_profile
from semviz.figures.drawing import style
from semviz.figures.drawing.line_ends import spread_out


def _lines(figure):
    return [t for t in figure.data if not t.name.endswith(" band")]


def _notes(figure):
    return figure.layout.title.subtitle.text.replace("<br>", " ")


def test_one_line_with_its_band_a_group(trace):
    groups = trace.by("label")
    figure = group_profile(groups, metric="lens", boundary=3)
    assert [line.name for line in _lines(figure)] == list(groups)
    for name, line in zip(groups, _lines(figure), strict=True):
        frame = groups[name].profile_frame("lens")
        np.testing.assert_allclose(line.y, frame["mean"], rtol=1e-4)
        (area,) = (t for t in figure.data if t.name == f"{name} band")
        np.testing.assert_allclose(area.y[:9], frame["high"], rtol=1e-4)
        assert area.fillcolor == line.line.color
        assert area.opacity < 0.3
    looks = {(line.line.color, line.marker.symbol) for line in _lines(figure)}
    assert len(looks) == len({colour for colour, _ in looks}) == len({symbol for _, symbol in looks}) == 4
    assert style.LIGHT.boundary not in {colour for colour, _ in looks}, "vermilion is the boundary's"
    assert figure.layout.yaxis.title.text == "lens deviation (nats)"
    assert [s.x0 for s in figure.layout.shapes if s.name == "boundary"] == [3]


def test_lines_are_named_at_their_ends_with_their_samples(trace):
    groups = trace.by("label")
    figure = group_profile(groups)
    labels = [a for a in figure.layout.annotations if a.showarrow]
    written = [a.text for a in labels]
    assert written == [f"{name} ({groups[name].meta['samples']})" for name in groups]
    ends = {line.name: line.y[-1] for line in _lines(figure)}
    for note in labels:
        assert note.x == 8
        assert note.y == pytest.approx(ends[note.text.split(" (")[0]], rel=1e-4)
    span = figure.layout.yaxis.range
    heights = sorted((a.y - span[0]) * 400 / (span[1] - span[0]) - a.ay for a in labels)
    assert (np.diff(heights) > 16.9).all(), "labels keep a line's height apart"


def test_of_many_groups_the_largest_are_drawn_and_the_others_named():
    labels = tuple(f"label {i}" for i in range(12))
    groups = synthetic.make_trace(samples=150, labels=labels).by("label")
    figure = group_profile(groups)
    assert [line.name for line in _lines(figure)] == list(groups)[:8]
    assert len({(line.line.color, line.marker.symbol) for line in _lines(figure)}) == 8
    assert f"The 8 largest of 12 groups are drawn; not drawn: {', '.join(list(groups)[8:])}." in _notes(figure)
    assert "not drawn" not in _notes(group_profile(synthetic.make_trace().by("label")))


def test_hostile_names_are_only_text(hostile):
    drawn = [group_profile(hostile.by(column)) for column in ("label", "token")]
    # Plotly's own JSON writes < as an escape; what the browser reads is what counts.
    text = json.dumps([json.loads(figure.to_json()) for figure in drawn], ensure_ascii=False)
    for bad in ("<i>", "</script", "<img", "$", "%{z}"):
        assert bad not in text, bad
    assert "&lt;i&gt;joy&lt;/i&gt;" in text


def test_a_group_of_one_sample_and_one_without_values(trace):
    positions = trace.positions.assign(kind="many")
    positions.loc[positions["sample"] == 7, "kind"] = "one"
    groups = replace(trace, positions=positions).by("kind")
    assert [line.name for line in _lines(group_profile(groups))] == ["many", "one"]
    values = trace.values["semantic"].copy()
    values[(positions["kind"] == "one").to_numpy()] = np.nan
    figure = group_profile(replace(trace, positions=positions, values={"semantic": values}).by("kind"))
    assert _lines(figure)[1].y == (None,) * 9
    assert "one (1): no value" in [a.text for a in figure.layout.annotations]
    assert np.isfinite(figure.layout.yaxis.range).all()


def test_a_far_space_0_is_left_off_the_axis_and_said(trace):
    values = trace.values["lens"].copy()
    values[:, 0] = 60.0
    figure = group_profile(replace(trace, values={"lens": values}).by("label"))
    assert figure.layout.yaxis.range[1] < 15
    assert "↑ 60" in [a.text for a in figure.layout.annotations]
    assert "off the axis" in _notes(figure)


def test_wrong_metric_and_boundary_say_what_to_pass(trace):
    with pytest.raises(SemvizError, match="was not traced"):
        group_profile(trace.by("label"), metric="nonsense")
    with pytest.raises(SemvizError, match="from 0"):
        group_profile(trace.by("label"), boundary=99)


def test_dark_group_colours_are_all_swapped(trace):
    text = dark(group_profile(trace.by("label"))).to_json()
    assert not any(look[0] in text for look in style.GROUPS)


def test_spread_out_keeps_distance_order_and_ends():
    rng = np.random.default_rng(0)
    for _ in range(50):
        places = rng.uniform(0, 100, 5) ** 1.5 / 10
        moved = spread_out(places, 17, low=0, high=100)
        assert (np.diff(np.sort(moved)) >= 17 - 1e-9).all()
        assert list(np.argsort(moved, kind="stable")) == list(np.argsort(places, kind="stable"))
        assert moved.min() >= 8.5 - 1e-9
        assert moved.max() <= 91.5 + 1e-9
    np.testing.assert_allclose(spread_out(np.array([20.0, 80.0]), 17, low=0, high=100), [20, 80])
    np.testing.assert_allclose(spread_out(np.array([50.0, 50.0]), 17, low=0, high=100), [41.5, 58.5])
