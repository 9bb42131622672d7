"""How near the readouts of each space come to the model's own output, on general text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from semviz.figures.drawing import style
from semviz.figures.drawing.curves import axis, rounded, ticks

_PANEL = 220
_BETWEEN = 0.12  # of the width
_LOWEST = -1.0  # share of variance: farther down the curve leaves its panel
_PANELS = {
    "explained": ("variance explained", "of the last space’s states", "share"),
    "divergence": ("KL divergence", "from the model’s output", "nats"),
    "agreement": ("same first choice", "as the model", "share"),
}


def readouts(table: pd.DataFrame) -> go.Figure:
    """Draw what each readout of every space is worth, raw beside translated.

    Args:
        table: What `Calibration.frame` returns: readout, space, explained (share), divergence (nats), agreement
            (share), one row per readout and space.

    Returns:
        A plain Plotly figure; the x axes count spaces.
    """
    figure = go.Figure()
    n_blocks = int(table["space"].max())
    width = (1 - (len(_PANELS) - 1) * _BETWEEN) / len(_PANELS)
    for number, (column, (title, beside, unit)) in enumerate(_PANELS.items()):
        x, y = axis("x", number), axis("y", number)
        groups = table.groupby("readout", sort=False)
        for (colour, symbol, dash), (readout, rows) in zip(style.GROUPS, groups, strict=False):
            figure.add_trace(
                go.Scatter(
                    x=rows["space"].tolist(),
                    y=rounded(rows[column].to_numpy(dtype=np.float64)),
                    xaxis=x,
                    yaxis=y,
                    mode="lines+markers",
                    line={"color": colour, "dash": dash},
                    marker={"size": 5, "color": colour, "symbol": symbol},
                    name=str(readout),
                    legendgroup=str(readout),
                    showlegend=number == 0,
                    hovertemplate=f"{readout}, space %{{x}}<br>{title}: %{{y:.2f}}<extra></extra>",
                )
            )
        start = number * (width + _BETWEEN)
        figure.update_layout(
            {
                axis("xaxis", number): {
                    "domain": [start, start + width],
                    "anchor": y,
                    "title": {"text": "space"},
                    "tickvals": ticks(n_blocks, room=6),
                    "range": [-0.5, n_blocks + 0.5],
                    "showgrid": False,
                    "showline": True,
                },
                axis("yaxis", number): {
                    "anchor": x,
                    "range": _range(table[column], unit),
                    "ticks": "",
                    "title": {"text": unit, "standoff": 6, "font": {"size": style.SIZE - 1}},
                },
            }
        )
        for text, shift, font in (
            (f"<b>{title}</b>", 22, {}),
            (beside, 6, {"size": style.SIZE - 1, "color": style.LIGHT.muted}),
        ):
            figure.add_annotation(
                text=text,
                x=start,
                y=1,
                xref="paper",
                yref="paper",
                xanchor="left",
                yanchor="bottom",
                yshift=shift,
                showarrow=False,
                font=font,
            )
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1 + 48 / _PANEL, "yanchor": "bottom"})
    return style.finish(
        figure,
        title="How well each space can be read",
        notes=[
            "Raw reads a state as if the last block had returned it (logit lens); translated first maps it to the last "
            "space, by least squares.",
            "On general text that the maps were not fitted to. Below 0, a state is farther from the last one than the "
            "mean is.",
        ],
        body=_PANEL,
        left=60,
        bottom=52,
        above=78,
    )


def _range(values: pd.Series, unit: str) -> list[float]:
    """Shares reach to 1, and below 0 where they are; divergences to the largest beyond space 0, in another frame."""
    finite = np.sort(values.to_numpy(dtype=np.float64)[np.isfinite(values)])
    if unit == "share":
        return [max(min(float(finite[0]), 0.0), _LOWEST) - 0.06, 1.06]
    most = float(finite[-2] if len(finite) > 2 and finite[-1] > 2.5 * finite[-2] else finite[-1])
    return [-0.04 * most, 1.06 * most]
