"""Profile, gain picture and Pareto chart, and the themes that all pictures share."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import synthetic

from semviz.common import formats
from semviz.common.errors import SemvizError
from semviz.common.scores import ACCURACY, LOSS
from semviz.figures import (
    CONFIG,
    dark,
    gain,
    group_profile,
    pareto,
    profile,
    sample_heatmap,
    token_heatmap,
    transition_map,
)
from semviz.figures.drawing import labels, style
from semviz.figures.drawing.pareto_points import pareto_front, points_of
from semviz.gains.scaling_law import fit_law
from semviz.report.text_twins import gain_twin, pareto_twin, profile_twin, samples_twin, tokens_twin
from semviz.traces.trace import Trace

# Profile


def test_profile_has_a_panel_with_its_unit_for_each_metric(trace):
    figure = profile(trace, boundary=3)
    for number, key in enumerate(trace.metrics):
        (line,), (area,) = synthetic.named(figure, key), synthetic.named(figure, f"{key} band")
        assert list(line.x) == list(range(9))
        np.testing.assert_allclose(line.y, trace.profile_frame(key)["mean"], rtol=1e-4)
        assert len(area.y) == 18
        axis = figure.layout[f"xaxis{number + 1 if number else ''}"]
        assert list(axis.tickvals)[-1] == 8
        assert axis.matches == ("x" if number else None), "one shared axis of spaces"
    assert figure.layout.yaxis.title.text == "nats"
    assert figure.layout.yaxis3.title.text == "1 − cos"
    assert len(synthetic.shapes(figure, "boundary")) == 5


def test_profile_of_chosen_metrics(trace):
    figure = profile(trace, metrics=["rank", "rank", "lens"])
    assert [t.name for t in figure.data if "band" not in t.name and "law" not in t.name] == ["rank", "lens"]
    assert profile(trace, metrics=["rank"]).layout.height < profile(trace).layout.height
    with pytest.raises(SemvizError, match="Pass a list"):
        profile(trace, metrics="rank")
    with pytest.raises(SemvizError, match="at least one"):
        profile(trace, metrics=[])
    with pytest.raises(SemvizError, match="was not traced"):
        profile(trace, metrics=["nonsense"])


def test_profile_leaves_nan_out_of_the_band(trace):
    class Holey(Trace):
        def profile_frame(self, metric=None, *, seed=0):
            frame = super().profile_frame(metric, seed=seed)
            frame.loc[3, ["mean", "low", "high"]] = np.nan
            return frame

    fields = {name: getattr(trace, name) for name in Trace.__dataclass_fields__}
    figure = profile(Holey(**fields), metrics=["lens"])
    assert len(synthetic.named(figure, "lens band")[0].y) == 16
    assert synthetic.named(figure, "lens")[0].y[3] is None


def test_the_laws_line_is_drawn_where_it_applies(trace):
    values = {key: trace.values[key].copy() for key in ("semantic", "lens", "rank", "virtual")}
    values["lens"][:] = 3.0
    values["rank"][:] = np.tile([0.9, 0.2, 0.5, 0.2, 0.5, 0.2, 0.5, 0.2, 0.5], (len(values["rank"]), 1))
    made = replace(trace, values=values)
    figure = profile(made)
    assert [t.name for t in figure.data if t.name.startswith("law")] == ["law of semantic"]
    (line,) = synthetic.named(figure, "law of semantic")
    law = fit_law(made.profile_frame("semantic")["mean"].to_numpy(dtype=float))
    assert line.y[0] is None
    np.testing.assert_allclose(line.y[1:], law.line[1:], rtol=1e-4)
    assert line.line.dash == "dash"
    said = f"law: β = {law.beta:.2g}, R² = {law.r2:.2g}"
    assert said in line.hovertemplate
    texts = [a.text for a in figure.layout.annotations]
    assert said in texts
    assert "no law: flat" in texts
    assert "no law: ν = 0.57" in texts
    assert "SALF-style, our reading" in synthetic.notes(figure)
    assert "No law" in synthetic.notes(figure)
    assert "No law" not in synthetic.notes(profile(trace))
    assert "Dashed" not in synthetic.notes(profile(trace, metrics=["virtual"]))


def test_gain_and_profile_draw_the_same_law(trace):
    made = trace.gain("lens")
    (line,) = synthetic.named(profile(trace, metrics=["lens"]), "law of lens")
    np.testing.assert_allclose(line.y[1:], made.fitted[1:], rtol=1e-4)


def test_a_far_space_0_is_left_off_the_axis_and_said():
    made = synthetic.make_trace()
    values = made.values["lens"].copy()
    values[:, 0] = 60.0
    far = replace(made, values={"lens": values})
    figure = profile(far)
    assert figure.layout.yaxis.range[1] < 15
    assert "↑ 60" in [a.text for a in figure.layout.annotations]
    assert "An arrow gives the value of space 0" in synthetic.notes(figure)
    gained = synthetic.make_gain()
    for name in ("deviation", "deviation_low", "deviation_high"):
        getattr(gained, name)[0] = 60.0
    figure = gain(gained)
    assert figure.layout.yaxis.range[1] < 15
    assert "↑ 60" in [a.text for a in figure.layout.annotations]


# Gain


@pytest.mark.parametrize("seed", range(12))
def test_the_label_of_a_blind_guess_is_off_the_profile_where_there_is_room(seed):
    rng = np.random.default_rng(seed)
    made = synthetic.make_trace(blocks=30, candidates=400, seed=seed)
    guess = np.log(400)
    curve = guess + np.cumsum(rng.normal(0, 0.35, 31))
    values = {**made.values, "lens": np.tile(curve, (len(made.positions), 1)).astype(np.float32)}
    figure = profile(replace(made, values=values), metrics=["lens"])
    label = next((a for a in figure.layout.annotations if "blind guess" in a.text), None)
    low, high = figure.layout.yaxis.range
    if label is None:
        assert not low < guess < high
        return
    share, pixel = min((6 * len(label.text)) / 480, 1), (high - low) / 190
    start = {"left": 0, "center": (1 - share) / 2, "right": 1 - share}[label.xanchor]
    bottom, top = (guess, guess + 12 * pixel) if label.yanchor == "bottom" else (guess - 12 * pixel, guess)
    under = np.interp(np.linspace(start, start + share, 200) * 30, range(31), curve)
    is_free = not ((under > bottom) & (under < top)).any()
    assert is_free or label.bgcolor == style.LIGHT.paper
    assert low <= bottom < top <= high or label.bgcolor, "inside the panel"


def test_gain_bars_stand_between_the_spaces():
    made = synthetic.make_gain(boundary=4)
    figure = gain(made)
    (bars,) = synthetic.named(figure, "gain")
    (negative,) = synthetic.named(figure, "negative gain")
    assert list(bars.x) == [1.5, 2.5, 3.5, 4.5, 5.5, 7.5]
    assert list(negative.x) == [6.5]
    assert negative.marker.pattern.shape == "/"
    assert negative.marker.color != bars.marker.color
    assert list(figure.layout.xaxis2.ticktext) == [str(k) for k in range(1, 9)]
    assert list(figure.layout.xaxis2.tickvals) == [k - 0.5 for k in range(1, 9)]
    np.testing.assert_allclose(bars.error_y.array, (made.gains_high - made.gains)[[1, 2, 3, 4, 5, 7]], atol=1e-4)


def test_gain_marks_boundary_frozen_side_and_the_skipped_layer():
    figure = gain(synthetic.make_gain(boundary=4))
    assert [s.x0 for s in synthetic.shapes(figure, "boundary")] == [4, 4], "one line in each row"
    assert {s.yref for s in synthetic.shapes(figure, "boundary")} == {"y domain", "y2 domain"}
    assert {s.x1 for s in synthetic.shapes(figure, "frozen")} == {4}
    texts = [a.text for a in figure.layout.annotations]
    assert "<b>frozen</b>" in texts
    assert "<b>trained</b>" in texts
    assert "skipped" in texts
    assert "Layer 1 is skipped" in synthetic.notes(figure)
    steady = "83 % of resamples of the rows choose it: how steady the choice is, not how good."
    assert steady in synthetic.notes(figure)
    assert "blocks 1–4 are frozen, blocks 5–8 are trained." in synthetic.notes(figure)


@pytest.mark.parametrize(
    ("boundary", "words"),
    [(1, "block 1 is frozen, blocks 2–8 are trained"), (7, "blocks 1–7 are frozen, block 8 is trained"),
     (0, ": blocks 1–8 are trained"), (8, "blocks 1–8 are frozen.")],
)  # fmt: skip
def test_gain_says_which_side_is_frozen(boundary, words):
    assert words in synthetic.notes(gain(synthetic.make_gain(boundary=boundary)))


def test_gain_says_where_the_law_does_not_apply():
    figure = gain(synthetic.make_gain(law=False))
    assert not synthetic.named(figure, "fitted law")
    assert "The law does not apply here (ν = 0.42)" in synthetic.notes(figure)
    flat = replace(synthetic.make_gain(law=False), flat=True)
    assert "The law does not apply here (the profile is flat)" in synthetic.notes(gain(flat))
    assert synthetic.named(gain(synthetic.make_gain()), "fitted law")[0].y[0] is None


def test_gain_keeps_the_profile_readable_beside_wild_predictions():
    made = synthetic.make_gain()
    predicted = made.predicted.copy()
    predicted[0], predicted[1] = 1e6, np.inf
    figure = gain(replace(made, predicted=predicted))
    assert figure.layout.yaxis.range[1] < 2 * made.deviation.max()
    assert "not drawn" in synthetic.notes(figure)
    assert "Infinity" not in figure.to_json()


def test_small_gains_keep_their_digits():
    made = synthetic.make_gain()
    figure = gain(replace(made, gains=made.gains / 1000))
    assert max(synthetic.named(figure, "gain")[0].y) == pytest.approx(np.nanmax(made.gains) / 1000, rel=1e-4)


def test_gain_of_two_blocks():
    figure = gain(synthetic.make_gain(blocks=2, boundary=1, negative=False))
    assert list(synthetic.named(figure, "gain")[0].x) == [1.5]


# Pareto


def test_pareto_has_a_marker_with_interval_for_each_scope():
    runs = synthetic.make_runs()
    figure = pareto(runs)
    for row in runs.table().to_dict("records"):
        (marker,) = synthetic.named(figure, row["name"])
        assert marker.x == (row["trainable"],)
        assert marker.y == (round(row["accuracy"], 5),)
        assert marker.error_y.array == (round(row["high"] - row["accuracy"], 5),)
    written = [a.text for a in figure.layout.annotations]
    assert {"<b>full</b>", "<b>half = profile</b>", "<b>last</b>", "k=3"} <= set(written)
    looks = {(t.marker.symbol, t.marker.color) for t in figure.data if t.mode == "markers"}
    assert len(looks) == 4, "full, profile, last and the others"
    assert figure.layout.xaxis.ticktext[:2] == ("0", "0.5 M")


def test_front_is_what_nothing_smaller_beats():
    points = points_of(synthetic.make_runs())
    names = [p.name for p in pareto_front(points, ACCURACY)]
    assert names == ["last", "k=6", "k=5", "half = profile", "k=3"]
    loss = points_of(synthetic.make_runs(score="loss"))
    assert [p.name for p in pareto_front(loss, LOSS)] == names
    line = synthetic.named(pareto(synthetic.make_runs()), "Pareto front")[0]
    assert line.line.shape == "hv"
    assert line.x[-1] == 1_710_000, "the best score holds to the right end"


def test_a_far_score_before_finetuning_breaks_the_axis_and_a_near_one_does_not():
    broken = pareto(synthetic.make_runs(zero_shot=0.23))
    (line,) = synthetic.shapes(broken, "before finetuning")
    assert line.yref == "y2"
    assert line.y0 == 0.23
    assert line.line.dash == "dash"
    assert "axis is broken" in synthetic.notes(broken)
    near = pareto(synthetic.make_runs(zero_shot=0.7))
    assert synthetic.shapes(near, "before finetuning")[0].yref == "y"
    assert near.layout.yaxis.range[0] < 0.7
    assert not synthetic.shapes(pareto(synthetic.make_runs(zero_shot=None)), "before finetuning")
    above = pareto(synthetic.make_runs(score="loss", zero_shot=9.0))
    assert above.layout.yaxis2.domain[1] == 1, "a loss falls: the strip is on top"


def test_several_methods_get_hollow_symbols_and_a_logarithmic_axis():
    runs = synthetic.make_runs(zero_shot=0.7)
    light = runs.frame.assign(
        name=runs.frame["name"] + ", lora", method="lora", trainable=(runs.frame["trainable"] * 0.01).astype(int)
    )
    figure = pareto(replace(runs, frame=pd.concat([runs.frame, light])))
    assert figure.layout.xaxis.type == "log"
    assert synthetic.named(figure, "full, lora")[0].marker.symbol == "square-open"
    assert synthetic.named(figure, "full")[0].marker.symbol == "square"
    drawn = next(a for a in figure.layout.annotations if a.text == "<b>full, lora</b>")
    assert drawn.x == pytest.approx(np.log10(17_100))


def test_pareto_of_one_run_and_of_none():
    runs = synthetic.make_runs(zero_shot=None)
    one = pareto(replace(runs, frame=runs.frame.iloc[[4]].assign(low=np.nan, high=np.nan)))
    (marker,) = synthetic.named(one, "half = profile")
    assert marker.error_y.visible is False
    with pytest.raises(SemvizError, match="no finished run"):
        pareto(replace(runs, frame=runs.frame.iloc[:0]))


def test_pareto_escapes_names():
    figure = pareto(synthetic.make_runs(names={0: "<b>full</b>", 4: "$$x$$"}, task="<img src=x>", model="</script>"))
    text = json.dumps(json.loads(figure.to_json()))
    assert "<img" not in text
    assert "</script" not in text
    assert "$" not in text
    assert "&lt;img src=x&gt;" in text


def test_labels_cover_neither_points_nor_each_other():
    rng = np.random.default_rng(0)
    points = [tuple(p) for p in rng.uniform((60, 40), (800, 360), (12, 2))]
    sizes = [(70.0, 17.0)] * 12
    area = labels.Box(0, 0, 860, 400)
    offsets = labels.place(points, sizes, [], area)
    assert offsets == labels.place(points, sizes, [], area)
    boxes = [
        labels.Box(x + dx - 35, y + dy - 8.5, x + dx + 35, y + dy + 8.5)
        for (x, y), (dx, dy) in zip(points, offsets, strict=True)
    ]
    marks = [labels.Box(x - 7, y - 7, x + 7, y + 7) for x, y in points]
    for i, box in enumerate(boxes):
        assert all(shared(box, other) == 0 for other in boxes[:i] + marks)
        assert shared(box, area) == pytest.approx(70 * 17)


def shared(one, other):
    """Area that two boxes share."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.top, other.top) - max(one.bottom, other.bottom)
    return width * height if width > 0 and height > 0 else 0.0


