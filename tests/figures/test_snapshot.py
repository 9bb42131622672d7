"""Snapshot: one static picture of a study."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import synthetic
from synthetic_runs import make_probes

from semviz.common.errors import SemvizError
from semviz.figures import dark, pareto, sample_heatmap, token_heatmap
from semviz.figures.drawing import colours, style
from semviz.figures.drawing.cell_words import cell_word, letters_that_fit
from semviz.figures.snapshot import snapshot


def _cells(figure):
    """The cells of the two heatmaps."""
    return [t for t in figure.data if t.type == "heatmap" and t.name != "missing"]


def test_three_panels_share_the_spaces_one_line_and_one_colour_range(trace):
    figure = snapshot(trace, synthetic.make_gain(), boundary=5)
    tokens, samples = _cells(figure)
    assert (tokens.xaxis, samples.xaxis) == ("x", "x2")
    bars = [t for t in figure.data if t.type == "bar"]
    assert {t.xaxis for t in bars} == {"x3"}
    assert {t.yaxis for t in (tokens, samples, *bars)} == {"y"}
    assert {(t.zmin, t.zmax) for t in (tokens, samples)} == {colours.colour_range(trace, "semantic")}
    assert [t.showscale for t in figure.data if t.type == "heatmap"].count(True) == 1
    assert tokens.colorbar.title.text == "semantic deviation (nats)"
    lines = synthetic.shapes(figure, "boundary")
    assert {(s.xref, s.x0, s.x1, s.yref, s.y0, s.y1) for s in lines} == {("paper", 0, 1, "y", 5.5, 5.5)}
    ends = [figure.layout[f"xaxis{n}"].domain for n in ("", "2", "3")]
    assert ends[0][1] < ends[1][0] < ends[1][1] < ends[2][0]
    assert 480 <= figure.layout.height <= 580


def test_the_numbers_are_those_of_the_pictures_it_is_made_of(trace):
    made = synthetic.make_gain()
    figure = snapshot(trace, made, boundary=5, sample=2, metric="lens", order="correct")
    tokens, samples = _cells(figure)
    shown = [row[-len(tokens.x) :] for row in _cells(token_heatmap(trace, sample=2, metric="lens"))[0].z]
    assert list(map(list, tokens.z)) == list(map(list, shown))
    assert samples.z == _cells(sample_heatmap(trace, metric="lens", order="correct", limit=120))[0].z
    (bars,) = synthetic.named(figure, "gain")
    assert list(bars.y) == [2, 3, 4, 5, 6, 8], "the gain of a layer lies in the row of its output"
    np.testing.assert_allclose(bars.x, made.gains[[1, 2, 3, 4, 5, 7]], rtol=1e-4)
    assert list(bars.marker.color) == [style.LIGHT.other] * 4 + [style.LIGHT.line] * 2
    assert bars.error_x.array is not None
    assert figure.layout.xaxis2.ticktext[0].startswith("wrong")


def test_runs_add_a_row_with_intervals_and_the_front(trace):
    runs = synthetic.make_runs()
    figure = snapshot(trace, synthetic.make_gain(), boundary=4, runs=runs, probes=make_probes())
    whole = pareto(runs)
    for name in ("full", "half = profile", "Pareto front"):
        (mine,), (its,) = synthetic.named(figure, name), synthetic.named(whole, name)
        assert (mine.x, mine.y, mine.xaxis, mine.yaxis) == (its.x, its.y, "x4", "y4")
    assert figure.layout.yaxis4.domain[1] < figure.layout.yaxis.domain[0]
    assert any("before: 23.0 %" in a.text for a in figure.layout.annotations)
    assert runs.answer() in synthetic.notes(figure)
    assert "the probes choose 4" in synthetic.notes(figure)
    assert 860 <= figure.layout.height <= 960
    near = snapshot(trace, synthetic.make_gain(), boundary=4, runs=synthetic.make_runs(zero_shot=0.7))
    assert [s.xref for s in synthetic.shapes(near, "before finetuning")] == ["x4 domain"]
    none = replace(runs, frame=runs.frame.iloc[:0])
    bare = snapshot(trace, synthetic.make_gain(), boundary=4, runs=none)
    assert bare.layout.height == snapshot(trace, synthetic.make_gain(), boundary=4).layout.height


@pytest.mark.parametrize(
    ("boundary", "words"),
    [(0, "train blocks 1–8 of 8"), (7, "train block 8 of 8"), (8, "train nothing of 8")],
)
def test_the_title_names_model_task_and_scope(trace, boundary, words):
    figure = snapshot(trace, synthetic.make_gain(), boundary=boundary)
    assert figure.layout.title.text == f"demo on mood: {words}"
    assert f"The line is boundary {boundary}" in synthetic.notes(figure)


def test_a_sample_that_keeps_only_its_answer_is_drawn_as_one_column(trace):
    figure = snapshot(trace, synthetic.make_gain(), boundary=4, sample=50)
    row = trace.positions.query("sample == 50").index.item()
    drawn = [cells[0] for cells in _cells(figure)[0].z]
    np.testing.assert_allclose(drawn, trace.values["semantic"][row], rtol=1e-4)
    assert figure.layout.xaxis.domain[1] < 0.2
    assert figure.layout.annotations
    assert _cells(snapshot(synthetic.make_trace(detail=0), synthetic.make_gain(), boundary=4))


def test_it_is_small_and_plain_for_deep_models_and_many_samples():
    words = tuple(f"w{i}" for i in range(200))
    many = synthetic.make_trace(blocks=48, samples=900, tokens=200, detail=1, words=words)
    figure = snapshot(many, synthetic.make_gain(blocks=48), boundary=31, runs=synthetic.make_runs())
    stored = figure.to_json()
    assert len(stored) < 150_000
    assert "bdata" not in stored
    json.loads(stored, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert len(_cells(figure)[0].x) == 24
    assert figure.layout.xaxis.ticktext[-1].startswith("<b>"), "the end of the sample, where the answer is"


def test_language_modelling_and_differences_are_drawn(text_trace, difference):
    text = snapshot(text_trace, synthetic.make_gain(), boundary=4)
    assert text.layout.xaxis2.title.text == "sorted by deviation"
    change = snapshot(difference, synthetic.make_gain(), boundary=4)
    assert _cells(change)[0].zmin == -_cells(change)[0].zmax
    turned = dark(change).to_json()
    assert style.LIGHT.boundary not in turned
    assert style.LIGHT.paper not in turned


@pytest.mark.parametrize("blocks", [8, 30, 48, 80])
def test_every_clipped_token_is_marked_and_the_marks_are_explained(blocks):
    made = synthetic.make_trace(blocks=blocks, tokens=20)
    far = {**made.values, "lens": made.values["lens"] + 3}
    figure = snapshot(replace(made, values=far), synthetic.make_gain(blocks=blocks), boundary=3, metric="lens")
    cells = _cells(figure)[0]
    signs = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    marked = {
        (round(y), round(x)) for t in synthetic.named(figure, "above the range") for x, y in zip(t.x, t.y, strict=True)
    }
    clipped = {(r, c) for r, row in enumerate(cells.z) for c, z in enumerate(row) if z and z > cells.zmax * 1.001}
    assert clipped
    assert all(at in marked or "▴" in str(signs.get(at[0])) for at in clipped)
    assert {t.xaxis for t in synthetic.named(figure, "above the range")} <= {"x"}, "none in narrow columns"
    said = synthetic.notes(figure)
    assert re.search(r"Triangles: beyond the colour range \([\d.]+ to 10\.8, no better than a blind guess; ", said)
    assert "The narrow columns of samples have none." in said
    assert "Grey cells with a cross: no target here." in said
    assert "Spaces are read raw (logit lens)." in said


def test_the_heads_first_choices_stand_in_the_cells_of_a_short_sample():
    short = synthetic.make_trace(blocks=30, tokens=9)
    figure = snapshot(short, synthetic.make_gain(blocks=30, boundary=12), boundary=12, metric="lens")
    written = [t for t in figure.data if t.type == "heatmap" and t.texttemplate and t.xaxis == "x"]
    rows = short.positions.query(f"sample == {short.detailed[0]}").index
    words = ["".join(parts).strip("\u200b") for parts in zip(*(t.text[-1] for t in written), strict=True)]
    room = letters_that_fit(0.42 * 880 / 9, 13)
    assert words == ["", *(cell_word(short.vocabulary[i], room) for i in short.top1[rows[1:], -1].tolist())]
    assert len(rows) == len(figure.layout.xaxis.tickvals)
    assert "In the cells: the token that the head ranks first" in synthetic.notes(figure)
    height = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    assert height / 31 >= 13, "rows that can be read"
    long = snapshot(synthetic.make_trace(), synthetic.make_gain(), boundary=4, metric="lens")
    assert "In the cells" not in synthetic.notes(long)


def test_a_long_answer_is_whole():
    long = "Training blocks 5–8 of 8 keeps 98 % of full finetuning's benefit, " * 12 + "as far as was measured."
    figure = snapshot(
        synthetic.make_trace(), synthetic.make_gain(), boundary=4, runs=synthetic.make_runs(sentence=long)
    )
    assert long in synthetic.notes(figure)


def test_what_does_not_fit_together_is_refused(trace):
    with pytest.raises(SemvizError, match="gains of 8 blocks, not boundary=3 and 4 blocks"):
        snapshot(trace, synthetic.make_gain(blocks=4, boundary=2), boundary=3)
    for wrong in (None, 9, math.nan):
        with pytest.raises(SemvizError, match="from 0"):
            snapshot(trace, synthetic.make_gain(), boundary=wrong)
    with pytest.raises(SemvizError, match="Pass a sample"):
        snapshot(trace, synthetic.make_gain(), boundary=4, sample=900)


def test_hostile_texts_are_only_text(hostile):
    bad = "".join(synthetic.HOSTILE[:3])
    runs = synthetic.make_runs(names={0: "<b>full</b>", 4: bad}, sentence=bad)
    probes = replace(make_probes(blocks=3), message=bad, boundary=1)
    made = replace(synthetic.make_gain(blocks=3, boundary=1), rule=bad)
    figure = snapshot(hostile, made, boundary=1, runs=runs, probes=probes)
    for text in [*synthetic.texts(figure), figure.layout.title.text, synthetic.notes(figure)]:
        for part in ("<img", "<script", "</script", "<b>full</b></b>", "$", "\u202e", "\n"):
            assert part not in text, text
