"""From a predicted benefit of every boundary to one boundary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made import above, made_trace
from small import made_parts, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.gains.recommendation import Recommendation, check_terms, choose_boundary, reason
from semviz.gains.scaling_law import EPSILON
from semviz.scopes.cost_units import units

BENEFIT = np.array([1, 0.99, 0.96, 0.9, 0.5, 0.0])  # of five blocks
COST = np.array([1, 0.8, 0.6, 0.4, 0.2])
QUICK = {"epochs": 2, "batch_size": 8, "lr": 3e-3}


def choose(benefit=BENEFIT, cost=COST, epsilon=0.05, weight=None):
    return int(choose_boundary(np.asarray(benefit, dtype=float), np.asarray(cost), epsilon=epsilon, weight=weight))


# ε


@pytest.mark.parametrize(
    ("epsilon", "boundary"), [(0, 0), (0.005, 0), (0.01, 1), (0.05, 2), (0.09, 2), (0.11, 3), (0.5, 4), (0.999, 4)]
)
def test_the_most_frozen_blocks_that_keep_the_benefit(epsilon, boundary):
    assert choose(epsilon=epsilon) == boundary


def test_a_benefit_that_dips_does_not_hide_a_better_one_above():
    assert choose([1, 0.9, 0.97, 0.5, 0.4, 0]) == 2


def test_freezing_that_helps_is_taken():
    assert choose([1, 1.1, 1.3, 0.99, 0.2, 0], epsilon=0) == 2


def test_training_nothing_is_no_choice():
    # The benefit at k = L is that of no finetuning at all.
    assert choose([1, 1, 1, 1, 1, 1]) == 4
    assert choose([1, 1, 1, 1, 1, 9], weight=0.1) == 4


def test_no_boundary_that_keeps_enough_is_full_finetuning():
    assert choose([0.9, 0.5, 0.2, 0.1, 0, 0]) == 0
    assert choose([np.nan] * 6) == 0


# λ


@pytest.mark.parametrize(("weight", "boundary"), [(0, 0), (0.01, 0), (0.1, 1), (0.2, 2), (1, 3), (5, 4), (1e9, 4)])
def test_the_weight_trades_benefit_for_cost(weight, boundary):
    # Each step saves 0.2 of the cost and gives up 0.01, 0.03, 0.06, 0.4 of the benefit.
    assert choose(weight=weight) == boundary


def test_a_weight_leaves_epsilon_out():
    assert choose(weight=0.2, epsilon=0) == choose(weight=0.2, epsilon=0.9) == 2


# Both


@pytest.mark.parametrize("seed", range(20))
def test_many_rows_are_chosen_one_by_one(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    benefit, cost = rng.uniform(-0.2, 1.2, (7, n + 1)), rng.uniform(0.1, 1, n)
    epsilon, weight = float(rng.uniform(0, 0.99)), float(rng.uniform(0, 3))
    for row, by_epsilon, by_weight in zip(
        benefit,
        choose_boundary(benefit, cost, epsilon=epsilon, weight=None),
        choose_boundary(benefit, cost, epsilon=epsilon, weight=weight),
        strict=True,
    ):
        assert by_epsilon == max((k for k in range(n) if row[k] >= 1 - epsilon), default=0)
        assert row[by_weight] - weight * cost[by_weight] == max(row[k] - weight * cost[k] for k in range(n))


@pytest.mark.parametrize("seed", range(10))
def test_whoever_gives_up_more_freezes_no_less(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    benefit = np.concatenate([[1], rng.uniform(0, 1.1, n)])
    cost = np.sort(rng.uniform(0.05, 1, n))[::-1]
    by_epsilon = [choose(benefit, cost, epsilon=e) for e in np.linspace(0, 0.999, 60)]
    by_weight = [choose(benefit, cost, weight=w) for w in np.linspace(0, 20, 60)]
    assert by_epsilon == sorted(by_epsilon)
    assert by_weight == sorted(by_weight)


@pytest.mark.parametrize("epsilon", [-0.01, 1, 1.5, float("nan")])
def test_shares_that_cannot_be_given_up(epsilon):
    with pytest.raises(SemvizError, match="pass the share of the benefit"):
        check_terms(epsilon, None)


@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan")])
def test_weights_that_mean_nothing(weight):
    with pytest.raises(SemvizError, match="pass how much benefit"):
        check_terms(0.05, weight)


def test_terms_that_mean_something():
    check_terms(0, None)
    check_terms(0.99, 0)
    assert reason(0.05, None) == "most frozen blocks that are predicted to keep 95 % of the benefit"
    assert reason(0.05, 0.25) == "largest predicted benefit − 0.25 × cost"


# From a profile


def made_gain(profile=(5, 3, 2, 1.5, 1.2, 1, 0.9, 0.8, 0.7), **options):
    return made_trace(profile, **options).gain()


def test_a_profile_recommends_by_its_predicted_benefit():
    gain = made_gain()
    assert gain.applies
    for epsilon in (0, 0.05, 0.2, 0.6):
        k = max(k for k in range(8) if gain.benefit[k] >= 1 - epsilon)
        found = gain.recommend(epsilon=epsilon)
        assert found.boundary == k
        assert found.benefit == gain.benefit[k]
        assert found.why == reason(epsilon, None)
        assert found.evidence == "profile"
        assert np.isnan([found.low, found.high]).all()
    assert gain.recommend().boundary == gain.recommend(epsilon=EPSILON).boundary


def test_the_cost_of_a_profiles_recommendation_is_that_of_its_scope():
    gain = made_gain()
    found = gain.recommend(epsilon=0.2, epochs=4)
    k = found.boundary
    assert 0 < k < 8
    assert found.cost == pytest.approx((k + 4 * 3 * (8 - k)) / (4 * 3 * 8))
    assert found.scope == gain.scope(k)


def test_the_head_costs_something_where_every_position_has_a_target():
    gain = replace(made_gain(), kind="language modelling")
    found = gain.recommend(epsilon=0.2, epochs=4)
    k, head = found.boundary, 5 / 10  # the tied head's parameters by those of a block
    assert 0 < k < 8
    assert found.cost == pytest.approx((k + 4 * (3 * (8 - k) + 2 * head)) / (4 * (3 * 8 + 2 * head)))
    assert found.cost > made_gain().recommend(epsilon=0.2, epochs=4).cost


def test_a_profile_recommends_by_weight():
    gain = made_gain()
    cost = np.array([k + 9 * (8 - k) for k in range(8)]) / 72
    for weight in (0.1, 0.5, 2, 50):
        k = int(np.argmax(gain.benefit[:8] - weight * cost))
        found = gain.recommend(weight=weight)
        assert found.boundary == k
        assert f"{weight:g} × cost" in found.why
    assert gain.recommend(weight=50).boundary == 7


def test_whoever_gives_up_more_freezes_no_less_by_the_profile():
    gain = made_gain(noise=0.02)
    chosen = [gain.recommend(epsilon=e).boundary for e in np.linspace(0, 0.99, 25)]
    assert chosen == sorted(chosen)
    # Block 1 is credited with what any block gives, so freezing it costs nothing.
    assert chosen[0] >= 1


@pytest.mark.parametrize("profile", [(5, 1, 2, 1, 2, 1, 2, 1, 2), (5, 1, 1, 1, 1, 1, 1, 1, 1)])
def test_where_the_law_does_not_apply_the_rules_boundary_is_named_with_a_warning(profile):
    gain = made_gain(profile)
    assert not gain.applies
    found = gain.recommend(epsilon=0.5)
    assert found.boundary == gain.boundary
    assert np.isnan(found.benefit)
    assert "does not apply" in found.why
    assert "measured" in found.why
    assert "benefit" not in repr(found)


def test_terms_are_checked_for_a_profile_too():
    for options in ({"epsilon": 1}, {"epsilon": -1}, {"weight": -1}):
        with pytest.raises(SemvizError, match="pass"):
            made_gain().recommend(**options)


# As an object


def test_a_recommendation_says_what_to_train_and_why():
    found = Recommendation("probes", above(2), 0.96, 0.9, 1.0, 0.5, "because of <this>")
    assert repr(found) == (
        "Recommendation(train blocks 3–4 of 4 by probes: 96 % of full finetuning's benefit at 50 % of its cost; "
        "because of <this>)"
    )
    (row,) = found.frame().itertuples()
    assert (row.evidence, row.boundary, row.trainable) == ("probes", 2, 21)
    assert (row.benefit, row.low, row.high, row.cost) == (0.96, 0.9, 1.0, 0.5)
    assert row.share == found.scope.share == 21 / made_parts(4).total
    assert "because of &lt;this&gt;" in found._repr_html_()


# From model and task


@pytest.mark.parametrize("terms", [{}, {"epsilon": 0.3}, {"weight": 0.2}, {"epochs": 1}])
def test_the_profile_of_a_model_recommends(tiny, mood, terms):
    found = sv.recommend(tiny, mood, evidence="profile", progress=False, **terms)
    wanted = sv.trace(tiny, mood, progress=False).gain().recommend(**terms)
    assert found.frame().equals(wanted.frame())
    assert found.why == wanted.why
    assert found.evidence == "profile"
    assert 0 <= found.boundary < 4


def test_options_of_a_trace_are_passed_on(tiny, mood):
    found = sv.recommend(tiny, mood, evidence="profile", progress=False, metrics=["lens"])
    assert found.why == sv.trace(tiny, mood, metrics=["lens"], progress=False).gain().recommend().why


def test_a_profile_trains_nothing(tiny, mood, monkeypatch):
    monkeypatch.setattr("semviz.experiments.sweep.train_scope", lambda *_a, **_k: pytest.fail("trained"))
    sv.recommend(tiny, mood, evidence="profile", progress=False)


def test_probes_of_a_model_recommend(tiny, mood, tmp_path, monkeypatch):
    options = {"store": tmp_path, "progress": False, **QUICK}
    found = sv.recommend(tiny, mood, **options)
    assert found.evidence == "probes"
    # All that follows reads the store.
    monkeypatch.setattr("semviz.experiments.sweep.train_scope", lambda *_a, **_k: pytest.fail("trained again"))
    probes = sv.probe(tiny, mood, **options)
    assert found.frame().equals(probes.recommendation.frame())
    assert sv.recommend(tiny, mood, epsilon=0.9999, **options).boundary == 3
    by_weight = sv.recommend(tiny, mood, weight=0.5, **options)
    cost = np.array([sum(units(scope, epochs=2).values()) for scope in probes.scopes]) / (2 * 3 * 4)
    measured = probes.points.set_index("boundary")["smoothed"]
    assert by_weight.boundary == max(measured.index, key=lambda k: measured[k] - 0.5 * cost[k])
    assert by_weight.cost == pytest.approx(cost[by_weight.boundary])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evidence": "stars"}, "'profile', 'probes'"),
        ({"epsilon": 1.0}, "pass the share of the benefit"),
        ({"weight": -1.0}, "such as 0.1"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_runs(tiny, mood, monkeypatch, options, message):
    for place in ("semviz.traces.tracing.trace", "semviz.experiments.probing.probe"):
        monkeypatch.setattr(place, lambda *_a, **_k: pytest.fail("ran"))
    with pytest.raises(SemvizError, match=message):
        sv.recommend(tiny, mood, **options)


def test_a_model_of_one_block_has_no_boundary_to_choose(mood):
    model = sv.load_model((tiny_llama(blocks=1), word_tokenizer()))
    with pytest.raises(SemvizError, match="one block"):
        sv.recommend(model, mood, progress=False, **QUICK)
