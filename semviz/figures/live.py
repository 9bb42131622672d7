"""Live curves: training loss and accuracy while a finetune runs, and the few changes that one more point needs.

The picture of a job changes in two ways. Where the newest trial has more points, `extended` gives the changes; where
another trial began, the whole picture is redrawn. Both lead to the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from semviz.common import checks, formats
from semviz.common.live_curves import LiveCurve
from semviz.figures.drawing import style
from semviz.figures.drawing.curves import rounded
from semviz.figures.drawing.updates import Overlay

MAX_POINTS = 120
"""Largest number of points of a line sent to the browser, not counting its last."""
_BODY = 168
_LEFT, _RIGHT = [0.0, 0.46], [0.55, 1.0]
_LOSS, _ACCURACY = "training loss (nats)", "training accuracy"
_LOSS_MESSAGE = "said"
_RISE = 3.0
"""Losses above this multiple of the highest first loss are off the axis: such a trial diverges."""
_STARTING = "starting …"


def live_curves(trials: Sequence[LiveCurve], *, steps: int) -> go.Figure:
    """Draw training loss and accuracy by step, side by side.

    Args:
        trials: What was tried, the newest last; it is drawn boldly, the earlier ones faintly. Empty before the start.
        steps: Steps that the newest trial will take; the end of both x axes.

    Returns:
        A plain Plotly figure of about 300 pixels' height. The accuracy axis is fixed; the loss axis begins at 0 and
        leaves room above the first losses, so that it hardly ever changes.

    Raises:
        SemvizError: ``steps`` is not a count.
    """
    steps = checks.whole_number("steps", steps, minimum=1)
    figure = go.Figure()
    for number, trial in enumerate(trials):
        _add_lines(figure, trial, is_newest=number == len(trials) - 1)
    if not trials:
        # An axis that no trace uses is not drawn.
        for anchors in ({}, {"xaxis": "x2", "yaxis": "y2"}):
            figure.add_scatter(x=[None], y=[None], showlegend=False, hoverinfo="skip", **anchors)
    _set_axes(figure, trials, steps)
    _add_annotations(figure, trials)
    figure.update_layout(meta={"trials": len(trials)})
    return style.finish(
        figure,
        title=_title(trials),
        notes=[_note(trials)],
        body=_BODY,
        left=44,
        right=28,
        bottom=46,
        above=16,
    )


def extended(figure: Mapping[str, Any], trials: Sequence[LiveCurve]) -> Overlay | None:
    """Return what changes in a drawn picture where its newest trial has more points.

    Args:
        figure: The JSON of `live_curves`, light or dark.
        trials: The same trials, the newest with more points.

    Returns:
        The changes, or None where the picture must be redrawn because another trial began.
    """
    if figure["layout"]["meta"]["trials"] != len(trials):
        return None
    if not trials:
        return {"layout": {}, "data": []}
    first = 2 * len(trials) - 2
    if figure["data"][first]["name"] != _name(trials[-1]):
        return None
    points = ({"x": x, "y": y} for x, y in _points(trials[-1]))
    changes: dict[str, Any] = {"yaxis.range": [0, _loss_limit(trials)]}
    for i, annotation in enumerate(figure["layout"]["annotations"]):
        if annotation.get("name") == _LOSS_MESSAGE:
            changes |= {f"annotations[{i}].{key}": value for key, value in _loss_message(trials).items()}
    return {"layout": changes, "data": [[first + i, change] for i, change in enumerate(points)]}


def _add_lines(figure: go.Figure, trial: LiveCurve, *, is_newest: bool) -> None:
    """Add one trial's line to each panel."""
    name = _name(trial)
    line = {"color": style.LIGHT.line, "width": 2.4}
    if not is_newest:
        line = {"color": style.LIGHT.axis, "width": 1.4}
    units = ("%{y:.3f} nats", "%{y:.1%}")
    for (x, y), unit, anchors in zip(_points(trial), units, ({}, {"xaxis": "x2", "yaxis": "y2"}), strict=True):
        figure.add_scatter(
            x=x,
            y=y,
            # With markers, since a line of one point is invisible.
            mode="lines+markers" if is_newest else "lines",
            line=line,
            marker={"size": 4, "color": line["color"]},
            hovertemplate=f"<b>{name}</b><br>step %{{x}}: <b>{unit}</b><extra></extra>",
            name=name,
            showlegend=False,
            cliponaxis=not anchors,
            **anchors,
        )


