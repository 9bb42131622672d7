"""Transition map: the virtual and the factual transition of one position, in a plane through the target's basis."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats, token_text
from semviz.figures.drawing import boundary_marks, cell_hovers, heatmap_cells, labels, style
from semviz.figures.drawing.curves import rounded, ticks
from semviz.figures.drawing.inputs import check_boundary
from semviz.figures.drawing.protocols import TraceLike
from semviz.figures.drawing.transition_plane import Route, route_of, window

_WIDTH = heatmap_cells.NOMINAL_WIDTH - 70
_LEAST, _MOST = 320, 520
"""Heights of the plot area in pixels."""
_NUMBERED = 16
"""Largest number of blocks at which every space is numbered; beyond it, a colour bar helps."""
_FROZEN, _TRAINED = 1.4, 2.6
"""Widths of the factual path below and above the boundary."""


def transition_map(
    trace: TraceLike, *, sample: int | None = None, position: int | None = None, boundary: int | None = None
) -> go.Figure:
    """Draw how one position travels towards its target, beside the path it would take if it went straight.

    The plane goes through the origin. Its horizontal axis is the target's semantic basis, its vertical axis the
    direction across it in which the factual path extends most. States are drawn as the projections of their unit
    vectors, so a state's distance from the origin says how much of it lies in the plane.

    Args:
        trace: What `semviz.trace` returned.
        sample: Number of a sample that was traced at all its tokens; None takes the first.
        position: Number of the token in the sample; None takes the answer position, or the last one with a target.
        boundary: Number of frozen blocks to mark on the path, or None.

    Returns:
        A plain Plotly figure; both axes have the same scale.

    Raises:
        SemvizError: The trace does not hold this path, or the boundary does not exist.
    """
    route = route_of(trace, sample, position)
    boundary = check_boundary(trace.n_blocks, boundary)
    across, up = window(route)
    scale = _WIDTH / (across[1] - across[0])
    body = int(np.clip(scale * (up[1] - up[0]), _LEAST, _MOST))
    scale = min(scale, body / (up[1] - up[0]))
    figure = go.Figure()
    _add_plane(figure)
    _add_virtual(figure, route)
    _add_factual(figure, trace, route, boundary)
    _add_target(figure)
    _add_numbers(figure, route, scale, (across, up))
    along = style.literal(f"cosine with the semantic basis of {_quoted(route.target)}")
    figure.update_layout(
        xaxis={"range": across, "title": {"text": along}, "nticks": 9, "zeroline": False},
        yaxis={
            "range": up, "title": {"text": "across it, where the path extends most"}, "nticks": 7, "scaleanchor": "x",
            "zeroline": False, "ticks": "",
        },
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom", "itemclick": False,
                "itemdoubleclick": False},
        meta={"sample": route.sample, "position": route.position, boundary_marks.BLOCKS: trace.n_blocks},
    )  # fmt: skip
    return style.finish(
        figure,
        title=f"From {_quoted(route.token)} towards {_quoted(route.target)} (sample {route.sample}, token "
        f"{route.position})",
        notes=_notes(route, boundary),
        body=body,
        left=64,
        right=78 if trace.n_blocks > _NUMBERED else 24,
        bottom=56,
        above=30,
    )


def _add_plane(figure: go.Figure) -> None:
    """Draw the points of reference: the unit circle, the origin, the direction of the target's basis."""
    figure.add_shape(
        type="circle",
        layer="below",
        x0=-1,
        x1=1,
        y0=-1,
        y1=1,
        line={"color": style.LIGHT.axis, "width": 1.2},
        name="unit circle",
    )
    figure.add_shape(
        type="line",
        layer="below",
        x0=0,
        y0=0,
        x1=1,
        y1=0,
        line={"color": style.LIGHT.axis, "width": 1.2},
        name="target direction",
    )
    figure.add_scatter(
        x=[0],
        y=[0],
        mode="markers",
        marker={"symbol": "cross-thin", "size": 13, "line": {"width": 1.6, "color": style.LIGHT.muted}},
        hovertemplate="the origin: a state here lies wholly out of the plane<extra></extra>",
        showlegend=False,
        name="origin",
    )