# Themes


def test_no_two_roles_of_the_light_theme_share_a_colour():
    assert len(style.swaps()) == len(asdict(style.LIGHT))


def test_dark_swaps_colours_and_nothing_else(trace):
    words = ("#ffffff", "rgba(96,110,124,0.10)")
    made = synthetic.make_trace(samples=2, tokens=4, detail=2, words=words)
    for figure in (token_heatmap(made), sample_heatmap(trace), profile(trace), gain(synthetic.make_gain())):
        turned = dark(figure)
        assert turned.layout.template.layout.paper_bgcolor == style.DARK.paper
        assert figure.layout.template.layout.paper_bgcolor == style.LIGHT.paper, "the original stays light"
        assert turned.layout.title.subtitle.font.color == style.DARK.muted
        assert turned.layout.xaxis.ticktext == figure.layout.xaxis.ticktext
        assert style.LIGHT.boundary not in turned.to_json()


def test_every_figure_has_height_margins_titles_and_the_small_template(trace):
    runs, made = synthetic.make_runs(), synthetic.make_gain()
    drawn = (token_heatmap(trace), sample_heatmap(trace), profile(trace), transition_map(trace))
    for figure in (*drawn, group_profile(trace.by("label")), gain(made), pareto(runs)):
        layout = figure.layout
        assert layout.height > 200
        assert layout.width is None
        assert None not in (layout.margin.l, layout.margin.r, layout.margin.t, layout.margin.b)
        assert layout.title.text
        assert layout.xaxis.title.text or layout.xaxis4.title.text
        assert layout.yaxis.title.text
        assert len(layout.template.to_plotly_json()["layout"]) < 15
        assert "bdata" not in figure.to_json(), "plain lists, no binary"


