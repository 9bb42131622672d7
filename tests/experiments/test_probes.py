"""The suffix law, and probes: on curves and runs that are known, and once on the tiny model."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from made import above, made_run, made_runs
from small import made_parts

import semviz as sv
from semviz.common.errors import Cancelled, ScopeError, SemvizError
from semviz.experiments.probe_fitting import fit_probes
from semviz.experiments.suffix_law import fit_suffix_law, law_curves, law_interval
from semviz.finetuning.finetune import train_scope
from semviz.gains.scaling_law import EPSILON
from semviz.scopes.scope import Scope

QUICK = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "progress": False}
DEPTHS = (2, 4, 8, 13, 28, 48)


def law(m, n_blocks, m0, p):
    """B(m) as the method writes it."""
    m = np.asarray(m, dtype=float)
    return (1 - (m / m0 + 1) ** -p) / (1 - (n_blocks / m0 + 1) ** -p)


def random_law(seed):
    """A depth and a shape: a step at the first block, a straight line, a step at the last, or between."""
    rng = np.random.default_rng(seed)
    p = np.exp(rng.uniform(np.log(0.05), np.log(6)))
    return (
        int(rng.choice(DEPTHS)),
        float(np.exp(rng.uniform(np.log(0.05), np.log(200)))),
        float(p * rng.choice([-1, 1])),
    )


def probed(n_blocks):
    """m at the usual probes."""
    return n_blocks - np.asarray(sorted({0, n_blocks // 2, n_blocks - 1}), dtype=float)


def fitted(benefits, n_blocks):
    """The law, and its curve over m = 0…L."""
    found, curves = fit_suffix_law(probed(n_blocks), benefits, n_blocks)
    return found, curves[0][::-1]


# The suffix law


@pytest.mark.parametrize("seed", range(20))
def test_the_curves_are_the_laws(seed):
    n, m0, p = random_law(seed)
    m = np.arange(n + 1.0)
    np.testing.assert_allclose(law_curves(m, n, np.array([m0]), np.array([p]))[0], law(m, n, m0, p), atol=1e-9)


def test_shapes_by_hand():
    m = np.arange(5.0)
    # p = 1: m/(m + m₀) · (L + m₀)/L; p = −1: m/L; p = −2: ((m/m₀ + 1)² − 1)/((L/m₀ + 1)² − 1).
    curves = law_curves(m, 4, np.array([1.0, 1.0, 1.0]), np.array([1.0, -1.0, -2.0]))
    np.testing.assert_allclose(curves[0], [0, 5 / 8, 5 / 6, 15 / 16, 1])
    np.testing.assert_allclose(curves[1], m / 4)
    np.testing.assert_allclose(curves[2], np.array([0, 3, 8, 15, 24]) / 24)


def test_the_limits_are_a_step_and_a_line():
    m = np.arange(9.0)
    step, line, late = law_curves(m, 8, np.array([1e-3, 1e3, 1e-3]), np.array([8.0, 0.02, -12.0]))
    np.testing.assert_allclose(step[1:], 1, atol=1e-6)
    np.testing.assert_allclose(line, m / 8, atol=5e-3)
    assert late[7] < 0.25
    np.testing.assert_allclose([step[0], line[0], late[0]], 0)


@pytest.mark.parametrize("seed", range(40))
def test_a_fit_rises_from_nothing_to_all_without_a_dent(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.choice(DEPTHS))
    # Measured benefits may lie anywhere, also where no law goes.
    _, curve = fitted(np.append(1.0, rng.uniform(-0.5, 1.5, len(probed(n)) - 1)), n)
    assert curve.shape == (n + 1,)
    assert curve[0] == pytest.approx(0, abs=1e-12)
    assert curve[n] == 1
    assert (np.diff(curve) >= 0).all()
    bends = np.diff(curve, 2)
    assert (bends >= -1e-9).all() or (bends <= 1e-9).all()


@pytest.mark.parametrize("seed", range(40))
def test_planted_laws_come_back(seed):
    n, m0, p = random_law(seed)
    m = np.arange(n + 1)
    found, curve = fitted(law(probed(n), n, m0, p), n)
    # The grid's own steps; measured benefits are no surer than this.
    assert found.error < 0.01
    np.testing.assert_allclose(curve, law(m, n, m0, p), atol=0.05)


@pytest.mark.parametrize(("m0", "p"), [(0.1, 0.2), (1, 1), (2, 0.5), (0.5, 3), (1, -2), (3, -1), (10, 2)])
@pytest.mark.parametrize("n", [4, 8, 12])
def test_plain_shapes_are_predicted_within_a_hundredth_where_no_probe_was(n, m0, p):
    _, curve = fitted(law(probed(n), n, m0, p), n)
    np.testing.assert_allclose(curve, law(np.arange(n + 1), n, m0, p), atol=0.01)


def test_nearly_every_shape_is_predicted_within_a_hundredth_where_no_probe_was():
    # Three probes of 48 blocks leave some steep laws nearly as good as the right one.
    missed = []
    for seed in range(200):
        n, m0, p = random_law(seed)
        _, curve = fitted(law(probed(n), n, m0, p), n)
        missed.append(np.abs(curve - law(np.arange(n + 1), n, m0, p)).max())
    assert np.quantile(missed, 0.98) < 0.01
    assert max(missed) < 0.06


def test_late_benefits_are_fitted_by_a_curve_that_bends_up():
    found, curve = fitted([1.0, 0.2, 0.02], 8)
    assert found.p < -1
    assert found.error < 0.01
    assert (np.diff(curve, 2) > 0).all()
    assert curve[6] < 6 / 8


def test_early_benefits_are_fitted_by_a_curve_that_bends_down():
    found, curve = fitted([1.0, 0.9, 0.6], 8)
    assert found.p > 0
    assert found.error < 0.01
    assert (np.diff(curve, 2) < 0).all()
    assert curve[6] > 6 / 8


def test_the_error_is_what_the_law_misses_at_the_probes():
    # Falls where the law can only rise.
    found, curve = fitted([1.0, 0.2, 0.8], 8)
    missed = curve[[8, 4, 1]] - [1.0, 0.2, 0.8]
    assert found.error == pytest.approx(np.sqrt((missed**2).mean()))
    assert found.error > 0.1


def test_no_other_law_of_the_grid_comes_nearer():
    rng = np.random.default_rng(0)
    benefits = np.array([1.0, 0.7, 0.3])
    found, _ = fitted(benefits, 8)
    for m0, p in zip(np.exp(rng.uniform(-3, 5, 300)), rng.uniform(-6, 6, 300), strict=True):
        assert found.error <= 1e-3 + np.sqrt(((law(probed(8), 8, m0, p) - benefits) ** 2).mean())


def test_resamples_are_fitted_one_by_one():
    rng = np.random.default_rng(1)
    benefits = np.column_stack([np.ones(6), rng.uniform(0.5, 1, 6), rng.uniform(0.1, 0.6, 6)])
    found, curves = fit_suffix_law(probed(8), benefits, 8)
    assert curves.shape == (6, 9)
    for row, curve in zip(benefits, curves, strict=True):
        np.testing.assert_allclose(fit_suffix_law(probed(8), row, 8)[1][0], curve, atol=0.02)
    assert found == fit_suffix_law(probed(8), benefits[0], 8)[0]


def test_two_probes_are_enough_to_draw_a_curve():
    _, curves = fit_suffix_law(np.array([8.0, 4.0]), np.array([1.0, 0.75]), 8)
    assert curves[0][4] == pytest.approx(0.75, abs=0.01)


# Probes of made-up runs


def hits(share, n=200):
    """A share of rows that are right; those that a smaller share gets right are among them."""
    return np.arange(n) < round(share * n)


def made_probes(validation, *, untrained=0.2, blocks=8, score="accuracy", seed=0, **options):
    """Probes from scores of validation rows by boundary; test rows say the opposite."""
    rows = {k: hits(value) if np.isscalar(value) else value for k, value in validation.items()}
    start = hits(untrained) if np.isscalar(untrained) else untrained
    runs = made_runs(
        *(
            made_run(above(k, blocks), 1 - np.asarray(row, dtype=float), validation_rows=row, score=score, **options)
            for k, row in rows.items()
        ),
        zero_shot=0.9,
        untrained_rows=tuple(np.asarray(start, dtype=float).tolist()),
    )
    return fit_probes(runs, seed=seed)


def test_shares_of_the_improvement_by_hand():
    probes = made_probes({0: 0.9, 4: 0.76, 7: 0.55})
    assert probes.points["boundary"].tolist() == [0, 4, 7]
    # From 0.2: 0.7, 0.56 and 0.35 gained.
    assert probes.points["benefit"].tolist() == pytest.approx([1, 0.8, 0.5])
    np.testing.assert_allclose(probes.benefit[[0, 4, 7, 8]], [1, 0.8, 0.5, 0], atol=0.01)
    assert (np.diff(probes.benefit) <= 0).all()
    assert probes.n_blocks == 8
    assert probes.helps


def test_a_loss_improves_by_falling():
    losses = {k: np.full(50, value) for k, value in {0: 1.0, 4: 1.5, 7: 2.5}.items()}
    probes = made_probes(losses, untrained=np.full(50, 3.0), score="loss")
    assert probes.points["benefit"].tolist() == pytest.approx([1, 0.75, 0.25])
    np.testing.assert_allclose(probes.low[[0, 8]], [1, 0], atol=1e-12)
    # All rows alike: no resample differs. Between probes the truth may be anything between theirs.
    np.testing.assert_allclose(probes.low, np.minimum([1, 0.75, 0.75, 0.75, 0.75, 0.25, 0.25, 0.25, 0], probes.benefit))
    np.testing.assert_allclose(probes.high, np.maximum([1, 1, 1, 1, 0.75, 0.75, 0.75, 0.25, 0], probes.benefit))


def test_the_order_of_runs_does_not_matter():
    one, other = made_probes({0: 0.9, 4: 0.8, 7: 0.5}), made_probes({7: 0.5, 0: 0.9, 4: 0.8})
    assert one.frame().equals(other.frame())


def test_the_curve_is_the_law_through_the_probes():
    probes = made_probes({0: 0.9, 3: 0.8, 6: 0.5})
    found, curves = fit_suffix_law(np.array([8.0, 5.0, 2.0]), probes.points["benefit"].to_numpy(), 8)
    np.testing.assert_allclose(probes.benefit, curves[0], atol=1e-9)
    assert (probes.law.m0, probes.law.p) == pytest.approx((found.m0, found.p))


def test_other_scopes_and_methods_are_left_out():
    alone = made_probes({0: 0.9, 4: 0.8, 7: 0.5})
    parts = made_parts(8)
    others = (
        made_run(Scope((2, 3), 8, parts), hits(0.1)),
        made_run(above(4, 8), hits(0.1), method="lora"),
        made_run(above(4, 8, head=True), hits(0.1)),
        made_run(above(4, 8, tail=False), hits(0.1)),
    )
    for given in ((*others, *alone.runs), (*alone.runs, *others)):
        runs = made_runs(*given, untrained_rows=alone.runs.untrained_rows)
        assert fit_probes(runs).frame().equals(alone.frame())
        assert runs.probes().frame().equals(alone.frame())


def test_the_interval_of_a_probe_is_that_of_a_ratio_of_means():
    rng = np.random.default_rng(2)
    start, more, most = (rng.random(400) < share for share in (0.5, 0.5, 0.8))
    half, full = start | more, start | most  # what was right stays right
    probes = made_probes({0: full, 4: half, 7: start}, untrained=start)
    gained = np.column_stack([half, full]).astype(float) - start[:, None]
    share = gained[:, 0].mean() / gained[:, 1].mean()
    # The delta method: rows enter both means, so they are drawn together.
    rows = (gained[:, 0] - share * gained[:, 1]).std() / np.sqrt(400)
    # To that comes what seeds are taken to vary by, in both.
    seeds = 0.05 * np.hypot(half.std(), share * full.std())
    wide = 1.96 * np.hypot(rows, seeds) / gained[:, 1].mean()
    row = probes.points.set_index("boundary").loc[4]
    assert row["benefit"] == pytest.approx(share)
    assert (row["low"], row["high"]) == pytest.approx((share - wide, share + wide), abs=0.15 * wide)


def test_intervals_hold_the_curve_and_close_with_more_rows():
    rng = np.random.default_rng(3)
    wide = {}
    for n in (60, 2000):
        rows = {k: rng.random(n) < share for k, share in ((0, 0.9), (4, 0.75), (7, 0.5))}
        probes = made_probes(rows, untrained=rng.random(n) < 0.2)
        assert (probes.low <= probes.benefit + 1e-12).all()
        assert (probes.benefit <= probes.high + 1e-12).all()
        assert probes.drawn.shape == (1000, 9)
        assert (probes.low <= np.quantile(probes.drawn, 0.025, axis=0) + 1e-12).all()
        assert (probes.high >= np.quantile(probes.drawn, 0.975, axis=0) - 1e-12).all()
        points = probes.points
        assert (probes.low[points["boundary"]] <= points["low"]).all()
        assert (probes.high[points["boundary"]] >= points["high"]).all()
        wide[n] = (probes.high - probes.low)[[4, 7]].mean()
    assert wide[2000] < wide[60] / 2  # what is taken for seed noise stays


def test_the_interval_mostly_holds_the_benefit_of_endless_rows():
    m = np.array([8.0, 4.0, 1.0])
    truth = law(np.arange(8, -1, -1.0), 8, 1.0, 1.0)
    held = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shares = 0.2 + 0.7 * law(m, 8, 1.0, 1.0)
        rows = {k: rng.random(300) < share for k, share in zip((0, 4, 7), shares, strict=True)}
        probes = made_probes(rows, untrained=rng.random(300) < 0.2)
        held.append((probes.low - 0.01 <= truth) & (truth <= probes.high + 0.01))
    assert np.mean(held) > 0.85


TRUTHS = {
    "the law": law(np.arange(8, -1, -1.0), 8, 2.0, 0.7),
    "two plateaus": np.array([1, 0.99, 0.97, 0.93, 0.80, 0.78, 0.76, 0.74, 0]),
    "a late step": np.array([1, 1, 1, 0.99, 0.97, 0.5, 0.45, 0.42, 0]),
}


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("truth", TRUTHS)
def test_intervals_hold_a_truth_that_is_no_law_and_was_not_probed(truth, noise):
    curve, held = TRUTHS[truth], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = {k: rng.random(300) < 0.4 + 0.45 * curve[k] + noise * rng.standard_normal() for k in (0, 4, 7)}
        probes = made_probes(rows, untrained=rng.random(300) < 0.4)
        held.append((probes.low <= curve) & (curve <= probes.high))
        assert (probes.low[0], probes.high[0], probes.low[8], probes.high[8]) == (1, 1, 0, 0)
        points = probes.points
        assert (probes.low[points["boundary"]] <= points["benefit"]).all()
        assert (points["benefit"] <= probes.high[points["boundary"]]).all()
    assert np.mean(held, axis=0).min() >= 6 / 8


@pytest.mark.parametrize("ks", [(0, 4, 7), (0, 1), (0, 2, 3, 6)])
def test_between_probes_the_interval_is_their_hull(ks):
    low, high = law_interval(ks, (np.ones(len(ks)) - 0.1 * np.arange(len(ks)),) * 2, (np.full(9, 0.5), np.full(9, 0.5)))
    at = dict(zip((*ks, 8), [1 - 0.1 * i for i in range(len(ks))] + [0.0], strict=True))
    for k in range(9):
        around = [max(i for i in at if i <= k), min(i for i in at if i >= k)]
        ends = [at[i] for i in around] + [0.5]
        assert (low[k], high[k]) == pytest.approx((min(ends), max(ends)))


def test_numbers_are_the_same_every_time():
    rng = np.random.default_rng(4)
    rows = {k: rng.random(80) < share for k, share in ((0, 0.9), (4, 0.75), (7, 0.5))}
    start = rng.random(80) < 0.2
    first, again, other = (made_probes(rows, untrained=start, seed=seed) for seed in (0, 0, 1))
    assert first.frame().equals(again.frame())
    assert not first.frame()["low"].equals(other.frame()["low"])
    assert first.frame()["predicted"].equals(other.frame()["predicted"])


def test_resamples_in_which_full_finetuning_does_not_help_are_left_out():
    # 6 rows of 50 are won and none is lost: a few resamples win none.
    start, full = np.arange(50) < 20, np.arange(50) < 26
    probes = made_probes({0: full, 4: full, 7: start}, untrained=start)
    assert probes.helps
    assert 950 < len(probes.drawn) < 1000
    assert np.isfinite(probes.drawn).all()
    assert np.isfinite([probes.low, probes.high]).all()


def test_an_improvement_within_noise_is_none():
    # One row of ten is won in all, but three are lost: a share of that could be any number.
    start, full = np.arange(10) < 4, np.r_[np.zeros(2), np.ones(5), np.zeros(3)]
    probes = made_probes({0: full, 4: full, 7: start}, untrained=start)
    assert not probes.helps
    assert np.isnan(probes.benefit).all()
    assert "beyond noise" in probes.message
    assert probes.frame()["measured"].isna().all()


# Probes out of runs that are there


def swept(scores=(0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4), *, seeds=1):
    runs = [
        made_run(above(k, 8), hits(1 - value), validation_rows=hits(value + 0.05 * seed), seed=seed)
        for k, value in enumerate(scores)
        for seed in range(seeds)
    ]
    return made_runs(*runs, untrained_rows=tuple(hits(0.2).astype(float)))


def test_a_sweep_says_what_probes_would_have_said():
    alone = made_probes({0: 0.9, 4: 0.7, 7: 0.4})
    found = swept().probes([7, 0, 4])
    assert found.frame().equals(alone.frame())
    assert [run.scope.boundary for run in found.runs] == [0, 4, 7]
    assert found.message == alone.message


def test_all_that_was_measured_counts():
    found = swept().probes()
    assert found.points["boundary"].tolist() == list(range(8))
    assert found.boundary == 0
    assert found.next_boundary is None
    # Two that keep enough, and the answer is narrowed down to the block.
    found = swept((0.9, 0.9, 0.895, 0.7, 0.6, 0.6, 0.5, 0.4)).probes()
    assert (found.bracket, found.next_boundary) == ((2, 3), None)
    assert "Measure boundary" not in found.message


def test_any_boundaries_of_a_sweep_can_be_the_probes():
    assert swept().probes([6, 0, 2]).points["boundary"].tolist() == [0, 2, 6]
    points = swept().probes(range(8)).points
    assert points["benefit"].tolist() == pytest.approx(
        [1, 0.65 / 0.7, 0.6 / 0.7, 0.55 / 0.7, 5 / 7, 4 / 7, 3 / 7, 2 / 7]
    )


def test_all_seeds_of_a_sweep_count_and_what_they_differ_by_is_in_the_intervals():
    found = swept(seeds=3).probes()
    assert found.points["seeds"].tolist() == [3] * 8
    # Each seed measures 0.05 more than the one before.
    assert found.points["benefit"][4] == pytest.approx((0.7 + 0.05 - 0.2) / (0.9 + 0.05 - 0.2), abs=0.01)
    assert swept().probes().covers == "rows, and seeds as usual"
    assert "one training" in swept().probes().message
    assert "one training" not in swept(seeds=3).probes().message


def test_diverged_runs_that_are_no_probes_do_not_matter():
    bad = made_run(above(2, 8), hits(0.1), validation_rows=(), diverged=True)
    runs = swept()
    others = [run for run in runs if run.scope.boundary != 2]
    with_bad = made_runs(bad, *others, untrained_rows=runs.untrained_rows)
    assert with_bad.probes().frame().equals(made_runs(*others, untrained_rows=runs.untrained_rows).probes().frame())
    with pytest.raises(SemvizError, match=r"boundaries \[2\] diverged; pass a smaller lr"):
        with_bad.probes([0, 2, 4])


def test_probes_that_a_sweep_did_not_run():
    runs = made_runs(*(run for run in swept() if run.scope.boundary in (0, 3, 5)))
    with pytest.raises(SemvizError, match=r"Boundaries \[4, 7\] were not run; pass boundaries= of these: \[0, 3, 5\]"):
        runs.probes([0, 4, 7])
    with pytest.raises(SemvizError, match=r"boundaries\[1\]=9; pass a whole number from 0 to 7"):
        runs.probes([0, 9])
    with pytest.raises(SemvizError, match="all blocks"):
        runs.probes([3, 5])


# What probes recommend


def test_the_recommendation_by_hand():
    measured = {0: 0.9, 4: 0.88, 7: 0.55}
    probes = made_probes(measured)
    cost = np.array([k + 9 * (8 - k) for k in range(8)]) / 72
    benefit = {k: (score - 0.2) / 0.7 for k, score in measured.items()}
    points = probes.points.set_index("boundary")
    for epsilon in (0.0, 0.02, 0.05, 0.2, 0.6):
        # One row is worth 0.7 %, so with ε = 2 % it does not matter.
        k = max(k for k in measured if benefit[k] >= 1 - epsilon)
        found = probes.recommend(epsilon=epsilon)
        assert (found.boundary, found.benefit) == (k, pytest.approx(benefit[k]))
        assert (found.low, found.high) == (points.loc[k, "low"], points.loc[k, "high"])
        assert found.cost == pytest.approx(cost[k])
        assert found.evidence == "probes"
        assert f"measured to keep {100 - 100 * epsilon:.0f} %" in found.why
    for weight in (0.05, 0.3, 3):
        assert probes.recommend(weight=weight).boundary == max(measured, key=lambda k: benefit[k] - weight * cost[k])
    assert probes.boundary == probes.recommendation.boundary == probes.recommend(epsilon=EPSILON).boundary == 0
    assert probes.recommend(epsilon=0.999).boundary == 7
    assert probes.recommend(weight=100).boundary == 7


CURVES = {
    "monotone": lambda n, rng: np.sort(rng.uniform(0, 1, n))[::-1],
    "plateau": lambda n, rng: np.where(np.arange(n) <= rng.integers(n), 1, rng.uniform(0, 0.9)),
    "up and down": lambda n, rng: rng.uniform(0.5, 1.1, n),
    "all equal": lambda n, rng: np.ones(n),
    "noise around one": lambda n, rng: 1 + 0.03 * rng.standard_normal(n),
    "nothing": lambda n, rng: np.zeros(n),
}


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("blocks", [2, 3, 8, 30, 80])
def test_what_is_recommended_was_measured(kind, blocks):
    rng = np.random.default_rng(blocks)
    for _ in range(3):
        curve = CURVES[kind](blocks, rng)
        curve[0] = 1
        ks = sorted({0, blocks - 1, *rng.integers(blocks, size=4).tolist()})
        probes = made_probes({k: 0.2 + 0.6 * curve[k] for k in ks}, blocks=blocks)
        for terms in ({}, {"epsilon": 0.0}, {"epsilon": 0.3}, {"weight": 0.1}, {"weight": 5}):
            found = probes.recommend(**terms)
            assert found.boundary in ks
            row = probes.points.set_index("boundary").loc[found.boundary]
            assert (found.benefit, found.low, found.high) == tuple(row[["benefit", "low", "high"]])
        low, high = probes.bracket
        assert low == probes.boundary
        assert high in (*ks, blocks)
        assert probes.next_boundary not in ks
        smooth = dict(zip(ks, probes.points["smoothed"], strict=True))
        assert smooth[low] >= 1 - 2 * EPSILON - 1e-9
        assert all(smooth[k] < 1 - EPSILON for k in ks if k > low)


def test_the_probes_carry_the_share_that_they_were_chosen_for():
    runs = made_probes({0: 0.9, 4: 0.83, 7: 0.55}).runs
    assert (runs.probes().boundary, runs.probes(epsilon=0.2).boundary) == (0, 4)
    assert runs.probes(epsilon=0.2).recommend().why.endswith("keep 80 % of the benefit")
    with pytest.raises(SemvizError, match="pass the share"):
        runs.probes(epsilon=1)


def test_whoever_gives_up_more_freezes_no_less():
    probes = made_probes({0: 0.9, 4: 0.8, 7: 0.4})
    for key, terms in (("epsilon", np.linspace(0, 0.999, 30)), ("weight", np.linspace(0, 5, 30))):
        chosen = [probes.recommend(**{key: term}).boundary for term in terms]
        assert chosen == sorted(chosen)
        assert chosen[0] < chosen[-1]


def test_fewer_epochs_make_the_frozen_prefix_dearer():
    costs = [made_probes({0: 0.9, 4: 0.9, 7: 0.5}, epochs=e).frame()["cost"] for e in (1, 10)]
    np.testing.assert_allclose(costs[0][:8], [(k + 3 * (8 - k)) / 24 for k in range(8)])
    np.testing.assert_allclose(costs[1][:8], [(k + 30 * (8 - k)) / 240 for k in range(8)])


def test_terms_are_checked():
    probes = made_probes({0: 0.9, 4: 0.8})
    for options in ({"epsilon": 1}, {"epsilon": -0.1}, {"weight": -1}, {"weight": float("nan")}):
        with pytest.raises(SemvizError, match="pass"):
            probes.recommend(**options)


def test_the_table_has_every_boundary_and_the_probes_beside_it():
    table = made_probes({0: 0.9, 4: 0.76, 7: 0.55}).frame()
    assert table["boundary"].tolist() == list(range(9))
    assert table["measured"].dropna().to_dict() == pytest.approx({0: 1, 4: 0.8, 7: 0.5})
    assert table["cost"].tolist() == pytest.approx([(k + 9 * (8 - k)) / 72 for k in range(8)] + [0])
    assert (table["low"] <= table["predicted"] + 1e-12).all()
    assert (table["predicted"] <= table["high"] + 1e-12).all()


def test_texts_say_what_to_do_and_how_sure_it_is():
    probes = made_probes({0: 0.9, 4: 0.9, 7: 0.55}, seconds=2.0, search_seconds=5.0)
    # Both reach the same, and what is lost at 7 is no noise: where a resample has 4 below 0, that is noise of seeds.
    enough = probes.redrawn[:, 1] >= 1 - EPSILON
    assert "Train blocks 5–8 of 8" in probes.message
    assert "Boundary 4 keeps 100 % (" in probes.message
    assert "; boundary 7 keeps 50 % (" in probes.message
    assert "Measure boundary 6 next" in probes.message
    assert abs(probes.agreement_of_resamples - enough.mean()) < 0.01
    share = round(100 * probes.agreement_of_resamples)
    assert f"{share} % of resamples choose this boundary; each probe is one training" in probes.message
    assert "misses" not in probes.message
    assert probes.seconds == 3 * 7.0
    assert "k=0, k=4, k=7; boundary 4 of 8, 21 s" in repr(probes)
    assert "<table" in probes._repr_html_()


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({0: 0.9, 4: 0.5, 2: 0.6, 7: 0.3}, "Train all blocks: nothing less that was measured keeps 98 %"),
        ({0: 0.9, 4: 0.5, 2: 0.6, 7: 0.3}, "Not measured between them: 1, which could save 11 % of full"),
        ({0: 0.9, 7: 0.9}, "% to 106 %). 74 % of resamples"),
        ({0: 0.9, 7: 0.4}, "Measure boundary 4 next"),
        ({0: 0.9, 2: 0.89, 4: 0.9, 7: 0.3}, "Boundary 4 keeps 100 % ("),
        ({0: 0.9, 2: 0.85, 4: 0.9, 6: 0.3}, "96 % when smoothed over the boundaries around it"),
        ({0: 0.9, 2: 0.85, 4: 0.9, 6: 0.3}, "Boundary 4 measured 100 %, which those around it make look like chance."),
    ],
)
def test_what_was_tried_and_what_is_open_is_said(measured, said):
    assert said in made_probes(measured).message


def test_probes_that_the_law_misses_are_said_to_be_missed():
    probes = made_probes({0: 0.9, 4: 0.3, 7: 0.8})
    assert probes.law.error > 0.05
    assert "misses the probes by" in probes.message
    assert "the curve between them is a guess" in probes.message


def test_names_of_users_are_escaped():
    probes = made_probes({0: 0.2, 4: 0.3}, untrained=0.5, task="<b>x</b>")
    assert "<b>x" in probes.message
    assert "<b>x" not in probes._repr_html_()


# Probes that say nothing


@pytest.mark.parametrize("full", [0.2, 0.1])
def test_full_finetuning_that_does_not_help_leaves_nothing_to_share_out(full):
    probes = made_probes({0: full, 4: 0.6, 7: 0.5}, untrained=0.2)
    assert not probes.helps
    assert np.isnan(probes.benefit).all()
    assert np.isnan(probes.points["benefit"]).all()
    assert "did not improve" in probes.message
    found = probes.recommend()
    assert found.boundary == probes.boundary == 0
    assert np.isnan([found.benefit, found.low, found.high]).all()
    assert "did not improve" in found.why
    assert probes.recommend(weight=3).boundary == 0
    assert probes.frame()["predicted"].isna().all()
    assert "boundary 0 of 8" in repr(probes)
    assert "did not improve" in probes._repr_html_()


def test_a_loss_that_rose_is_no_improvement():
    losses = {k: np.full(20, value) for k, value in {0: 3.5, 4: 2.0}.items()}
    assert not made_probes(losses, untrained=np.full(20, 3.0), score="loss").helps


def test_probes_without_a_benefit_speak_without_numpys_warnings():
    probes = made_probes({0: 0.1, 4: 0.6}, untrained=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "did not improve" in probes.message


def test_diverged_probes_are_named():
    good = [made_run(above(k, 8), hits(0.9)) for k in (0, 7)]
    bad = made_run(above(4, 8), hits(0.5), validation_rows=(), diverged=True)
    runs = made_runs(*good, bad, untrained_rows=tuple(hits(0.2).astype(float)))
    with pytest.raises(SemvizError, match=r"boundaries \[4\] diverged; pass a smaller lr"):
        fit_probes(runs)


@pytest.mark.parametrize("ks", [(4, 7), (0,), (7,)])
def test_a_run_is_missing(ks):
    with pytest.raises(SemvizError, match=r"run of all blocks and one of fewer; pass Scope\.full"):
        made_probes(dict.fromkeys(ks, 0.8))


def test_two_seeds_of_full_finetuning_are_no_two_probes():
    runs = [made_run(above(0, 8), hits(0.9), seed=seed) for seed in (0, 1)]
    with pytest.raises(SemvizError, match="one of fewer"):
        fit_probes(made_runs(*runs, untrained_rows=tuple(hits(0.2).astype(float))))


def test_probes_of_several_seeds_are_averaged():
    shares = {0: (0.9, 0.8), 4: (0.7, 0.8), 7: (0.5, 0.5)}
    runs = [
        made_run(above(k, 8), hits(share), seed=seed) for k, pair in shares.items() for seed, share in enumerate(pair)
    ]
    probes = fit_probes(made_runs(*runs, untrained_rows=tuple(hits(0.2).astype(float))))
    measured = probes.frame()["measured"].dropna().to_dict()
    assert measured == pytest.approx({0: 1, 4: 0.55 / 0.65, 7: 0.3 / 0.65})


@pytest.mark.parametrize(("rows", "steps", "said"), [(9, 40, "9 validation rows"), (200, 2, "2 optimizer steps")])
def test_too_little_is_said_first(rows, steps, said):
    runs = [made_run(above(k, 8), hits(0.9 - 0.05 * k, rows), steps=steps) for k in (0, 4, 7)]
    probes = fit_probes(made_runs(*runs, untrained_rows=tuple(hits(0.1, rows).astype(float))))
    assert probes.message.startswith(f"A trial, not evidence: only {said}")
    assert f"only {said}" in repr(probes.recommend())
    enough = [made_run(above(k, 8), hits(0.9 - 0.05 * k, 200), steps=40) for k in (0, 4, 7)]
    assert "trial" not in fit_probes(made_runs(*enough, untrained_rows=tuple(hits(0.1, 200).astype(float)))).message


@pytest.mark.parametrize("rows", [30, 100, 1000])
def test_all_rows_right_is_no_certainty(rows):
    runs = [made_run(above(k, 8), np.ones(rows)) for k in (0, 4, 7)]
    probes = fit_probes(made_runs(*runs, untrained_rows=tuple(hits(0.5, rows).astype(float))))
    width = (probes.points["high"] - probes.points["low"]).to_numpy()[1:]
    # About as far as three rows more or less would move the benefit (the rule of three), not a point.
    assert (width > 1 / rows).all()
    assert (width < 20 / rows).all()


def test_runs_that_do_not_know_where_they_began():
    runs = made_runs(*(made_run(above(k, 8), hits(0.9 - 0.05 * k)) for k in (0, 4, 7)))
    with pytest.raises(SemvizError, match="untrained"):
        fit_probes(runs)


@pytest.mark.parametrize("rows", [50, 200])
def test_probes_on_other_rows_than_the_untrained_model_are_refused(rows):
    runs = [made_run(above(k, 8), hits(0.9 - 0.05 * k, 100)) for k in (0, 4, 7)]
    with pytest.raises(SemvizError, match="rows"):
        fit_probes(made_runs(*runs, untrained_rows=tuple(hits(0.2, rows).astype(float))))


def test_probes_on_other_rows_than_each_other_are_refused():
    runs = [made_run(above(k, 8), hits(0.9 - 0.05 * k, 100 + k)) for k in (0, 4, 7)]
    with pytest.raises(SemvizError, match="rows"):
        fit_probes(made_runs(*runs, untrained_rows=tuple(hits(0.2, 100).astype(float))))


# On the tiny model


@pytest.fixture
def trained(monkeypatch):
    """Boundaries in the order in which they are trained from here on."""
    real, boundaries = train_scope, []

    def watched(*args, **options):
        boundaries.append(args[1].boundary)
        return real(*args, **options)

    monkeypatch.setattr("semviz.experiments.sweep.train_scope", watched)
    return boundaries


def test_probes_end_to_end(tiny, mood, tmp_path, trained):
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    probes = sv.probe(tiny, mood, store=tmp_path, **QUICK)
    ks = probes.points["boundary"].tolist()
    assert trained[:2] == [0, 3]
    assert sorted(trained) == ks
    assert all((tiny.model.state_dict()[name] == value).all() for name, value in before.items())
    assert (probes.model, probes.task, probes.n_blocks) == (tiny.name, "tiny mood", 4)
    # Validation rows, by hand.
    start = np.mean(probes.runs.untrained_rows)
    reached = {run.scope.boundary: np.mean(run.validation_rows) - start for run in probes.runs}
    assert len(probes.runs.untrained_rows) == len(mood.split("validation"))
    assert reached[0] > 0
    assert probes.points["benefit"].tolist() == pytest.approx([reached[k] / reached[0] for k in ks])
    assert probes.benefit.shape == probes.low.shape == (5,)
    assert probes.boundary in ks
    assert probes.next_boundary in (None, 1)
    assert probes.recommendation.scope == Scope.above(tiny, probes.boundary)
    assert probes.seconds == sum(run.seconds + run.search_seconds for run in probes.runs) > 0

    # What a later sweep over all boundaries still trains is what was not probed.
    trained.clear()
    whole = sv.sweep(tiny, mood, store=tmp_path, **QUICK)
    assert trained == [k for k in range(4) if k not in ks]
    by_boundary = {run.scope.boundary: run for run in whole.runs}
    assert all(by_boundary[run.scope.boundary].rows == run.rows for run in probes.runs)
    # And the other way round: a sweep leaves nothing to probe.
    trained.clear()
    assert sv.probe(tiny, mood, store=tmp_path, **QUICK).frame().equals(probes.frame())
    assert sv.probe(tiny, mood, boundaries=(0, 1), store=tmp_path, **QUICK).points["boundary"].tolist() == [0, 1]
    assert trained == []
    assert whole.probes(ks).frame().equals(probes.frame())
    ranks = whole.agreement(probes=probes).spearman()
    assert ranks["source"].tolist() == ["probes"]
    assert whole.regret(probes=probes).set_index("choice").loc["probes", "boundary"] == probes.boundary


def scored(monkeypatch, curve, *, rows=100, untrained=0.2):
    """Replace training: each boundary reaches what the curve says, and is listed when it would have been trained."""
    listed = []

    def trains(_encoded, scope, recipe, **_options):
        listed.append(scope.boundary)
        share = untrained + 0.6 * curve[scope.boundary]
        key = f"k{scope.boundary}-{recipe.lr}"
        return replace(made_run(scope, hits(share, rows), seed=recipe.seed), key=key)

    def scores(_encoded, _split):
        return SimpleNamespace(rows=hits(untrained, rows).astype(float), accuracy=untrained, loss=1.0)

    monkeypatch.setattr("semviz.experiments.sweep.train_scope", trains)
    monkeypatch.setattr("semviz.experiments.sweep.zero_shot", scores)
    return listed


@pytest.mark.parametrize(
    ("curve", "order", "boundary"),
    [
        ((1, 1, 1, 1), [0, 3], 3),
        ((1, 1, 1, 0.5), [0, 3, 2], 2),
        ((1, 1, 0.5, 0.5), [0, 3, 2], 0),
        ((1, 0.5, 0.5, 0.5), [0, 3, 2], 0),
        ((1, 0.5, 1, 0.5), [0, 3, 2], 2),
        ((0, 1, 1, 1), [0, 3], 0),  # full finetuning does not help: nothing to look for
    ],
)
def test_each_probe_is_chosen_by_those_before_it(tiny, mood, monkeypatch, curve, order, boundary):
    listed = scored(monkeypatch, curve)
    probes = sv.probe(tiny, mood, **QUICK)
    assert listed == order
    assert probes.boundary == boundary
    # Below the half it is left to whoever reads this.
    is_open = curve[0] == 1 and boundary == 0
    assert probes.next_boundary == (1 if is_open else None)
    assert ("Measure boundary 1 next" in probes.message) == is_open
    if is_open:
        assert f"boundary {1 if curve[1] == 1 else 0} of 4" in repr(sv.probe(tiny, mood, most=4, **QUICK))


def test_fewer_or_more_are_trained_where_that_is_asked(tiny, mood, monkeypatch):
    curve = (1, 1, 0.5, 0.5)
    for most, order in ((2, [0, 3]), (3, [0, 3, 2]), (4, [0, 3, 2, 1]), (9, [0, 3, 2, 1])):
        listed = scored(monkeypatch, curve)
        probes = sv.probe(tiny, mood, most=most, **QUICK)
        assert listed == order
        assert (probes.next_boundary is None) == (most > 3)
        assert ("Measure boundary" in probes.message) == (most < 4)
    for most in (1, 0, 2.5, "all"):
        with pytest.raises(SemvizError, match="whole number of at least 2"):
            sv.probe(tiny, mood, most=most, **QUICK)
    with pytest.raises(SemvizError, match="leave out most="):
        sv.probe(tiny, mood, boundaries=(0, 1), most=3, **QUICK)


def test_the_share_that_may_be_given_up_decides_where_to_look(tiny, mood, monkeypatch):
    curve = (1, 0.8, 0.8, 0.5)
    assert scored(monkeypatch, curve) == []
    assert sv.probe(tiny, mood, **QUICK).boundary == 0
    listed = scored(monkeypatch, curve)
    found = sv.recommend(tiny, mood, epsilon=0.25, **QUICK)
    assert (listed, found.boundary) == ([0, 3, 2], 2)
    assert "measured to keep 75 %" in found.why


def test_boundaries_that_are_named_are_all_that_is_trained(tiny, mood, monkeypatch):
    listed = scored(monkeypatch, (1, 1, 0.5, 0.5))
    probes = sv.probe(tiny, mood, boundaries=(0, 2), **QUICK)
    assert listed == [0, 2]
    assert probes.next_boundary == 1


@pytest.mark.parametrize("finished", [1, 2])
def test_probes_that_were_stopped_go_on_to_the_same_answer(tiny, mood, tmp_path, trained, finished):
    whole = sv.probe(tiny, mood, store=tmp_path / "whole", **QUICK)
    order = list(trained)
    assert len(order) > finished
    trained.clear()
    control = sv.Control(lambda _progress: control.cancel() if len(trained) > finished else None)
    with pytest.raises(Cancelled):
        sv.probe(tiny, mood, store=tmp_path / "parts", control=control, **QUICK)
    assert len(list((tmp_path / "parts").glob("*.json"))) == finished
    trained.clear()
    again = sv.probe(tiny, mood, store=tmp_path / "parts", **QUICK)
    assert trained == order[finished:]
    assert again.frame().equals(whole.frame())
    assert again.message == whole.message


def test_the_bar_says_how_many_there_are_at_most(tiny, mood, monkeypatch):
    scored(monkeypatch, (1, 1, 1, 1))
    bars = []

    def listed(total, label, **_options):
        bars.append((total, label))
        return nullcontext(SimpleNamespace(update=lambda: None))

    monkeypatch.setattr("semviz.experiments.sweep.progress_bar", listed)
    sv.probe(tiny, mood, **QUICK)
    sv.probe(tiny, mood, boundaries=(0, 1), **QUICK)
    assert bars == [(3, "tiny mood, at most 3"), (2, "Sweep over tiny mood")]


def test_probes_with_rates_of_their_own_leave_nothing_to_a_later_sweep(tiny, mood, tmp_path, monkeypatch):
    options = {**QUICK, "epochs": 1, "lr": "auto", "store": tmp_path}
    probes = sv.probe(tiny, mood, boundaries=(0, 3), **options)
    assert all(len(run.rates) >= 3 for run in probes.runs)
    monkeypatch.setattr("semviz.experiments.sweep.train_scope", lambda *_a, **_k: pytest.fail("trained again"))
    sv.sweep(tiny, mood, [Scope.last(tiny), Scope.full(tiny)], **options)


def test_probes_of_next_tokens_are_shares_of_nats(tiny):
    stories = sv.Task.from_texts(["the dog saw the cat and ran"[: 12 + i % 16] for i in range(40)], name="one story")
    probes = sv.probe(tiny, stories, boundaries=(0, 2), **QUICK)
    full, half = (np.mean(probes.runs.untrained_rows) - np.mean(run.validation_rows) for run in probes.runs)
    assert probes.runs.score == "loss"
    assert full > 0
    assert probes.points["benefit"].tolist() == pytest.approx([1, half / full])


def test_boundaries_in_any_order_and_twice(tiny, mood, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "semviz.experiments.probing.sweep_scopes", lambda _m, _t, scopes, *_a, **_k: asked.extend(scopes) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        sv.probe(tiny, mood, boundaries=[3, 0, 3, 1], **QUICK)
    assert [scope.boundary for scope in asked] == [0, 1, 3]


@pytest.mark.parametrize("boundaries", [(1, 3), (0,), ()])
def test_boundaries_that_make_no_probes(tiny, mood, boundaries):
    with pytest.raises(SemvizError, match="pass 0"):
        sv.probe(tiny, mood, boundaries=boundaries, **QUICK)


def test_boundaries_that_do_not_exist(tiny, mood):
    with pytest.raises(ScopeError, match="0 to 3"):
        sv.probe(tiny, mood, boundaries=(0, 4), **QUICK)


def test_probes_can_be_cancelled(tiny, mood):
    control = sv.Control()
    control.cancel()
    with pytest.raises(Cancelled):
        sv.probe(tiny, mood, control=control, **QUICK)


def test_several_seeds_are_refused_in_words(tiny, mood):
    with pytest.raises(SemvizError, match="seed="):
        sv.probe(tiny, mood, seeds=(0, 1), **QUICK)


def test_adapters_are_refused_before_anything_trains(tiny, mood, monkeypatch):
    monkeypatch.setattr("semviz.experiments.sweep.train_scope", lambda *_a, **_k: pytest.fail("trained"))
    with pytest.raises(SemvizError, match="methods"):
        sv.probe(tiny, mood, methods=("lora",), **QUICK)
