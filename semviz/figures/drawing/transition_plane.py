"""The plane of a transition map: which position is shown, where its virtual twins lie, what part is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from semviz.common.checks import is_whole, short_repr
from semviz.common.errors import SemvizError
from semviz.common.virtual_arc import PathKind, arc_weights
from semviz.figures.drawing.inputs import difference_of
from semviz.figures.drawing.protocols import Floats, TraceLike

_SHORT = 1e-6  # length below which a point has no direction
_PAD = 0.07


@dataclass(frozen=True)
class Route:
    """One position's transitions in its plane.

    Attributes:
        row: The position's row in the trace's arrays.
        sample: Number of the sample.
        position: Number of the token in the sample.
        token: Its text.
        target: Text of its target.
        factual: Coordinates of f_0…f_L as unit states, shape (L+1, 2): cosine with the target's basis, and along the
            direction across it in which the path extends most.
        virtual: Coordinates of v_0…v_L, shape (L+1, 2).
        arc: Points of the virtual transition between them, shape (n, 2).
    """

    row: int
    sample: int
    position: int
    token: str
    target: str
    factual: Floats
    virtual: Floats
    arc: Floats

    @property
    def shown(self) -> Floats:
        """Share of each factual state's squared length that lies in the plane, shape (L+1,)."""
        return np.minimum((self.factual**2).sum(1), 1.0)


def route_of(trace: TraceLike, sample: int | None, position: int | None) -> Route:
    """Find the position to draw: the one asked for, or the sample's answer, or its last position with a target.

    Raises:
        SemvizError: The trace has no such path; the message lists those it has.
    """
    if difference_of(trace) is not None:
        raise SemvizError("A difference has no path. Pass the trace before or after: difference.after.")
    if not trace.detailed:
        raise SemvizError("No sample of this trace has a stored path. Pass sv.trace(..., detail=16) to store some.")
    sample = trace.detailed[0] if sample is None else sample
    if not is_whole(sample) or sample not in trace.detailed:
        raise SemvizError(
            f"sample={short_repr(sample)} has no stored path. Pass one of {_short_list(trace.detailed)}, or "
            "sv.trace(..., detail=…) with a larger number."
        )
    rows = trace.positions.iloc[: len(trace.paths)].reset_index(drop=True)
    aimed = rows[_leads_to_target(trace) & (rows["sample"] == sample)]
    rows = rows[rows["sample"] == sample]
    if position is None:
        if not len(aimed):
            raise SemvizError(f"Sample {sample} has no position with a target. Pass another sample.")
        # Of a labelled sample that is the answer position: it ends the prompt.
        chosen = aimed.sort_values("position").iloc[-1]
    else:
        if not is_whole(position) or position not in set(rows["position"]):
            raise SemvizError(
                f"position={short_repr(position)} of sample {sample} was not traced. Pass one of "
                f"{_short_list(rows['position'])}."
            )
        if position not in set(aimed["position"]):
            raise SemvizError(
                f"Position {position} of sample {sample} has no target, so there is no path to draw. Pass one of "
                f"{_short_list(aimed['position'])}."
            )
        chosen = aimed[aimed["position"] == position].iloc[0]
    factual = np.asarray(trace.paths[chosen.name], dtype=float)
    kind, spaces = cast("PathKind", trace.meta["path"]), len(factual)
    return Route(
        row=int(chosen.name),
        sample=int(sample),
        position=int(chosen["position"]),
        token=str(chosen["token"]),
        target=str(chosen["target"]),
        factual=factual,
        virtual=virtual_transition(factual[0], np.linspace(0, 1, spaces), kind),
        arc=virtual_transition(factual[0], np.linspace(0, 1, 65), kind),
    )


def samples_with_routes(trace: TraceLike) -> list[int]:
    """Return the samples for which a transition map can be drawn."""
    return [int(s) for s in trace.positions["sample"].iloc[: len(trace.paths)][_leads_to_target(trace)].unique()]


def virtual_transition(start: Floats, way: Floats, kind: PathKind) -> Floats:
    """Return the virtual transition in the plane.

    Its states are mixtures of the start and the target's basis, so their projections are the same mixtures of the
    projections; see `semviz.traces.virtual_path.Arc`.

    Args:
        start: Projection of f_0, shape (2,); its first coordinate is the cosine with the target's basis.
        way: Shares of the way in [0, 1], shape (n,).
        kind: ``"slerp"`` or ``"lerp"``.

    Returns:
        Shape (n, 2).
    """
    cosine = float(np.clip(start[0], -1, 1))
    first, second = arc_weights(np.arccos(cosine), way, kind, xp=np)
    length = np.sqrt(np.maximum(first**2 + second**2 + 2 * first * second * cosine, 0))
    mixed = first[:, None] * np.asarray(start, dtype=float) + second[:, None] * np.array([1.0, 0.0])
    return np.where(length[:, None] > _SHORT, mixed / np.maximum(length, _SHORT)[:, None], 0.0)


def window(route: Route) -> tuple[list[float], list[float]]:
    """Choose what part of the plane is drawn: the paths, the origin and the target's basis, with some room."""
    points = np.vstack([route.factual, route.arc, [[0.0, 0.0], [1.0, 0.0]]])
    low, high = points.min(0), points.max(0)
    pad = _PAD * float((high - low).max())
    return [float(low[0]) - pad, float(high[0]) + pad], [float(low[1]) - pad, float(high[1]) + pad]


def _leads_to_target(trace: TraceLike) -> Floats:
    """Tell which rows of the paths lead to a target."""
    aimed = trace.positions["target_id"].to_numpy()[: len(trace.paths)] >= 0
    return np.asarray(aimed & np.isfinite(trace.paths).all((1, 2)))


def _short_list(numbers: object) -> str:
    """List numbers, abbreviated where there are many."""
    values = sorted({int(n) for n in numbers})  # type: ignore[attr-defined]
    if len(values) > 8:
        return ", ".join(map(str, values[:6])) + f", … {values[-1]}"
    return ", ".join(map(str, values))
