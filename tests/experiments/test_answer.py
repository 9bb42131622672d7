"""What runs answer: which scope, with how much evidence, and what stays unsaid."""

from __future__ import annotations

import numpy as np
import pytest
from made import above, made_run, made_runs

from semviz.common.errors import SemvizError
from semviz.experiments.comparison import DIVERGED, UNKNOWN_SEEDS
from semviz.experiments.probe_fitting import fit_probes


def hits(share, rows=200):
    """So many right answers, evenly spread: each row is right or wrong in every scope."""
    return np.arange(rows) < round(share * rows)


def swept(scores, *, rows=200, seeds=1, zero_shot=0.4, score="accuracy", **options):
    """One run a boundary of 4 blocks and a seed."""
    return made_runs(
        *(
            made_run(above(k), hits(value, rows), seed=seed, score=score, **options)
            for k, value in scores.items()
            for seed in range(seeds)
        ),
        zero_shot=zero_shot,
    )


GOOD = {0: 0.9, 2: 0.895, 3: 0.6}


# Runs that diverged


def diverged(k, **options):
    """As `finetune` leaves it: no validation rows, an infinite score."""
    return made_run(above(k), hits(0.1), validation_rows=(), validation=float("inf"), diverged=True, steps=3, **options)


@pytest.mark.parametrize("k", [0, 1, 2, 3])
@pytest.mark.parametrize("score", ["accuracy", "loss"])
def test_a_run_that_diverged_decides_nothing(k, score):
    values = GOOD if score == "accuracy" else {0: 0.3, 2: 0.3, 3: 0.7}
    kept = [run for run in swept(values, score=score) if run.scope.boundary != k]
    before = 0.4 if score == "accuracy" else 0.9
    alone = made_runs(*kept, zero_shot=before)
    lost = diverged(k, score=score, loss=float("nan"))
    for given in ((lost, *kept), (*kept, lost)):
        runs = made_runs(*given, zero_shot=before)
        answer = runs.answer()
        assert answer.startswith(alone.answer())
        assert answer.endswith(f"Runs that diverged and were left out: 1 of 1 of {lost.scope.label}.")
        row = runs.table().set_index("boundary").loc[k]
        assert row["diverged"] == row["runs"] == 1
        assert np.isnan(row[["validation", score]].astype(float)).all()


def test_a_seed_that_diverged_is_left_out_of_its_scope():
    runs = made_runs(*swept(GOOD, seeds=2), diverged(0, seed=2), zero_shot=0.4)
    table = runs.table().set_index("boundary")
    assert table.loc[0, ["runs", "diverged"]].tolist() == [3, 1]
    assert table.loc[0, "accuracy"] == 0.9
    assert table.loc[2, "benefit"] == pytest.approx(0.495 / 0.5)
    assert "1 of 3 of blocks 1–4 of 4" in runs.answer()


def test_every_run_diverged():
    runs = made_runs(diverged(0), diverged(2), zero_shot=0.4)
    assert "every run diverged" in runs.answer()
    assert runs.table()["benefit"].isna().all()
    assert "every run diverged" in runs._repr_html_()


def test_a_comparison_leaves_out_what_diverged():
    runs = made_runs(*swept(GOOD, seeds=2), diverged(1, seed=0), diverged(1, seed=1), diverged(2, seed=2))
    table = runs.compare().frame().set_index("name")
    assert table.loc["k=1", "verdict"] == DIVERGED
    assert np.isnan(table.loc["k=1", ["difference", "low", "high"]].astype(float)).all()
    assert table["seeds"].to_dict() == {"half": 2, "last": 2, "k=1": 0}
    assert "1 undecided: diverged" in repr(runs.compare())
    with pytest.raises(ValueError, match="k=1 diverged, so nothing can be compared with it"):
        runs.compare("k=1")


# Little evidence is said first


