"""Agreement: what each source of evidence predicts for every boundary, against what was measured there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats
from semviz.common.errors import SemvizError
from semviz.figures.benefit import share_ticks
from semviz.figures.drawing import style
from semviz.figures.drawing.curves import axis, rounded, ticks
from semviz.figures.drawing.protocols import AgreementLike, Floats

if TYPE_CHECKING:
    import pandas as pd

SHARE = "benefit"
"""The unit of predictions that are themselves a share of full finetuning's improvement."""
_COLUMNS = 3
_PANEL = 200
_BETWEEN = 104
_GAP = 0.075
_UNIT_WIDTH = 12
"""Number of letters of a unit that fit beside the word before it, below a panel on a narrow page."""
_INSIDE = 12
"""Largest number of boundaries in a panel at which every marker carries its number."""


def agreement(agreement: AgreementLike) -> go.Figure:
    """Draw predicted against measured benefit, one panel for each source of evidence.

    Args:
        agreement: Predictions beside measurements, with Spearman's ρ of each source.

    Returns:
        A plain Plotly figure. All panels share the vertical axis, the measured share of full finetuning's improvement;
        the horizontal one has each source's own unit. Where that is the same share, the dashed diagonal is exact
        agreement.

    Raises:
        SemvizError: There is no source.
    """
    frame, ranks = agreement.frame(), agreement.spearman()
    sources = list(dict.fromkeys(frame["source"]))
    if not sources:
        raise SemvizError("This agreement has no source of evidence. Pass one with at least one prediction.")
    columns = min(len(sources), _COLUMNS)
    rows = -(-len(sources) // columns)
    body = rows * _PANEL + (rows - 1) * _BETWEEN
    units = {row["source"]: str(row["unit"]) for row in ranks.to_dict("records")}
    complete = {source: _complete_rows(frame[frame["source"] == source]) for source in sources}
    y_span = _padded_range([frame[c].to_numpy(dtype=float) for c in ("measured", "low", "high")])
    shares = [complete[s]["predicted"].to_numpy(dtype=float) for s in sources if units.get(s) == SHARE]
    share_span = _padded_range([*shares, np.array(y_span)])
    figure = go.Figure()
    for number, source in enumerate(sources):
        row, column = divmod(number, columns)
        is_share = units.get(source) == SHARE
        span = share_span if is_share else _padded_range([complete[source]["predicted"].to_numpy(dtype=float)])
        domain = _panel_domain(column, columns, row, body)
        if is_share:
            _add_diagonal(figure, span, y_span, number)
        _add_points(figure, complete[source], number=number, source=source, unit=units.get(source, ""))
        _set_axes(figure, number, domain, span, y_span, unit=units.get(source, ""), is_first=column == 0)
        _add_heading(figure, source, ranks, domain, is_empty=not len(complete[source]), number=number)
    return style.finish(
        figure,
        title="Predicted against measured benefit" + (", source by source" if len(sources) > 1 else ""),
        notes=_notes(agreement, len(frame) - sum(map(len, complete.values())), any(u == SHARE for u in units.values())),
        body=body,
        left=72,
        right=24,
        bottom=70 if any(len(unit) > _UNIT_WIDTH for unit in units.values()) else 56,
        above=48,
    )


def _complete_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have both numbers."""
    return frame[np.isfinite(frame[["predicted", "measured"]].to_numpy(dtype=float)).all(axis=1)]


def _padded_range(values: list[Floats]) -> list[float]:
    """Return a range that holds all finite values, with a margin for the markers."""
    finite = np.concatenate(values)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return [0.0, 1.0]
    low, high = float(finite.min()), float(finite.max())
    pad = 0.1 * (high - low) or 0.1 * abs(high) or 0.5
    return [low - pad, high + pad]


def _add_diagonal(figure: go.Figure, x: list[float], y: list[float], number: int) -> None:
    """Draw the line of exact agreement through a panel."""
    low, high = max(x[0], y[0]), min(x[1], y[1])
    if low < high:
        figure.add_scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            line={"color": style.LIGHT.whisker, "width": 1.3, "dash": "dash"},
            hoverinfo="skip",
            showlegend=False,
            name="diagonal",
            xaxis=axis("x", number),
            yaxis=axis("y", number),
        )


def _add_points(figure: go.Figure, frame: pd.DataFrame, *, number: int, source: str, unit: str) -> None:
    """Add a marker for each boundary; its number stands inside where there are few boundaries, else beside some."""
    boundaries = [int(k) for k in frame["boundary"]]
    predicted, measured, low, high = (frame[c].to_numpy(dtype=float) for c in ("predicted", "measured", "low", "high"))
    is_few = len(boundaries) <= _INSIDE
    numbered = set(boundaries) if is_few else set(ticks(max(boundaries), room=3))
    format_value = formats.percent if unit == SHARE else formats.number
    ends = [" to ".join(formats.percent(float(v)) for v in pair) for pair in zip(low, high, strict=True)]
    figure.add_scatter(
        x=rounded(predicted),
        y=rounded(measured),
        error_y={
            "type": "data",
            "symmetric": False,
            "array": rounded(np.maximum(high - measured, 0)),
            "arrayminus": rounded(np.maximum(measured - low, 0)),
            "color": style.LIGHT.whisker if is_few else style.LIGHT.axis,
            "thickness": 1.1,
            "width": 2,
            "visible": bool(np.isfinite(low).any() and np.isfinite(high).any()),
        },
        customdata=[
            [k, format_value(float(p)), formats.percent(float(m)), end]
            for k, p, m, end in zip(boundaries, predicted, measured, ends, strict=True)
        ],
        mode="markers+text",
        text=[str(k) if k in numbered else "" for k in boundaries],
        textposition="middle center" if is_few else "middle right",
        textfont={"size": style.SIZE - 3, "color": style.LIGHT.paper if is_few else style.LIGHT.muted},
        marker={
            "size": 16 if is_few else 7,
            "color": style.LIGHT.line,
            "line": {"width": 1, "color": style.LIGHT.paper},
        },
        hovertemplate="boundary %{customdata[0]}<br>predicted <b>%{customdata[1]}</b> "
        f"{'' if unit == SHARE else style.literal(style.name(unit))}<br>measured <b>%{{customdata[2]}}</b>, "
        "95 %: %{customdata[3]}<extra></extra>",
        cliponaxis=False,
        showlegend=False,
        name=style.literal(style.name(source)),
        xaxis=axis("x", number),
        yaxis=axis("y", number),
    )


def _set_axes(
    figure: go.Figure,
    number: int,
    domain: tuple[list[float], list[float]],
    x: list[float],
    y: list[float],
    *,
    unit: str,
    is_first: bool,
) -> None:
    across, down = domain
    unit_name = "benefit (%)" if unit == SHARE else style.literal(style.name(unit, width=24))
    title = f"predicted{'<br>' if len(unit_name) > _UNIT_WIDTH else ' '}{unit_name}".strip()
    figure.update_layout(
        {
            axis("xaxis", number): {
                "domain": across, "anchor": axis("y", number), "range": x, "showline": True, "showgrid": False,
                "title": {"text": title, "standoff": 6, "font": {"size": style.SIZE - 1}}, "tickangle": 0,
                **(_percent_ticks(x, room=4) if unit == SHARE else {"nticks": 4}),
            },
            axis("yaxis", number): {
                "domain": down, "anchor": axis("x", number), "range": y, "ticks": "", **_percent_ticks(y, room=5),
                "showticklabels": is_first, "title": {"text": "measured benefit (%)" if is_first else ""},
                **({"matches": "y"} if number else {}),
            },
        }
    )  # fmt: skip


def _percent_ticks(span: list[float], *, room: int) -> dict[str, object]:
    """Return ticks at round shares; the axis title has their unit, since panels are narrow."""
    layout = share_ticks(span, room=room)
    return {**layout, "ticktext": [text.removesuffix(" %") for text in layout["ticktext"]]}


def _add_heading(
    figure: go.Figure,
    source: str,
    ranks: pd.DataFrame,
    domain: tuple[list[float], list[float]],
    *,
    is_empty: bool,
    number: int,
) -> None:
    """Write a panel's source and how well it ranks the boundaries."""
    across, down = domain
    lines: tuple[tuple[str, int, dict[str, object]], ...] = (
        (f"<b>{style.literal(style.name(source, width=24))}</b>", 24, {}),
        (_rank_text(source, ranks), 8, {"size": style.SIZE - 2, "color": style.LIGHT.muted}),
    )
    for text, shift, font in lines:
        figure.add_annotation(
            text=text,
            xref="paper",
            yref="paper",
            x=across[0],
            y=down[1],
            xanchor="left",
            yanchor="bottom",
            yshift=shift,
            showarrow=False,
            font=font,
        )
    if is_empty:
        figure.add_annotation(
            text="no value",
            xref=axis("x", number) + " domain",
            yref=axis("y", number) + " domain",
            x=0.5,
            y=0.5,
            showarrow=False,
            font={"color": style.LIGHT.muted},
        )


def _rank_text(source: str, ranks: pd.DataFrame) -> str:
    """Write Spearman's ρ with its interval."""
    rows = ranks[ranks["source"] == source].to_dict("records")
    rho, low, high = (float(rows[0][c]) if rows else math.nan for c in ("rho", "low", "high"))
    if not math.isfinite(rho):
        return "ρ undefined"
    ends = f" ({_signed_text(low)}, {_signed_text(high)})" if math.isfinite(low) and math.isfinite(high) else ""
    return f"ρ = {_signed_text(rho)}{ends}"


def _signed_text(value: float) -> str:
    return f"{value + 0:.2f}".replace("-0.00", "0.00").replace("-", "−")


def _notes(agreement: AgreementLike, n_missing: int, has_share: bool) -> list[str]:
    return [
        f"{style.name(agreement.model)} on {style.name(agreement.task)}. Benefit: share of full finetuning’s "
        "improvement.",
        "Numbers: boundaries. Whiskers: 95 % intervals of what was measured.",
        "ρ: Spearman’s rank correlation (95 % interval); 1 = the same order.",
        "Dashed: predicted = measured." if has_share else "",
        f"{n_missing} points without a prediction or a measurement are not drawn." if n_missing > 1 else "",
        "1 point without a prediction or a measurement is not drawn." if n_missing == 1 else "",
    ]


def _panel_domain(column: int, columns: int, row: int, body: int) -> tuple[list[float], list[float]]:
    """Return a panel's place in the plot area, as shares of its width and height."""
    width = (1 - _GAP * (columns - 1)) / columns
    left = column * (width + _GAP)
    top = 1 - row * (_PANEL + _BETWEEN) / body
    return [left, min(left + width, 1.0)], [max(top - _PANEL / body, 0.0), top]
