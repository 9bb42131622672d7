"""The virtual transition: the path that a state would take if it went straight to its target's basis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from semviz.common.virtual_arc import PathKind, arc_weights


@dataclass(frozen=True, eq=False)
class Arc:
    """The virtual transition of n positions, from the state that entered block 1 to the target's semantic basis.

    Attributes:
        origin: f_0 in the output frame, shape (n, d); only its direction means something.
        goal: s_y, shape (n, d); only its direction means something.
        path: `"slerp"` turns along the great circle at constant angular speed; `"lerp"` walks the straight line between
            the unit vectors.
    """

    origin: Tensor
    goal: Tensor
    path: PathKind = "slerp"

    @cached_property
    def start(self) -> Tensor:
        """Unit vectors at t = 0, shape (n, d)."""
        return torch.nn.functional.normalize(self.origin, dim=-1)

    @cached_property
    def end(self) -> Tensor:
        """Unit vectors at t = 1, shape (n, d)."""
        return torch.nn.functional.normalize(self.goal, dim=-1)

    @cached_property
    def angle(self) -> Tensor:
        """Angle between start and end in radians, shape (n, 1)."""
        # atan2 keeps its precision for nearly parallel directions, where acos of a cosine loses half the digits.
        apart, together = self.start - self.end, self.start + self.end
        return 2 * torch.atan2(apart.norm(dim=-1, keepdim=True), together.norm(dim=-1, keepdim=True))

    def at(self, t: float) -> Tensor:
        """The virtual transition's state at share t of the way (ℓ/L for space ℓ): unit vectors, shape (n, d)."""
        start, end = arc_weights(self.angle, t, self.path, xp=torch)
        return torch.nn.functional.normalize(start * self.start + end * self.end, dim=-1)


def plane(path: Tensor, goal: Tensor) -> Tensor:
    """Coordinates of paths in the plane through the origin, the goal, and the direction in which each extends most.

    Args:
        path: Unit states, shape (n, L+1, d).
        goal: Unit vectors, shape (n, d).

    Returns:
        Shape (n, L+1, 2): cosine with the goal; coordinate along the first principal direction (through the origin) of
        what the goal does not explain, with the sign that makes the start's coordinate positive. A state's squared
        length here is the share of it that lies in the plane.
    """
    along = torch.einsum("nld,nd->nl", path, goal)
    across = path - along.unsqueeze(-1) * goal.unsqueeze(1)
    # The (L+1) × (L+1) products of a path with itself say as much as its d-dimensional states, and are small.
    values, vectors = torch.linalg.eigh(across @ across.mT)
    first = vectors[..., -1] * values[..., -1:].clamp_min(0).sqrt()
    sign = torch.where(first[:, :1] < 0, -1.0, 1.0)
    return torch.stack([along, sign * first], dim=-1)
