"""Parts of traces with nothing in them that is averaged: a right empty result, or an error that says so."""

from __future__ import annotations

import contextlib
import inspect

import numpy as np
import pytest
from small import mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.traces.deviations import Deviations
from semviz.traces.difference import TraceDifference

PARTS = {
    "nothing": lambda positions: np.zeros(len(positions), dtype=bool),
    "context": lambda positions: (positions["role"] == "context").to_numpy(),
}
# What averages, and so has nothing to say.
REFUSED = {
    "sample_means": lambda part, folder: part.sample_means(),
    "mean_profile": lambda part, folder: part.mean_profile(),
    "profile_frame": lambda part, folder: part.profile_frame(),
    "law": lambda part, folder: part.law("lens"),
    "summary": lambda part, folder: part.summary(),
    "profile": lambda part, folder: part.profile(),
    "gain": lambda part, folder: part.gain(),
    "by": lambda part, folder: part.by("role"),
    "label_profile": lambda part, folder: part.label_profile(),
    "label_profile of a sample": lambda part, folder: part.label_profile(sample=0),
    "sample_heatmap": lambda part, folder: part.sample_heatmap(),
    "save": lambda part, folder: part.save(folder / "part.parquet"),
    "check_counted": lambda part, folder: part.check_counted(),
    **{
        f"gain by {rule}": lambda part, folder, rule=rule: part.gain(rule=rule)
        for rule in ("surplus", "law", "drop", "virtual peak")
    },
    **{
        f"sample_heatmap by {order}": lambda part, folder, order=order: part.sample_heatmap(order=order)
        for order in ("label", "correct", "deviation", "cluster", "index")
    },
}
# What lists, and so lists nothing.
EMPTY = {
    "frame": lambda part: part.frame().empty == part.positions.empty,
    "repr": lambda part: "0 positions" in repr(part),
    "html": lambda part: "0 positions" in part._repr_html_() and "<table" not in part._repr_html_(),
    "take": lambda part: len(part.take(PARTS["nothing"](part.positions)).positions) == 0,
    "accuracy": lambda part: np.isnan(part.accuracy),
    "options": lambda part: part.options["split"] == "train",
    "metrics": lambda part: "lens" in part.metrics,
    "default_metric": lambda part: part.default_metric == "lens",
    "check": lambda part: part.check(None) == "lens",
    "agreement": lambda part: part.agreement("lens") == 1,
    "caution": lambda part: part.caution("lens") == "",
    "n_blocks": lambda part: part.n_blocks == 4,
    "counted": lambda part: not part.counted.any(),
    "source": lambda part: part.source.task != "",
    "- itself": lambda part: len((part - part).positions) == len(part.positions),
}
# Positions may still be there, though none is averaged.
ONE_SAMPLE = {
    "token_heatmap": lambda part: part.token_heatmap(),
    "transition_map": lambda part: part.transition_map(),
    "nearest_tokens": lambda part: part.nearest_tokens(sample=0),
    "detailed": lambda part: part.detailed,
    "note": lambda part: part.note,
    "load": lambda part: type(part).load("nowhere.parquet"),
}


@pytest.fixture(scope="module", params=["classification", "language modelling"])
def whole(request) -> sv.Trace:
    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
    task = mood_task() if request.param == "classification" else sv.Task.from_texts(plain_text(20))
    return sv.trace(model, task, detail=2, progress=False)


@pytest.fixture(params=PARTS)
def part(request, whole) -> sv.Trace:
    return whole.take(PARTS[request.param](whole.positions))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", REFUSED)
def test_an_average_over_nothing_is_refused(name, part, tmp_path):
    for given in (part, part - part):
        # A difference follows no law.
        if hasattr(given, name.split()[0]) and not (name == "law" and given is not part):
            with pytest.raises(SemvizError, match=r"answer|labels") as found:
                REFUSED[name](given, tmp_path)
            assert "[" not in str(found.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", EMPTY)
def test_a_list_of_nothing_is_empty(name, part):
    assert EMPTY[name](part)
    if name not in ("accuracy", "options", "- itself"):
        assert EMPTY[name](part - part)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ONE_SAMPLE)
def test_one_sample_is_drawn_or_refused(name, part):
    for given in (part, part - part):
        if hasattr(given, name):
            with contextlib.suppress(SemvizError):
                ONE_SAMPLE[name](given)


def test_every_public_name_is_tried():
    tried = {name.split()[0] for name in (*REFUSED, *EMPTY, *ONE_SAMPLE)}
    for kind in (sv.Trace, TraceDifference, Deviations):
        public = {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}
        assert public - set(inspect.signature(kind).parameters) <= tried, kind


def test_a_part_that_is_not_empty_is_as_before(whole):
    part = whole.take((whole.positions["sample"] < 3).to_numpy())
    assert part.summary().shape == (5, len(whole.metrics))
    assert "<table" in part._repr_html_()
    assert "at the last space +0.000" in repr(part - part)
