"""Which boundary to measure next: pure functions of what is known, so that a plan can follow them ahead of time.

The answer is the highest boundary that keeps enough of full finetuning's benefit. It lies between the highest measured
one that does and the next measured one above that does not, so the boundary half-way between these two is next. The
last block alone is tried first, since it is cheapest and settles everything where it suffices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

# Found by replaying measured curves (tests/bench/README.md): a bracket half as wide costs a third more time and hardly
# changes what is recommended.
_SHARE = 0.25


def first_boundaries(n_blocks: int) -> tuple[int, int]:
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


def next_boundary(kept: Mapping[int, bool], n_blocks: int, *, most: int | None = None) -> int | None:
    """Return the boundary to measure next, or None where the answer is known well enough.

    Args:
        kept: As in `bracket`.
        n_blocks: L.
        most: How many boundaries may be measured in all; the answer is narrowed down to one block as far as they allow.
            None stops when it is known to a quarter of the blocks.
    """
    if 0 not in kept:
        return 0
    low, high = bracket(kept, n_blocks)
    width = max(1, -(-n_blocks // round(1 / _SHARE))) if most is None else 1
    if most is not None and len(kept) >= most:
        return None
    if high == n_blocks and low < n_blocks - 1:
        return first_boundaries(n_blocks)[1]
    # Rounded up: of two middle ones, the one with more frozen blocks trains faster.
    return (low + high + 1) // 2 if high - low > width else None


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


def most_trainings(n_blocks: int, *, most: int | None = None) -> int:
    """Return how many boundaries are measured at most."""
    return max(len(path) for path in paths(n_blocks, most=most))