def _add_virtual(figure: go.Figure, route: Route) -> None:
    """Draw the virtual transition, a small marker per space, and a connector from each to the factual state."""
    threads = [
        [list(map(float, pair)) for pair in (fact, twin)]
        for fact, twin in zip(route.factual[1:], route.virtual[1:], strict=True)
    ]
    figure.add_scatter(
        x=rounded(np.array([v for a, b in threads for v in (a[0], b[0], np.nan)])),
        y=rounded(np.array([v for a, b in threads for v in (a[1], b[1], np.nan)])),
        mode="lines",
        line={"color": style.LIGHT.axis, "width": 1.2, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
        name="same space",
    )
    figure.add_scatter(
        x=rounded(route.arc[:, 0]),
        y=rounded(route.arc[:, 1]),
        mode="lines",
        line={"color": style.LIGHT.predicted, "width": 1.8, "dash": "dash"},
        hoverinfo="skip",
        name="virtual transition",
    )
    figure.add_scatter(
        x=rounded(route.virtual[:, 0]),
        y=rounded(route.virtual[:, 1]),
        customdata=list(range(len(route.virtual))),
        mode="markers",
        marker={"symbol": "diamond", "size": 7, "color": style.LIGHT.predicted},
        hovertemplate="virtual transition at space %{customdata}<br>cosine with the target %{x:.3f}<extra></extra>",
        showlegend=False,
        name="virtual states",
    )


def _add_factual(figure: go.Figure, trace: TraceLike, route: Route, boundary: int | None) -> None:
    """Draw the factual transition: a line, thin where the blocks are frozen, and a marker per space."""
    last = trace.n_blocks
    parts = [(boundary_marks.PATH, boundary or 0, _TRAINED, style.LIGHT.law)]
    if boundary is not None:
        # Below the trained part, which hides it, so that only one of them moves with the boundary.
        parts.insert(0, ("through frozen blocks", 0, _FROZEN, style.LIGHT.muted))
    for name, start, width, colour in parts:
        figure.add_scatter(
            x=rounded(route.factual[start:, 0]),
            y=rounded(route.factual[start:, 1]),
            mode="lines",
            line={"color": colour, "width": width},
            hoverinfo="skip",
            showlegend=name == boundary_marks.PATH,
            name=name,
        )
    bar = {
        "title": {"text": "space", "side": "right", "font": {"size": style.SIZE - 1, "color": style.LIGHT.ink}},
        "tickfont": {"size": style.SIZE - 2, "color": style.LIGHT.muted},
        "thickness": 11, "outlinewidth": 0, "ticks": "", "nticks": 7, "xpad": 12,
    }  # fmt: skip
    texts, template = _hover(trace, route)
    figure.add_scatter(
        x=rounded(route.factual[:, 0]),
        y=rounded(route.factual[:, 1]),
        customdata=texts,
        mode="markers",
        marker={
            "size": 12 if last <= 40 else 7,
            "color": list(range(last + 1)),
            "colorscale": style.MAGNITUDE,
            "cmin": 0,
            "cmax": last,
            "line": {"width": 1.2, "color": style.LIGHT.law},
            **({"colorbar": bar} if last > _NUMBERED else {}),
        },
        hovertemplate=template,
        showlegend=False,
        name=boundary_marks.STATES,
    )
    if boundary is not None:
        x, y = route.factual[boundary]
        words: dict[str, object] = {"mode": "markers"}
        if last > _NUMBERED:
            words = {
                "mode": "markers+text", "text": [boundary_marks.ring_text(boundary)], "textposition": "top center",
                "textfont": {"size": style.SIZE, "color": style.LIGHT.boundary},
            }  # fmt: skip
        figure.add_scatter(
            x=rounded(np.array([x])),
            y=rounded(np.array([y])),
            **words,
            marker={"symbol": "circle-open", "size": 21, "line": {"width": 2.4}, "color": style.LIGHT.boundary},
            hoverinfo="skip",
            showlegend=False,
            name=boundary_marks.LINE,
        )


def _hover(trace: TraceLike, route: Route) -> tuple[list[list[str]], str]:
    """Return what the hover says of every space, and the template that it fills."""
    lines = [("cosine with the target", [formats.number(float(x)) for x in route.factual[:, 0]])]
    if "virtual" in trace.values:
        title = style.literal(trace.facts["virtual"].title)
        lines.append((title, [formats.number(float(v)) for v in trace.values["virtual"][route.row]]))
    for line in cell_hovers.token_lines(trace, np.array([route.row])):
        lines.append((line.name, line.texts[0]))
    lines.append(("in the plane", [f"{formats.percent(float(share))} of its squared length" for share in route.shown]))
    texts = [[str(space), *(values[space] for _, values in lines)] for space in range(len(route.factual))]
    rows = [f"<br>{name}: %{{customdata[{i}]}}" for i, (name, _) in enumerate(lines, start=1)]
    return texts, "<b>space %{customdata[0]}</b>" + "".join(rows) + "<extra></extra>"


def _add_target(figure: go.Figure) -> None:
    figure.add_scatter(
        x=[1],
        y=[0],
        mode="markers",
        marker={
            "symbol": "star", "size": 17, "color": style.LIGHT.recommended,
            "line": {"width": 1, "color": style.LIGHT.paper},
        },
        hovertemplate="the target’s semantic basis<extra></extra>",
        showlegend=False,
        name="target",
    )  # fmt: skip


def _add_numbers(figure: go.Figure, route: Route, scale: float, view: tuple[list[float], list[float]]) -> None:
    """Number the spaces and name the target, beside their markers."""
    (left, right), (bottom, top) = view
    last = len(route.factual) - 1
    shown = list(range(last + 1)) if last <= _NUMBERED else ticks(last, room=10)
    target = f"target {token_text.short_label(route.target, width=18)}"
    spots = [(1.0, 0.0), *(tuple(map(float, route.factual[k])) for k in shown)]
    texts = [target, *(str(k) for k in shown)]

    def pixel(point: tuple[float, ...]) -> tuple[float, float]:
        return (point[0] - left) * scale, (point[1] - bottom) * scale

    sizes = [(7.0 * len(text) + 4, 15.0) for text in texts]
    obstacles = [_box(pixel(tuple(p)), 6) for p in route.virtual]
    obstacles += [_box(pixel(tuple(p)), 7) for p in route.factual]
    path = np.vstack([np.linspace(a, b, 12) for a, b in zip(route.factual[:-1], route.factual[1:], strict=True)])
    obstacles += [_box(pixel(tuple(p)), 3) for p in np.vstack([path, route.arc])]
    obstacles += [_box(pixel((float(x), 0.0)), 3) for x in np.linspace(0, 1, 40)]
    area = labels.Box(2, 2, (right - left) * scale - 2, (top - bottom) * scale - 2)
    offsets = labels.place([pixel(spot) for spot in spots], sizes, obstacles, area, marker=8)
    for i, (spot, text, offset, size) in enumerate(zip(spots, texts, offsets, sizes, strict=True)):
        figure.add_annotation(
            text=style.literal(text) if i else f"<b>{style.literal(text)}</b>",
            x=spot[0],
            y=spot[1],
            **labels.attach(offset, size, colour=style.LIGHT.axis),
            font={"size": style.SIZE - 1, "color": style.LIGHT.ink if i else style.LIGHT.recommended},
        )


def _box(centre: tuple[float, float], half: float) -> labels.Box:
    return labels.Box(centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)


def _quoted(text: str) -> str:
    return f"“{token_text.short_label(text, width=18)}”"


def _notes(route: Route, boundary: int | None) -> list[str]:
    """Say how to read the map, and what a plane cannot show."""
    shown = route.shown
    cut = ""
    if boundary is not None:
        cut = " The ring marks the boundary: the thin part of the path, before it, runs through frozen blocks."
    return [
        "Numbers are spaces; dotted threads join the same space on both paths. The virtual transition goes straight to "
        f"the target.{cut}",
        f"The plane holds {formats.percent(float(shown.mean()))} of the states’ squared length (space 0: "
        f"{formats.percent(float(shown[0]))}, space {len(shown) - 1}: {formats.percent(float(shown[-1]))}). Distances "
        "out of the plane are not seen: states that look close may be far apart.",
    ]
