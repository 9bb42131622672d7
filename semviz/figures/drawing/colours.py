"""Colours of the heatmaps: one range for all pictures of a trace and a metric, and the bar that explains it.

The range belongs to a trace and a metric, not to a picture, so all pictures of one trace can be compared cell by cell.
In spaces 1…L it holds 98 % of the values at averaged positions and 90 % of those at others, cut to the metric's own
range; space 0 lives in another frame and has no say. It ends at the value of a blind guess, since no reader needs to
tell apart what is worse than that. The range of a change is symmetric, so that its middle is 0.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats
from semviz.common.metric_facts import Guess, MetricFacts
from semviz.figures.drawing import style
from semviz.figures.drawing.inputs import with_unit
from semviz.figures.drawing.protocols import DeviationsLike, Floats

_WORD_GAP = 5
"""Pixels between an end of the colour bar and its label."""
_TICK = 13
"""Height of a line at the colour bar, in pixels."""
BLIND: dict[Guess, str] = {
    "uniform": "no better than a blind guess",
    "middle rank": "no better than a blind guess",
    "right angle": "no nearer than a right angle",
}
"""What is said of values beyond a range that ends at a blind guess."""


def colour_range(trace: DeviationsLike, metric: str) -> tuple[float, float]:
    """Return the colour range of a metric in every picture of a trace (see the module's text).

    A trace whose `meta["ranges"]` names a range for the metric took it from the trace that it is to be compared with.
    """
    shared_range = trace.meta.get("ranges", {}).get(metric)
    if shared_range is not None:
        return (float(shared_range[0]), float(shared_range[1]))
    facts = trace.facts[metric]
    values = np.asarray(trace.values[metric], dtype=float)
    if facts.is_change:
        values = np.abs(values)
    counted = trace.counted
    parts = (_percentiles(values[counted, 1:], 1), _percentiles(values[~counted, 1:], 5))
    ends = [end for part in parts if part for end in part]
    if facts.is_change:
        return _around_zero(max(ends, default=0.0))
    if not ends:
        return (0.0, 1.0)
    low, high = min(ends), max(ends)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    step = formats.nice_step(high - low, 20)
    low, high = np.floor(low / step + 1e-9) * step, np.ceil(high / step - 1e-9) * step
    low = low if facts.low is None else max(low, facts.low)
    high = high if facts.high is None else min(high, facts.high)
    guess = facts.blind_guess(trace.meta.get("candidates"))
    if guess is not None and high > guess:
        # Nothing better than a guess: the colours are then those of what would be better.
        low, high = low if low < guess else guess - 1 if facts.low is None else facts.low, guess
    return (round(float(low), 6), round(float(high), 6))


def ends_at_guess(trace: DeviationsLike, metric: str, high: float) -> Guess | None:
    """Tell whether a colour range that ends here ends at a blind guess, and at which."""
    facts = trace.facts[metric]
    guess = facts.blind_guess(trace.meta.get("candidates"))
    return facts.guess if guess is not None and abs(high - guess) < 1e-5 else None


def colour_scale(facts: MetricFacts) -> object:
    """Return the colour scale of a metric: magnitudes, or changes around 0."""
    return style.CHANGE if facts.is_change else style.MAGNITUDE


def mark_colours(facts: MetricFacts) -> tuple[str, str]:
    """Return the colours of marks on cells above and below the range, drawn over the scale's two end colours."""
    if facts.is_change:
        return style.LIGHT.paper, style.LIGHT.paper
    return "rgba(0,0,0,0.5)", "rgba(255,255,255,0.55)"


def colour_bar(
    facts: MetricFacts, low: float, high: float, *, above: bool, below: bool, at_guess: Guess | None, body: int,
    room: int,
) -> dict[str, object]:  # fmt: skip
    """Describe the colour bar; its ends say where values were clipped, and whether that is at a blind guess."""
    span = high - low
    step = formats.nice_step(span, 5)
    ticks = [float(t) for t in np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step]
    text = {round(t, 9): _tick_text(round(t, 9), facts) for t in ticks}
    # What fits beside the bar: three short lines around its upper end.
    said = "" if at_guess is None else ": " + BLIND[at_guess].replace(" better", "<br>better").replace(
        " nearer", "<br>nearer").replace(" blind", "<br>blind").replace(" right", "<br>right")  # fmt: skip
    for end, sign, clipped, words in ((low, "≤ ", below, ""), (high, "≥ ", above, said)):
        if clipped or words:
            near = max(0.07, _TICK * (1 + words.count("<br>") / 2) / body) * span
            text = {t: label for t, label in text.items() if abs(t - end) > near}
            text[round(end, 9)] = f"{sign if clipped else ''}{_tick_text(end, facts)}{words}"
    return {
        "title": {
            "text": _bar_title(facts, body), "side": "right",
            "font": {"size": style.SIZE - 1, "color": style.LIGHT.ink},
        },
        "tickmode": "array",
        "tickvals": sorted(text),
        "ticktext": [text[t] for t in sorted(text)],
        "tickfont": {"size": style.SIZE - 2, "color": style.LIGHT.muted},
        "thickness": 11,
        "len": body,
        "lenmode": "pixels",
        "x": 1,
        "xpad": room,
        "ypad": 0,
        "outlinewidth": 0,
        "ticks": "",
    }  # fmt: skip


def add_directions(figure: go.Figure, *, room: int) -> None:
    """Label the ends of a change's colour bar: nearer and farther."""
    for word, y, anchor, shift in (("farther", 1, "bottom", _WORD_GAP), ("nearer", 0, "top", -_WORD_GAP)):
        figure.add_annotation(
            text=word,
            xref="paper",
            yref="paper",
            x=1,
            y=y,
            xanchor="left",
            yanchor=anchor,
            xshift=room,
            yshift=shift,
            showarrow=False,
            font={"size": style.SIZE - 2, "color": style.LIGHT.ink},
        )


def _around_zero(most: float) -> tuple[float, float]:
    """Return a symmetric range that holds the changes."""
    if most < 1e-6:
        return (-1.0, 1.0)
    step = formats.nice_step(most, 10)
    end = round(float(np.ceil(most / step - 1e-9) * step), 9)
    return (-end, end)


def _percentiles(values: Floats, tail: float) -> tuple[float, float] | None:
    """Return the values that cut ``tail`` percent from either end; None if there is no value."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = np.percentile(finite, [tail, 100 - tail])
    return float(low), float(high)


def _tick_text(value: float, facts: MetricFacts) -> str:
    sign = "+" if facts.is_change and value > 0 else ""
    return sign + formats.number(value)


def _bar_title(facts: MetricFacts, body: int) -> str:
    """Title the colour bar, on two lines where it would be longer than the bar."""
    parts = style.literal(facts.title), style.literal(f"({facts.unit})") if facts.unit else ""
    return (" " if 7 * len(with_unit(facts)) <= body else "<br>").join(part for part in parts if part)
