"""Learning curves: the training loss of one or more runs, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats
from semviz.common.errors import SemvizError
from semviz.common.training_methods import mark_of
from semviz.figures.drawing import style
from semviz.figures.drawing.curves import rounded
from semviz.figures.drawing.protocols import Floats, RunLike
from semviz.figures.groups import spread_out

MAX_LINES = 12
"""Lines that are drawn at most."""
MAX_POINTS = 400
"""Points of a line that a browser is sent at most."""
_BODY = 400
_NAME_WIDTH = 30
_LETTER = 6.3
"""Width of a letter of a label in pixels."""
_LINE = 17
"""Height of a label in pixels."""
_MARKED = 250
"""Points in a picture up to which each gets a marker."""
_ROOM = 1.04
"""End of the axis in last steps: room for the threads from lines to labels."""
_WIDE = 30
"""Ratio of the highest and the lowest loss above which the axis is logarithmic."""
_RISE = 1.3
"""Losses above this multiple of the highest first loss are off the axis: such a run has diverged."""
_DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class _Curve:
    """One run's losses and its look.

    Attributes:
        label: What tells it from the others, plain.
        steps: Optimizer steps, shape (n,).
        losses: Training loss there in nats, shape (n,); not finite where it diverged.
        rate: Learning rate.
        symbol: Mark of its method.
    """

    label: str
    steps: Floats
    losses: Floats
    rate: float
    colour: str
    dash: str
    symbol: str


def learning_curves(runs: Iterable[RunLike] | RunLike) -> go.Figure:
    """Draw the training loss by step, one line a run, as it was logged.

    Args:
        runs: Runs, such as a `Runs`, or a single one. The first twelve are drawn.

    Returns:
        A plain Plotly figure. Runs of the same scope, method and task share a colour and differ in dashes. Where
        losses fall by more than a factor of 30, their axis is logarithmic.

    Raises:
        SemvizError: There is no run.
    """
    given = [runs] if isinstance(runs, RunLike) else list(runs)
    if not given:
        raise SemvizError("There is no run to draw. Pass at least one, such as the result of sv.finetune(...).")
    shown = given[:MAX_LINES]
    curves = _curves(shown)
    scale = _scale(curves)
    last = max((float(c.steps[-1]) for c in curves if c.steps.size), default=1.0)
    figure = go.Figure()
    for curve in curves:
        _line(figure, curve, with_markers=sum(c.steps.size for c in curves) <= _MARKED)
    _labels(figure, curves, scale, last)
    figure.update_layout(
        xaxis={"title": {"text": "optimizer step"}, "range": [0, last * _ROOM], "showgrid": False, "showline": True},
        yaxis=scale.layout(),
    )
    thinned = max((-(-c.steps.size // MAX_POINTS) for c in curves), default=1)
    return style.finish(
        figure,
        title="Training loss, step by step",
        notes=[
            f"{_studied(given)} Losses as they were logged, not smoothed."
            + (f" Of long runs, one point in {thinned} is drawn." if thinned > 1 else ""),
            _recipe(given[0]) if len(given) == 1 else "",
            "Runs of the same scope, method and task share a colour."
            if len(set(map(_kind, shown))) < len(shown)
            else "",
            f"The first {MAX_LINES} of {len(given)} runs are drawn." if len(given) > MAX_LINES else "",
            "Losses far above the first ones are off the axis; each run’s curve has them." if scale.cut else "",
        ],
        body=_BODY,
        left=76,
        right=int(max(len(_ending(c)) for c in curves) * _LETTER) + 18,
        bottom=54,
        above=8,
    )


def _curves(runs: list[RunLike]) -> list[_Curve]:
    """Give every run a colour by scope and method, a dash by its number among those, and a label of its own."""
    kinds = [_kind(run) for run in runs]
    order = list(dict.fromkeys(kinds))
    found = []
    for i, (run, label) in enumerate(zip(runs, _labels_of(runs), strict=True)):
        place, mark = order.index(kinds[i]), mark_of(run.method)
        steps, losses = (run.curve[column].to_numpy(dtype=float) for column in ("step", "loss"))
        colour = style.GROUPS[place % len(style.GROUPS)][0]
        dash = _DASHES[(kinds[:i].count(kinds[i]) + place // len(style.GROUPS)) % len(_DASHES)]
        found.append(_Curve(label, steps, losses, run.lr, colour, dash, (mark.symbol or "circle") + mark.fill))
    return found


def _kind(run: RunLike) -> tuple[str, ...]:
    """Return what runs of one colour have in common."""
    return run.scope.label, run.method, run.task, run.model


def _labels_of(runs: list[RunLike]) -> list[str]:
    """Name each run by its scope and by what else differs; the learning rate only where nothing else does."""
    parts = [[run.scope.label] for run in runs]
    for values in (
        [run.method for run in runs], [f"seed {run.seed}" for run in runs], [run.task for run in runs],
        [run.model for run in runs], [f"rate {formats.number(run.lr)}" for run in runs],
    ):  # fmt: skip
        is_rate = values[0].startswith("rate ")
        same = len({tuple(p) for p in parts}) == len(parts) if is_rate else len(set(values)) == 1
        if not same:
            parts = [[*part, value] for part, value in zip(parts, values, strict=True)]
    return [", ".join(part) for part in parts]


@dataclass(frozen=True)
class _Scale:
    """The vertical axis.

    Attributes:
        logarithmic: Whether it shows the logarithms of the losses.
        span: Its ends; their decimal logarithms where it is logarithmic.
        cut: Whether losses lie above it.
    """

    logarithmic: bool
    span: list[float]
    cut: bool

    def at(self, loss: float) -> float:
        """Return where on the axis a loss lies; those above it at its end."""
        return min(math.log10(loss) if self.logarithmic else loss, self.span[1])

    def loss(self, place: float) -> float:
        """Return the loss at a place on the axis."""
        return 10.0**place if self.logarithmic else place

    def layout(self) -> dict[str, object]:
        """Describe the axis for Plotly."""
        made: dict[str, object] = {"range": self.span, "ticks": "", "nticks": 7}
        if not self.logarithmic:
            return {**made, "title": {"text": "training loss (nats)"}}
        low, high = self.span
        factors = (1, 2, 5) if high - low < 3 else (1,)
        values = [m * 10.0**d for d in range(math.floor(low), math.ceil(high)) for m in factors]
        return {
            **made, "type": "log", "title": {"text": "training loss (nats, logarithmic)"}, "tickmode": "array",
            "tickvals": values, "ticktext": [formats.number(v) for v in values],
        }  # fmt: skip


def _scale(curves: list[_Curve]) -> _Scale:
    """Choose the vertical axis from the finite losses."""
    known = [c.losses[np.isfinite(c.losses)] for c in curves]
    known = [losses for losses in known if losses.size]
    if not known:
        return _Scale(False, [0.0, 1.0], False)
    low, highest = min(float(v.min()) for v in known), max(float(v.max()) for v in known)
    high = min(highest, _RISE * max(float(losses[0]) for losses in known))
    logarithmic = low > 0 and high > _WIDE * low
    bottom, top = (math.log10(low), math.log10(high)) if logarithmic else (low, high)
    pad = 0.05 * (top - bottom) or 0.05 * abs(top) or 0.5
    return _Scale(logarithmic, [bottom - pad, top + pad], highest > high)


def _line(figure: go.Figure, curve: _Curve, *, with_markers: bool) -> None:
    stride = max(-(-curve.steps.size // MAX_POINTS), 1)
    # Counted from the last point, so that the end of a line is always drawn.
    kept = np.arange(curve.steps.size)[::-1][::stride][::-1]
    figure.add_scatter(
        x=[int(step) for step in curve.steps[kept]],
        y=rounded(curve.losses[kept]),
        mode="lines+markers" if with_markers or kept.size < 3 else "lines",
        line={"color": curve.colour, "width": 1.8, "dash": curve.dash},
        marker={"size": 4, "color": curve.colour, "symbol": curve.symbol},
        hovertemplate=f"<b>{_safe(curve.label)}</b><br>step %{{x}}: <b>%{{y:.3f}}</b> nats"
        f"<br>learning rate {formats.number(curve.rate)}<extra></extra>",
        showlegend=False,
        name=_safe(curve.label),
    )


def _labels(figure: go.Figure, curves: list[_Curve], scale: _Scale, last: float) -> None:
    """Name each line at the right edge, pushed apart where they end close together, with a thread to its end."""
    low, high = scale.span
    pixel = _BODY / (high - low)
    ends = [_end(curve, scale.loss(high)) for curve in curves]
    wanted = np.array([low if end is None else scale.at(end[1]) for end in ends])
    places = spread_out(wanted * pixel, _LINE, low=low * pixel, high=high * pixel) / pixel
    for curve, end, y, place in zip(curves, ends, wanted.tolist(), places.tolist(), strict=True):
        if end is not None:
            figure.add_shape(
                type="line", x0=end[0], y0=scale.loss(y), x1=last * _ROOM, y1=scale.loss(place),
                line={"width": 1, "color": curve.colour}, name="thread",
            )  # fmt: skip
        figure.add_annotation(
            text=style.literal(_ending(curve)),
            xref="paper",
            x=1,
            xanchor="left",
            xshift=4,
            # Plotly places annotations by logarithm on a logarithmic axis, and shapes by value.
            y=place,
            showarrow=False,
            font={"size": style.SIZE - 1, "color": style.LIGHT.ink},
        )


def _end(curve: _Curve, top: float) -> tuple[float, float] | None:
    """Return the last step and loss that are seen: where a line leaves the picture, its place at the top."""
    known = np.flatnonzero(np.isfinite(curve.losses))
    if not known.size:
        return None
    last = known[-1]
    if curve.losses[last] > top:
        seen = known[curve.losses[known] <= top]
        return float(curve.steps[seen[-1] if seen.size else known[0]]), top
    return float(curve.steps[last]), float(curve.losses[last])


def _ending(curve: _Curve) -> str:
    """Return a line's label, not yet escaped; it says where the loss stopped being a number."""
    name = style.name(curve.label, width=_NAME_WIDTH)
    if not curve.losses.size:
        return f"{name}: no losses"
    return name if np.isfinite(curve.losses[-1]) else f"{name}: diverged"


def _studied(runs: list[RunLike]) -> str:
    """Say what was trained on what, where that is one model and one task."""
    models, tasks = {run.model for run in runs}, {run.task for run in runs}
    one = [
        style.name(found.pop()) if len(found) == 1 else f"{len(found)} {what}"
        for found, what in ((models, "models"), (tasks, "tasks"))
    ]
    return f"{one[0]} on {one[1]}."


def _recipe(run: RunLike) -> str:
    """Say how a single run was trained."""
    return f"Method {style.name(run.method)}, learning rate {formats.number(run.lr)}, seed {run.seed}."


def _safe(text: str) -> str:
    return style.literal(style.name(text, width=80))