@pytest.mark.parametrize(
    ("rows", "steps", "said"),
    [
        (9, 2, "A trial, not evidence: only 9 test rows, 9 validation rows and 2 optimizer steps."),
        (9, 10, "A trial, not evidence: only 9 test rows and 9 validation rows."),
        (1, 10, "A trial, not evidence: only 1 test row and 1 validation row."),
        (200, 1, "A trial, not evidence: only 1 optimizer step."),
        (29, 9, "A trial, not evidence: only 29 test rows, 29 validation rows and 9 optimizer steps."),
        (30, 10, "On made up, "),
    ],
)
def test_too_few_rows_or_steps_come_first(rows, steps, said):
    runs = swept({0: 1.0, 2: 1.0}, rows=rows, steps=steps)
    assert runs.answer().startswith(said)
    assert said in repr(runs)


# Benefits of almost nothing


@pytest.mark.parametrize("zero_shot", [0.9, 0.88, 0.95, 0.86])
def test_a_share_of_an_improvement_within_noise_is_undefined(zero_shot):
    runs = swept(GOOD, zero_shot=zero_shot)
    assert runs.table()["benefit"].isna().all()
    if zero_shot < 0.9:  # it helped on validation rows, where the made runs have the same scores
        assert "blocks 1–4 of 4 cannot be told apart from" in runs.answer()


def test_a_share_of_what_is_no_noise_is_one():
    assert swept(GOOD).table()["benefit"].tolist() == pytest.approx([1, 0.99, 0.4])
    assert "told apart" not in swept(GOOD).answer()


def test_losses_have_benefits_of_their_own_sign():
    rng = np.random.default_rng(0)
    rows = 2 + 0.1 * rng.standard_normal(100)
    runs = [made_run(above(k), rows + k / 4, score="loss") for k in (0, 2)]
    assert made_runs(*runs, zero_shot=3.0).table()["benefit"].tolist() == pytest.approx([1, 0.5], abs=0.02)
    assert made_runs(*runs, zero_shot=rows.mean() + 0.01).table()["benefit"].isna().all()


# The sentence


def test_scores_carry_their_intervals_and_what_these_cover():
    answer = swept(GOOD).answer()
    assert "reach 89.5 % accuracy (95 %: 84.5 % to 93.0 %, one seed)" in answer
    assert "against 90.0 % accuracy (95 %: 85.1 % to 93.4 %, one seed) with full finetuning" in answer
    assert "one seed" not in swept(GOOD, seeds=2).answer()
    assert swept(GOOD).table()["covers"].unique().tolist() == ["rows, one seed"]
    assert swept(GOOD, seeds=2).table()["covers"].unique().tolist() == ["seeds and rows"]
    mixed = made_runs(*swept({0: 0.9, 3: 0.6}, seeds=3), *swept({2: 0.895}), zero_shot=0.4).table()
    assert mixed["covers"].tolist() == ["seeds and rows"] * 2 + ["rows, and seeds as in other scopes"]


@pytest.mark.parametrize(("half", "said"), [(5.0, "2.0 times faster"), (20.0, "2.0 times slower"), (10.0, "same time")])
@pytest.mark.parametrize("search", [0.0, 30.0])
def test_the_time_says_whether_the_search_for_rates_counts(half, said, search):
    runs = made_runs(
        made_run(above(0), hits(0.9), seconds=10.0, search_seconds=search),
        made_run(above(2), hits(0.9), seconds=half, search_seconds=search),
        zero_shot=0.4,
    )
    assert said in runs.answer()
    assert ("the search for it not counted" in runs.answer()) == (search > 0)


def test_training_that_took_no_time_has_no_speed():
    runs = made_runs(
        made_run(above(0), hits(0.9), seconds=0.0), made_run(above(2), hits(0.9), seconds=0.0), zero_shot=0.4
    )
    assert "full finetuning." in runs.answer()
    assert np.isnan(runs.regret(half=2)["cost"]).all()


# Beside the score before finetuning


@pytest.mark.parametrize("score", ["accuracy", "loss"])
@pytest.mark.parametrize("case", ["worse", "unclear", "better"])
def test_what_is_no_better_on_test_rows_than_before_is_said(case, score):
    """Validation rows improve in all cases; test rows decide what is said."""
    before = {"worse": 0.9, "unclear": 0.72, "better": 0.2}[case]
    values = {0: 0.7, 2: 0.7}
    if score == "loss":
        before, values = 1 - before, {k: 1 - value for k, value in values.items()}
    untrained = np.full(200, 0.0 if score == "accuracy" else 1.0)
    found = swept(values, score=score)
    answer = made_runs(*found, zero_shot=before, untrained_rows=tuple(untrained)).answer()
    assert ("On test rows this is worse than" in answer) == (case == "worse")
    assert ("cannot be told apart" in answer) == (case == "unclear")


