"""Put names next to points so that they cover neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """A rectangle in pixels, y upwards."""

    left: float
    bottom: float
    right: float
    top: float


# Where a label may sit, best first: the four sides, then the corners, near before far.
_ANGLES = (90, 270, 0, 180, 45, 135, 315, 225)
_RADII = (8, 22, 40, 62, 88)
_FAR = 20  # pixels between a label's edge and its point, above which a line joins them


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    area: Box,
    *,
    marker: float = 7,
) -> list[tuple[float, float]]:
    """Place one label per point.

    A greedy search: each label takes the free place that is nearest to its point; where none is free, the one that
    covers least. Same input, same answer.

    Args:
        points: Centres of the markers in pixels.
        sizes: Width and height of each label in pixels.
        obstacles: What else must stay readable, such as error bars.
        area: Where labels may be.
        marker: Radius of the markers in pixels.

    Returns:
        The offset of each label's centre from its point, in pixels, y upwards.
    """
    boxes = [Box(x - marker, y - marker, x + marker, y + marker) for x, y in points] + list(obstacles)
    taken = np.array(boxes, dtype=float).reshape(-1, 4)
    offsets: list[tuple[float, float]] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        places = _offsets(width, height, marker)
        centres = np.array(places) + np.array([x, y])
        half = np.array([width, height]) / 2
        candidates = np.hstack([centres - half, centres + half])
        outside = width * height - _overlaps(candidates, np.array([area]))
        cost = 4 * outside + _overlaps(candidates, taken) + 0.5 * np.arange(len(places))
        best = int(cost.argmin())
        offsets.append(places[best])
        taken = np.vstack([taken, candidates[best]])
    return offsets


def _overlaps(boxes: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area that each box shares with all others together, shape (n,)."""
    low = np.maximum(boxes[:, None, :2], taken[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], taken[None, :, 2:])
    shared: NDArray[np.float64] = np.maximum(high - low, 0).prod(-1).sum(-1)
    return shared


def _offsets(width: float, height: float, marker: float) -> list[tuple[float, float]]:
    """List the places around a point: the label's edge touches a circle around it."""
    offsets = []
    for radius in _RADII:
        for angle in _ANGLES:
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            reach = marker + radius
            offsets.append((cos * reach + _sign(cos) * width / 2, sin * reach + _sign(sin) * height / 2))
    return offsets


def _sign(value: float) -> float:
    return 0.0 if abs(value) < 1e-9 else math.copysign(1.0, value)


def attach(offset: tuple[float, float], size: tuple[float, float], *, colour: str) -> dict[str, Any]:
    """Describe where a placed label's annotation sits: a far label keeps a thin line of this colour to its point.

    Args:
        offset: What `place` returned.
        size: Width and height of the label in pixels.
        colour: Of the line.
    """
    (dx, dy), (width, height) = offset, size
    is_far = max(abs(dx) - width / 2, abs(dy) - height / 2) > _FAR
    # Plotly counts the arrow's pixels downwards.
    shift = {"ax": dx, "ay": -dy} if is_far else {"xshift": dx, "yshift": dy}
    return {
        "showarrow": is_far, "arrowhead": 0, "arrowwidth": 1, "arrowcolor": colour, "standoff": 8,
        "xanchor": "center", "yanchor": "middle", **shift,
    }  # fmt: skip
