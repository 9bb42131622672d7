"""Move the boundary in a picture that is already drawn: the few changes a browser needs instead of the picture.

They are paths into the picture's JSON with the values that go there, as the Explorer's `Picture.mark` takes them.
Words are hidden by their opacity, since plotly.js redraws everything where an annotation's visibility changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from semviz.common.errors import SemvizError
from semviz.figures.drawing import boundary_marks
from semviz.figures.drawing.inputs import check_boundary


class Overlay(TypedDict):
    """The changes that turn one picture into another, ready for JSON.

    Attributes:
        layout: Paths and values: ``{"shapes[0].y0": 4.5, …}``.
        data: Pairs of a trace's number and such paths and values: ``[[3, {"marker.color": ["#d9dee4", …]}], …]``.
    """

    layout: dict[str, Any]
    data: list[list[Any]]


def moved(figure: Mapping[str, Any], boundary: int) -> Overlay:
    """Return what changes in a picture where its boundary moves.

    Args:
        figure: The JSON of a token, sample or difference heatmap, profile, group profile, transition map, gain picture
            or benefit curve that was drawn with a boundary, light or dark: `figure.to_plotly_json()`.
        boundary: The new number of frozen blocks, 0…L.

    Returns:
        The changes; what is not in them is the same at every boundary.

    Raises:
        SemvizError: The picture was drawn without a boundary, or this boundary does not exist.
    """
    layout, traces = figure["layout"], figure["data"]
    meta = layout.get("meta")
    blocks = meta.get(boundary_marks.BLOCKS) if isinstance(meta, Mapping) else None
    if blocks is None or not any(
        item.get("name") == boundary_marks.LINE for item in (*layout.get("shapes", ()), *traces)
    ):
        raise SemvizError("This figure has no boundary that could move. Pass one that was drawn with boundary=….")
    if check_boundary(blocks, boundary) is None:
        raise SemvizError(f"boundary=None is not a boundary. Pass an int from 0 (train all) to {blocks} (train none).")
    boundary, shown = int(boundary), meta.get(boundary_marks.SPACES)
    changes = {
        f"shapes[{i}].{key}": value
        for i, shape in enumerate(layout.get("shapes", ()))
        for key, value in boundary_marks.shape_at(shape, boundary, shown).items()
    }
    for i, annotation in enumerate(layout.get("annotations", ())):
        for key, value in boundary_marks.words_at(annotation, boundary, blocks, shown).items():
            changes[f"annotations[{i}].{key}"] = value
    states = next((t for t in traces if t.get("name") == boundary_marks.STATES), None)
    data: list[list[Any]] = []
    for i, trace in enumerate(traces):
        change = boundary_marks.trace_at(trace, boundary, states)
        if change:
            data.append([i, dict(change)])
    return {"layout": changes, "data": data}


def moved_pareto(figure: Mapping[str, Any], trainable: float) -> Overlay:
    """Return what changes in a Pareto chart where the scope that it marks trains another number of parameters.

    Args:
        figure: The JSON of a Pareto chart that was drawn with ``trainable=``.
        trainable: The new number of trainable parameters.

    Raises:
        SemvizError: The chart marks no scope, or ``trainable`` is not a number of parameters.
    """
    layout = figure["layout"]
    line, words = boundary_marks.scope_at(trainable, logarithmic=layout["xaxis"].get("type") == "log")
    changes = {
        f"{kind}[{i}].{key}": value
        for kind, place in (("shapes", line), ("annotations", words))
        for i, item in enumerate(layout.get(kind, ()))
        if item.get("name") == boundary_marks.SCOPE
        for key, value in place.items()
    }
    if not changes:
        raise SemvizError("This chart marks no scope. Pass one that was drawn with trainable=….")
    return {"layout": changes, "data": []}
