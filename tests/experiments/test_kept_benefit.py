"""What keeps enough: the falling curve nearest to what was measured, against 1 − ε of its start."""

from __future__ import annotations

import numpy as np
import pytest

from semviz.experiments.kept_benefit import enough, smoothed


def judged(benefits, *, epsilon=0.02, one_row=0.0):
    curve = smoothed(np.asarray(benefits, dtype=float))
    return enough(curve, float(curve[0]), epsilon=epsilon, one_row=one_row).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_no_other_falling_curve_is_nearer(seed):
    rng = np.random.default_rng(seed)
    benefits = rng.uniform(0, 1.2, int(rng.integers(2, 9)))
    weights = rng.integers(1, 4, len(benefits)).tolist()
    found = smoothed(benefits, weights)
    assert (np.diff(found) <= 1e-12).all()
    missed = np.average((found - benefits) ** 2, weights=weights)
    for _ in range(200):
        other = -np.sort(-(found + 0.1 * rng.standard_normal(len(found))))
        assert missed <= np.average((other - benefits) ** 2, weights=weights) + 1e-12


def test_what_falls_stays_and_what_rises_is_averaged():
    assert smoothed(np.array([1, 0.9, 0.5])).tolist() == [1, 0.9, 0.5]
    assert smoothed(np.array([1, 0.8, 0.9, 0.5])).tolist() == pytest.approx([1, 0.85, 0.85, 0.5])
    # Three seeds count three times.
    assert smoothed(np.array([1, 0.8, 0.9]), [1, 3, 1]).tolist() == pytest.approx([1, 0.825, 0.825])


@pytest.mark.parametrize(
    ("benefits", "kept"),
    [
        ([1, 0.99, 0.97], [True, True, False]),
        ([1, 0.98, 0.5], [True, True, False]),
        ([1, 1, 1], [True, True, True]),
        # Better than full finetuning with blocks frozen: chance or not, both are enough.
        ([1, 1.1, 0.5], [True, True, False]),
        # A dip between two that are as good as full finetuning is chance.
        ([1, 0.97, 1.0, 0.4], [True, True, True, False]),
        # One good value above two bad ones is chance too.
        ([1, 0.7, 0.7, 1.0], [True, False, False, False]),
        ([1, -0.2, -0.1], [True, False, False]),
    ],
)
def test_curves_by_hand(benefits, kept):
    assert judged(benefits) == kept


def test_nothing_is_refused_for_one_row_that_is_worth_little():
    # Of an improvement by 40 rows one is worth 2.5 %, by 20 rows 5 %, more than twice what may be given up.
    assert judged([1, 1 - 1 / 40], one_row=1 / 40) == [True, True]
    assert judged([1, 1 - 2 / 40], one_row=1 / 40) == [True, False]
    assert judged([1, 1 - 1 / 20], one_row=1 / 20) == [True, False]
    assert judged([1, 1 - 1 / 40], one_row=1 / 40, epsilon=0) == [True, False]


@pytest.mark.parametrize("epsilon", [0, 0.01, 0.02, 0.3])
@pytest.mark.parametrize("scale", [1e-3, 0.4, 7.0])
def test_shares_do_not_depend_on_the_unit(epsilon, scale):
    rng = np.random.default_rng(0)
    for _ in range(50):
        benefits = np.append(1, rng.uniform(0.6, 1.05, 5))
        curve = scale * smoothed(benefits)
        in_unit = enough(curve, float(curve[0]), epsilon=epsilon, one_row=0.0).tolist()
        assert in_unit == judged(benefits, epsilon=epsilon)
