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
from semviz.figures.drawing.line_ends import spread_out
from semviz.figures.drawing.protocols import Floats, RunLike

MAX_LINES = 12
"""Largest number of lines drawn."""
MAX_POINTS = 400
"""Largest number of points of a line sent to the browser."""
_BODY = 400
_NAME_WIDTH = 30
_LETTER = 6.3
"""Width of a letter of a label in pixels."""
_LINE = 17
"""Height of a label in pixels."""
_MARKED = 250
"""Largest number of points in a picture at which each gets a marker."""
_ROOM = 1.04
"""End of the axis as a multiple of the last step: room for the connectors from lines to labels."""
_WIDE = 30
"""Ratio of the highest and the lowest loss above which the axis is logarithmic."""
_RISE = 1.3
"""Losses above this multiple of the highest first loss are off the axis: such a run has diverged."""
_DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class _Curve:
    """One run's losses and its look.

    Attributes:
        label: What distinguishes it from the others, not escaped.
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
    """Draw the training loss by step, one line per run, as it was logged.

    Args:
        runs: Runs, such as a `Runs`, or a single one. The first twelve are drawn.

    Returns:
        A plain Plotly figure. Runs of the same scope, method and task share a colour and differ in dashes. Where
        losses fall by more than a factor of 30, their axis is logarithmic.

    Raises:
        SemvizError: There is no run.
    """
    all_runs = [runs] if isinstance(runs, RunLike) else list(runs)
    if not all_runs:
        raise SemvizError("There is no run to draw. Pass at least one, such as the result of sv.finetune(...).")
    drawn_runs = all_runs[:MAX_LINES]
    curves = _curves(drawn_runs)
    scale = _choose_scale(curves)
    last = max((float(c.steps[-1]) for c in curves if c.steps.size), default=1.0)
    figure = go.Figure()
    for curve in curves:
        _add_line(figure, curve, with_markers=sum(c.steps.size for c in curves) <= _MARKED)
    _add_labels(figure, curves, scale, last)
    figure.update_layout(
        xaxis={"title": {"text": "optimizer step"}, "range": [0, last * _ROOM], "showgrid": False, "showline": True},
        yaxis=scale.layout(),
    )
    thinned = max((-(-c.steps.size // MAX_POINTS) for c in curves), default=1)
    return style.finish(
        figure,
        title="Training loss, step by step",
        notes=[
            f"{_models_and_tasks(all_runs)} Losses as they were logged, not smoothed."
            + (f" Of long runs, one point in {thinned} is drawn." if thinned > 1 else ""),
            _training_note(all_runs[0]) if len(all_runs) == 1 else "",
            "Runs of the same scope, method and task share a colour."
            if len(set(map(_kind, drawn_runs))) < len(drawn_runs)
            else "",
            f"The first {MAX_LINES} of {len(all_runs)} runs are drawn." if len(all_runs) > MAX_LINES else "",
            "Losses far above the first ones are off the axis; each run’s curve has them." if scale.cut else "",
        ],
        body=_BODY,
        left=76,
        right=int(max(len(_end_label(c)) for c in curves) * _LETTER) + 18,
        bottom=54,
        above=8,
    )


def _curves(runs: list[RunLike]) -> list[_Curve]:
    """Give every run a colour by scope and method, a dash by its number among those, and its own label."""
    kinds = [_kind(run) for run in runs]
    order = list(dict.fromkeys(kinds))
    curves = []
    for i, (run, label) in enumerate(zip(runs, _run_labels(runs), strict=True)):
        place, mark = order.index(kinds[i]), mark_of(run.method)
        steps, losses = (run.curve[column].to_numpy(dtype=float) for column in ("step", "loss"))
        colour = style.GROUPS[place % len(style.GROUPS)][0]
        dash = _DASHES[(kinds[:i].count(kinds[i]) + place // len(style.GROUPS)) % len(_DASHES)]
        curves.append(_Curve(label, steps, losses, run.lr, colour, dash, (mark.symbol or "circle") + mark.fill))
    return curves


def _kind(run: RunLike) -> tuple[str, ...]:
    """Return what runs of one colour have in common."""
    return run.scope.label, run.method, run.task, run.model_name


def _run_labels(runs: list[RunLike]) -> list[str]:
    """Name each run by its scope and by what else differs; the learning rate only where nothing else does."""
    parts = [[run.scope.label] for run in runs]
    for values in (
        [run.method for run in runs], [f"seed {run.seed}" for run in runs], [run.task for run in runs],
        [run.model_name for run in runs], [f"rate {formats.number(run.lr)}" for run in runs],
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
        """Return where on the axis a loss lies; a loss above the axis lies at its end."""
        return min(math.log10(loss) if self.logarithmic else loss, self.span[1])

    def loss(self, place: float) -> float:
        """Return the loss at a place on the axis."""
        return 10.0**place if self.logarithmic else place

    def layout(self) -> dict[str, object]:
        """Describe the axis for Plotly."""
        layout: dict[str, object] = {"range": self.span, "ticks": "", "nticks": 7}
        if not self.logarithmic:
            return {**layout, "title": {"text": "training loss (nats)"}}
        low, high = self.span
        factors = (1, 2, 5) if high - low < 3 else (1,)
        values = [m * 10.0**d for d in range(math.floor(low), math.ceil(high)) for m in factors]
        return {
            **layout, "type": "log", "title": {"text": "training loss (nats, logarithmic)"}, "tickmode": "array",
            "tickvals": values, "ticktext": [formats.number(v) for v in values],
        }  # fmt: skip


def _choose_scale(curves: list[_Curve]) -> _Scale:
    """Choose the vertical axis from the finite losses."""
    finite_losses = [c.losses[np.isfinite(c.losses)] for c in curves]
    finite_losses = [losses for losses in finite_losses if losses.size]
    if not finite_losses:
        return _Scale(False, [0.0, 1.0], False)
    low, highest = min(float(v.min()) for v in finite_losses), max(float(v.max()) for v in finite_losses)
    high = min(highest, _RISE * max(float(losses[0]) for losses in finite_losses))
    logarithmic = low > 0 and high > _WIDE * low
    bottom, top = (math.log10(low), math.log10(high)) if logarithmic else (low, high)
    pad = 0.05 * (top - bottom) or 0.05 * abs(top) or 0.5
    return _Scale(logarithmic, [bottom - pad, top + pad], highest > high)


def _add_line(figure: go.Figure, curve: _Curve, *, with_markers: bool) -> None:
    stride = max(-(-curve.steps.size // MAX_POINTS), 1)
    # Counted from the last point, so that the end of a line is always drawn.
    drawn = np.arange(curve.steps.size)[::-1][::stride][::-1]
    figure.add_scatter(
        x=[int(step) for step in curve.steps[drawn]],
        y=rounded(curve.losses[drawn]),
        mode="lines+markers" if with_markers or drawn.size < 3 else "lines",
        line={"color": curve.colour, "width": 1.8, "dash": curve.dash},
        marker={"size": 4, "color": curve.colour, "symbol": curve.symbol},
        hovertemplate=f"<b>{_escaped_name(curve.label)}</b><br>step %{{x}}: <b>%{{y:.3f}}</b> nats"
        f"<br>learning rate {formats.number(curve.rate)}<extra></extra>",
        showlegend=False,
        name=_escaped_name(curve.label),
    )


def _add_labels(figure: go.Figure, curves: list[_Curve], scale: _Scale, last: float) -> None:
    """Label each line at the right edge; labels that would overlap are moved apart and joined to their lines."""
    low, high = scale.span
    pixel = _BODY / (high - low)
    ends = [_visible_end(curve, scale.loss(high)) for curve in curves]
    end_places = np.array([low if end is None else scale.at(end[1]) for end in ends])
    label_places = spread_out(end_places * pixel, _LINE, low=low * pixel, high=high * pixel) / pixel
    for curve, end, y, place in zip(curves, ends, end_places.tolist(), label_places.tolist(), strict=True):
        if end is not None:
            figure.add_shape(
                type="line", x0=end[0], y0=scale.loss(y), x1=last * _ROOM, y1=scale.loss(place),
                line={"width": 1, "color": curve.colour}, name="thread",
            )  # fmt: skip
        figure.add_annotation(
            text=style.literal(_end_label(curve)),
            xref="paper",
            x=1,
            xanchor="left",
            xshift=4,
            # Plotly places annotations by logarithm on a logarithmic axis, and shapes by value.
            y=place,
            showarrow=False,
            font={"size": style.SIZE - 1, "color": style.LIGHT.ink},
        )


def _visible_end(curve: _Curve, top: float) -> tuple[float, float] | None:
    """Return the last visible step and loss: of a line that leaves the picture, its place at the top."""
    finite = np.flatnonzero(np.isfinite(curve.losses))
    if not finite.size:
        return None
    last = finite[-1]
    if curve.losses[last] > top:
        visible = finite[curve.losses[finite] <= top]
        return float(curve.steps[visible[-1] if visible.size else finite[0]]), top
    return float(curve.steps[last]), float(curve.losses[last])


def _end_label(curve: _Curve) -> str:
    """Return a line's label, not yet escaped; it says where the loss stopped being a number."""
    name = style.name(curve.label, width=_NAME_WIDTH)
    if not curve.losses.size:
        return f"{name}: no losses"
    return name if np.isfinite(curve.losses[-1]) else f"{name}: diverged"


def _models_and_tasks(runs: list[RunLike]) -> str:
    """Name the model and the task, or how many of each there are."""
    models, tasks = {run.model_name for run in runs}, {run.task for run in runs}
    parts = [
        style.name(names.pop()) if len(names) == 1 else f"{len(names)} {what}"
        for names, what in ((models, "models"), (tasks, "tasks"))
    ]
    return f"{parts[0]} on {parts[1]}."


def _training_note(run: RunLike) -> str:
    """Say how a single run was trained."""
    return f"Method {style.name(run.method)}, learning rate {formats.number(run.lr)}, seed {run.seed}."


def _escaped_name(text: str) -> str:
    return style.literal(style.name(text, width=80))
