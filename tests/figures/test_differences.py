"""Pictures of a difference of two traces: what is in the figure's JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import synthetic

from semviz.figures import dark, profile, sample_heatmap, token_heatmap
from semviz.figures.drawing import colours, style


def _cells(figure):
    return next(t for t in figure.data if t.type == "heatmap" and t.name != "missing")


def _notes(figure):
    return figure.layout.title.subtitle.text.replace("<br>", " ")


def test_changes_are_the_difference_of_the_two_traces(difference):
    figure = token_heatmap(difference, sample=2)
    rows = difference.positions.query("sample == 2").index
    expected = (difference.after.values["lens"] - difference.before.values["lens"])[rows].T
    drawn = np.array([[np.nan if v is None else v for v in row] for row in _cells(figure).z])
    np.testing.assert_allclose(drawn, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("draw", [token_heatmap, sample_heatmap])
def test_colours_are_symmetric_around_0_and_name_their_directions(difference, draw):
    figure = draw(difference)
    cells = _cells(figure)
    assert cells.zmin == -cells.zmax < 0
    assert (cells.zmin, cells.zmax) == colours.colour_range(difference, "lens")
    stops = [list(stop) for stop in cells.colorscale]
    assert stops == style.CHANGE
    assert cells.colorbar.title.text == "change of lens deviation (nats)"
    assert any(text.startswith(("+", "≥ +")) for text in cells.colorbar.ticktext)
    words = {a.text: a.y for a in figure.layout.annotations}
    assert words["farther"] == 1
    assert words["nearer"] == 0


def test_blue_is_nearer_and_no_change_differs_from_no_value():
    (_, low), *_, (_, high) = style.CHANGE
    blue, orange = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (low, high))
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    for theme in (style.LIGHT, style.DARK):
        apart = [abs(int(theme.unchanged[i : i + 2], 16) - int(theme.missing[i : i + 2], 16)) for i in (1, 3, 5)]
        assert np.mean(apart) > 20


def test_dark_swaps_every_stop_of_the_scale(difference):
    turned = _cells(dark(token_heatmap(difference)))
    theme = style.DARK
    assert [c for _, c in turned.colorscale] == [
        theme.nearest, theme.nearer, theme.unchanged, theme.farther, theme.farthest
    ]  # fmt: skip


def test_the_range_ignores_a_few_extremes_and_never_is_empty(difference):
    values = difference.values["semantic"].copy()
    values[5, 4] = -500.0
    assert colours.colour_range(replace(difference, values={"semantic": values}), "semantic")[1] < 5
    for empty in (np.zeros_like(values), np.full_like(values, np.nan)):
        assert colours.colour_range(replace(difference, values={"semantic": empty}), "semantic") == (-1, 1)
        assert token_heatmap(replace(difference, values={"semantic": empty})).data
    clipped = token_heatmap(replace(difference, values={"semantic": values}))
    below = next(t for t in clipped.data if t.name == "below the range")
    assert (5, 4) in set(zip(below.x, below.y, strict=True))


def test_hover_shows_before_after_and_change(difference):
    cells = _cells(token_heatmap(difference))
    assert "%{z:+.3f}" in cells.hovertemplate
    assert "lens deviation: %{customdata[1]}" in cells.hovertemplate
    row = difference.positions.query("sample == 0 and position == 3").index[0]
    before, after = (float(t.values["lens"][row, 6]) for t in (difference.before, difference.after))
    _, change, near, head = cells.customdata[6][3]
    assert [float(part) for part in change.split(" → ")] == pytest.approx([before, after], abs=6e-3)
    assert len(near.split(", ")) == 3
    assert " → " not in head, "the heads agree below the last space"
    assert cells.customdata[8][3][3].endswith(" → joy")
    assert "nearest after" in cells.hovertemplate


def test_hover_of_averaged_samples_shows_their_means():
    made = synthetic.make_difference(synthetic.make_text_trace())
    cells = _cells(sample_heatmap(made, order="index"))
    rows = ((made.positions["sample"] == 2) & (made.positions["role"] == "next")).to_numpy()
    expected = [float(t.values["lens"][rows].mean(0)[5]) for t in (made.before, made.after)]
    assert [float(p) for p in cells.customdata[5][2][1].split(" → ")] == pytest.approx(expected, abs=6e-3)
    assert "nearest" not in cells.hovertemplate


def test_titles_say_which_model_minus_which_and_notes_what_else_differs(difference):
    for figure in (token_heatmap(difference), sample_heatmap(difference), profile(difference)):
        assert "tuned\u00a0−\u00a0demo" in figure.layout.title.text.replace("<br>", " ")
        assert "different τ" not in _notes(figure)
    after = replace(difference.after, meta={**difference.after.meta, "model": "demo", "tau": 0.08})
    changed = after - difference.before
    for figure in (token_heatmap(changed), sample_heatmap(changed), profile(changed)):
        assert "demo (81bb02)\u00a0−\u00a0demo (3f2a9c)" in figure.layout.title.text.replace("<br>", " ")
        assert "different τ (0.043 and 0.080)" in _notes(figure)


def test_the_answer_before_and_after_is_told(difference):
    positions = difference.after.positions.assign(predicted="joy")
    changed = replace(difference.after, positions=positions) - difference.before
    said = difference.before.positions.query("sample == 0 and role == 'answer'")["predicted"].iloc[0]
    assert f"the model said “{said}” and now says “joy”" in _notes(token_heatmap(changed))


def test_the_profile_has_a_zero_line_and_no_law(difference):
    figure = profile(difference, boundary=4)
    for number, key in enumerate(difference.metrics):
        axis = figure.layout[f"yaxis{number + 1 if number else ''}"]
        assert axis.zeroline is True
        assert axis.range[0] < 0 < axis.range[1]
        (line,) = (t for t in figure.data if t.name == key)
        np.testing.assert_allclose(line.y, difference.profile_frame(key)["mean"], rtol=1e-3, atol=1e-5)
        assert "%{y:+.3f}" in line.hovertemplate
    assert not [t for t in figure.data if t.name.startswith("law")]
    assert "Below 0: nearer" in _notes(figure)
    assert not profile(difference.after).layout.yaxis.zeroline


def test_the_profile_shows_0_where_every_space_changed_by_the_same(difference):
    before = difference.before
    after = replace(before, values={key: values - 1 for key, values in before.values.items()})
    low, high = profile(after - before, metrics=["lens"]).layout.yaxis.range
    assert low < -1 < 0 < high


def test_samples_run_from_nearer_to_farther(difference):
    figure = sample_heatmap(difference, order="deviation")
    level = np.array(_cells(figure).z, dtype=float)[1:].mean(0)
    assert (np.diff(level) >= -1e-6).all()
    assert "from nearer to farther" in _notes(figure)


def test_hostile_model_names_are_only_text(hostile):
    text = json.dumps(json.loads(token_heatmap(synthetic.make_difference(hostile)).to_json()))
    assert "</script" not in text
    assert "$" not in text