def test_where_nothing_else_was_measured_nothing_is_compared():
    answer = swept({2: 0.9}).answer()
    assert "beside which nothing was measured" in answer
    assert "smaller" not in answer


def test_where_all_was_right_before_nothing_is_advised():
    assert "nothing to improve" in swept({0: 1.0, 2: 1.0}, zero_shot=1.0).answer()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_score_that_is_not_finite_is_no_score(bad):
    rows = np.append(np.full(199, 0.2), bad)
    runs = made_runs(*swept({0: 0.3, 3: 0.5}, score="loss"), made_run(above(2), rows, score="loss"), zero_shot=0.9)
    assert "inf" not in runs.answer().replace("info", "")
    assert "left out: 1 of 1 of blocks 3–4 of 4" in runs.answer()


def test_the_largest_scope_is_called_what_it_is():
    assert "with full finetuning" in swept(GOOD).answer()
    assert "with blocks 2–4 of 4, in" in swept({1: 0.9, 2: 0.9}).answer()


# The same share as of probes


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("score", ["accuracy", "loss"])
def test_runs_and_their_probes_advise_the_same(seed, seeds, score):
    rng = np.random.default_rng(seed)
    ks = sorted({0, *rng.integers(1, 8, size=int(rng.integers(1, 6))).tolist()})
    values = {k: 0.85 + rng.uniform(-0.06, 0.01) * (k > 0) for k in ks}
    before = np.full(200, 0.3)
    runs = [
        made_run(above(k, 8), (rng.random(200) < value).astype(float), seed=s, score=score)
        for k, value in values.items()
        for s in range(seeds)
    ]
    if score == "loss":
        before, runs = (
            np.full(200, 1.5),
            [made_run(r.scope, np.asarray(r.rows), seed=r.seed, score=score) for r in runs],
        )
    found = made_runs(*runs, zero_shot=float(before.mean()), untrained_rows=tuple(before))
    k = found.probes().boundary
    assert f"train blocks {k + 1}–8 of 8" in found.answer() or (k == 7 and "train block 8 of 8" in found.answer())


def noisy_runs(seed, gains, *, score, seeds, rows=120):
    """Runs whose true improvement by boundary is this, in rows that were right with a chance of a half before."""
    rng = np.random.default_rng(seed)
    draw = {
        "accuracy": lambda gain: (rng.random(rows) < 0.5 + gain).astype(float),
        "loss": lambda gain: 2 - 2 * gain + rng.standard_normal(rows),
    }[score]
    before = draw(0.0)
    runs = [made_run(above(k, 8), draw(gain), seed=s, score=score) for k, gain in gains.items() for s in range(seeds)]
    return made_runs(*runs, zero_shot=float(before.mean()), untrained_rows=tuple(before))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("score", ["accuracy", "loss"])
@pytest.mark.parametrize("gain", [0.0, 0.06, 0.12])
def test_runs_say_that_full_finetuning_helps_where_their_probes_do(seed, seeds, score, gain):
    """Gains around what 120 rows can tell from noise."""
    runs = noisy_runs(seed, {0: gain, 4: gain, 7: gain / 2}, score=score, seeds=seeds)
    answer, probes = runs.answer(), runs.probes()
    denied = "Training blocks 1–8 of 8 did not help" in answer or "nothing that was tried helped" in answer
    assert denied != probes.helps
    assert ("did not improve the model" in probes.message) == denied
    again = fit_probes(runs)  # as sv.probe() does
    assert again.helps == probes.helps


