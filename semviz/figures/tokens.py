"""Token heatmap: one sample, every traced token, every space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from semviz.common import checks, token_text
from semviz.common.checks import is_whole, short_repr
from semviz.common.errors import SemvizError
from semviz.figures.drawing import boundary_marks, cell_hovers, cell_words, heatmap_cells, heatmap_rows, style
from semviz.figures.drawing.inputs import check_boundary, difference_of, models_of, readout_note
from semviz.figures.drawing.protocols import DeviationsLike

if TYPE_CHECKING:
    import pandas as pd

MAX_TOKENS = 96
"""Largest number of tokens drawn at once; longer samples are shown through a window."""
NO_TARGET = "no target here"
"""Why a cell has no value."""
_MOST_NAMED = 64
"""Largest number of names below a picture; more would cover each other where a page is narrow."""
_SLANTED = 25
"""Width in pixels of a column below which slanted names would cover each other."""
_LABEL_WIDTH = 12


def token_heatmap(
    trace: DeviationsLike,
    *,
    sample: int | None = None,
    metric: str | None = None,
    boundary: int | None = None,
    start: int | None = None,
    spaces: heatmap_rows.Spaces | None = None,
    words: bool | None = None,
) -> go.Figure:
    """Draw how far every token of a sample is from its target, space by space.

    The words in the cells are what the model's head ranks first when it reads that space (the logit lens), where the
    trace has them: `lens` or `rank` over the whole vocabulary. In a difference they are those of the model after, where
    it says another word than before.

    The columns' positions in the sample are in `figure.layout.meta["positions"]`, its number in `["sample"]`, the rows'
    spaces in `["spaces"]`.

    Args:
        trace: What `semviz.trace` returned, or a difference of two traces.
        sample: Number of the sample in the split; None takes the first one of the trace.
        metric: Key of a traced metric; None takes the trace's default.
        boundary: Number of frozen blocks to mark with a line, or None.
        start: First token of the window in samples of more than 96 tokens. None shows the end of the sample in a
            classification task, where the answer is, and its beginning in language modelling.
        spaces: Which spaces have a row: "all", or a list of their numbers. None shows all of them in models of up to 34
            blocks; of deeper ones 0, 1, L, those on the two sides of the boundary, and every second, third, … other.
        words: Whether words stand in the cells. None writes them where the columns are wide enough; True also shows a
            window of as many tokens as have room for their words.

    Returns:
        A plain Plotly figure: the lowest row is the input of block 1, the row named k the output of block k.

    Raises:
        SemvizError: The sample, metric, boundary, start or a space does not exist in this trace, or words were asked
            for and it has none.
    """
    return draw_tokens(trace, sample=sample, metric=metric, boundary=boundary, start=start, spaces=spaces, words=words)


def draw_tokens(
    trace: DeviationsLike,
    *,
    sample: int | None,
    metric: str | None,
    boundary: int | None,
    start: int | None,
    spaces: heatmap_rows.Spaces | None = None,
    words: bool | None = None,
    place: heatmap_cells.Place = heatmap_cells.ALONE,
    most: int = MAX_TOKENS,
    require_all_tokens: bool = True,
) -> go.Figure:
    """Draw `token_heatmap` for a place that may be smaller than a separate picture.

    At most ``most`` tokens are drawn at once. ``require_all_tokens`` refuses a sample that was traced at its answer
    position only.
    """
    metric = trace.check(metric)
    boundary = check_boundary(trace.n_blocks, boundary)
    shown = heatmap_rows.choose_spaces(trace.n_blocks, spaces, boundary=boundary)
    _check_words(trace, words)
    sample = first_sample(trace) if sample is None else sample
    index, rows = sample_rows(trace, sample, require_all_tokens=require_all_tokens)
    most = min(most, max(heatmap_cells.MAX_CELLS // len(shown), 1))
    most = min(most, place.width // cell_words.COMFORTABLE) if words else most
    index, rows, hidden = _window(index, rows, start, most, has_options=place.has_options)
    values = np.asarray(trace.values[metric], dtype=float)[index].T
    lines, earlier = cell_hovers.token_lines(trace, index), None
    difference = difference_of(trace)
    if difference is not None:
        earlier = difference.before.positions.iloc[index]
        before, after = (np.asarray(t.values[metric])[index] for t in (difference.before, difference.after))
        lines = [cell_hovers.change_line(difference.after.facts[metric].title, before, after), *lines]
    texts, said = _words_in_cells(trace, index, words, place, len(shown))
    cells = heatmap_cells.Cells(values, _hover_heads(rows), lines, NO_TARGET, shown, texts)
    figure, body, right, notes = heatmap_cells.draw(trace, metric, cells, boundary=boundary, place=place)
    labels = [token_text.short_label(text, width=_LABEL_WIDTH) for text in rows["token"]]
    angle, bottom = _label_angle(labels, place.width)
    roles = list(rows["role"])
    stride = -(-len(labels) // _MOST_NAMED)
    answers = [i for i, role in enumerate(roles) if role == "answer"] if stride > 1 else []
    named = [i for i in range(0, len(labels), stride) if all(abs(i - answer) >= stride for answer in answers)]
    named = sorted({*named, *answers})
    figure.update_xaxes(
        title_text="token",
        tickmode="array",
        tickvals=named,
        ticktext=[_styled(labels[i], roles[i]) for i in named],
        tickangle=angle,
        tickfont={
            "family": style.MONO,
            "size": style.SIZE - (1 if len(labels) <= 48 else 4),
            "color": style.LIGHT.ink,
        },
        ticks="",
    )
    _frame_answers(figure, rows, len(shown))
    figure.update_layout(
        meta={
            "sample": int(sample),
            "positions": [int(p) for p in rows["position"]],
            boundary_marks.BLOCKS: trace.n_blocks,
            boundary_marks.SPACES: list(shown),
        }
    )
    versus = "" if difference is None else f", {models_of(difference)}"
    return style.finish(
        figure,
        title=f"Sample {sample}: {trace.facts[metric].title} at every token{versus}",
        notes=[
            f"{_reading_note(rows, earlier)} {readout_note(trace)}".rstrip(),
            *(said, hidden, *notes, difference.note if difference is not None else ""),
            "" if stride == 1 else "Not all tokens are named below; hover for the others.",
        ],
        body=body,
        left=84,
        right=right,
        bottom=bottom + 34,
        above=16 if (rows["role"] == "answer").any() or difference is not None else 0,
    )


def first_sample(trace: DeviationsLike) -> int:
    """Return the sample to show where none is asked for."""
    if trace.detailed:
        return trace.detailed[0]
    if not len(trace.positions):
        raise SemvizError("This trace is empty. Pass a trace of at least one sample.")
    return int(trace.positions["sample"].iloc[0])


def sample_rows(
    trace: DeviationsLike, sample: int, *, require_all_tokens: bool = True
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the rows of a sample in token order, with their numbers in the trace's arrays.

    Raises:
        SemvizError: The sample was not traced, or ``require_all_tokens`` and it was traced at its answer position only.
    """
    positions = trace.positions
    samples = np.unique(positions["sample"].to_numpy())
    index = np.flatnonzero(positions["sample"].to_numpy() == sample) if is_whole(sample) else np.empty(0, dtype=int)
    if not index.size:
        span = f"from {samples[0]} to {samples[-1]}" if samples.size else "(this trace is empty)"
        raise SemvizError(f"sample={short_repr(sample)} was not traced. Pass a sample {span}.")
    rows = positions.iloc[index]
    if require_all_tokens and set(rows["role"]) == {"answer"} and sample not in trace.detailed:
        choices = f"one of the samples {trace.detailed[0]} to {trace.detailed[-1]}" if trace.detailed else "none so far"
        raise SemvizError(
            f"sample {sample} was traced at its answer position only; pass a sample that has all its tokens "
            f"({choices}), or sv.trace(..., detail=…) with a larger number to see more."
        )
    order = np.argsort(rows["position"].to_numpy(), kind="stable")
    return index[order], rows.iloc[order]


