"""Agreement of predictions with measured benefits, on made-up runs whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from made import above, made_run, made_runs, made_trace
from scipy.stats import spearmanr

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.experiments.agreement import measure_agreement
from semviz.scopes.scope import Scope

SCORES = (0.9, 0.7, 0.8, 0.6, 0.5, 0.3)


def measured(scores=SCORES, *, score="accuracy", zero_shot=0.1, rows=40, noise=0.0, seeds=1, ks=None, rng=None):
    """Suffixes whose test rows scatter around these scores, by boundary."""
    rng = rng or np.random.default_rng(0)
    blocks = len(scores)
    return made_runs(
        *(
            made_run(above(k, blocks), value + noise * rng.standard_normal(rows), score=score, seed=seed)
            for k, value in enumerate(scores)
            if ks is None or k in ks
            for seed in range(seeds)
        ),
        zero_shot=zero_shot,
    )


def rho(runs, curve):
    (row,) = measure_agreement(runs, {"guess": np.asarray(curve, dtype=float)}, units={}).spearman().itertuples()
    return row


# Benefits


def test_benefits_by_hand():
    table = measure_agreement(measured(), {"guess": np.arange(7.0)}, units={}).frame()
    assert table["boundary"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table["predicted"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table["measured"].tolist() == pytest.approx([1, 0.6 / 0.8, 0.7 / 0.8, 0.5 / 0.8, 0.4 / 0.8, 0.2 / 0.8])
    for end in ("low", "high"):
        assert table[end].tolist() == pytest.approx(table["measured"].tolist())


def test_benefits_of_a_loss_are_what_it_fell():
    runs = measured([1.0, 1.5, 2.5], score="loss", zero_shot=3.0)
    table = measure_agreement(runs, {"guess": np.arange(4.0)}, units={}).frame()
    assert table["measured"].tolist() == pytest.approx([1, 0.75, 0.25])


def test_benefits_are_those_of_the_table():
    runs = measured(noise=0.05, seeds=2)
    table = measure_agreement(runs, {"guess": np.arange(7.0)}, units={}).frame()
    assert table["measured"].tolist() == pytest.approx(runs.table()["benefit"].tolist())


def test_the_interval_of_full_finetunings_benefit_is_a_point():
    table = measure_agreement(measured(noise=0.3), {"guess": np.arange(7.0)}, units={}).frame()
    assert (table["low"][0], table["high"][0]) == pytest.approx((1, 1))
    assert (table["low"][1:] < table["measured"][1:]).all()
    assert (table["measured"][1:] < table["high"][1:]).all()


def test_other_scopes_and_methods_are_left_out():
    runs = measured()
    others = (
        made_run(Scope((2,), 6, runs.runs[0].scope.parts), [5.0] * 40),
        made_run(above(1, 6), [5.0] * 40, method="lora"),
        made_run(above(1, 6, head=True), [5.0] * 40),
    )
    curve = {"guess": np.arange(7.0)}
    for given in ((*others, *runs), (*runs, *others)):
        together = measure_agreement(made_runs(*given, zero_shot=0.1), curve, units={})
        assert together.frame().equals(measure_agreement(runs, curve, units={}).frame())


def test_every_source_has_its_rows_and_its_unit():
    found = measure_agreement(
        measured(), {"one": np.arange(7.0), "other": -np.arange(7.0)}, units={"other": "the rule's own scale"}
    )
    assert found.frame()["source"].tolist() == ["one"] * 6 + ["other"] * 6
    assert found.spearman()["unit"].tolist() == ["benefit", "the rule's own scale"]
    assert found.spearman()["rho"][0] == -found.spearman()["rho"][1]
    assert repr(found) == "Agreement(Spearman of predicted and measured benefit on made up: one −0.94, other 0.94)"
    assert "<table" in found._repr_html_()


# Spearman


def test_planted_orders_agree_fully_or_not_at_all():
    runs = measured((0.9, 0.8, 0.6, 0.5, 0.45, 0.2))
    assert rho(runs, np.exp(-np.arange(7.0))).rho == pytest.approx(1)
    assert rho(runs, np.arange(7.0) ** 3).rho == pytest.approx(-1)
    # The prediction at k = L has no run to be compared with.
    assert rho(runs, [6, 5, 4, 3, 2, 1, 99]).rho == pytest.approx(1)


def test_a_loss_agrees_when_it_falls():
    runs = measured((1.0, 1.2, 1.4, 1.6), score="loss", zero_shot=2.0)
    assert rho(runs, [4, 3, 2, 1, 0]).rho == pytest.approx(1)


@pytest.mark.parametrize("seed", range(30))
def test_rho_is_scipys_with_ties_and_gaps_too(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 12))
    scores = np.append(0.9, rng.integers(2, 8, n - 1) / 10)
    curve = rng.integers(0, 5, n + 1).astype(float)
    if n > 5:
        curve[rng.integers(n)] = np.nan
    ks = sorted({0, *rng.choice(n, size=max(2, n - 1), replace=False).tolist()})
    runs = measured(scores, ks=ks)
    known = [k for k in ks if np.isfinite(curve[k])]
    if len(known) < 3 or len(set(curve[known])) == 1 or len(set(scores[known])) == 1:
        assert np.isnan(rho(runs, curve).rho)
    else:
        wanted = spearmanr(curve[known], scores[known]).statistic
        assert rho(runs, curve).rho == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("scores", "curve"),
    [
        ((0.9, 0.8, 0.7), [1, 1, 1, 0]),  # a prediction that says nothing
        ((0.8, 0.8, 0.8), [3, 2, 1, 0]),  # benefits that are all alike
        ((0.9, 0.8), [2, 1, 0]),  # two boundaries are always in order or not
        ((0.9, 0.8, 0.7), [np.nan, 2, 1, 0]),
        ((0.9, 0.8, 0.7), [np.nan] * 4),
    ],
)
def test_rho_is_left_out_where_it_says_nothing(scores, curve):
    row = rho(measured(scores), curve)
    assert np.isnan([row.rho, row.low, row.high]).all()


def test_a_rule_without_a_number_at_the_bottom_is_compared_above_it():
    row = rho(measured((0.6, 0.9, 0.8, 0.7)), [np.nan, 3, 2, 1, 0])
    assert row.rho == pytest.approx(1)


def test_sure_scores_leave_no_interval():
    row = rho(measured(), [6, 4, 5, 3, 2, 1, 0])
    assert (row.low, row.rho, row.high) == pytest.approx((1, 1, 1))


def test_the_interval_mostly_holds_the_rho_of_endless_rows():
    curve, rounding, held = [6, 2, 3, 5, 4, 1, 0], 1e-9, 0
    truth = spearmanr(SCORES, curve[:6]).statistic
    assert 0.5 < truth < 0.8
    for seed in range(16):
        row = rho(measured(noise=0.5, rows=60, seeds=2, rng=np.random.default_rng(seed)), curve)
        assert row.low - rounding <= row.rho <= row.high + rounding
        held += row.low - rounding <= truth <= row.high + rounding
    assert held >= 13


def test_the_interval_is_that_of_a_bootstrap_over_rows():
    rng = np.random.default_rng(5)
    scores = np.append(0.9, rng.uniform(0.2, 0.85, 9))
    curve = np.append(scores, 0) + 0.2 * rng.standard_normal(11)
    runs = measured(scores, noise=0.8, rows=80)
    row, rows = rho(runs, curve), np.asarray([run.rows for run in runs])
    drawn = [spearmanr(curve[:10], rows[:, rng.integers(80, size=80)].mean(1)).statistic for _ in range(1000)]
    assert (row.low, row.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.05)
    assert row.high - row.low > 0.2


def test_more_rows_narrow_the_interval():
    few, many = (rho(measured(noise=0.5, rows=rows), [6, 3, 5, 4, 2, 1, 0]) for rows in (20, 2000))
    assert many.high - many.low < (few.high - few.low) / 2


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(3)
    blocks, sure = len(SCORES), measured(seeds=3)
    shifted = made_runs(
        *(
            made_run(above(k, blocks), np.full(40, value + 0.2 * rng.standard_normal()), seed=seed)
            for k, value in enumerate(SCORES)
            for seed in range(3)
        ),
        zero_shot=0.1,
    )
    curve = [6, 3, 5, 4, 2, 1, 0]
    assert rho(shifted, curve).high - rho(shifted, curve).low > 0.05 + rho(sure, curve).high - rho(sure, curve).low


def test_numbers_are_the_same_every_time():
    runs, curve = measured(noise=0.3), {"guess": np.arange(7.0)}
    first, again, other = (measure_agreement(runs, curve, units={}, seed=seed) for seed in (0, 0, 1))
    assert first.frame().equals(again.frame())
    assert first.spearman().equals(again.spearman())
    assert not first.frame().equals(other.frame())


def test_rows_that_are_hard_for_all_boundaries_do_not_blur_their_order():
    # A row costs nats more or less, and every boundary the same hundredth more than the one below it.
    hard = np.random.default_rng(4).gamma(2, 1, 100)
    runs = made_runs(
        *(made_run(above(k, 6), hard + 0.01 * k, score="loss") for k in range(6)), zero_shot=float(hard.mean()) + 1
    )
    row = rho(runs, -np.arange(7.0))
    assert (row.low, row.rho, row.high) == pytest.approx((1, 1, 1))


# Through `Runs.agreement`


def fake_probes(benefit):
    return SimpleNamespace(benefit=np.asarray(benefit, dtype=float))


def test_probes_and_gains_are_compared_side_by_side():
    gain = made_trace([4, 2, 1.5, 1.2, 1.0, 0.8, 0.7], noise=0.05).gain()
    runs = measured()
    found = runs.agreement(gain, fake_probes([1, 0.8, 0.9, 0.7, 0.6, 0.3, 0]))
    ranks = found.spearman().set_index("source")
    assert list(ranks.index) == ["benefit", "law", "drop", "surplus", "probes"]
    assert ranks.loc["probes", "rho"] == pytest.approx(1)
    assert ranks["unit"].to_dict() == {
        "benefit": "benefit",
        "law": "the rule's own scale",
        "drop": "the rule's own scale",
        "surplus": "the rule's own scale",
        "probes": "benefit",
    }
    # The rules say nothing of k = 0, and the layer rules nothing of block 1 either.
    assert ranks.loc["surplus", "rho"] == pytest.approx(spearmanr(gain.scales["surplus"][1:6], SCORES[1:]).statistic)
    assert ranks.loc["law", "rho"] == pytest.approx(spearmanr(gain.scales["law"][2:6], SCORES[2:]).statistic)
    assert ranks.loc["benefit", "rho"] == pytest.approx(spearmanr(gain.benefit[:6], SCORES).statistic)


def test_predictions_are_a_benefit_and_a_scale_for_every_rule():
    gain = made_trace([4, 2, 1.5, 1.2, 1.0], noise=0.05, virtual=[0, 0.5, 0.9, 0.7, 0.6]).gain()
    predictions = gain.predictions
    assert list(predictions) == ["benefit", "law", "drop", "surplus", "virtual peak"]
    assert all(curve.shape == (5,) for curve in predictions.values())
    np.testing.assert_array_equal(predictions["benefit"], gain.benefit)
    for rule, k in gain.candidates.items():
        curve = predictions[rule]
        assert np.isnan(curve[0])
        # Larger is better; boundaries are kept to 1…L−1.
        assert k == min(max(int(np.nanargmax(curve)), 1), 3)


def test_the_sweeps_own_gain_is_the_default(tiny, mood):
    gain = sv.trace(tiny, mood, progress=False).gain()
    runs = made_runs(*(made_run(above(k), [0.9 - 0.1 * k] * 4) for k in range(4)), zero_shot=0.1, gain=gain)
    assert runs.agreement().frame().equals(runs.agreement(gain).frame())
    other = made_trace([4, 2, 1.5, 1.2, 1.0]).gain()
    assert not runs.agreement(other).frame().equals(runs.agreement().frame())


def test_there_is_nothing_to_compare_with():
    with pytest.raises(SemvizError, match="pass gain= or probes="):
        measured().agreement()


@pytest.mark.parametrize("ks", [(1, 2, 3), (0,)])
def test_full_finetuning_or_all_else_was_not_run(ks):
    with pytest.raises(SemvizError, match="needs full finetuning and at least one other suffix"):
        rho(measured(ks=ks), np.arange(7.0))


@pytest.mark.parametrize(("score", "zero_shot"), [("accuracy", 0.95), ("loss", 0.5), ("accuracy", 0.9)])
def test_full_finetuning_did_not_help(score, zero_shot):
    with pytest.raises(SemvizError, match="no benefit to share out"):
        rho(measured(score=score, zero_shot=zero_shot), np.arange(7.0))


@pytest.mark.parametrize("blocks", [4, 9])
def test_predictions_for_another_depth_are_refused(blocks):
    with pytest.raises(SemvizError, match="blocks"):
        rho(measured(), np.arange(blocks + 1.0))


def test_tables_cannot_be_changed_from_outside():
    found = measure_agreement(measured(), {"guess": np.arange(7.0)}, units={})
    for table in (found.frame(), found.spearman()):
        table.iloc[0, 0] = "changed"
    assert found.frame()["source"][0] == found.spearman()["source"][0] == "guess"
