"""Live curves: what is in the figure's JSON, and that points added are points drawn."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import synthetic
from test_moving import apply, as_json, size

from semviz.common.errors import SemvizError
from semviz.common.live_curves import LiveCurve
from semviz.figures import dark
from semviz.figures.drawing import style
from semviz.figures.live import MAX_POINTS, extended, live_curves


def make_trial(count, *, rate=1e-3, label="blocks 5–8 of 8", every=5):
    fall = np.exp(-np.arange(count) / 14)
    steps = [every * (i + 1) for i in range(count)]
    return LiveCurve(label, rate, steps, list(2.4 * fall + 0.25), list(1 - 0.75 * fall))


EARLIER = (make_trial(9, rate=1e-2), make_trial(12, rate=3e-3))


def _drawn(figure):
    """Loss and accuracy of the newest trial."""
    return figure.data[-2:]


def test_loss_and_accuracy_stand_side_by_side():
    trial = make_trial(8)
    figure = live_curves([trial], steps=200)
    loss, accuracy = _drawn(figure)
    assert list(loss.x) == list(accuracy.x) == trial.steps
    np.testing.assert_allclose(loss.y, trial.losses, rtol=1e-4)
    np.testing.assert_allclose(accuracy.y, trial.accuracies, rtol=1e-4)
    layout = figure.layout
    assert (accuracy.xaxis, accuracy.yaxis) == ("x2", "y2")
    assert layout.xaxis.domain[1] < layout.xaxis2.domain[0]
    assert layout.xaxis.range == layout.xaxis2.range == (0, 200)
    assert layout.yaxis2.range == (0, 1)
    assert layout.yaxis2.ticktext[-1] == "100 %"
    assert layout.yaxis.range[0] == 0
    assert max(trial.losses) < layout.yaxis.range[1] < 1.5 * max(trial.losses)
    assert 280 <= layout.height <= 320
    assert "blocks 5–8 of 8, learning rate 0.001" in layout.title.text


def test_the_newest_trial_is_strong_and_the_earlier_ones_are_faint():
    figure = live_curves([*EARLIER, make_trial(4)], steps=100)
    widths = [t.line.width for t in figure.data]
    assert len(widths) == 6
    assert max(widths[:4]) < min(widths[4:])
    assert {t.line.color for t in figure.data[:4]} == {style.LIGHT.axis}
    assert "learning rate 0.01" in figure.data[0].hovertemplate
    assert "tried before at 0.01, 0.003" in synthetic.notes(figure)
    assert "tried" not in synthetic.notes(live_curves([make_trial(4)], steps=100))


def test_before_the_start_the_chart_is_empty_and_says_so():
    for trials in ([], [make_trial(0)]):
        figure = live_curves(trials, steps=50)
        assert "starting …" in [a.text for a in figure.layout.annotations]
        assert figure.layout.yaxis.range == (0, 1)
    with pytest.raises(SemvizError, match="steps"):
        live_curves([], steps=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_losses_that_are_no_numbers_break_the_line_and_are_said(bad):
    trial = make_trial(6)
    lost = replace(trial, losses=[*trial.losses[:3], bad, *trial.losses[4:5], bad])
    figure = live_curves([lost], steps=50)
    assert [v is None for v in _drawn(figure)[0].y] == [False, False, False, True, False, True]
    assert not _drawn(figure)[0].connectgaps
    (said,) = (a for a in figure.layout.annotations if a.name == "said")
    assert said.text == "the loss is not a number at step 30"
    assert said.text
    healed = replace(trial, losses=[*trial.losses[:3], bad, *trial.losses[4:]])
    (said,) = (a for a in live_curves([healed], steps=50).layout.annotations if a.name == "said")
    assert "broken" in said.text
    json.loads(figure.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_rising_loss_leaves_the_axis_and_is_said():
    trial = make_trial(4)
    figure = live_curves([replace(trial, losses=[2.0, 3.0, 40.0, 5000.0])], steps=50)
    assert 3 < figure.layout.yaxis.range[1] <= 8
    assert "↑ 5,000 nats at step 20" in [a.text for a in figure.layout.annotations]
    earlier = replace(trial, losses=[2.0, 3.0, 40.0, 5000.0])
    assert live_curves([earlier, make_trial(3)], steps=50).layout.yaxis.range[1] <= 4, "only their first losses count"


def test_unknown_accuracies_are_left_out():
    trial = replace(make_trial(5), accuracies=[None, 0.5, None, 0.75, None])
    assert (_drawn(live_curves([trial], steps=50))[1].x, _drawn(live_curves([trial], steps=50))[1].y) == (
        (10, 20),
        (0.5, 0.75),
    )


def _states():
    """One trial as it grows, with a hole, up to more points than are drawn."""
    whole = make_trial(3 * MAX_POINTS, every=1)
    losses = [math.nan if i == 30 else 1e6 if i == 31 else v for i, v in enumerate(whole.losses)]
    for count in (0, 1, 7, 31, 32, 50, MAX_POINTS, MAX_POINTS + 1, 3 * MAX_POINTS):
        yield LiveCurve(whole.label, whole.rate, whole.steps[:count], losses[:count], whole.accuracies[:count])


@pytest.mark.parametrize("theme", [lambda figure: figure, dark], ids=["light", "dark"])
@pytest.mark.parametrize("earlier", [(), EARLIER], ids=["one trial", "three trials"])
def test_more_points_turn_one_picture_into_the_other(earlier, theme):
    states = [[*earlier, state] for state in _states()]
    drawn = [as_json(theme(live_curves(state, steps=400))) for state in states]
    for (before, _), (after, trials) in itertools.product(zip(drawn, states, strict=True), repeat=2):
        overlay = extended(before, trials)
        assert apply(before, overlay) == after
        assert len(trials[-1].steps) > 50 or size(overlay) <= 3000


def test_a_growing_line_keeps_its_points_and_its_end():
    for trial in _states():
        x = _drawn(live_curves([trial], steps=400))[0].x
        assert len(x) <= MAX_POINTS + 1
        assert not trial.steps or (x[0], x[-1]) == (trial.steps[0], trial.steps[-1])


def test_another_trial_is_drawn_anew():
    figure = as_json(live_curves([make_trial(4)], steps=50))
    assert extended(figure, [make_trial(4), make_trial(0, rate=3e-3)]) is None
    assert extended(figure, [make_trial(5, rate=3e-3)]) is None
    assert extended(figure, [make_trial(5, label="block 8 of 8")]) is None
    assert extended(figure, []) is None
    empty = as_json(live_curves([], steps=50))
    assert extended(empty, [make_trial(0)]) is None
    assert extended(empty, []) == {"layout": {}, "data": []}


@pytest.mark.parametrize("label", synthetic.HOSTILE)
def test_hostile_labels_are_only_text(label):
    figure = live_curves([make_trial(3, label=label), make_trial(3, label=label)], steps=50)
    for text in [*synthetic.texts(figure), figure.layout.title.text]:
        for part in ("<img", "<script", "</script", "<b>x", "$", "\u202e", "\n", "%{z}"):
            assert part not in text