def test_an_improvement_that_may_be_noise_is_called_that():
    before = hits(0.5, 100)
    found = [made_run(above(k), np.roll(hits(share, 100), 37)) for k, share in ((0, 0.52), (2, 0.53))]
    answer = made_runs(*found, zero_shot=0.5, untrained_rows=tuple(before)).answer()
    assert "nothing that was tried helped validation rows beyond noise: 50.0 % accuracy before" in answer
    assert "53.0 %" in answer
    found[1] = made_run(above(2), np.roll(hits(0.9, 100), 37))
    answer = made_runs(*found, zero_shot=0.5, untrained_rows=tuple(before)).answer()
    assert "train blocks 3–4 of 4" in answer
    assert "Training blocks 1–4 of 4 did not help validation rows beyond noise (52" in answer


@pytest.mark.parametrize("epsilon", [0.0, 0.02, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_epsilon_means_the_same_to_runs_and_probes(epsilon, seed):
    runs = noisy_runs(seed, {0: 0.45, 2: 0.44, 4: 0.4, 6: 0.3, 7: 0.1}, score="accuracy", seeds=1)
    answer, k = runs.answer(epsilon=epsilon), runs.probes(epsilon=epsilon).boundary
    assert f"train block{'' if k == 7 else 's'} {f'{k + 1}–8' if k < 7 else '8'} of 8" in answer
    assert ("no smaller scope that was tried keeps" in answer) == (k == 0)
    assert runs.answer() == runs.answer(epsilon=0.02)


def test_epsilon_is_said_and_checked():
    runs = swept({0: 0.9, 2: 0.7})
    assert "keeps 90 % of its benefit" in runs.answer(epsilon=0.1)
    assert "train blocks 3–4 of 4" in runs.answer(epsilon=0.5)
    for bad in (-0.1, 1.5, "2 %", None, float("nan")):
        with pytest.raises(SemvizError, match="epsilon"):
            runs.answer(epsilon=bad)


@pytest.mark.parametrize("score", ["accuracy", "loss"])
def test_scopes_that_were_probed_lend_themselves_no_seeds(score):
    runs = noisy_runs(0, {0: 0.3, 4: 0.2}, score=score, seeds=3)
    assert runs.probes().points.equals(fit_probes(runs).points)


def test_a_larger_loss_than_may_be_given_up_is_refused():
    # Of 0.5 gained, 0.015 is 3 %: once enough for runs, and never for probes.
    assert "train blocks 1–4 of 4" in swept({0: 0.9, 2: 0.885}).answer()
    assert "no smaller scope that was tried keeps 98 % of its benefit" in swept({0: 0.9, 2: 0.885}).answer()


# Comparisons of one seed


@pytest.mark.parametrize("score", ["accuracy", "loss"])
def test_one_seed_decides_nothing_however_large_the_difference(score):
    found = swept({0: 0.9, 2: 0.3, 3: 0.1}, score=score).compare()
    assert found.frame()["verdict"].tolist() == [UNKNOWN_SEEDS] * 2
    assert found.frame()["covers"].tolist() == ["rows, one seed"] * 2
    assert "2 undecided: one seed" in repr(found)
    found.figure()


def test_one_seed_is_judged_by_the_noise_of_other_scopes():
    runs = made_runs(*swept({0: 0.9, 2: 0.89}, seeds=3), *swept({3: 0.1}), zero_shot=0.4)
    table = runs.compare().frame().set_index("name")
    assert table.loc["last", ["verdict", "covers"]].tolist() == ["worse", "rows, and seeds as in other scopes"]
    assert table.loc["half", ["verdict", "covers"]].tolist() == ["undecided", "seeds and rows"]


@pytest.mark.parametrize("score", ["accuracy", "loss"])
@pytest.mark.parametrize("seed", range(5))
def test_a_verdict_is_what_its_interval_shows(score, seed):
    rng = np.random.default_rng(seed)
    sign = 1 if score == "accuracy" else -1
    runs = made_runs(
        *(
            made_run(above(k, 8), (rng.random(200) < 0.9 - 0.04 * (k - k % 2)).astype(float), seed=s, score=score)
            for k in range(8)
            for s in range(3)
        )
    )
    found = runs.compare().frame()
    assert set(found["verdict"]) >= {"undecided", "worse" if sign > 0 else "better"}
    for row in found.itertuples():
        if row.verdict == "undecided":
            assert row.low <= 0 <= row.high
        else:
            assert (sign * row.low > 0 and sign * row.high > 0) == (row.verdict == "better")
            assert (row.low > 0) == (row.high > 0)
