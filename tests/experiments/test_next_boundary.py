"""Which boundary is measured next, on whole kinds of curves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from semviz.experiments.next_boundary import bracket, costliest_path, next_boundary, open_boundary, paths

DEPTHS = (2, 3, 4, 5, 8, 13, 30, 80)


def followed(keeps, n_blocks, **options):
    """What comes to be measured where `keeps[k]` says whether k keeps enough, and whether it did."""
    kept = {}
    while (k := next_boundary(kept, n_blocks, **options)) is not None:
        assert k not in kept
        assert 0 <= k < n_blocks
        kept[k] = bool(keeps[k])
    return kept


@pytest.mark.parametrize("n_blocks", DEPTHS)
def test_a_knee_is_found_to_a_quarter_of_the_blocks_or_lies_below_the_half(n_blocks):
    for knee in range(n_blocks):  # the highest boundary that keeps enough
        kept = followed([k <= knee for k in range(n_blocks)], n_blocks)
        low, high = bracket(kept, n_blocks)
        assert low <= knee < high
        assert len(kept) <= 4
        assert kept[low]
        quarter = math.ceil(n_blocks / 4)
        following = open_boundary(kept, n_blocks)
        if knee >= n_blocks // 2:
            assert high - low <= quarter
        # Below the half it ends with the answer open, and says where to go on.
        assert (following is None) == (high - low <= quarter)
        assert following is None or low < following < high <= n_blocks // 2


@pytest.mark.parametrize("n_blocks", DEPTHS)
def test_a_knee_anywhere_is_found_to_the_block_where_that_many_are_allowed(n_blocks):
    for knee in range(n_blocks):
        kept = followed([k <= knee for k in range(n_blocks)], n_blocks, most=n_blocks + 2)
        assert bracket(kept, n_blocks) == (knee, knee + 1)
        assert len(kept) <= 2 + math.ceil(math.log2(n_blocks))


@pytest.mark.parametrize("n_blocks", DEPTHS)
def test_where_the_last_block_is_enough_nothing_else_is_tried(n_blocks):
    assert list(followed([True] * n_blocks, n_blocks)) == [0, n_blocks - 1]


@pytest.mark.parametrize("n_blocks", DEPTHS)
@pytest.mark.parametrize("most", [2, 3, 4, 7])
def test_no_more_are_measured_than_allowed(n_blocks, most):
    rng = np.random.default_rng(n_blocks)
    for _ in range(20):
        kept = followed(np.append(True, rng.random(n_blocks) < 0.5), n_blocks, most=most)
        assert len(kept) <= most


@pytest.mark.parametrize("n_blocks", DEPTHS)
@pytest.mark.parametrize("options", [{}, {"most": 9}])
def test_curves_that_go_up_and_down_end_beside_a_boundary_that_keeps_too_little(n_blocks, options):
    rng = np.random.default_rng(n_blocks)
    for _ in range(50):
        kept = followed(np.append(True, rng.random(n_blocks) < 0.5), n_blocks, **options)
        low, high = bracket(kept, n_blocks)
        assert kept[low]
        assert not kept.get(high, False)
        assert not any(kept[k] for k in kept if k > low)


@pytest.mark.parametrize(
    ("kept", "n_blocks", "following"),
    [
        ({}, 8, 0),
        ({0: True}, 8, 7),
        ({0: True, 7: False}, 8, 4),
        ({0: True, 7: False, 4: True}, 8, 6),
        ({0: True, 7: False, 4: False}, 8, None),
        ({0: True, 2: False, 1: True}, 3, None),
        ({0: True, 2: False}, 3, 1),
        ({0: True, 15: True, 29: False}, 30, 22),
        # Runs that were made for another reason.
        ({0: True, 1: True, 2: False}, 8, None),
        ({0: True, 3: False, 5: True, 6: False}, 8, None),
        ({0: True, 4: True}, 8, 7),
    ],
)
def test_by_hand(kept, n_blocks, following):
    assert next_boundary(kept, n_blocks) == following


@pytest.mark.parametrize(
    ("kept", "following"),
    [
        ({0: True, 7: False, 4: False}, 2),
        ({0: True, 7: False, 4: False, 2: True}, None),
        ({0: True, 7: False, 4: False, 2: False}, None),
        ({0: True, 4: True}, 7),
        ({0: True, 5: False}, 3),
    ],
)
def test_what_is_open_by_hand(kept, following):
    assert open_boundary(kept, 8) == following
    within_one = open_boundary(kept, 8, within=1)
    assert within_one == (following or {True: 3, False: 1}[kept[2]])


@pytest.mark.parametrize("n_blocks", DEPTHS)
@pytest.mark.parametrize("most", [None, 2, 3, 6])
def test_a_plan_knows_every_way_that_it_may_go(n_blocks, most):
    known = set(paths(n_blocks, most=most))
    found = costliest_path(n_blocks, most=most)
    assert found in known
    assert len(found) == max(map(len, known))
    assert sum(found) == min(sum(path) for path in known if len(path) == len(found))
    rng = np.random.default_rng(0)
    gone = {tuple(followed(np.append(True, rng.random(n_blocks) < 0.5), n_blocks, most=most)) for _ in range(300)}
    assert gone <= known
    assert known <= gone or most == 6
