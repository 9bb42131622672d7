"""Label profile: the probabilities of labels over spaces, and their text twin."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import synthetic

from semviz.common.errors import SemvizError
from semviz.figures import dark, label_profile
from semviz.figures.drawing.updates import moved
from semviz.figures.labels import MAX_LABELS
from semviz.report.text_twins import labels_twin

MANY = tuple(f"intent {i}" for i in range(77))


def _lines(figure):
    return {t.name: np.array(t.y, dtype=float) for t in figure.data}


def _answers(trace):
    return trace.positions[trace.counted].reset_index(drop=True)


def test_all_samples_have_a_line_for_each_label_over_its_own_samples(trace):
    figure = label_profile(trace, boundary=3)
    answers, lines = _answers(trace), _lines(figure)
    assert set(lines) == {*synthetic.LABELS, "all samples"}
    right = np.zeros(9)
    for i, name in enumerate(synthetic.LABELS):
        own = (answers["label"] == name).to_numpy()
        np.testing.assert_allclose(lines[name], trace.label_probabilities[own, :, i].mean(0), rtol=1e-4)
        (line,) = synthetic.named(figure, name)
        np.testing.assert_allclose(line.customdata, trace.label_probabilities[~own, :, i].mean(0), rtol=1e-4)
        right += trace.label_probabilities[own, :, i].sum(0)
        assert f"({own.sum()} samples)" in line.hovertemplate
    np.testing.assert_allclose(lines["all samples"], right / len(answers), rtol=1e-4)
    assert [s.x0 for s in synthetic.shapes(figure, "boundary")] == [3]
    assert {(s.y0, s.y1) for s in synthetic.shapes(figure, "blind guess")} == {(0.25, 0.25)}


def test_one_sample_has_a_line_for_each_label(trace):
    figure = label_profile(trace, sample=7)
    row = int(np.flatnonzero(_answers(trace)["sample"] == 7)[0])
    lines = _lines(figure)
    assert set(lines) == set(synthetic.LABELS)
    for i, name in enumerate(synthetic.LABELS):
        np.testing.assert_allclose(lines[name], trace.label_probabilities[row, :, i], rtol=1e-4)
    answer = _answers(trace).iloc[row]
    assert next(iter(lines)) == answer["label"], "the right one first"
    said = f"The right label is “{answer['label']}”; the model says “{answer['predicted']}”"
    assert said + (", which is right." if answer["correct"] else ".") in synthetic.notes(figure)
    assert figure.layout.title.text.startswith("Sample 7:")


def test_of_many_labels_a_few_have_lines_and_the_others_are_named():
    trace = synthetic.make_trace(samples=400, labels=MANY, detail=1)
    answers = _answers(trace)
    counts = answers["label"].value_counts()
    lines = _lines(label_profile(trace))
    assert len(lines) == MAX_LABELS + 1
    assert min(counts[name] for name in lines if name in MANY) >= counts.iloc[MAX_LABELS]
    assert "The 7 largest labels are drawn; not drawn: intent" in synthetic.notes(label_profile(trace))
    figure = label_profile(trace, sample=int(answers["sample"].iloc[4]))
    lines, values = _lines(figure), trace.label_probabilities[4]
    assert len(lines) == MAX_LABELS + 1
    assert answers["label"].iloc[4] in lines
    rest = [i for i, name in enumerate(MANY) if name not in lines]
    np.testing.assert_allclose(lines["best of 70 others"], values[:, rest].max(1), rtol=1e-4)
    assert values[-1, rest].max() <= min(lines[name][-1] for name in lines if name in MANY) + 1e-5 or (
        values[-1, MANY.index(answers["label"].iloc[4])] < values[-1, rest].max()
    )
    (line,) = synthetic.shapes(figure, "blind guess")
    assert line.y0 == pytest.approx(1 / 77)


@pytest.mark.parametrize("labels", [("yes",), ("no", "yes"), tuple("abcdefgh"), tuple("abcdefghi")])
@pytest.mark.parametrize("blocks", [1, 48])
def test_any_number_of_labels(labels, blocks):
    trace = synthetic.make_trace(samples=3, tokens=4, blocks=blocks, labels=labels, detail=1)
    for sample in (None, 0):
        figure = label_profile(trace, sample=sample, boundary=blocks)
        assert all(len(t.y) == blocks + 1 for t in figure.data)
        assert all(0 <= y <= 1 + 1e-5 for t in figure.data for y in t.y)
        low, high = figure.layout.yaxis.range
        assert low <= 0
        assert high >= max(max(t.y) for t in figure.data)
        assert (
            len([t for t in figure.data if t.name in labels]) == min(len(labels), 8)
            or len(labels) > 8
            or (sample is None)
        )


def test_what_cannot_be_drawn_is_said(trace, text_trace):
    old = replace(trace, label_probabilities=None, meta={k: v for k, v in trace.meta.items() if k != "label_names"})
    for bare in (text_trace, old):
        with pytest.raises(SemvizError, match="no probabilities of labels"):
            label_profile(bare)
    for wrong in (200, -1, "x", 1.5, True):
        with pytest.raises(SemvizError, match="Pass a sample from 0 to 199"):
            label_profile(trace, sample=wrong)
    with pytest.raises(SemvizError, match="from 0"):
        label_profile(trace, boundary=9)


@pytest.mark.parametrize(("readout", "words"), [("raw", "as if the last block"), ("translated", "translated to")])
def test_the_readout_is_told(trace, readout, words):
    made = replace(trace, meta={**trace.meta, "readout": readout})
    assert words in synthetic.notes(label_profile(made))
    assert words in synthetic.notes(label_profile(made, sample=0))


def test_hostile_labels_are_only_text(hostile):
    for figure in (label_profile(hostile), label_profile(hostile, sample=0), dark(label_profile(hostile))):
        for text in synthetic.texts(figure):
            for bad in ("<i>", "</script", "<img", "$", "%{z}"):
                assert bad not in text
    assert any("&lt;i&gt;joy" in text for text in synthetic.texts(label_profile(hostile)))


def test_the_boundary_moves(trace):
    a, b = (json.loads(label_profile(trace, boundary=k).to_json()) for k in (2, 6))
    for key, value in moved(a, 6)["layout"].items():
        kind, number, attribute = key.replace("[", " ").replace("].", " ").split(" ")
        a["layout"][kind][int(number)][attribute] = value
    assert a == b


def test_the_twin_has_the_numbers_of_the_lines(trace):
    for sample in (None, 5):
        figure, twin = trace.label_profile(sample=sample), labels_twin(trace, sample=sample)
        assert twin.columns == ["space", *(t.name for t in figure.data)]
        assert len(twin.rows) == 9
        for space, row in enumerate(twin.rows):
            assert [float(cell) for cell in row[1:]] == pytest.approx([t.y[space] for t in figure.data], abs=6e-3)
    assert "0.25" in labels_twin(trace).caption


def test_the_blind_guess_is_named_at_the_end_of_its_line():
    """Where no other line can run through it; all lines begin at a blind guess in a model that knows nothing."""
    figure = label_profile(synthetic.make_trace(blocks=30))
    (label,) = (a for a in figure.layout.annotations if "blind guess" in a.text)
    assert (label.text, label.x, label.y) == ("blind guess 0.25", 30, 0.25)
    others = [a for a in figure.layout.annotations if a.xanchor == "left" and a is not label]
    pixels = 400 / np.diff(figure.layout.yaxis.range)[0]
    heights = [a.y * pixels - a.ay for a in (label, *others) if a.ax == 26]
    assert min(np.diff(sorted(heights))) >= 16.5
