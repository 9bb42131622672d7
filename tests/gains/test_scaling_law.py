from __future__ import annotations

import html

import numpy as np
import pytest
from made import made_trace
from scipy.stats import linregress

from semviz import figures
from semviz.common.errors import ScopeError, SemvizError
from semviz.gains.scaling_law import (
    SCALES,
    argmax_layer,
    depth_surplus,
    fit_law,
    layer_gains,
    nonmonotone,
    predict,
    r_squared,
    transform,
    untransform,
)


@pytest.mark.parametrize("beta", [-1.0, 0.0, 0.5, 2.0])
def test_untransform_is_the_inverse(beta):
    deviation = np.linspace(0.1, 3, 20)
    np.testing.assert_allclose(untransform(transform(deviation, beta), beta), deviation)


def test_the_transform_at_minus_one_is_the_plain_drop_and_at_zero_the_limit():
    deviation = np.array([0.5, 2.0])
    np.testing.assert_allclose(transform(deviation, -1.0), 1 - deviation)
    np.testing.assert_allclose(transform(deviation, 1e-9), transform(deviation, 0.0), atol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_a_power_law_in_depth_gives_back_its_exponent(beta):
    depth = np.arange(0, 9)
    y = 0.2 + 0.3 * depth
    law = fit_law(untransform(y, beta))
    assert law.beta == pytest.approx(beta, abs=0.05)
    assert law.r2 > 0.9999
    np.testing.assert_allclose(layer_gains(untransform(y, beta), beta)[1:], 0.3, atol=1e-9)


def test_a_crooked_profile_falls_back_to_the_logarithm():
    profile = np.array([3, 2, 1.2, 1.1, 1.15, 1, 1.05, 1.1, 1])
    law = fit_law(profile)
    assert law.beta == 0
    assert law.r2 < fit_law(profile, 3.0).r2 < 0.8
    assert law.r2 == r_squared(np.arange(1, 9), -np.log(profile[1:]))


def test_the_line_runs_through_a_profile_that_obeys_the_law():
    profile = untransform(0.2 + 0.3 * np.arange(9), 1.0)
    law = fit_law(profile, 1.0)
    assert law.applies
    assert np.isnan(law.line[0])
    np.testing.assert_allclose(law.line[1:], profile[1:])


@pytest.mark.parametrize(
    "profile",
    [[5.0, 2, 2, 2, 2], [5.0, 0, 0, 0], [5.0, 1, 2, 1, 2], [5.0, 1, 2, 3, 4], [5.0, 4.0], [5.0, 0]],
    ids=["flat", "flat at zero", "jagged", "rising", "one block", "one block at zero"],
)
def test_where_the_law_says_nothing_it_draws_no_line(profile):
    law = fit_law(np.array(profile))
    assert not law.applies
    assert np.isnan(law.line).all()


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
def test_flat_and_jagged_are_shares_that_no_unit_changes(unit):
    assert fit_law(unit * np.array([5.0, 1, 0.99, 0.985])).flat
    assert not fit_law(unit * np.array([5.0, 1, 0.95, 0.9])).flat
    assert fit_law(unit * np.array([50.0, 10, 3, 6])).applies  # three of ten steps up
    assert not fit_law(unit * np.array([50.0, 10, 3, 6.1])).applies


def test_a_line_is_drawn_through_two_spaces_too():
    np.testing.assert_allclose(fit_law(np.array([5.0, 2, 1])).line[1:], [2, 1])


def test_the_fit_is_the_squared_correlation_of_three_points_or_more():
    x, y = np.arange(4), np.array([1.0, 0.7, 0.8, 0.0])
    for n in (3, 4):
        assert r_squared(x[:n], y[:n]) == pytest.approx(linregress(x[:n], y[:n]).rvalue ** 2)
    assert r_squared(x[:2], y[:2]) == 0
    assert r_squared(x, np.full(4, 2.0)) == 0


def test_where_the_law_leaves_the_deviations_it_says_zero_or_infinity():
    np.testing.assert_array_equal(untransform(np.array([0.5, 1.0, 1.5]), -1.0), [0.5, 0, 0])
    np.testing.assert_allclose(untransform(np.array([1.0, 3.0]), -0.5), [0.25, 0])
    np.testing.assert_allclose(untransform(np.array([2.0, -2.0, -3.0]), 0.5), [0.25, np.inf, np.inf])
    np.testing.assert_array_equal(untransform(np.array([1.0, -1.0]), 1.0), [0.5, np.inf])


def test_a_chosen_beta_is_kept_with_its_own_fit():
    profile = untransform(0.2 + 0.3 * np.arange(9), 1.0)
    assert fit_law(profile, -1.0).beta == -1.0
    assert fit_law(profile, -1.0).r2 < fit_law(profile, 1.0).r2


def test_layer_one_never_has_the_largest_gain():
    assert int(argmax_layer(SCALES["drop"](np.array([100.0, 3, 2.9, 1, 0.9]), 0.0))) == 3


def test_boundaries_are_kept_between_one_and_one_below_the_top():
    assert int(argmax_layer(SCALES["drop"](np.array([5.0, 5, 5, 5, 0.1]), 0.0))) == 3
    rows = np.array([[5.0, 5, 1, 1, 1], [5, 5, 5, 1, 1]])
    np.testing.assert_array_equal(argmax_layer(SCALES["drop"](rows, 0.0)), [2, 3])
    assert [int(argmax_layer(np.array(values))) for values in ([3.0, 1, 2], [0.0, 1], [1.0])] == [1, 1, 1]


def test_surplus_is_largest_where_the_next_layers_give_less_than_finetuned_ones_would():
    profile = np.exp(-np.array([0, 0, 0.6, 2, 2.1, 2.2, 2.3, 2.4, 2.5]))
    surplus = depth_surplus(profile, 0.0)
    assert int(np.argmax(surplus)) + 1 == 3
    other = profile**2 + 0.1
    for row, alone in zip(depth_surplus(np.stack([profile, other]), 0.0), (profile, other), strict=True):
        np.testing.assert_array_equal(row, depth_surplus(alone, 0.0))


def test_prediction_of_training_nothing_is_the_last_deviation():
    deviation = np.array([5, 4, 3, 2, 1.0])
    predicted = predict(deviation, layer_gains(deviation, 0.0), 0.0)
    assert predicted[-1] == pytest.approx(1.0)
    assert predicted[0] == predicted[1]
    assert (predicted[1:-1] < deviation[1:-1]).all()


def test_nonmonotone_is_the_share_of_movement_the_wrong_way():
    assert nonmonotone(np.array([3.0, 2, 1])) == 0
    assert nonmonotone(np.array([1.0, 2, 1])) == 0.5
    assert nonmonotone(np.array([2.0, 2, 2])) == 0


def test_gain_of_a_clear_profile():
    gain = made_trace([9, 4, 3.9, 3.8, 1.5, 1.4, 1.3, 1.25, 1.2], noise=0.05).gain(rule="law")
    assert gain.boundary == 4
    assert gain.applies
    assert gain.chosen_share[4] == 1
    assert np.isnan(gain.gains[0])
    assert (gain.gains_low[1:] <= gain.gains[1:]).all()
    assert (gain.gains[1:] <= gain.gains_high[1:]).all()
    assert gain.benefit[0] == 1
    assert gain.benefit[-1] == pytest.approx(0)
    assert list(gain.frame()["frozen"]) == [True] * 4 + [False] * 4
    assert "Freeze blocks 1–4" in gain.message


def test_the_table_of_a_gain_holds_its_arrays():
    gain = made_trace([9, 4, 3.9, 3.8, 1.5, 1.4, 1.3, 1.25, 1.2], noise=0.05).gain(rule="law")
    wanted = {
        "block": [1, 2, 3, 4, 5, 6, 7, 8],
        "deviation_before": gain.deviation[:8],
        "deviation_after": gain.deviation[1:],
        "gain": gain.gains,
        "low": gain.gains_low,
        "high": gain.gains_high,
        "chosen_share": gain.chosen_share[1:],
        "predicted": gain.predicted[1:],
        "frozen": [True] * 4 + [False] * 4,
    }
    frame = gain.frame()
    assert list(frame) == list(wanted)
    for column, values in wanted.items():
        np.testing.assert_array_equal(frame[column], values, err_msg=column)
    assert gain._repr_html_() == f"<p>{html.escape(gain.message)}</p>{frame.round(3).to_html(border=0)}"


def test_a_gain_names_the_boundaries_of_the_other_rules_on_one_line():
    gain = made_trace([9, 4, 3.9, 3.8, 1.5, 1.4, 1.3, 1.25, 1.2]).gain(rule="law")
    others = repr(gain).removesuffix(")").split(": ")[-1].split(", ")
    assert others == [f"{rule} {k}" for rule, k in gain.candidates.items() if rule != "law"]
    assert len(others) == 2


def test_the_picture_of_a_gain_is_cut_where_it_is_asked_to():
    gain = made_trace([9, 4, 3.9, 3.8, 1.5, 1.4, 1.3, 1.25, 1.2]).gain(rule="law")
    assert gain.figure() == figures.gain(gain, boundary=gain.boundary)
    assert gain.figure(boundary=2) == figures.gain(gain, boundary=2) != gain.figure()


def test_the_freeze_threshold_of_a_boundary_is_the_largest_gain_up_to_it():
    gain = made_trace([9, 4, 3.9, 3.0, 1.5, 1.4, 0.9, 0.85, 0.8]).gain(rule="drop")
    largest = [max(gain.gains[1:k], default=0) / max(gain.gains[1:]) for k in range(8)]
    np.testing.assert_allclose([gain.theta_of(k) for k in range(8)], largest)
    assert len(set(largest)) > 2
    assert largest[4] == gain.theta_of(gain.candidates["law"]) == 1


def test_a_gain_of_the_last_layer_alone_is_the_largest():
    for profile, below in (([5.0, 2, 2, 2, 1.5], 0), ([5.0, 2.2, 2.1, 2, 1], 1)):
        gain = made_trace(profile).gain(beta=-1.0)
        np.testing.assert_allclose([gain.theta_of(k) for k in range(4)], [0, 0, *(2 * [0.1 * below])], atol=1e-6)
        assert gain.threshold(1) == 3  # all but the last block, which has to train


def test_where_no_layer_gains_there_is_nothing_to_freeze():
    rising = made_trace([9, 1, 2, 3, 4]).gain()
    assert [rising.theta_of(k) for k in range(4)] == [0] * 4
    assert [rising.threshold(theta) for theta in (0, 0.5, 1)] == [0] * 3


def test_the_benefit_is_a_share_of_what_full_finetuning_is_predicted_to_gain():
    gain = made_trace([9, 4, 3, 2, 1.5]).gain()
    before, full = gain.deviation[-1], gain.predicted[0]
    np.testing.assert_allclose(gain.benefit, (before - gain.predicted) / (before - full))
    assert list(gain.predictions) == ["benefit", "law", "drop", "surplus"]
    np.testing.assert_array_equal(gain.predictions["benefit"], gain.benefit)
    np.testing.assert_array_equal(gain.predictions["drop"], gain.scales["drop"])
    assert np.isnan(made_trace([9, 1, 2, 3, 4]).gain(beta=-1.0).benefit).all()


def test_where_full_finetuning_is_predicted_to_gain_nothing_no_boundary_has_a_share_of_it():
    # At most one step up and one down: a finetuned layer gives nothing, and the last space is as far as the first.
    for profile in ([9.0, *[2] * 5, 3, *[2] * 6], [9.0, *[2] * 12]):
        gain = made_trace(profile).gain(beta=-1.0)
        assert gain.predicted[0] == gain.deviation[-1]
        assert np.isnan(gain.benefit).all()


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ([9, 4, 3.9, 3.8, 1.5, 1.4, 1.3, 1.25, 1.2], "line fits (β"),
        ([9, 4, 2, 1, 0.5], "line fits (β = 0.00, R² = 1.00)"),
        ([9, 5, 1, 0.99, 0.98, 0.97, 0.96], "line fits poorly (β = 0.00"),
        ([9, 1.001, 1, 0.999, 0.998, 0.2], "line fits poorly (β = 0.00"),
    ],
)
def test_a_message_says_whether_any_scale_makes_the_profile_straight(profile, words):
    gain = made_trace(profile).gain()
    assert gain.applies
    assert words in gain.message
    assert ("poorly" in words) == (gain.r2 < 0.8)


