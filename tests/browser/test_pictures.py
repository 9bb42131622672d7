"""Every picture as Chromium draws it: no text is cut off or covers another, and no label is on a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import plotly
import plotly.graph_objects as go
import pytest
import synthetic
import synthetic_runs as made_runs

from semviz import figures
from semviz.figures.snapshot import snapshot

FAULTS = (Path(__file__).parent / "pictures.js").read_text("utf-8")
DRAW = """async ([data, layout, width]) => {
  const gd = document.getElementById("picture");
  gd.style.width = `${width}px`;
  await Plotly.newPlot(gd, data, { ...layout, width }, { displayModeBar: false });
}"""
WORDS = tuple(f"word{i}" for i in range(120))
SUBJECTS = tuple(f"subject number {i}" for i in range(12))


def _readouts(blocks: int) -> go.Figure:
    depth = np.arange(blocks + 1) / blocks
    return figures.readouts(
        pd.concat(
            pd.DataFrame(
                {
                    "readout": readout, "space": range(blocks + 1), "explained": 1 - far * (1 - depth) ** 2,
                    "divergence": 4 * far * (1 - depth), "agreement": depth**far,
                }
            )
            for readout, far in (("raw", 3), ("translated", 1))
        )
    )  # fmt: skip


def _snapshot(blocks: int, **options: object) -> go.Figure:
    gain = synthetic.make_gain(blocks=blocks, boundary=blocks // 2)
    options = {"runs": synthetic.make_runs(), "probes": made_runs.make_probes(blocks=blocks), **options}
    return snapshot(synthetic.make_trace(blocks=blocks), gain, boundary=blocks // 2 + 1, **options)


def _changed(blocks: int) -> go.Figure:
    gain = synthetic.make_gain(blocks=blocks, boundary=blocks // 2)
    return snapshot(synthetic.make_difference(blocks=blocks), gain, boundary=blocks // 2 + 1)


PICTURES: dict[str, Callable[[int], go.Figure]] = {
    "tokens": lambda n: synthetic.make_trace(blocks=n).token_heatmap(boundary=n // 2),
    "tokens of a text": lambda n: synthetic.make_text_trace(blocks=n).token_heatmap(boundary=n // 2),
    "many tokens": lambda n: synthetic.make_trace(blocks=n, tokens=96, words=WORDS).token_heatmap(boundary=n // 2),
    "changed tokens": lambda n: synthetic.make_difference(blocks=n).token_heatmap(boundary=n // 2),
    "samples": lambda n: synthetic.make_trace(blocks=n).sample_heatmap(boundary=n // 2),
    "many samples": lambda n: synthetic.make_trace(blocks=n, samples=5000, detail=1).sample_heatmap(order="index"),
    "changed samples": lambda n: synthetic.make_difference(blocks=n).sample_heatmap(boundary=n // 2),
    "profile": lambda n: synthetic.make_trace(blocks=n).profile(boundary=n // 2),
    "one profile": lambda n: synthetic.make_trace(blocks=n).profile(metrics=["lens"]),
    "changed profile": lambda n: synthetic.make_difference(blocks=n).profile(boundary=n // 2),
    "groups": lambda n: synthetic.make_trace(blocks=n).by("label").profile(boundary=n // 2),
    "many groups": lambda n: synthetic.make_trace(blocks=n, labels=SUBJECTS).by("label").profile(),
    "labels": lambda n: synthetic.make_trace(blocks=n).label_profile(boundary=n // 2),
    "labels of a sample": lambda n: synthetic.make_trace(blocks=n).label_profile(sample=0),
    "many labels": lambda n: synthetic.make_trace(blocks=n, labels=SUBJECTS).label_profile(),
    "gain": lambda n: figures.gain(synthetic.make_gain(blocks=n, boundary=n // 2)),
    "gain without law": lambda n: figures.gain(synthetic.make_gain(blocks=n, boundary=1, law=False), boundary=n // 2),
    "readouts": _readouts,
    "benefit": lambda n: figures.benefit_curve(made_runs.make_probes(blocks=n)),
    "measured benefit": lambda _: figures.benefit_curve(made_runs.make_probes(), made_runs.make_ranges()),
    "agreement": lambda n: figures.agreement(made_runs.make_agreement(blocks=n)),
    "comparison": lambda _: figures.comparison(made_runs.make_comparison()),
    "learning": lambda _: figures.learning_curves(made_runs.make_learning()),
    "ranges": lambda _: figures.range_heatmap(made_runs.make_ranges()),
    "pareto": lambda _: figures.pareto(synthetic.make_runs()),
    "snapshot": _snapshot,
    "snapshot without runs": lambda n: _snapshot(n, runs=None),
    "snapshot of a change": _changed,
}
HEATMAPS = ("tokens", "samples", "snapshot")
NARROWEST = {name: 700 if any(kind in name for kind in HEATMAPS) else 560 for name in PICTURES}
"""Pixels: the width of a cell's output in a window of half a screen, where a colour bar stands beside 24 columns."""


@pytest.fixture
def faults(page) -> Iterator[Callable[[go.Figure, int], list[str]]]:
    """Draws a figure in a page that has Plotly and nothing else; what a reader cannot read in it."""
    page.set_content("<body style='margin: 0'><div id=picture></div></body>")
    page.add_script_tag(path=Path(plotly.__file__).parent / "package_data" / "plotly.min.js")

    def find(figure: go.Figure, width: int) -> list[str]:
        drawn = json.loads(figure.to_json())
        page.evaluate(DRAW, [drawn["data"], drawn["layout"], width])
        return page.evaluate(f"({FAULTS})(document.getElementById('picture'))")

    return find


@pytest.mark.parametrize("blocks", [8, 30, 80])
def test_all_that_is_written_can_be_read(faults, blocks):
    found = []
    for name, draw in PICTURES.items():
        figure = draw(blocks)
        for width in (NARROWEST[name], 900):
            found += [f"{name}, {width} pixels: {told}" for told in faults(figure, width)]
    assert not found, "\n".join(found)


def test_faults_are_found(faults):
    figure = figures.pareto(synthetic.make_runs())
    figure.update_layout(title_subtitle_text="A note that is much too long for a narrow page, " * 3)
    assert any("is cut off" in fault for fault in faults(figure, 560))
    doubled = figures.profile(synthetic.make_trace(), metrics=["lens"])
    doubled.add_annotation(doubled.layout.annotations[0])
    assert any("cover each other" in fault for fault in faults(doubled, 900))
    crossed = figures.profile(synthetic.make_trace(), metrics=["lens"])
    crossed.add_annotation(text="a label", x=4, y=5.2, xref="x", yref="y", showarrow=False)
    assert faults(crossed, 900) == ['"a label" is on a line']
