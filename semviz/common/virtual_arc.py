"""The arc between two directions, as weights of its ends: one formula for numpy's and torch's arrays."""

from __future__ import annotations

from typing import Any, Literal

PathKind = Literal["slerp", "lerp"]
"""`"slerp"` turns along the great circle at constant angular speed; `"lerp"` walks the straight line."""
FLAT = 1e-6
"""Sine of the angle between two directions below which they span no single arc."""


def arc_weights(angle: Any, share: Any, path: PathKind, *, xp: Any) -> tuple[Any, Any]:
    """Return how much of its start and of its end a point of the arc is made of.

    The arrays may have any shapes that broadcast.

    Args:
        angle: Angle between the ends in radians, 0 to π.
        share: Share of the way from start to end, 0 to 1.
        path: `"slerp"` or `"lerp"`.
        xp: The array library of the angle: `numpy` or `torch`.
    """
    start, end = 1 - share, share
    if path == "lerp":
        return start, end
    sine = xp.sin(angle)
    # Parallel directions span no arc and opposite ones no single arc; they get the straight line.
    flat = abs(sine) < FLAT
    safe = xp.where(flat, 1.0, sine)
    return xp.where(flat, start, xp.sin(start * angle) / safe), xp.where(flat, end, xp.sin(end * angle) / safe)
