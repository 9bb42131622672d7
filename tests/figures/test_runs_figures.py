"""Range heatmap, benefit curve, agreement, comparison and learning curves: what is in the figure's JSON."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic_runs import (
    SOURCES,
    FakeRun,
    FakeScope,
    make_agreement,
    make_comparison,
    make_learning,
    make_probes,
    make_ranges,
    make_run,
)

from semviz.common.errors import SemvizError
from semviz.figures import agreement, benefit_curve, comparison, dark, learning_curves, range_heatmap
from semviz.figures.drawing import style


def draw_all(**texts: str) -> list[Any]:
    """Draw each of the pictures once; the texts replace model and task."""
    return [
        range_heatmap(make_ranges(**texts)),
        benefit_curve(make_probes(**texts), make_ranges(**texts)),
        agreement(make_agreement(**texts)),
        comparison(make_comparison(**texts)),
        learning_curves([replace(run, **texts) for run in make_learning(6)]),
    ]


def _words(figure):
    return [a.text for a in figure.layout.annotations]


# Range heatmap


def test_a_cell_of_the_range_heatmap_is_lowest_by_highest_block():
    runs = make_ranges()
    figure = range_heatmap(runs)
    (cells,) = synthetic.named(figure, "score")
    for row in runs.frame.to_dict("records"):
        assert cells.z[row["first"] - 1][row["last"] - 1] == pytest.approx(row["accuracy"], rel=1e-4)
    assert all(cells.z[a][b] is None for a in range(8) for b in range(a)), "start above end cannot be"
    assert list(cells.x) == list(cells.y) == list(range(1, 9))
    assert figure.layout.yaxis.range[0] < 1 < 8 < figure.layout.yaxis.range[1], "row 1 is at the bottom"
    assert figure.layout.xaxis.title.text == "highest trained block"
    assert figure.layout.yaxis.title.text == "lowest trained block"
    assert (cells.zmin, cells.zmax) == (runs.frame["accuracy"].min(), runs.frame["accuracy"].max())
    assert not synthetic.named(figure, "not run")
    assert cells.colorbar.title.text == "accuracy"


def test_a_range_says_its_interval_parameters_and_seconds():
    (cells,) = synthetic.named(range_heatmap(make_ranges()), "score")
    hover = cells.customdata[4][7]
    assert hover[:6] == ["blocks 5–8 of 8", "74.1 %", "72.1 % to 76.1 %", "0.8 M", "46 %", "20 s"]
    assert hover[6] == " (3 runs each)"


def test_the_best_range_is_framed_and_said():
    figure = range_heatmap(make_ranges())
    assert {(s.x0, s.x1, s.y0, s.y1) for s in synthetic.shapes(figure, "best")} == {(7.5, 8.5, 1.5, 2.5)}
    assert "Framed: the best, blocks 2–8 of 8, 78.7 %. Before finetuning: 23.0 %." in synthetic.notes(figure)
    (scores,) = synthetic.named(figure, "scores")
    assert [t for t in scores.text if "<b>" in t] == ["<b>78.7</b>"]
    frame = make_ranges().frame
    best = frame["low"][frame["accuracy"].idxmax()]
    others = int((frame["high"] >= best).sum()) - 1
    assert f"intervals of {others} of the 35 other ranges overlap" in synthetic.notes(figure)


def test_of_equal_scores_the_smaller_range_is_the_best():
    runs = make_ranges(blocks=3)
    figure = range_heatmap(replace(runs, frame=runs.frame.assign(accuracy=0.7)))
    assert synthetic.shapes(figure, "best")[0].x0 == synthetic.shapes(figure, "best")[0].y0, "a single block"
    (cells,) = synthetic.named(figure, "score")
    assert cells.zmin < 0.7 < cells.zmax


def test_a_low_loss_is_bright_and_best():
    runs = make_ranges(score="loss", zero_shot=2.9)
    figure = range_heatmap(runs)
    (cells,), (scores,) = synthetic.named(figure, "score"), synthetic.named(figure, "scores")
    assert cells.reversescale is True
    assert cells.z[0][7] == pytest.approx(runs.frame.query("first == 1 and last == 8")["loss"].item(), rel=1e-4)
    assert synthetic.shapes(figure, "best")[0].y0 == 1.5
    assert "2.213 nats" in synthetic.notes(figure)
    assert "(nats" in cells.colorbar.title.text
    letters = dict(zip(scores.text, scores.textfont.color, strict=True))
    assert letters["<b>2.21</b>"].startswith("rgba(0,0,0"), "black on yellow"
    assert letters["2.45"].startswith("rgba(255,255,255"), "white on blue"


def test_ranges_that_were_not_run_are_grey_and_counted():
    runs = make_ranges()
    frame = runs.frame[~((runs.frame["first"] == 3) & (runs.frame["last"] == 5))]
    frame = frame.assign(accuracy=frame["accuracy"].where(frame["last"] != 4))
    figure = range_heatmap(replace(runs, frame=frame))
    (gone,), (cells,) = synthetic.named(figure, "not run"), synthetic.named(figure, "score")
    found = {(a + 1, b + 1) for a, row in enumerate(gone.z) for b, cell in enumerate(row) if cell}
    assert found == {(3, 5), (1, 4), (2, 4), (3, 4), (4, 4)}
    assert all(cells.z[a - 1][b - 1] is None for a, b in found)
    assert gone.customdata[2][4] == "blocks 3–5"
    assert gone.customdata[3][3] == "block 4"
    assert "(5 of 36)" in synthetic.notes(figure)
    (marks,) = synthetic.named(figure, "not run marks")
    assert set(zip(marks.y, marks.x, strict=True)) == found


def test_scores_are_written_only_where_they_fit():
    assert len(synthetic.named(range_heatmap(make_ranges()), "scores")[0].text) == 36
    assert not synthetic.named(range_heatmap(make_ranges(blocks=28)), "scores")


def test_one_range_without_an_interval():
    runs = make_ranges(zero_shot=None)
    frame = runs.frame.iloc[[1]].assign(low=np.nan, high=np.nan, seconds=np.nan, runs=1)
    figure = range_heatmap(replace(runs, frame=frame), n_blocks=3)
    (cells,) = synthetic.named(figure, "score")
    assert cells.customdata[0][1][2] == "no interval"
    assert cells.customdata[0][1][5:] == ["–", ""]
    assert "overlap" not in synthetic.notes(figure)
    assert "Before" not in synthetic.notes(figure)
    assert np.shape(cells.z) == (3, 3)
    assert "(5 of 6)" in synthetic.notes(figure)
    assert np.shape(synthetic.named(range_heatmap(replace(runs, frame=frame)), "score")[0].z) == (2, 2)


def test_scopes_with_gaps_and_other_methods_are_no_cells():
    runs = make_ranges(blocks=3)
    gap = runs.frame.iloc[[0]].assign(first=pd.NA, last=pd.NA, accuracy=0.99)
    other = runs.frame.iloc[[0]].assign(method="lora", accuracy=0.98)
    both = replace(runs, frame=pd.concat([gap, other, runs.frame, runs.frame.iloc[[0]].assign(accuracy=0.97)]))
    figure = range_heatmap(both)
    assert synthetic.named(figure, "score")[0].zmax < 0.9
    assert "same blocks with another norm or head (1)" in synthetic.notes(figure)
    lora = range_heatmap(both, method="lora")
    assert synthetic.named(lora, "score")[0].z[0][0] == 0.98
    assert "(lora)" in lora.layout.title.text
    with pytest.raises(SemvizError, match=r"'dora'.*'full', 'lora'"):
        range_heatmap(both, method="dora")
    for frame in (gap, runs.frame.iloc[:0], runs.frame.assign(accuracy=np.nan), gap.assign(first=np.nan, last=np.nan)):
        with pytest.raises(SemvizError, match=r"Scope\.ranges"):
            range_heatmap(replace(runs, frame=frame))
    with pytest.raises(SemvizError, match="block 3 was trained"):
        range_heatmap(both, n_blocks=2)


# Benefit curve


def test_benefit_curve_has_line_band_probes_level_and_boundary():
    probes = make_probes()
    figure = benefit_curve(probes)
    (line,), (area,), (marks,) = (
        synthetic.named(figure, n) for n in ("predicted (band: 95 %)", "95 % band", "probe runs")
    )
    np.testing.assert_allclose(line.y, probes.benefit, atol=1e-4)
    assert list(line.x) == list(range(9))
    assert len(area.y) == 18
    assert list(marks.x) == [0, 4, 7]
    np.testing.assert_allclose(marks.error_y.arrayminus, 0.06, atol=1e-4)
    np.testing.assert_allclose(marks.error_y.array, 0.05, atol=1e-4)
    assert [s.y0 for s in synthetic.shapes(figure, "enough")] == [0.95]
    assert [(s.x0, s.x1) for s in synthetic.shapes(figure, "boundary")] == [(4, 4)]
    assert {"<b>★ the probes’ choice: 4</b>", "enough: 95 % (1 − ε)"} <= set(_words(figure))
    assert probes.message in synthetic.notes(figure)
    assert "100 %" in figure.layout.yaxis.ticktext
    assert not synthetic.named(figure, "measured runs")
    assert "measured" not in figure.layout.title.text


def test_a_long_message_is_whole():
    """As probes that were measured at many boundaries give; a sentence that ends in the middle says something else."""
    message = "Boundary 12 measured 97 %, which those around it make look like chance. " * 12 + "A guess."
    assert message in synthetic.notes(benefit_curve(make_probes(message=message)))


@pytest.mark.parametrize("length", range(30, 80, 3))
def test_a_number_and_its_percent_sign_share_a_line(length):
    message = f"{'x' * length} keeps 94 % (91 % to 98 %); boundary 3 keeps 83 % (74 % to 90 %) of the benefit."
    lines = benefit_curve(make_probes(message=message)).layout.title.subtitle.text.split("<br>")
    assert not any(line.startswith("%") for line in lines)
    assert message in " ".join(lines)


def test_measured_suffixes_stand_beside_the_prediction():
    runs = make_ranges()
    lora = runs.frame.assign(method="lora", benefit=9.0)
    gaps = runs.frame.iloc[[0]].assign(first=pd.NA, last=pd.NA, suffix=False, benefit=8.0)
    figure = benefit_curve(make_probes(), replace(runs, frame=pd.concat([lora, gaps, runs.frame])))
    (marks,) = synthetic.named(figure, "measured runs")
    suffixes = runs.frame[runs.frame["last"] == 8]
    assert list(marks.x) == list(range(8)), "ranges that end below the last block are no suffixes"
    np.testing.assert_allclose(marks.y, suffixes["benefit"], rtol=1e-4)
    full = suffixes["accuracy"].iloc[0]
    np.testing.assert_allclose(marks.error_y.array, 0.02 / (full - 0.23), rtol=1e-3)
    assert marks.customdata[7][2] == "k=7"
    assert marks.customdata[7][3] == "3 runs"
    assert "measured" in figure.layout.title.text
    assert "of the score alone" in synthetic.notes(figure)
    assert "Probes are measured on validation rows, runs on test rows." in synthetic.notes(figure)


def test_intervals_of_a_loss_are_not_turned_around():
    runs = make_ranges(score="loss", zero_shot=2.9)
    full = runs.frame.query("first == 1 and last == 8")["loss"].item()
    runs = replace(runs, frame=runs.frame.assign(benefit=(2.9 - runs.frame["loss"]) / (2.9 - full)))
    (marks,) = synthetic.named(benefit_curve(make_probes(), runs), "measured runs")
    np.testing.assert_allclose(marks.error_y.array, 0.02 / (2.9 - full), rtol=1e-3)
    np.testing.assert_allclose(marks.error_y.arrayminus, 0.02 / (2.9 - full), rtol=1e-3)


def test_runs_without_full_finetuning_or_start_score_have_no_measured_benefit_or_interval():
    runs = make_ranges()
    part = replace(runs, frame=runs.frame[runs.frame["first"] > 1].assign(benefit=np.nan))
    assert not synthetic.named(benefit_curve(make_probes(), part), "measured runs")
    blind = benefit_curve(make_probes(), replace(runs, zero_shot=None))
    (marks,) = synthetic.named(blind, "measured runs")
    assert marks.error_y.visible is False
    assert marks.customdata[0][1] == "no interval"
    assert "of the score alone" not in synthetic.notes(blind)


def test_runs_of_something_else_are_refused():
    with pytest.raises(SemvizError, match="task 'mood' and the runs of 'other'"):
        benefit_curve(make_probes(), make_ranges(task="other"))
    with pytest.raises(SemvizError, match="model 'demo' and the runs of 'other'"):
        benefit_curve(make_probes(), make_ranges(model="other"))


def test_wild_benefits_do_not_flatten_the_curve():
    made = make_probes()
    high = made.high.copy()
    high[5] = 80.0
    points = made.points.assign(benefit=[1.0, 40.0, np.nan], low=[np.nan] * 3, high=[np.nan] * 3)
    figure = benefit_curve(replace(made, high=high, points=points))
    assert figure.layout.yaxis.range[1] < 2
    assert "Off the axis: 1 value, 1 end of an interval" in synthetic.notes(figure)
    assert "Off the axis" not in synthetic.notes(benefit_curve(made))
    (marks,) = synthetic.named(figure, "probe runs")
    assert marks.y[2] is None
    assert marks.error_y.visible is False
    empty = np.full(9, np.nan)
    bare = benefit_curve(replace(made, benefit=empty, low=empty, high=empty))
    assert "NaN" not in bare.to_json()
    assert not synthetic.shapes(bare, "boundary"), "where nothing is predicted, nothing is recommended"


# Agreement


def test_agreement_has_a_panel_with_heading_and_unit_for_each_source():
    made = make_agreement()
    figure = agreement(made)
    for number, (source, unit) in enumerate(SOURCES.items()):
        rows = made.table[made.table["source"] == source]
        (points,) = synthetic.named(figure, source)
        np.testing.assert_allclose(points.x, rows["predicted"], rtol=1e-4)
        np.testing.assert_allclose(points.y, rows["measured"], rtol=1e-4)
        assert points.xaxis == f"x{number + 1 if number else ''}"
        title = figure.layout[f"xaxis{number + 1 if number else ''}"].title.text
        assert title == ("predicted benefit (%)" if unit == "benefit" else f"predicted {unit}")
        assert list(points.text) == [str(k) for k in range(8)]
    words = _words(figure)
    assert [w for w in words if w.startswith("<b>")] == [f"<b>{source}</b>" for source in SOURCES]
    assert "ρ = 0.90 (0.40, 0.98)" in words
    assert "ρ = −0.30 (−0.80, 0.98)" in words
    assert figure.layout.yaxis.title.text == "measured benefit (%)"
    assert figure.layout.yaxis2.matches == "y"


def test_the_diagonal_is_drawn_only_where_units_agree():
    figure = agreement(make_agreement())
    diagonals = synthetic.named(figure, "diagonal")
    assert {t.xaxis for t in diagonals} == {"x", "x5"}, "law and probes predict a benefit"
    assert all(tuple(t.x) == tuple(t.y) for t in diagonals)
    assert "Dashed" in synthetic.notes(figure)
    without = agreement(make_agreement(sources={"drop": "gain"}))
    assert not synthetic.named(without, "diagonal")
    assert "Dashed" not in synthetic.notes(without)


def test_an_undefined_correlation_and_missing_points_are_said():
    made = make_agreement(sources={"law": "benefit", "flat": "gain", "late": "gain"})
    table = made.table.copy()
    table.loc[(table["source"] == "law") & (table["boundary"] == 2), "predicted"] = np.nan
    table.loc[table["source"] == "flat", "predicted"] = np.nan
    ranks = made.ranks[made.ranks["source"] != "late"].assign(rho=[0.5, np.nan], low=np.nan, high=np.nan)
    figure = agreement(replace(made, table=table, ranks=ranks))
    words = _words(figure)
    assert "ρ = 0.50" in words
    assert words.count("ρ undefined") == 2
    assert "no value" in words
    assert "9 points without" in synthetic.notes(figure)
    assert len(synthetic.named(figure, "law")[0].x) == 7
    assert "NaN" not in figure.to_json()


def test_of_many_boundaries_some_are_named_and_all_are_in_the_hover():
    (points,) = synthetic.named(agreement(make_agreement(blocks=28, sources={"law": "benefit"})), "law")
    assert 2 <= sum(bool(text) for text in points.text) < 8
    assert points.text[0] == "0"
    assert [row[0] for row in points.customdata] == list(range(28))


def test_agreement_of_one_point_and_of_none():
    made = make_agreement(sources={"probes": "benefit"})
    one = agreement(replace(made, table=made.table.iloc[[3]].assign(low=np.nan, high=np.nan)))
    (points,) = synthetic.named(one, "probes")
    assert points.error_y.visible is False
    assert points.customdata[0][3] == "– to –"
    assert "source by source" not in one.layout.title.text
    with pytest.raises(SemvizError, match="no source"):
        agreement(replace(made, table=made.table.iloc[:0]))


# Comparison


def test_differences_of_accuracy_are_points_with_verdicts_in_words_colour_and_symbol():
    made = make_comparison()
    figure = comparison(made)
    looks = {}
    for verdict in ("better", "worse", "undecided"):
        rows = made.table[made.table["verdict"] == verdict]
        (marks,) = synthetic.named(figure, verdict)
        np.testing.assert_allclose(marks.x, 100 * rows["difference"], rtol=1e-4)
        assert list(marks.y) == list(rows.index)
        np.testing.assert_allclose(marks.error_x.array, 100 * (rows["high"] - rows["difference"]), rtol=1e-4)
        looks[marks.marker.symbol] = marks.marker.color
    assert len(looks) == len(set(looks.values())) == 3
    assert style.LIGHT.boundary not in looks.values(), "vermilion is the boundary's"
    words = _words(figure)
    assert "+2.1 <b>better</b>" in words
    assert "−5.0 <b>worse</b>" in words
    assert "0.0 <b>undecided</b>" in words, "what rounds to 0 has no sign"
    assert {"← worse", "better →"} <= set(words)
    assert list(figure.layout.yaxis.ticktext)[:2] == ["half = profile", "k=2"]
    assert figure.layout.yaxis.range == (5.5, -0.5), "first row on top"
    assert figure.layout.xaxis.title.text == "difference of accuracy (points)"
    assert [(s.x0, s.x1) for s in synthetic.shapes(figure, "reference")] == [(0, 0)]
    assert "full" in figure.layout.title.text


def test_a_lower_loss_is_better_and_left():
    made = make_comparison(score="loss")
    figure = comparison(made)
    (marks,) = synthetic.named(figure, "better")
    assert list(marks.x) == [-0.021], "nats, not points"
    assert {"← better", "worse →", "−0.021 <b>better</b>"} <= set(_words(figure))
    assert "(nats)" in figure.layout.xaxis.title.text
    assert marks.customdata[0][4] == "−0.033 to −0.009 nats"


def test_comparison_of_one_row_without_an_interval_and_of_none():
    made = make_comparison()
    one = comparison(replace(made, table=made.table.iloc[:1].assign(low=np.nan, high=np.nan, seeds=1)))
    (marks,) = synthetic.named(one, "better")
    assert marks.error_x.visible is False
    assert marks.customdata[0][4:] == ["no interval", "1 seed", "better"]
    low, high = one.layout.xaxis.range
    assert low < 0 < 2.1 < high
    gone = comparison(replace(made, table=made.table.iloc[:1].assign(difference=np.nan, verdict="undecided")))
    assert "no value" in _words(gone)
    assert not synthetic.named(gone, "undecided")
    with pytest.raises(SemvizError, match="at least two"):
        comparison(replace(made, table=made.table.iloc[:0]))
    for why in ("one seed", "diverged"):
        unknown = comparison(replace(made, table=made.table.iloc[:1].assign(verdict=f"undecided: {why}", seeds=1)))
        (marks,) = synthetic.named(unknown, "undecided")
        assert marks.customdata[0][6] == f"undecided: {why}"
        assert f"+2.1 <b>{why}</b>" in _words(unknown)
        assert ("over test rows alone" in synthetic.notes(unknown)) == (why == "one seed")
    with pytest.raises(SemvizError, match="'maybe' is not a verdict"):
        comparison(replace(made, table=made.table.assign(verdict="maybe")))


def test_a_long_comparison_is_cut_and_says_so():
    made = make_comparison()
    figure = comparison(replace(made, table=pd.concat([made.table] * 9)))
    assert len(figure.layout.yaxis.tickvals) == 40
    assert "The first 40 of 54 scopes" in synthetic.notes(figure)


# Learning curves


def test_losses_are_drawn_as_they_were_logged():
    runs = make_learning(6)
    figure = learning_curves(runs)
    assert len(figure.data) == 6
    for line, run in zip(figure.data, runs, strict=True):
        assert list(line.x) == list(run.curve["step"])
        np.testing.assert_allclose(line.y, run.curve["loss"], rtol=1e-4)
        assert run.scope.label in line.name
    assert "not smoothed" in synthetic.notes(figure)
    assert "blocks 5–8 of 8, seed 1" in _words(figure)
    assert figure.layout.yaxis.title.text == "training loss (nats)"


def test_seeds_share_a_colour_and_differ_in_dashes():
    lines = learning_curves(make_learning(6)).data
    assert [line.line.color for line in lines[::2]] == [line.line.color for line in lines[1::2]]
    assert len({line.line.color for line in lines}) == 3
    assert len({(line.line.color, line.line.dash) for line in lines}) == 6
    many = [make_run(scope=FakeScope(f"block {i}")) for i in range(12)]
    assert len({(line.line.color, line.line.dash) for line in learning_curves(many).data}) == 12


def test_at_most_twelve_lines_are_drawn():
    figure = learning_curves(run for run in make_learning(14))
    assert len(figure.data) == 12
    assert "The first 12 of 14 runs are drawn." in synthetic.notes(figure)


def test_labels_name_only_what_differs():
    run = make_run()
    assert _words(learning_curves(run)) == ["blocks 5–8 of 8"]
    assert "Method full, learning rate 0.0003, seed 0." in synthetic.notes(learning_curves(run))
    assert _words(learning_curves([run, replace(run, lr=1e-3)])) == [
        "blocks 5–8 of 8, rate 0.0003",
        "blocks 5–8 of 8, rate 0.001",
    ]
    other = replace(run, lr=1e-3, scope=FakeScope("block 8 of 8"), method="lora")
    assert _words(learning_curves([run, other])) == ["blocks 5–8 of 8, full", "block 8 of 8, lora"]
    assert "2 tasks" in synthetic.notes(learning_curves([run, replace(run, task="where")]))


def test_a_diverged_run_flattens_no_other():
    good, bad = make_run(), make_run(seed=1)
    curve = bad.curve.copy()
    curve.loc[20:, "loss"] = 1e5
    curve.loc[49, "loss"] = np.nan
    figure = learning_curves([good, replace(bad, curve=curve)])
    top = figure.layout.yaxis.range[1]
    assert figure.layout.yaxis.type != "log"
    assert top < 5
    assert figure.data[1].y[49] is None
    assert "blocks 5–8 of 8, seed 1: diverged" in _words(figure)
    assert "off the axis" in synthetic.notes(figure)
    assert all(max(s.y0, s.y1) <= top for s in synthetic.shapes(figure, "thread"))
    assert "off the axis" not in synthetic.notes(learning_curves([good, bad]))


def test_losses_over_decades_get_a_logarithmic_axis():
    run = make_run()
    losses = np.geomspace(4, 0.004, 50)
    figure = learning_curves(replace(run, curve=run.curve.assign(loss=losses)))
    assert figure.layout.yaxis.type == "log"
    assert "logarithmic" in figure.layout.yaxis.title.text
    np.testing.assert_allclose(figure.layout.yaxis.range, np.log10([0.004, 4]), atol=0.2)
    assert "0.01" in figure.layout.yaxis.ticktext
    (label,), (thread,) = figure.layout.annotations, synthetic.shapes(figure, "thread")
    assert label.y == pytest.approx(np.log10(thread.y1))
    assert thread.y0 == pytest.approx(0.004)
    zero = learning_curves(replace(run, curve=run.curve.assign(loss=np.r_[losses[:49], 0.0])))
    assert zero.layout.yaxis.type != "log"


def test_long_runs_are_thinned_and_keep_their_end():
    step = np.arange(1, 5001)
    run = FakeRun(pd.DataFrame({"step": step, "loss": 1 + 1 / step}))
    figure = learning_curves(run)
    assert len(figure.data[0].x) <= 400
    assert figure.data[0].x[-1] == 5000
    assert "one point in 13" in synthetic.notes(figure)


def test_runs_of_one_point_of_none_and_of_nothing_but_nan():
    run = make_run()
    one = learning_curves(replace(run, curve=run.curve.iloc[:1]))
    assert one.data[0].mode == "lines+markers"
    nothing = learning_curves([replace(run, curve=run.curve.iloc[:0])])
    assert _words(nothing) == ["blocks 5–8 of 8: no losses"]
    lost = learning_curves([replace(run, curve=run.curve.assign(loss=np.nan))])
    assert _words(lost) == ["blocks 5–8 of 8: diverged"]
    assert "NaN" not in lost.to_json()
    with pytest.raises(SemvizError, match="no run to draw"):
        learning_curves([])


# All of them


def test_hostile_texts_stay_texts():
    bad = "".join(synthetic.HOSTILE[:3])
    for name in synthetic.HOSTILE:
        texts = {"model": name, "task": bad}
        ranges = make_ranges(blocks=3, **texts)
        ranges = replace(ranges, frame=ranges.frame.assign(scope=name, name=name))
        probes = replace(make_probes(blocks=3, message=name, **texts), boundary=1)
        pairs = make_comparison(names=synthetic.HOSTILE, reference=name, **texts)
        pairs = replace(pairs, table=pairs.table.assign(scope=name, method=name))
        drawn = [
            range_heatmap(ranges),
            range_heatmap(replace(ranges, frame=ranges.frame.assign(method=name)), method=name),
            benefit_curve(probes, ranges),
            agreement(make_agreement(sources={name: name, bad: "benefit"}, **texts)),
            comparison(pairs),
            learning_curves([make_run(scope=FakeScope(name), method=m, **texts) for m in ("full", name)]),
        ]
        for figure in drawn:
            for text in synthetic.texts(figure):
                for part in ("<img", "<script", "</script", "<b>x", "$", "\u202e", "\n"):
                    assert part not in text, (name, text)
            written = [figure.layout.title.text, figure.layout.title.subtitle.text, *_words(figure)]
            assert not any("%{" in text for text in written)
            assert not any("%{z}" in (getattr(t, "hovertemplate", None) or "") for t in figure.data)


def test_dark_swaps_the_colours_of_every_picture():
    for figure in draw_all():
        turned = dark(figure)
        assert turned.layout.template.layout.paper_bgcolor == style.DARK.paper
        text = turned.to_json()
        for role in ("paper", "ink", "muted", "boundary", "line", "predicted", "group1", "group2", "missing"):
            assert f'"{getattr(style.LIGHT, role)}"' not in text, role
        assert [t.name for t in turned.data] == [t.name for t in figure.data]


def test_every_picture_has_height_titles_and_plain_lists():
    for figure in draw_all():
        layout = figure.layout
        assert layout.height > 200
        assert layout.width is None
        assert None not in (layout.margin.l, layout.margin.r, layout.margin.t, layout.margin.b)
        assert layout.title.text
        assert layout.xaxis.title.text
        assert layout.yaxis.title.text or layout.yaxis.ticktext
        assert "demo on mood" in synthetic.notes(figure)
        stored = figure.to_json()
        assert "bdata" not in stored
        assert len(layout.template.to_plotly_json()["layout"]) < 15
        json.loads(stored, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


_PROGRAM = """
import pickle, sys
from types import SimpleNamespace as Made
from semviz import figures
tables, arrays = pickle.load(open(sys.argv[1], "rb"))
both = dict(model="demo", task="mood")
runs = Made(table=lambda: tables["ranges"], score="accuracy", zero_shot=0.2, **both)
figures.range_heatmap(runs)
line = dict(zip(("benefit", "low", "high"), arrays))
probes = Made(points=tables["points"], n_blocks=8, boundary=4, epsilon=0.05, message="", **line, **both)
figures.benefit_curve(probes, runs)
figures.agreement(Made(frame=lambda: tables["agreement"], spearman=lambda: tables["ranks"], **both))
figures.comparison(Made(frame=lambda: tables["comparison"], score="accuracy", reference="full", **both))
scope = Made(label="blocks 5-8 of 8")
settings = dict(method="full", seed=0, lr=1e-3, model_name="demo", task="mood")
figures.learning_curves(Made(curve=tables["curve"], scope=scope, **settings))
sys.exit("torch was imported" if "torch" in sys.modules else 0)
"""


def test_no_picture_of_runs_imports_torch(tmp_path):
    probes, pairs, path = make_probes(), make_agreement(), tmp_path / "tables.pickle"
    tables = {
        "ranges": make_ranges().frame,
        "points": probes.points,
        "agreement": pairs.table,
        "ranks": pairs.ranks,
        "comparison": make_comparison().table,
        "curve": make_run().curve,
    }
    path.write_bytes(pickle.dumps((tables, (probes.benefit, probes.low, probes.high))))
    ran = subprocess.run([sys.executable, "-c", _PROGRAM, str(path)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
