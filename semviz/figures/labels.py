"""Put names next to points so that they cover neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels, y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """Return the shared area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0


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
    taken = [Box(x - marker, y - marker, x + marker, y + marker) for x, y in points] + list(obstacles)
    offsets: list[tuple[float, float]] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        best: tuple[float, float, float, Box] | None = None
        for rank, (dx, dy) in enumerate(_offsets(width, height, marker)):
            box = Box(x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2)
            outside = width * height - box.overlap(area)
            covered = sum(box.overlap(other) for other in taken)
            cost = 4 * outside + covered + rank * 0.5
            if best is None or cost < best[0]:
                best = (cost, dx, dy, box)
        assert best is not None
        offsets.append((best[1], best[2]))
        taken.append(best[3])
    return offsets


def _offsets(width: float, height: float, marker: float) -> list[tuple[float, float]]:
    """List the places around a point: the label's edge touches a circle around it."""
    found = []
    for radius in _RADII:
        for angle in _ANGLES:
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            reach = marker + radius
            found.append((cos * reach + _sign(cos) * width / 2, sin * reach + _sign(sin) * height / 2))
    return found


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