def test_a_message_says_what_to_do_and_how_far_to_trust_it():
    surplus, law = (made_trace([9, 4, 3.9, 3.8, 1.5, 1.4, 1.3, 1.25, 1.2]).gain(rule=r) for r in ("surplus", "law"))
    assert surplus.message.startswith("Freeze block 1, train blocks 2–8 (surplus rule, semantic deviation).")
    assert "The layer of the largest gain is 4." in surplus.message
    assert f"β = {surplus.beta:.2f}, R² = {surplus.r2:.2f}" in surplus.message
    assert (
        "100 % of resamples of the rows choose this boundary: how steady the choice is, not how good."
        in surplus.message
    )
    assert "largest gain" not in law.message
    early = made_trace([9, 4, 1.2, 1.1, 1.05, 1]).gain(rule="law")
    assert early.message.startswith("Freeze blocks 1–2, train blocks 3–5")
    short = made_trace([9, 4, 1]).gain(rule="law")
    assert short.message.startswith("Freeze block 1, train block 2 ")


def test_a_flat_profile_says_that_it_knows_nothing():
    gain = made_trace([2.0] + [1.0] * 8).gain()
    assert gain.flat
    assert np.isnan(gain.fitted).all()
    assert "flat" in gain.message


def test_a_jagged_profile_says_that_the_law_does_not_apply():
    gain = made_trace([9, 4, 2, 4, 2, 4, 2, 4, 2]).gain()
    assert not gain.applies
    assert gain.nonmonotone == pytest.approx(3 / 7)
    assert "43 % of the profile's movement leads away from the target, so" in gain.message
    assert "does not apply" in gain.message
    assert np.isnan(gain.fitted).all()


