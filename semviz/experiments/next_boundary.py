"""Which boundary to measure next: pure functions of what is known, so that a plan can follow them ahead of time.

The answer is the highest boundary that keeps enough of full finetuning's benefit. It lies between the highest measured
one that does and the next measured one above that does not, so the boundary half-way between these two is next. The
last block alone is tried first, since it is cheapest and settles everything where it suffices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

_WIDTH = 0.25  # share of the blocks to which an answer is known well enough


def first_boundaries(n_blocks: int) -> tuple[int, ...]:
    """Return what is measured in any case: all blocks, and the last block alone."""
    return 0, n_blocks - 1


def bracket(kept: Mapping[int, bool], n_blocks: int) -> tuple[int, int]:
    """Return between which boundaries the answer lies.

    Args:
        kept: For each measured boundary whether it keeps enough; full finetuning, 0, always does.
        n_blocks: L.

    Returns:
        The highest measured boundary that keeps enough, and the next measured one above it, which does not; L (train
        nothing) where there is none.
    """
    low = max((k for k, keeps in kept.items() if keeps), default=0)
    return low, min((k for k in kept if k > low), default=n_blocks)


def open_boundary(kept: Mapping[int, bool], n_blocks: int, *, within: int | None = None) -> int | None:
    """Return the boundary whose measurement would narrow the answer down most, or None where it is narrow enough.

    Args:
        kept: As in `bracket`.
        n_blocks: L.
        within: How many blocks apart the ends of the bracket may be; a quarter of all by default.
    """
    if 0 not in kept:
        return 0
    low, high = bracket(kept, n_blocks)
    last = n_blocks - 1
    if high == n_blocks and low < last:
        return last
    within = math.ceil(_WIDTH * n_blocks) if within is None else within
    # Rounded up: of two middle ones, the one with more frozen blocks trains faster.
    return (low + high + 1) // 2 if high - low > within else None


def next_boundary(kept: Mapping[int, bool], n_blocks: int, *, most: int | None = None) -> int | None:
    """Return the boundary that `probe` measures next, or None where it ends.

    By itself it goes on above the half only. Below it, a probe costs nearly as much as full finetuning and saves less
    than half of it: over nine pairs of model and task, such probes cost a third more time and found boundaries that
    are hardly cheaper (tests/bench/README.md).

    Args:
        kept: As in `bracket`.
        n_blocks: L.
        most: How many boundaries may be measured in all, anywhere, to narrow the answer down to one block.
    """
    if most is not None:
        return open_boundary(kept, n_blocks, within=1) if len(kept) < most else None
    k = open_boundary(kept, n_blocks)
    return k if k is None or k == 0 or k >= n_blocks // 2 else None


def paths(n_blocks: int, *, most: int | None = None) -> Iterator[tuple[int, ...]]:
    """Yield every sequence of boundaries that may come to be measured, by what turns out to keep enough."""
    yield from _paths({}, n_blocks, most)


def _paths(kept: dict[int, bool], n_blocks: int, most: int | None) -> Iterator[tuple[int, ...]]:
    k = next_boundary(kept, n_blocks, most=most)
    if k is None:
        yield tuple(kept)
        return
    for keeps in (True,) if k == 0 else (False, True):
        yield from _paths({**kept, k: keeps}, n_blocks, most)


def costliest_path(n_blocks: int, *, most: int | None = None) -> tuple[int, ...]:
    """Return the sequence that trains the most blocks, of those with the most boundaries."""
    return max(paths(n_blocks, most=most), key=lambda path: (len(path), -sum(path)))
