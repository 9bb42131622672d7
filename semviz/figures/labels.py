"""Label profile: how probable each label is among the labels, read at every space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from semviz.common import formats
from semviz.common.checks import is_whole, short_repr
from semviz.common.errors import SemvizError
from semviz.figures.drawing import boundary_marks, line_ends, style
from semviz.figures.drawing.curves import rounded, spaces_axis
from semviz.figures.drawing.guess_marks import guess_line
from semviz.figures.drawing.inputs import check_boundary
from semviz.figures.drawing.protocols import Floats, LabelledLike

_BODY = 400
_NAME_WIDTH = 20
MAX_LABELS = len(style.GROUPS) - 1
"""Number of labels with a line of their own; another line holds what is left."""
_READOUTS = {"raw": "as if the last block had returned it", "translated": "translated to the last space"}


@dataclass(frozen=True)
class LabelLine:
    """One line of a label profile.

    Attributes:
        name: Of the label, or what the line stands for; plain text.
        values: At spaces 0…L, shape (L+1,); NaN where there is nothing.
        rest: Mean of the same label over the samples of other labels; None in one sample, and where there are none.
        samples: Number of samples behind it; None in one sample.
    """

    name: str
    values: Floats
    rest: Floats | None
    samples: int | None


@dataclass(frozen=True)
class LabelLines:
    """What a label profile shows.

    Attributes:
        lines: The labels with a line of their own, the most important first.
        summary: All samples; in one sample the most probable one, space by space, of the labels without a line; None
            where there is none.
        hidden: Names of the labels that have no line of their own.
        chance: Probability of each label in a blind guess, 1/C.
    """

    lines: list[LabelLine]
    summary: LabelLine | None
    hidden: list[str]
    chance: float


def label_profile(trace: LabelledLike, *, sample: int | None = None, boundary: int | None = None) -> go.Figure:
    """Draw how probable the labels are among each other at every space, as the model's head reads it.

    Of one sample there is a line for each label. Of all samples the line of a label is the mean over its own samples:
    how probable the right label is; the hover says how probable the same label is in the other samples. What rises in
    both is a preference of the model and no knowledge.

    Args:
        trace: A trace of a task with labels.
        sample: Number of a sample in the split; None draws all of them.
        boundary: Number of frozen blocks to mark with a line, or None.

    Returns:
        A plain Plotly figure; the x axis counts spaces. Of more than seven labels the largest (of one sample: the right
        one and the most probable at the last space) have lines, and the figure names the others.

    Raises:
        SemvizError: The trace has no probabilities of labels, or there is no such sample or boundary.
    """
    found = label_lines(trace, sample)
    boundary = check_boundary(trace.n_blocks, boundary)
    blocks, figure = trace.n_blocks, go.Figure()
    drawn = [*found.lines, *([found.summary] if found.summary is not None else [])]
    looks = [*style.GROUPS[: len(found.lines)], (style.LIGHT.ink, "circle-open", "solid")]
    top = max([float(np.nanmax(line.values, initial=0)) for line in drawn] + [found.chance])
    span = [0.0, 1.02 if top > 0.5 else min(1.15 * top, 1.02)]
    for line, look in zip(drawn, looks, strict=False):
        _add_line(figure, line, look, is_summary=line is found.summary)
    figure.add_shape(guess_line(found.chance))
    # At the end of its line, where no other line can run through it.
    texts = [*(_text(line) for line in drawn), f"blind guess {formats.number(found.chance, digits=2)}"]
    ends = np.array([*(line.values[-1] for line in drawn), found.chance], dtype=float)
    colours = [*(look[0] for look in looks[: len(drawn)]), style.LIGHT.other]
    line_ends.add_labels(figure, texts, ends, colours, span=span, at=blocks, body=_BODY)
    if boundary is not None:
        boundary_marks.add_line_through_space(figure, boundary)
    figure.update_layout(
        xaxis=spaces_axis(blocks),
        yaxis={"range": span, "nticks": 7, "ticks": "", "title": {"text": "probability among the labels"}},
        meta={boundary_marks.BLOCKS: blocks},
    )  # fmt: skip
    title = "Probability of the right label at each space"
    if sample is not None:
        title = f"Sample {sample}: probability of each label at every space"
    return style.finish(
        figure,
        title=title,
        notes=[*_notes(trace, found, sample), "" if boundary is None else boundary_marks.READING],
        body=_BODY,
        left=64,
        right=line_ends.width(texts),
        bottom=52,
        above=8,
    )


def label_lines(trace: LabelledLike, sample: int | None = None) -> LabelLines:
    """Find the lines of a label profile; see `label_profile`."""
    probabilities = getattr(trace, "label_probabilities", None)
    names = list(trace.meta.get("label_names") or ())
    if probabilities is None or not names:
        raise SemvizError(
            "This trace has no probabilities of labels. Pass a trace that this version of semviz made of a task with "
            "labels whose words differ in their first token."
        )
    if not trace.counted.any():
        raise SemvizError("This trace has no answer of a sample. Pass a trace, or a part of one, that has some.")
    values = np.asarray(probabilities, dtype=float)
    rows = trace.positions[trace.counted]
    chance = 1 / len(names)
    if sample is not None:
        index = np.flatnonzero(rows["sample"].to_numpy() == sample) if is_whole(sample) else np.empty(0, dtype=int)
        if not index.size:
            numbers = rows["sample"]
            raise SemvizError(
                f"sample={short_repr(sample)} was not traced. Pass a sample from {numbers.min()} to {numbers.max()}."
            )
        return _of_sample(values[index].mean(0), names, rows["label"].iloc[index[0]], chance)
    labels = rows["label"].to_numpy(dtype=object)
    return _of_all(values, names, labels, chance)


def _of_sample(values: Floats, names: list[str], right: object, chance: float) -> LabelLines:
    """Lines of one sample: the right label, then the most probable ones at the last space."""
    order = sorted(range(len(names)), key=lambda i: (names[i] != right, -values[-1, i], i))
    # A single label that is left may as well have its own line.
    kept = order if len(names) <= MAX_LABELS + 1 else order[:MAX_LABELS]
    rest = order[len(kept) :]
    lines = [LabelLine(names[i], values[:, i], None, None) for i in kept]
    summary = LabelLine(f"best of {len(rest)} others", values[:, rest].max(1), None, None) if rest else None
    return LabelLines(lines, summary, [names[i] for i in rest], chance)


def _of_all(values: Floats, names: list[str], labels: Floats, chance: float) -> LabelLines:
    """Lines of all samples: each label over its own samples, the largest first, and all of them."""
    number = {name: i for i, name in enumerate(names)}
    own = np.array([number.get(label, -1) for label in labels])
    count = np.bincount(own[own >= 0], minlength=len(names))
    order = [int(i) for i in np.argsort(-count, kind="stable") if count[i]]
    lines = []
    for i in order[:MAX_LABELS]:
        rest = values[own != i, :, i].mean(0) if (own != i).any() else None
        lines.append(LabelLine(names[i], values[own == i, :, i].mean(0), rest, int(count[i])))
    has_label = own >= 0
    of_right = values[np.flatnonzero(has_label)][np.arange(has_label.sum()), :, own[has_label]]
    summary = LabelLine("all samples", of_right.mean(0), None, int(has_label.sum()))
    return LabelLines(lines, summary, [names[i] for i in order[MAX_LABELS:]], chance)


def _add_line(figure: go.Figure, line: LabelLine, look: tuple[str, str, str], *, is_summary: bool) -> None:
    colour, symbol, dash = look
    name = style.literal(style.name(line.name, width=_NAME_WIDTH))
    samples = "" if line.samples is None else f" ({line.samples:,} samples)"
    others = "<br>in samples of other labels: %{customdata:.3f}" if line.rest is not None else ""
    figure.add_scatter(
        x=list(range(len(line.values))),
        y=rounded(line.values),
        customdata=None if line.rest is None else rounded(line.rest),
        mode="lines+markers" if not is_summary else "lines",
        line={"color": colour, "width": 3 if is_summary else 2, "dash": dash},
        marker={"symbol": symbol, "size": 8 if len(line.values) <= 26 else 5, "color": colour},
        hovertemplate=f"<b>{name}</b>{samples}, space %{{x}}<br><b>%{{y:.3f}}</b>{others}<extra></extra>",
        showlegend=False,
        name=name,
    )


def _text(line: LabelLine) -> str:
    name = style.name(line.name, width=_NAME_WIDTH)
    return name if line.samples is None else f"{name} ({line.samples:,})"


def _notes(trace: LabelledLike, found: LabelLines, sample: int | None) -> list[str]:
    """Say how to read the lines, and what has none."""
    readout = _READOUTS.get(str(trace.meta.get("readout")))
    how = "Read by the model’s head at each space" + (f", {readout}." if readout else ".")
    names = ", ".join(style.name(name, width=_NAME_WIDTH) for name in found.hidden[:6])
    more = f" and {len(found.hidden) - 6} more" if len(found.hidden) > 6 else ""
    if sample is not None:
        rows = trace.positions[trace.counted & (trace.positions["sample"] == sample).to_numpy()]
        # The token of a label begins with a space, and a label is read as a word here.
        label, token = str(rows["label"].iloc[0]), str(rows["predicted"].iloc[0])
        right, said = style.name(label, width=24), style.name(token.removeprefix(" ") or token, width=24)
        is_right = (rows["predicted"] == rows["target"]).all()
        verdict = f"The right label is “{right}”; the model says “{said}”{', which is right' if is_right else ''}."
        return [f"{verdict} {how}", f"The others: {names}{more}." if found.hidden else ""]
    return [
        f"The mean over a label’s own samples, their number in brackets. {how}",
        f"The {len(found.lines)} largest labels are drawn; not drawn: {names}{more}." if found.hidden else "",
    ]
