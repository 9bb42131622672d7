"""The pictures of a study in reading order, each with a sentence that says how to read it and its text twin."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from semviz.common.scores import score_named
from semviz.figures.benefit import benefit_curve
from semviz.figures.drawing.protocols import GainLike, ProbesLike, RunsLike
from semviz.figures.drawing.transition_plane import samples_with_routes
from semviz.figures.gain import gain as gain_figure
from semviz.figures.labels import label_profile
from semviz.figures.pareto import pareto
from semviz.figures.profile import profile
from semviz.figures.samples import sample_heatmap
from semviz.figures.tokens import token_heatmap
from semviz.figures.transitions import transition_map
from semviz.report import text_twins
from semviz.report.text_twins import Twin
from semviz.traces.trace import Trace

_SHOWN_SAMPLES = 2


@dataclass(frozen=True)
class Section:
    """One picture with its sentence and its text twin."""

    key: str
    heading: str
    sentence: str
    figure: go.Figure
    twin: Twin

    @property
    def alt(self) -> str:
        """What a screen reader says instead of the picture."""
        return f"{self.heading}. {self.sentence} The table below holds the numbers."


def sections_of(trace: Trace, gain: GainLike, runs: RunsLike, probes: ProbesLike | None = None) -> list[Section]:
    """Draw every picture of a study, in reading order: what was measured, why, and on what."""
    k, metric = gain.boundary, gain.metric
    better = "Up" if score_named(runs.score).higher_is_better else "Down"
    sections = [
        Section(
            "pareto",
            "Score against cost",
            f"{better} is better and left is cheaper: look for the leftmost scope whose interval still reaches the "
            "best score.",
            pareto(runs),
            text_twins.pareto_twin(runs),
        ),
        Section(
            "gain",
            "Where to cut",
            "Above, how far each space is from the target; below, how much each layer brings it nearer.",
            gain_figure(gain),
            text_twins.gain_twin(gain),
        ),
        Section(
            "profile",
            "Deviation, metric by metric",
            "Read each line from left to right: a steep fall marks blocks that do the work on this task, a flat "
            "stretch blocks that change little.",
            profile(trace, boundary=k),
            text_twins.profile_twin(trace),
        ),
    ]
    if trace.label_probabilities is not None:
        sections.append(
            Section(
                "labels",
                "Where the labels become clear",
                "Each line is a label: where it leaves the dotted line of a blind guess, the states begin to say that "
                "the right label is right.",
                label_profile(trace, boundary=k),
                text_twins.labels_twin(trace),
            )
        )
    if probes is not None:
        sections.append(
            Section(
                "benefit",
                "What the other boundaries would give",
                "A law fitted to the runs predicts the share of full finetuning’s benefit that the upper "
                "blocks give: read off how many blocks can be frozen before the line falls.",
                benefit_curve(probes, runs=runs),
                text_twins.benefit_twin(probes),
            )
        )
    for number, sample in enumerate(_chosen_samples(trace)):
        sections.append(
            Section(
                f"tokens{number}",
                f"Sample {sample}, token by token",
                "Each column is a token, each row a space; blue is near the target, yellow is far from it.",
                token_heatmap(trace, sample=sample, metric=metric, boundary=k),
                text_twins.tokens_twin(trace, sample=sample, metric=metric),
            )
        )
    drawable = samples_with_routes(trace)
    if drawable:
        sample = next((s for s in _chosen_samples(trace) if s in drawable), drawable[0])
        sections.append(
            Section(
                "transition",
                "The path to one target",
                "A plane through the origin, the target straight to the right. The dashed path goes directly to it, "
                "the solid one is what the blocks do, space by space.",
                transition_map(trace, sample=sample, boundary=k),
                text_twins.transition_twin(trace, sample=sample),
            )
        )
    sections.append(
        Section(
            "samples",
            "All samples",
            "Each column is a sample: labels whose columns stay yellow high up are the hard ones.",
            sample_heatmap(trace, metric=metric, boundary=k),
            text_twins.samples_twin(trace, metric=metric),
        )
    )
    return sections


def _chosen_samples(trace: Trace) -> list[int]:
    """Choose up to two samples whose tokens were traced: one that the model gets right, one that it gets wrong."""
    rows = trace.positions
    if trace.meta.get("kind") == "classification":
        detailed = list(trace.detailed)
    else:
        detailed = list(dict.fromkeys(rows["sample"].tolist()))
    counted = rows[rows["role"].isin(["answer", "next"]) & rows["sample"].isin(detailed)]
    right = (counted["predicted"] == counted["target"]).groupby(counted["sample"]).mean()
    best = [right.idxmax(), right.idxmin()] if len(right) else []
    return [int(s) for s in dict.fromkeys([*best, *detailed])][:_SHOWN_SAMPLES]
