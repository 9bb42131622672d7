"""Traces of words that the translators hardly know say so, where the raw readout may see more."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.tasks.tokenizing import encode_texts
from semviz.traces.readouts import ReadoutScores

QUIET = {"progress": False}
SAID = "hardly any of the words to be read"


def without(*words, lines=150):
    """General text in which other words stand for these."""
    text = plain_text(lines)
    return [" ".join("sun" if word in words else word for word in line.split()) for line in text]


def loaded(text):
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=text)


def judged(calibration, raw, translated):
    """A calibration whose readouts are so far from the model's own output."""
    spaces = len(calibration.means)
    scores = {
        name: ReadoutScores(np.ones(spaces), np.full(spaces, float(value)), np.ones(spaces), 128)
        for name, value in (("raw", raw), ("translated", translated))
    }
    return dataclasses.replace(calibration, readouts=scores)


def traced(text, task, *, raw=1.0, translated=1.0, **options):
    model = loaded(text)
    return sv.trace(model, task, calibration=judged(sv.calibrate(model, **QUIET), raw, translated), **QUIET, **options)


def test_words_are_counted_where_translators_are_fitted():
    text = plain_text(40)
    model = loaded(text)
    counts = sv.calibrate(model, **QUIET).counts
    encoded = encode_texts(model, text, max_tokens=64)
    wanted = np.zeros(len(counts), dtype=int)
    for i in range(40):
        if i % 5 != 4:  # every fifth is held out
            np.add.at(wanted, encoded.targets[i][encoded.counted[i]], 1)
    assert (counts == wanted).all()
    assert counts.sum() == sv.calibrate(model, **QUIET).translators.positions
    assert sv.calibrate(model, readout="raw", **QUIET).counts is None


def test_counts_are_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMVIZ_CACHE", str(tmp_path))
    first = sv.calibrate(loaded(plain_text()), **QUIET)
    monkeypatch.setattr("semviz.traces.calibration.read_general_text", None)  # nothing is read
    again = sv.calibrate(loaded(plain_text()), **QUIET)
    assert np.array_equal(first.counts, again.counts)
    assert again.counts.dtype == np.int32


@pytest.mark.parametrize(
    ("missing", "rare"),
    [(("yes", "no"), ["yes", "no"]), (("yes",), ["yes"]), (("no",), ["no"]), ((), []), (("cat",), [])],
)
def test_a_trace_names_the_words_that_general_text_hardly_has(missing, rare, mood):
    trace = traced(without(*missing), mood)
    assert set(trace.meta["rare_words"]) == set(rare)
    # Of a profile, where most of its samples are read so.
    said = trace.positions.loc[trace.counted, "label"].isin(rare).mean() >= 0.5
    rare = rare if said else []
    for caution in (trace.caution("lens"), trace.gain("lens").caution, trace.gain("lens").message):
        assert (SAID in caution) == said
        assert all(word in caution for word in rare)
    assert SAID not in repr(trace)


@pytest.mark.parametrize("times", [0, 1, 2, 3, 4])
def test_a_word_that_was_fitted_three_times_is_not_rare(times, mood):
    text = without("yes")
    fitted = [i for i in range(len(text)) if i % 5 != 4]
    for i in fitted[:times]:
        text[i] = f"{text[i]} yes"
    text[4] = f"{text[4]} yes yes yes yes"  # held out
    assert ("yes" in traced(text, mood).meta["rare_words"]) == (times < 3)


@pytest.mark.parametrize(("raw", "translated", "said"), [(2.6, 2.2, True), (1.0, 0.51, True), (15.6, 2.0, False)])
def test_where_the_raw_readout_is_far_worse_nothing_is_said(raw, translated, said, mood):
    trace = traced(without("yes", "no"), mood, raw=raw, translated=translated)
    assert bool(trace.meta["rare_words"]) == (SAID in trace.caution("lens")) == said


@pytest.mark.parametrize("metric", ["lens", "rank", "semantic", "target", "virtual"])
def test_all_that_reads_translated_states_says_so(metric, mood):
    assert SAID in traced(without("yes", "no"), mood).caution(metric)


def test_a_raw_trace_says_nothing(mood):
    trace = traced(without("yes", "no"), mood, readout="raw")
    assert trace.meta["rare_words"] == []
    assert SAID not in trace.caution("lens")


def test_language_modelling_says_nothing():
    task = sv.Task.from_texts([f"{line} yes no" for line in plain_text(20)])
    assert traced(without("yes", "no"), task).meta["rare_words"] == []


def test_text_of_ones_own_that_has_the_words_settles_it(mood):
    model = loaded(without("yes", "no"))
    own = judged(sv.calibrate(model, texts=plain_text(150), **QUIET), 1, 1)
    assert SAID not in sv.trace(model, mood, calibration=own, **QUIET).caution("lens")


def test_a_part_speaks_for_itself_and_a_file_remembers(mood, tmp_path):
    trace = traced(without("yes"), mood)
    parts = trace.by("label")
    assert SAID in parts["yes"].caution("lens")
    assert SAID not in parts["no"].caution("lens")
    assert trace.take(np.zeros(len(trace.positions), dtype=bool)).caution("lens") == ""
    again = sv.Trace.load(trace.save(tmp_path / "trace.parquet"))
    assert again.meta["rare_words"] == ["yes"]
    assert again.by("label")["yes"].caution("lens") == parts["yes"].caution("lens")


def test_words_that_are_many_are_not_all_named():
    names = ["cat", "dog", "bird", "tree", "house", "sun", "moon", "rain"]
    texts = [f"the {('red', 'blue')[i % 2]} {name} was" for i, name in enumerate(names * 5)]
    task = sv.Task.from_texts(texts, names * 5, prompt="{text} mood :")
    text = [" ".join("snow" if word in names else word for word in line.split()) for line in plain_text(150)]
    caution = traced(text, task).caution("lens")
    assert "(bird, cat, dog, house, moon, rain and 2 more)" in caution