def test_virtual_peak_reads_the_virtual_profile():
    virtual = [0, 0.6, 0.8, 0.95, 1.0, 1.04, 1.01, 1.0, 0.97]
    gain = made_trace(np.linspace(9, 1, 9), virtual=virtual).gain(rule="virtual peak")
    assert gain.boundary == 5
    assert "(peak of the virtual deviation)" in gain.message
    with pytest.raises(SemvizError, match="virtual peak"):
        made_trace(np.linspace(9, 1, 9)).gain(rule="virtual peak")


def test_threshold_is_monotone_and_ends_at_the_layer_of_largest_gain():
    gain = made_trace([9, 4, 3.9, 3.0, 1.5, 1.4, 0.9, 0.85, 0.8]).gain(rule="drop")
    ks = [gain.threshold(theta) for theta in np.linspace(0, 1, 21)]
    assert ks == sorted(ks)
    assert ks[0] == 0
    assert ks[-1] == gain.boundary
    assert len(set(ks)) > 2
    for theta in (-0.1, 1.1, float("nan")):
        with pytest.raises(SemvizError, match="theta"):
            gain.threshold(theta)


def test_scopes_of_a_gain():
    gain = made_trace(np.linspace(9, 1, 9)).gain(beta=-1.0)
    assert gain.scope(3).blocks == (4, 5, 6, 7, 8)
    assert gain.scope(3).trainable == 51
    with pytest.raises(ScopeError, match="0 to 7"):
        gain.scope(8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "warp"}, "semantic"),
        ({"metric": "virtual"}, "semantic"),
        ({"rule": "magic"}, "surplus"),
        ({"beta": float("inf")}, "beta"),
    ],
)
def test_bad_arguments_say_what_to_pass(options, message):
    with pytest.raises(SemvizError, match=message):
        made_trace(np.linspace(9, 1, 9), virtual=np.linspace(0, 1, 9)).gain(**options)


def test_the_bootstrap_is_the_same_twice():
    trace = made_trace(np.linspace(9, 1, 9), noise=0.5)
    np.testing.assert_array_equal(trace.gain().gains_low, trace.gain().gains_low)
