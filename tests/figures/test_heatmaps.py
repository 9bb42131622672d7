"""Token and sample heatmap: what is in the figure's JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import synthetic

from semviz.common import token_text
from semviz.common.errors import SemvizError
from semviz.figures import sample_heatmap, token_heatmap
from semviz.figures.drawing import colours, heatmap_cells


def _cells(figure):
    return next(t for t in figure.data if t.type == "heatmap" and t.name != "missing")


def test_token_heatmap_shape_rows_and_ticks(trace):
    figure = token_heatmap(trace, boundary=4)
    cells = _cells(figure)
    assert np.shape(cells.z) == (9, len(cells.x)) == (9, 26)
    assert list(cells.x) == list(range(26)), "integer positions: repeated tokens must not merge"
    ticks = list(figure.layout.xaxis.ticktext)
    assert ticks.count("␣the") == 3
    assert ticks[0] == "<i>&lt;s&gt;</i>"
    assert ticks[-1].startswith("<b>")
    assert figure.layout.yaxis.ticktext[0].endswith("input 0")
    assert figure.layout.yaxis.ticktext[-1] == "8"
    assert list(figure.layout.yaxis.range) == [-0.5, 8.5], "row 0 is at the bottom"
    row = trace.positions.query("sample == 0").index[3]
    assert cells.z[5][3] == pytest.approx(trace.values["lens"][row, 5], rel=1e-4)


def test_values_are_plain_rounded_lists(trace):
    stored = json.loads(token_heatmap(trace).to_json())
    z = next(t for t in stored["data"] if t["name"] == "lens")["z"]
    assert isinstance(z, list)
    assert all(v is None or len(str(v)) < 9 for row in z for v in row)


def test_boundary_is_a_line_between_rows(trace):
    for figure in (token_heatmap(trace, boundary=4), sample_heatmap(trace, boundary=4)):
        lines = [s for s in figure.layout.shapes if s.name == "boundary"]
        assert {(s.y0, s.y1) for s in lines} == {(4.5, 4.5)}
        words = {a.text for a in figure.layout.annotations if a.opacity}
        assert {"↑ trained", "↓ frozen"} <= words
    for k, gone in ((0, "↓ frozen"), (8, "↑ trained")):
        assert gone not in [a.text for a in token_heatmap(trace, boundary=k).layout.annotations if a.opacity]


def test_missing_cells_are_drawn_marked_and_said(trace):
    figure = token_heatmap(trace)
    missing = next(t for t in figure.data if t.name == "missing")
    assert [row[0] for row in missing.z] == [1] * 9
    assert all(v is None for row in missing.z for v in row[1:])
    assert len(next(t for t in figure.data if t.name == "missing marks").x) == 9
    assert "no target here" in figure.layout.title.subtitle.text


def test_clipped_cells_are_marked_and_said(trace):
    values = trace.values["lens"].copy()
    values[5, 4], values[6, 4] = 90.0, 0.0
    figure = token_heatmap(replace(trace, values={**trace.values, "lens": values}))
    up = next(t for t in figure.data if t.name == "above the range")
    assert (5, 4) in set(zip(up.x, up.y, strict=True))
    assert "beyond the colour range" in figure.layout.title.subtitle.text
    assert any(text.startswith("≥") for text in _cells(figure).colorbar.ticktext)


def test_colour_range_is_one_for_all_pictures_of_a_trace(trace):
    ranges = {(c.zmin, c.zmax) for c in map(_cells, (token_heatmap(trace), token_heatmap(trace, sample=3)))}
    cells = _cells(sample_heatmap(trace))
    assert ranges == {(cells.zmin, cells.zmax)} == {colours.colour_range(trace, "lens")}
    assert _cells(token_heatmap(trace)).colorbar.title.text == "lens deviation (nats)"


def test_colour_range_leaves_a_far_space_0_out(trace):
    low, high = colours.colour_range(trace, "virtual")
    assert 0.3 < low < 0.62
    assert high <= 2
    assert colours.colour_range(trace, "rank")[0] >= 0
    flat = {"semantic": np.full_like(trace.values["semantic"], 3.0)}
    assert colours.colour_range(replace(trace, values=flat), "semantic") == (2.5, 3.5)
    empty = {"semantic": np.full_like(trace.values["semantic"], np.nan)}
    assert colours.colour_range(replace(trace, values=empty), "semantic") == (0.0, 1.0)
    assert len(token_heatmap(replace(trace, values=empty)).data) > 0


def test_a_row_that_is_mostly_clipped_is_marked_once_at_its_name(trace):
    values = trace.values["semantic"].copy()
    values[:, 0] = 40.0
    figure = token_heatmap(replace(trace, values={**trace.values, "semantic": values}))
    assert figure.layout.yaxis.ticktext[0] == "▴ input 0"
    assert 0 not in [y for t in figure.data if t.name == "above the range" for y in t.y]
    assert "beyond the colour range" in figure.layout.title.subtitle.text


def test_hover_names_token_target_and_three_neighbours(trace):
    cells = _cells(token_heatmap(trace))
    head, near, first = cells.customdata[4][1]
    assert head == "1: The → target ␣film"
    row = trace.positions.query("sample == 0 and position == 1").index[0]
    assert first == token_text.html_label(token_text.short_label(trace.vocabulary[trace.top1[row, 4]]))
    assert len(near.split(", ")) == 3
    assert "nats" in cells.hovertemplate
    assert "nearest" in cells.hovertemplate
    bare = _cells(token_heatmap(replace(trace, nearest=None, top1=None)))
    assert "nearest" not in bare.hovertemplate
    assert "head" not in bare.hovertemplate
    only = _cells(token_heatmap(replace(trace, nearest=None)))
    assert "head: %{customdata[1]}" in only.hovertemplate


@pytest.mark.parametrize("draw", [token_heatmap, sample_heatmap])
def test_hostile_texts_are_only_text(hostile, draw):
    for text in synthetic.texts(draw(hostile)):
        assert "<img" not in text
        assert "<script" not in text
        assert "</script" not in text
        assert "$" not in text
        assert "\u202e" not in text
        assert "\n" not in text
    assert any("&lt;img src=x …" in text or "&#36;&#36;y" in text for text in synthetic.texts(draw(hostile)))


def test_a_token_spelled_like_a_template_is_not_filled_in(hostile):
    cells = _cells(token_heatmap(hostile))
    assert "%{z}" not in cells.hovertemplate
    assert any("%{z}" in cell[0] for cell in cells.customdata[0]), "it stays in the data, where Plotly does not look"


def test_long_samples_are_shown_through_a_window():
    long = synthetic.make_trace(samples=3, tokens=300, blocks=8, detail=3, words=tuple(f"w{i}" for i in range(300)))
    figure = token_heatmap(long)
    assert np.shape(_cells(figure).z) == (9, 96)
    assert "Tokens 204 to 299 of 0 to 299 are shown" in figure.layout.title.subtitle.text
    first = token_heatmap(long, start=0)
    assert first.layout.xaxis.ticktext[0] == "<i>&lt;s&gt;</i>"
    assert "pass start=96" in first.layout.title.subtitle.text
    with pytest.raises(SemvizError, match="Pass an int from 0 to 299"):
        token_heatmap(long, start=300)


def test_large_inputs_stay_small():
    big = synthetic.make_trace(samples=900, tokens=300, blocks=32, detail=1, words=tuple(f"w{i}" for i in range(300)))
    for figure in (token_heatmap(big), sample_heatmap(big, limit=900)):
        assert np.size(_cells(figure).z) <= heatmap_cells.MAX_CELLS
        assert len(figure.to_json()) < 500_000
    most = sample_heatmap(big, limit=900)
    room = np.shape(_cells(most).z)[1]
    said, fewer = (
        figure.layout.title.subtitle.text.replace("<br>", " ") for figure in (most, sample_heatmap(big, limit=50))
    )
    assert f"{room} of 900 samples are shown, evenly spaced in this order; a picture holds no more cells" in said
    assert f"50 of 900 samples are shown, evenly spaced in this order; pass limit={room} to see more." in fewer


def test_one_of_everything():
    one = synthetic.make_trace(samples=1, tokens=2, blocks=1, detail=1)
    assert np.shape(_cells(token_heatmap(one)).z) == (2, 2)
    for order in ("label", "correct", "deviation", "index"):
        assert np.shape(_cells(sample_heatmap(one, order=order)).z) == (2, 1)


def test_wrong_sample_metric_and_boundary_say_what_to_pass(trace):
    with pytest.raises(
        SemvizError, match=r"sample 40 was traced at its answer position only; pass .* \(one of the samples 0 to 3\)"
    ):
        token_heatmap(trace, sample=40)
    with pytest.raises(SemvizError, match="Pass a sample from 0 to 199"):
        token_heatmap(trace, sample=200)
    with pytest.raises(SemvizError, match="Pass one of 'semantic', 'lens'"):
        token_heatmap(trace, metric="loss")
    for wrong in (-1, 9, 2.5, True):
        with pytest.raises(SemvizError, match="from 0"):
            token_heatmap(trace, boundary=wrong)
    with pytest.raises(SemvizError, match="Pass 'label', 'correct', 'deviation', 'cluster' or 'index'"):
        sample_heatmap(trace, order="size")
    for wrong in (0, 1.5):
        with pytest.raises(SemvizError, match="limit"):
            sample_heatmap(trace, limit=wrong)


def test_language_modelling_traces(text_trace):
    figure = token_heatmap(text_trace, sample=7)
    assert "token that follows it" in figure.layout.title.subtitle.text
    assert not [a for a in figure.layout.annotations if a.text == "answer"]
    samples = sample_heatmap(text_trace)
    assert "mean of its positions" in samples.layout.title.subtitle.text
    assert "nearest" not in _cells(samples).hovertemplate
    with pytest.raises(SemvizError, match="needs labels"):
        sample_heatmap(text_trace, order="label")


def test_sample_heatmap_averages_only_counted_positions(text_trace):
    cells = _cells(sample_heatmap(text_trace, order="index"))
    rows = (text_trace.positions["sample"] == 2) & (text_trace.positions["role"] == "next")
    expected = text_trace.values["lens"][rows.to_numpy()].mean(0)
    np.testing.assert_allclose([row[2] for row in cells.z], expected, atol=1e-4)


def test_samples_are_grouped_and_sorted(trace):
    figure = sample_heatmap(trace)
    assert [text.split("<br>")[0] for text in figure.layout.xaxis.ticktext] == ["anger", "joy", "sadness", "surprise"]
    counts = [int(text.split("(")[1].rstrip(")")) for text in figure.layout.xaxis.ticktext]
    assert sum(counts) == 200
    z = np.array(_cells(figure).z)[1:, : counts[0]].mean(0)
    assert (np.diff(z) >= -1e-6).all()
    level = np.array(_cells(sample_heatmap(trace, order="deviation")).z)[1:].mean(0)
    assert (np.diff(level) >= -1e-6).all()
    order = _cells(sample_heatmap(trace, order="index")).customdata[0]
    assert [cell[0].split(" ")[1] for cell in order[:3]] == ["0", "1", "2"]


def test_samples_that_the_model_gets_wrong_come_first(trace):
    figure = sample_heatmap(trace, order="correct")
    answers = trace.positions[trace.positions["role"] == "answer"].set_index("sample")["correct"]
    right = [bool(answers[sample]) for sample in figure.layout.meta["samples"]]
    count = right.count(False)
    assert right == [False] * count + [True] * (200 - count)
    assert list(figure.layout.xaxis.ticktext) == [f"wrong<br>({count})", f"right<br>({200 - count})"]
    assert [s.x0 for s in figure.layout.shapes if s.name == "label"] == [count - 0.5]
    level = np.array(_cells(figure).z, dtype=float)[1:].mean(0)
    assert (np.diff(level[:count]) >= -1e-6).all()
    assert (np.diff(level[count:]) >= -1e-6).all()
    assert "gets wrong, then those that it gets right" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_all_right_is_one_group(trace):
    positions = trace.positions.assign(correct=trace.positions["correct"].fillna(True) | True)
    figure = sample_heatmap(replace(trace, positions=positions), order="correct")
    assert list(figure.layout.xaxis.ticktext) == ["right<br>(200)"]


def test_language_modelling_has_no_right_and_wrong_samples(text_trace):
    with pytest.raises(SemvizError, match=r"needs one answer per sample .* order='deviation', 'cluster' or 'index'"):
        sample_heatmap(text_trace, order="correct")


def test_labels_sort_as_people_sort():
    labels = tuple(f"grade {i}" for i in (10, 9, 2, 1))
    figure = sample_heatmap(synthetic.make_trace(samples=60, labels=labels))
    assert [text.split("<br>")[0] for text in figure.layout.xaxis.ticktext] == [
        "grade 1",
        "grade 2",
        "grade 9",
        "grade 10",
    ]


def test_a_thinned_picture_keeps_both_ends(trace):
    figure = sample_heatmap(trace, limit=20, order="deviation")
    assert np.shape(_cells(figure).z) == (9, 20)
    assert "20 of 200 samples are shown" in figure.layout.title.subtitle.text
    assert "pass limit=200" in figure.layout.title.subtitle.text
    whole = _cells(sample_heatmap(trace, order="deviation"))
    assert [r[0] for r in _cells(figure).z] == [r[0] for r in whole.z]
    assert [r[-1] for r in _cells(figure).z] == [r[-1] for r in whole.z]


def _planted(trace, rng):
    """Give the samples one of two profiles, at random."""
    answers = trace.counted
    kind = rng.integers(0, 2, answers.sum())
    shapes = np.array([[5.0, 1, 4, 1, 4, 1, 4, 1, 4], [5.0, 4, 1, 4, 1, 4, 1, 4, 1]])
    values = trace.values["semantic"].copy()
    values[answers] = shapes[kind] + rng.normal(0, 0.2, (len(kind), 9))
    return replace(trace, values={"semantic": values}), dict(zip(trace.positions["sample"][answers], kind, strict=True))


def test_clusters_stand_side_by_side(trace):
    planted, kind = _planted(trace, np.random.default_rng(1))
    figure = sample_heatmap(planted, order="cluster")
    kinds = [kind[sample] for sample in figure.layout.meta["samples"]]
    assert np.count_nonzero(np.diff(kinds)) == 1, "one border between two kinds"
    assert sorted(figure.layout.meta["samples"]) == list(range(200))
    assert "similar profiles" in figure.layout.title.subtitle.text
    assert "side by side" in figure.layout.xaxis.title.text


def test_clustering_comes_after_thinning_and_leaves_gaps_last(trace):
    thin = sample_heatmap(trace, order="cluster", limit=20)
    even = np.linspace(0, 199, 20).round().astype(int)
    assert sorted(thin.layout.meta["samples"]) == sorted(even)
    assert "evenly spaced in the data" in thin.layout.title.subtitle.text
    values = trace.values["semantic"].copy()
    rows = trace.positions["sample"].isin([3, 90]) & (trace.positions["role"] == "answer")
    values[rows.to_numpy(), 4] = np.nan
    holey = sample_heatmap(replace(trace, values={"semantic": values}), order="cluster")
    assert holey.layout.meta["samples"][-2:] == [3, 90]
    for few in (1, 2, 3):
        figure = sample_heatmap(synthetic.make_trace(samples=few), order="cluster")
        assert sorted(figure.layout.meta["samples"]) == list(range(few))


def test_a_click_finds_its_sample_and_position(trace):
    for order in ("label", "correct", "deviation", "cluster", "index"):
        figure = sample_heatmap(trace, order=order)
        heads = [cell[0] for cell in _cells(figure).customdata[0]]
        assert [int(head.split(" ")[1]) for head in heads] == figure.layout.meta["samples"]
    assert token_heatmap(trace, sample=2).layout.meta == {
        "sample": 2, "positions": list(range(26)), "blocks": 8, "spaces": list(range(9))
    }  # fmt: skip