def _check_words(trace: DeviationsLike, words: bool | None) -> None:
    """Refuse words that are not in the trace."""
    if words is not None:
        checks.flag("words", words)
    if words and trace.top1 is None:
        raise SemvizError(
            "words=True needs the tokens that the head ranks first, and this trace has none. Pass metrics that include "
            '"lens" or "rank", and vocab="full", to sv.trace(...).'
        )


def _words_in_cells(
    trace: DeviationsLike, index: np.ndarray, words: bool | None, place: heatmap_cells.Place, rows: int
) -> tuple[list[list[str]] | None, str]:
    """Return the words of the cells, [space][column], None for none, and what the notes must say of them."""
    if words is False or trace.top1 is None:
        return None, ""
    body = heatmap_rows.height(rows) if place.body is None else place.body
    letters = cell_words.letters_that_fit(place.width / len(index), body / rows)
    if not letters:
        more = "; words=True shows fewer tokens, with these words" if place.has_options else ""
        return None, f"Hover for the token that the head ranks first{more}."
    first = np.asarray(trace.top1)[index].T
    text_of = {i: cell_words.cell_word(trace.vocabulary.get(i, f"id {i}"), letters) for i in np.unique(first).tolist()}
    texts = [[text_of[i] for i in row] for row in first.tolist()]
    difference = difference_of(trace)
    before = None if difference is None else difference.before.top1
    if before is None:
        return texts, words_note(trace)
    is_new = first != np.asarray(before)[index].T
    texts = [[text if new else "" for text, new in zip(*row, strict=True)] for row in zip(texts, is_new, strict=True)]
    return texts, words_note(trace)