def _points(trial: LiveCurve) -> list[tuple[list[int], list[float | None]]]:
    """Return the points of the losses, broken where they are not finite, and those of the known accuracies."""
    losses = list(zip(trial.steps, trial.losses, strict=True))
    accuracies = [(s, v) for s, v in zip(trial.steps, trial.accuracies, strict=True) if v is not None]
    lines = []
    for points in (losses, accuracies):
        drawn = [points[i] for i in _drawn_indices(len(points))]
        lines.append(([int(s) for s, _ in drawn], rounded(np.array([v for _, v in drawn], dtype=float))))
    return lines


def _drawn_indices(count: int) -> list[int]:
    """Choose the points to draw: all, then every second, fourth, …, so that a growing line's points stay in place."""
    stride = 1
    while count > MAX_POINTS * stride:
        stride *= 2
    return [*range(0, count, stride), *([count - 1] if count and (count - 1) % stride else [])]


def _loss_limit(trials: Sequence[LiveCurve]) -> float:
    """Choose the upper end of the loss axis: a round number above the newest trial's losses and all first ones."""
    finite_losses = [[loss for loss in trial.losses if math.isfinite(loss)] for trial in trials]
    firsts = [losses[0] for losses in finite_losses if losses]
    if not firsts or max(firsts) <= 0:
        return 1.0
    most = min(max([*firsts, *finite_losses[-1]]), _RISE * max(firsts))
    step = formats.nice_step(most, 5)
    return round(math.ceil(1.04 * most / step) * step, 9)


def _loss_message(trials: Sequence[LiveCurve]) -> dict[str, Any]:
    """Return the message in the loss panel: that there is no point yet, or that the newest trial left the axis."""
    trial = trials[-1] if trials else None
    text = ""
    if trial is None or not trial.steps:
        text = _STARTING
    elif not math.isfinite(trial.losses[-1]):
        text = f"the loss is not a number at step {trial.steps[-1]}"
    elif trial.losses[-1] > _loss_limit(trials):
        text = f"↑ {formats.number(trial.losses[-1])} nats at step {trial.steps[-1]}"
    elif not all(map(math.isfinite, trial.losses)):
        text = "the line is broken where the loss was not a number"
    return {"text": text}


def _add_annotations(figure: go.Figure, trials: Sequence[LiveCurve]) -> None:
    """Name the panels, and leave room for what there is to say in the first one."""
    for text, across in ((_LOSS, _LEFT), (_ACCURACY, _RIGHT)):
        figure.add_annotation(
            text=f"<b>{text}</b>",
            xref="paper",
            yref="paper",
            x=across[0],
            y=1,
            xanchor="left",
            yanchor="bottom",
            yshift=3,
            showarrow=False,
            font={"size": style.SIZE - 1},
        )
    figure.add_annotation(
        xref="paper",
        yref="paper",
        x=_LEFT[1],
        y=0,
        xanchor="right",
        # A trial with something to say rises, so there is room below.
        yanchor="bottom",
        showarrow=False,
        font={"size": style.SIZE - 1, "color": style.LIGHT.muted},
        name=_LOSS_MESSAGE,
        **_loss_message(trials),
    )


def _set_axes(figure: go.Figure, trials: Sequence[LiveCurve], steps: int) -> None:
    along = {"range": [0, steps], "title": {"text": "step", "standoff": 4}, "nticks": 6, "showgrid": False}
    shares = [0, 0.25, 0.5, 0.75, 1]
    figure.update_layout(
        xaxis={**along, "domain": _LEFT, "anchor": "y", "showline": True},
        xaxis2={**along, "domain": _RIGHT, "anchor": "y2", "showline": True},
        yaxis={"range": [0, _loss_limit(trials)], "nticks": 6, "ticks": ""},
        yaxis2={
            "anchor": "x2", "range": [0, 1], "ticks": "", "tickmode": "array", "tickvals": shares,
            "ticktext": [formats.percent(share) for share in shares],
        },
    )  # fmt: skip


def _title(trials: Sequence[LiveCurve]) -> str:
    return f"{style.name(trials[-1].label)}, {_rate(trials[-1])}" if trials else "Training"


def _note(trials: Sequence[LiveCurve]) -> str:
    """Say what the points are, and which trials the faint lines are."""
    earlier = [formats.number(trial.rate) for trial in trials[:-1]]
    return "On training batches, not smoothed." + (f" Faint: tried before at {', '.join(earlier)}." if earlier else "")


def _rate(trial: LiveCurve) -> str:
    return f"learning rate {formats.number(trial.rate)}"


def _name(trial: LiveCurve) -> str:
    return style.literal(f"{style.name(trial.label)}, {_rate(trial)}")
