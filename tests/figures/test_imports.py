"""Pictures of a saved trace are drawn where torch is not even imported."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from semviz import figures
from semviz.traces.trace import Trace
trace = Trace.load(sys.argv[1])
trace.token_heatmap(); trace.sample_heatmap(order="cluster"); trace.profile(); trace.transition_map()
trace.by("label").profile(); trace.gain().figure()
difference = trace - trace
difference.token_heatmap(); difference.sample_heatmap(); difference.profile()
assert figures.dark(trace.profile()).data
from semviz.figures.live import live_curves
from semviz.figures.drawing.updates import moved
from semviz.figures.snapshot import snapshot
live_curves([], steps=9); snapshot(trace, trace.gain(), boundary=3)
moved(trace.gain().figure(boundary=2).to_plotly_json(), 3)
sys.exit("torch was imported" if "torch" in sys.modules else 0)
"""


def test_no_picture_imports_torch(trace, tmp_path):
    path = trace.save(tmp_path / "trace.parquet")
    ran = subprocess.run([sys.executable, "-c", _PROGRAM, str(path)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
