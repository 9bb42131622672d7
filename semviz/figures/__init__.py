"""The pictures of a study: one file per picture, each a function from results to a plain Plotly figure.

Every function here takes what `semviz.trace`, `Trace.gain`, `Trace.by`, `semviz.sweep` and `semviz.probe` return and
gives back a `plotly.graph_objects.Figure` of a fixed height, in the light theme. `dark` gives the same figure in the
dark one, `show` displays a figure with semviz's settings (no upload button). Nothing here imports torch.
"""

from semviz.figures.agreement import agreement
from semviz.figures.benefit import benefit_curve
from semviz.figures.comparison import comparison
from semviz.figures.drawing.style import CONFIG, dark, show
from semviz.figures.gain import gain
from semviz.figures.groups import group_profile
from semviz.figures.labels import label_profile
from semviz.figures.learning import learning_curves
from semviz.figures.pareto import pareto
from semviz.figures.profile import profile
from semviz.figures.ranges import range_heatmap
from semviz.figures.readouts import readouts
from semviz.figures.samples import sample_heatmap
from semviz.figures.tokens import token_heatmap
from semviz.figures.transitions import transition_map

__all__ = [
    "CONFIG", "agreement", "benefit_curve", "comparison", "dark", "gain", "group_profile", "label_profile",
    "learning_curves", "pareto", "profile", "range_heatmap", "readouts", "sample_heatmap", "show", "token_heatmap",
    "transition_map",
]  # fmt: skip