def test_config_has_no_upload_button():
    assert CONFIG["showSendToCloud"] is False
    assert CONFIG["displaylogo"] is False


# Numbers and twins


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (512, "512"), (45_100, "45.1 k"), (500_000, "0.5 M"), (1_710_000, "1.71 M"), (7e9, "7 B")],
)
def test_si(value, text):
    assert formats.si(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0003, "0.0003"),
        (3e-5, "3e−5"),
        (-0.25, "−0.25"),
        (1234.5, "1,234"),
        (float("nan"), "–"),
        (2e6, "2e6"),
        (0, "0"),
    ],
)
def test_number(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.42, "0.42 s"), (12.4, "12 s"), (99.7, "1 min 40 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (None, "–")],
)
def test_seconds(value, text):
    assert formats.seconds(value) == text


def test_percent():
    assert formats.percent(0.4967) == "50 %"
    assert formats.percent(-0.0001) == "0 %"
    assert formats.percent(-0.051, digits=1) == "−5.1 %"
    assert formats.percent(None) == "–"


def test_twins_hold_the_numbers_of_their_pictures(trace):
    made, runs = synthetic.make_gain(), synthetic.make_runs()
    tables = [
        tokens_twin(trace, sample=0), samples_twin(trace), profile_twin(trace), gain_twin(made), pareto_twin(runs)
    ]  # fmt: skip
    assert [len(t.rows) for t in tables] == [26, 4, 9, 9, 8]
    assert all(len(row) == len(t.columns) for t in tables for row in t.rows)
    assert tables[3].rows[1][2] == "skipped"
    assert tables[3].rows[4][3] == "frozen"
    assert tables[4].rows[0][:3] == ["last", "0.2 M", "76.8 %"]
    long = synthetic.make_trace(samples=1, tokens=90, detail=1, words=tuple(f"w{i}" for i in range(90)))
    cut = tokens_twin(long, sample=0)
    assert len(cut.rows) == 60
    assert "the first 60 of 90 tokens" in cut.caption