def words_note(trace: DeviationsLike) -> str:
    """Say which words stand in the cells of a token heatmap."""
    difference = difference_of(trace)
    if difference is None or difference.before.top1 is None:
        return "In the cells: the token that the head ranks first when it reads that space."
    return "In the cells: the token that the head ranks first now, where it ranked another one first before."


def _window(
    index: np.ndarray, rows: pd.DataFrame, start: int | None, width: int, *, has_options: bool
) -> tuple[np.ndarray, pd.DataFrame, str]:
    """Cut a long sample to the window that is drawn, and say what is hidden."""
    total = len(rows)
    if start is not None and not (is_whole(start) and 0 <= start < total):
        raise SemvizError(
            f"start={short_repr(start)} is not a token of this sample. Pass an int from 0 to {total - 1}."
        )
    if total <= width and start is None:
        return index, rows, ""
    if start is None:
        start = total - width if (rows["role"] == "answer").any() else 0
    stop = min(start + width, total)
    other = 0 if start else stop
    how = f"; pass start={other} to see others" if has_options else ""
    hidden = f"Tokens {start} to {stop - 1} of 0 to {total - 1} are shown{how}."
    return index[start:stop], rows.iloc[start:stop], hidden if stop - start < total else ""


def _hover_heads(rows: pd.DataFrame) -> list[str]:
    """Write position, token and target of every column for the hover."""
    heads = []
    for position, token, target_id, target in zip(
        rows["position"], rows["token"], rows["target_id"], rows["target"], strict=True
    ):
        aim = f" → target {cell_hovers.hover_text(target)}" if target_id >= 0 else ""
        heads.append(f"{position}: {cell_hovers.hover_text(token)}{aim}")
    return heads


def _styled(text: str, role: str) -> str:
    """Escape a tick label; the answer position is bold, special tokens are italic."""
    safe = token_text.html_label(text)
    return f"<b>{safe}</b>" if role == "answer" else f"<i>{safe}</i>" if role == "special" else safe


def _label_angle(shown: list[str], width: int) -> tuple[int, int]:
    """Turn the labels where they would not fit side by side; return the angle and the room they need."""
    longest = max((len(text) for text in shown), default=1) * 7.4 + 6
    column = width / max(len(shown), 1)
    if longest <= column * 0.8:
        return 0, 26
    return (-45, int(longest * 0.71) + 18) if column >= _SLANTED else (-90, int(longest) + 10)


def _frame_answers(figure: go.Figure, rows: pd.DataFrame, height: int) -> None:
    """Frame the columns of answer positions, which are so many rows high."""
    for column, role in enumerate(rows["role"]):
        if role != "answer":
            continue
        figure.add_shape(
            type="rect",
            x0=column - 0.5,
            x1=column + 0.5,
            y0=-0.5,
            y1=height - 0.5,
            line={"color": style.LIGHT.ink, "width": 1.5},
            name="answer",
        )
        figure.add_annotation(
            text="answer",
            x=column,
            y=height - 0.5,
            yanchor="bottom",
            showarrow=False,
            font={"size": style.SIZE - 2, "color": style.LIGHT.ink},
        )


def _reading_note(rows: pd.DataFrame, earlier: pd.DataFrame | None) -> str:
    """Say what a column is scored against, and what the model says; of a difference, what it said before."""
    answers = rows[rows["role"] == "answer"]
    if not len(answers):
        return "Each column is scored against the token that follows it. Bottom row: the input of block 1."

    def quoted(rows: pd.DataFrame, column: str) -> str:
        return f"“{token_text.short_label(''.join(rows[column]), width=24)}”"

    target, says = quoted(answers, "target"), quoted(answers, "predicted")
    verdict = f"the model says {says}"
    if earlier is not None:
        said = quoted(earlier[earlier["role"] == "answer"], "predicted")
        verdict = f"the model said {said} and now says {says}"
    verdict += ", which is right" if (answers["predicted"] == answers["target"]).all() else ""
    if len(answers) > 1:
        return f"The framed answer positions are scored against {target}; {verdict}. Only they enter the averages."
    return f"The framed answer position is scored against {target}; {verdict}. Only it enters the averages."
