"""Calibrations on disk: the same numbers without reading anything, and never those of something else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common import cache_folder

QUIET = {"progress": False}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SEMVIZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """What was read by the model."""
    from semviz.traces import general_reading

    read, real = [], general_reading.stream
    monkeypatch.setattr(general_reading, "stream", lambda *a, **k: (read.append(k["label"]), real(*a, **k))[1])
    return read


def same(one: sv.Calibration, other: sv.Calibration) -> bool:
    """Whether two calibrations hold the same numbers, bit by bit."""
    ids = torch.arange(20)
    pairs = [(one.means, other.means), (one.bases.rows(ids), other.bases.rows(ids))]
    scalars = ("temperature", "fidelity", "fidelities", "positions", "vocabulary_hash")
    if one.translators is not None:
        pairs += [(getattr(one.translators, n), getattr(other.translators, n)) for n in ("weights", "offsets")]
        assert one.translators.positions == other.translators.positions
        np.testing.assert_array_equal(one.translators.ridges, other.translators.ridges)
        assert one.frame().equals(other.frame())
    return all(torch.equal(a, b) for a, b in pairs) and all(getattr(one, n) == getattr(other, n) for n in scalars)


@pytest.mark.parametrize("ridge", [None, 0.0, 0.1, float("inf")])
@pytest.mark.parametrize("readout", [None, "raw"])
def test_the_second_time_nothing_is_read(tiny, reads, ridge, readout):
    first = sv.calibrate(tiny, ridge=ridge, readout=readout, **QUIET)
    again = sv.calibrate(sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text()), ridge=ridge,
                         readout=readout, **QUIET)  # fmt: skip
    assert len(reads) == 1
    assert same(first, again)


def test_traces_from_disk_are_the_same(tiny, mood, reads):
    first = sv.trace(tiny, mood, **QUIET)
    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
    again = sv.trace(model, mood, **QUIET)
    assert len(reads) == 1
    for key in first.values:
        np.testing.assert_array_equal(first.values[key], again.values[key])


@pytest.mark.parametrize(
    "change",
    [
        lambda model: sv.calibrate(model, plain_text(61), **QUIET),
        lambda model: sv.calibrate(model, ridge=0.5, **QUIET),
        lambda model: sv.calibrate(model, readout="raw", **QUIET),
        lambda model: (model.model.lm_head.weight.data.mul_(1.5), sv.calibrate(model, **QUIET)),
        lambda model: (model.model.model.layers[0].mlp.up_proj.weight.data.mul_(1.5), sv.calibrate(model, **QUIET)),
        lambda model: sv.calibrate(sv.load_model((tiny_llama(seed=1), word_tokenizer()), general_text=plain_text()),
                                   **QUIET),
    ],
    ids=["text", "ridge", "readout", "head", "block", "model"],
)  # fmt: skip
def test_what_decides_it_is_in_the_key(tiny, reads, change):
    sv.calibrate(tiny, **QUIET)
    change(tiny)
    assert len(reads) == 2


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_damaged_file_is_made_again(tiny, folder, reads, place):
    first = sv.calibrate(tiny, **QUIET)
    (file,) = folder.iterdir()
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 1
    file.write_bytes(data)
    again = sv.calibrate(tiny, **QUIET)
    assert len(reads) == 2
    assert same(first, again)
    sv.calibrate(tiny, **QUIET)
    assert len(reads) == 2


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\0" * 100])
def test_what_is_no_calibration_is_made_again(tiny, folder, reads, content):
    sv.calibrate(tiny, **QUIET)
    (file,) = folder.iterdir()
    file.write_bytes(content)
    sv.calibrate(tiny, **QUIET)
    assert len(reads) == 2


def test_it_can_be_switched_off(tiny, folder, reads, monkeypatch):
    monkeypatch.setenv("SEMVIZ_CACHE", "")
    sv.calibrate(tiny, **QUIET)
    sv.calibrate(tiny, **QUIET)
    assert len(reads) == 2
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_costs_time_only(tiny, tmp_path, reads, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEMVIZ_CACHE", str(tmp_path / "file" / "cache"))
    sv.calibrate(tiny, **QUIET)
    assert len(reads) == 1


def test_what_was_used_longest_ago_goes_first(tiny, folder, monkeypatch):
    for number, seed in enumerate((0, 1, 2)):
        model = sv.load_model((tiny_llama(seed=seed), word_tokenizer()), general_text=plain_text())
        sv.calibrate(model, **QUIET)
        newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (number, number))
    oldest, second, _ = (path for path in reversed(cache_folder.entries()))
    cache_folder.touch(oldest)
    size = oldest.stat().st_size
    monkeypatch.setenv("SEMVIZ_CACHE_GB", str(2.5 * size / 1e9))
    assert cache_folder.shrink() == 1
    assert not second.exists()
    assert oldest.exists()


def test_other_files_in_the_folder_are_left_alone(tiny, folder):
    folder.mkdir()
    mine = {"mine.txt", "model.safetensors", "model-00001-of-00002.safetensors"}
    for name in mine:
        (folder / name).write_text("keep")
    sv.calibrate(tiny, **QUIET)
    assert len(cache_folder.entries()) == 1
    cache_folder.shrink(0)
    assert {path.name for path in folder.iterdir()} == mine


def test_one_that_is_larger_than_the_limit_takes_no_others_place(tiny, folder, monkeypatch):
    sv.calibrate(tiny, **QUIET)
    (small,) = folder.iterdir()
    monkeypatch.setenv("SEMVIZ_CACHE_GB", str(2 * small.stat().st_size / 1e9))
    larger = sv.load_model((tiny_llama(blocks=16), word_tokenizer()), general_text=plain_text())
    sv.calibrate(larger, **QUIET)
    assert list(folder.iterdir()) == [small]


def test_a_limit_that_is_no_number_is_said_before_work(tiny, reads, monkeypatch):
    monkeypatch.setenv("SEMVIZ_CACHE_GB", "4GB")
    with pytest.raises(sv.SemvizError, match="SEMVIZ_CACHE_GB=4GB"):
        sv.calibrate(tiny, **QUIET)
    assert not reads


@pytest.mark.parametrize("setting", ["lots", "-1", "inf", "nan"])
def test_a_limit_that_is_no_number(setting, monkeypatch):
    monkeypatch.setenv("SEMVIZ_CACHE_GB", setting)
    with pytest.raises(sv.SemvizError, match="SEMVIZ_CACHE_GB"):
        cache_folder.limit()
