"""Traces on disk, in groups, and subtracted from each other."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def model():
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())


@pytest.fixture
def traced(model, mood):
    return sv.trace(model, mood, detail=3, **QUIET)


@pytest.fixture
def other(mood):
    """The same architecture and tokenizer with other weights."""
    model = sv.load_model((tiny_llama(seed=5), word_tokenizer()), general_text=plain_text())
    return sv.trace(model, mood, detail=3, **QUIET)


def same(one, two):
    pd.testing.assert_frame_equal(one.positions, two.positions)
    assert one.values.keys() == two.values.keys()
    arrays = [(one.values[key], two.values[key]) for key in one.values]
    for a, b in [*arrays, (one.nearest, two.nearest), (one.top1, two.top1), (one.paths, two.paths)]:
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert one.facts == two.facts
    assert one.vocabulary == two.vocabulary
    assert one.meta == two.meta


def test_a_trace_survives_the_disk_bit_for_bit(traced, tmp_path):
    assert traced.save(tmp_path / "mood.parquet") == tmp_path / "mood.parquet"
    back = sv.Trace.load(tmp_path / "mood.parquet")
    same(traced, back)
    assert repr(back) == repr(traced)
    assert back.gain().boundary == traced.gain().boundary
    assert [p.name for p in tmp_path.iterdir()] == ["mood.parquet"]


def test_traces_without_nearest_tokens_or_labels_survive_too(model, stories, mood, tmp_path):
    for task, options in ((stories, {}), (mood, {"vocab": "labels", "metrics": ["lens"]}), (mood, {"detail": 0})):
        traced = sv.trace(model, task, **options, **QUIET)
        traced.save(tmp_path / "t.parquet")
        same(traced, sv.Trace.load(tmp_path / "t.parquet"))


def test_an_infinite_ridge_survives(traced, tmp_path):
    infinite = dataclasses.replace(traced, meta={**traced.meta, "ridge": math.inf})
    infinite.save(tmp_path / "t.parquet")
    assert sv.Trace.load(tmp_path / "t.parquet").meta["ridge"] == math.inf


def test_pandas_reads_the_columns_without_semviz(traced, tmp_path):
    traced.save(tmp_path / "t.parquet")
    table = pd.read_parquet(tmp_path / "t.parquet")
    assert len(table) == len(traced.positions)
    np.testing.assert_array_equal(table["lens_2"], traced.values["lens"][:, 2])
    assert list(table["nearest_4"][7]) == traced.nearest[7, 4].tolist()
    meta = json.loads(pq.read_schema(tmp_path / "t.parquet").metadata[b"semviz"])
    assert meta["schema"] == 5
    assert meta["meta"]["model_hash"] == traced.meta["model_hash"]


def test_loading_and_summing_up_needs_no_torch(traced, tmp_path):
    traced.save(tmp_path / "t.parquet")
    code = (
        "import sys, semviz as sv; t = sv.Trace.load(sys.argv[1]); t.summary(); t.gain(); t.by('label'); t - t; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.parquet")], check=True)


def test_what_is_no_trace_is_refused(traced, tmp_path):
    with pytest.raises(SemvizError, match="no file"):
        sv.Trace.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(SemvizError, match="not a saved trace"):
        sv.Trace.load(tmp_path / "text.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "frame.parquet")
    with pytest.raises(SemvizError, match="not a saved trace"):
        sv.Trace.load(tmp_path / "frame.parquet")
    traced.save(tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    stored = json.loads(table.schema.metadata[b"semviz"])
    newer = table.replace_schema_metadata({**table.schema.metadata, b"semviz": json.dumps({**stored, "schema": 99})})
    pq.write_table(newer, tmp_path / "newer.parquet")
    with pytest.raises(SemvizError, match="update semviz"):
        sv.Trace.load(tmp_path / "newer.parquet")
    pq.write_table(table.drop_columns(["lens_3"]), tmp_path / "less.parquet")
    with pytest.raises(SemvizError, match="damaged"):
        sv.Trace.load(tmp_path / "less.parquet")


def test_a_failed_save_leaves_the_old_file(traced, tmp_path, monkeypatch):
    path = traced.save(tmp_path / "t.parquet")
    before = path.read_bytes()

    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("semviz.traces.parquet.pq.write_table", fail)
    with pytest.raises(SemvizError, match="No space"):
        traced.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]
    monkeypatch.undo()
    with pytest.raises(SemvizError, match="folder"):
        traced.save(tmp_path / "missing" / "t.parquet")


def test_a_difference_is_after_minus_before(traced, other):
    change = other - traced
    np.testing.assert_array_equal(change.values["lens"], other.values["lens"] - traced.values["lens"])
    assert change.facts["lens"].is_change
    assert change.facts["lens"].low is None
    assert (change.before, change.after) == (traced, other)
    expected = other.profile_frame("lens")["mean"] - traced.profile_frame("lens")["mean"]
    np.testing.assert_allclose(change.profile_frame("lens")["mean"], expected, atol=1e-5)
    assert "different calibrations" in change.note
    same = dataclasses.replace(other, meta={**other.meta, "calibration": traced.meta["calibration"]})
    assert (same - traced).note == ""
    # Files of before do not say which calibration they were read with.
    hotter = dataclasses.replace(other, meta={**other.meta, "tau": 2 * other.meta["tau"], "calibration": ""})
    assert "τ" in (hotter - traced).note
    assert "TraceDifference" in repr(change)


def test_paired_intervals_are_those_of_the_differences(traced):
    """All samples change alike: the difference is known exactly, though the samples themselves scatter."""
    shifted = dataclasses.replace(traced, values={k: v - np.float32(0.5) for k, v in traced.values.items()})
    profile = (shifted - traced).profile_frame("lens")
    np.testing.assert_allclose(profile[["low", "mean", "high"]], -0.5, atol=1e-5)
    assert traced.profile_frame("lens").eval("high - low").min() > 1e-3
    assert (shifted - traced).note == ""


def test_traces_that_do_not_correspond_are_not_subtracted(model, mood, stories, traced):
    deeper = sv.load_model((tiny_llama(blocks=3), word_tokenizer()), general_text=plain_text())
    for wrong, message in (
        (sv.trace(deeper, mood, detail=3, **QUIET), "blocks"),
        (sv.trace(model, mood, detail=4, **QUIET), "same positions"),
        (sv.trace(model, stories, detail=3, **QUIET), "same positions"),
        (sv.trace(model, mood, detail=3, path="lerp", **QUIET), "path="),
        (sv.trace(model, mood, detail=3, vocab="labels", **QUIET), "vocab="),
        (sv.trace(model, mood, detail=3, centre=True, **QUIET), "centre="),
        (dataclasses.replace(traced, vocabulary=dict.fromkeys(traced.vocabulary, "?")), "same positions"),
        (dataclasses.replace(traced, values={"mine": traced.values["lens"]}), "no metric"),
    ):
        with pytest.raises(SemvizError, match=message):
            _ = wrong - traced
    with pytest.raises(TypeError):
        _ = traced - 1


def test_groups_by_label_hold_every_sample_once(traced):
    groups = traced.by("label")
    assert set(groups) == {"yes", "no"}
    assert sum(g.meta["samples"] for g in groups.values()) == traced.meta["samples"]
    for name, part in groups.items():
        wanted = traced.positions.query("label == @name and role == 'answer'").index
        expected = traced.values["lens"][wanted].mean(0)
        np.testing.assert_allclose(part.profile_frame("lens")["mean"], expected, rtol=1e-5)
        assert set(part.positions["label"]) == {name}
    detailed = [sample for part in groups.values() for sample in part.detailed]
    assert sorted(detailed) == list(traced.detailed)
    frame = groups.frame("lens")
    assert list(frame) == ["group", "samples", "space", "mean", "low", "high"]
    assert len(frame) == 2 * (traced.n_blocks + 1)
    assert "yes" in repr(groups)
    assert "yes" in groups._repr_html_()


def test_groups_keep_the_paths_of_their_samples(traced):
    rows = {}
    for part in traced.by("label").values():
        at = list(zip(part.positions["sample"], part.positions["position"], strict=True))
        rows |= dict(zip(at, part.paths, strict=False))
    at = zip(traced.positions["sample"], traced.positions["position"], strict=True)
    for key, path in zip(at, traced.paths, strict=False):
        np.testing.assert_array_equal(rows[key], path)


def test_groups_of_single_positions(model, stories):
    traced = sv.trace(model, stories, detail=2, **QUIET)
    groups = traced.by("target")
    assert sum(g.meta["positions"] for g in groups.values()) == traced.counted.sum()
    word = next(iter(groups))
    assert set(groups[word].positions.query("role == 'next'")["target"]) == {word}
    right = traced.by("correct")
    assert set(right) <= {"True", "False"}


def test_groups_by_what_is_not_there(traced, model, stories):
    with pytest.raises(SemvizError, match="not a column"):
        traced.by("colour")
    with pytest.raises(SemvizError, match="label"):
        sv.trace(model, stories, **QUIET).by("label")
    with pytest.raises(KeyError, match="yes"):
        traced.by("label")["maybe"]


def test_nearest_tokens_name_what_the_trace_holds(traced):
    table = traced.nearest_tokens(sample=1)
    assert list(table.columns) == ["first", "second", "third", "head"]
    assert list(table.index) == [0, 1, 2, 3, 4]
    rows = traced.positions.query("sample == 1")
    answer = rows.query("role == 'answer'").index[0]
    assert table.to_numpy()[:, :3].tolist() == [
        [traced.vocabulary[i] for i in ids] for ids in traced.nearest[answer].tolist()
    ]
    assert table["head"].tolist() == [traced.vocabulary[i] for i in traced.top1[answer].tolist()]
    third = traced.nearest_tokens(sample=1, position=3)
    at = rows.query("position == 3").index[0]
    assert third["head"].tolist() == [traced.vocabulary[i] for i in traced.top1[at].tolist()]
    assert not third.equals(table)


def test_nearest_tokens_have_the_columns_that_were_traced(model, mood, stories):
    lens = sv.trace(model, mood, metrics="lens", **QUIET)
    assert list(lens.nearest_tokens(sample=0).columns) == ["head"]
    angles = sv.trace(model, mood, metrics="semantic", **QUIET)
    assert list(angles.nearest_tokens(sample=0).columns) == ["first", "second", "third"]
    text = sv.trace(model, stories, **QUIET)
    last = text.positions.query("sample == 2 and target_id >= 0")["position"].max()
    assert text.nearest_tokens(sample=2).equals(text.nearest_tokens(sample=2, position=last))
    with pytest.raises(SemvizError, match='metrics=\\("semantic", "lens"\\)'):
        sv.trace(model, mood, metrics="target", **QUIET).nearest_tokens(sample=0)
    with pytest.raises(SemvizError, match="sample=999"):
        lens.nearest_tokens(sample=999)
    with pytest.raises(SemvizError, match=r"position=0 of sample 40 was not traced; pass one of \d+"):
        lens.nearest_tokens(sample=40, position=0)
