"""The virtual transition: the path that a state would take if it went straight to its target's basis."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Path = Literal["slerp", "lerp"]


def slerp(start: Tensor, end: Tensor, t: float) -> Tensor:
    """Walk from one direction to another on the sphere, at constant angular speed.

    Args:
        start: Directions, shape (n, d); lengths are ignored.
        end: Directions, shape (n, d).
        t: Share of the way, 0 at `start`, 1 at `end`.

    Returns:
        Unit vectors, shape (n, d). Opposite directions have no single arc; a lerp is returned for these rows.
    """
    a, b = torch.nn.functional.normalize(start, dim=-1), torch.nn.functional.normalize(end, dim=-1)
    # atan2 keeps its precision for nearly parallel directions, where acos of a cosine loses half the digits.
    angle = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    sine = torch.sin(angle)
    flat = sine.abs() < 1e-6
    safe = torch.where(flat, torch.ones_like(sine), sine)
    first = torch.where(flat, torch.full_like(sine, 1 - t), torch.sin((1 - t) * angle) / safe)
    second = torch.where(flat, torch.full_like(sine, t), torch.sin(t * angle) / safe)
    return torch.nn.functional.normalize(first * a + second * b, dim=-1)


def virtual(start: Tensor, end: Tensor, t: float, *, path: Path = "slerp") -> Tensor:
    """The virtual transition's state at share t of the way from the embedding to the target's semantic basis.

    Args:
        start: f_0, the state that entered block 1, in the output frame, shape (n, d).
        end: s_y, the semantic basis of the target, shape (n, d).
        t: ℓ/L for space ℓ.
        path: `"slerp"` turns at constant angular speed; `"lerp"` draws the straight line between unit vectors.

    Returns:
        Shape (n, d); only its direction means something.
    """
    if path == "slerp":
        return slerp(start, end, t)
    a, b = torch.nn.functional.normalize(start, dim=-1), torch.nn.functional.normalize(end, dim=-1)
    return (1 - t) * a + t * b
