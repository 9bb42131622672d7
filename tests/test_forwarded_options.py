"""Options that one function passes on to another: those that it knows arrive, others are named in words."""

from __future__ import annotations

import datasets
import pandas as pd
import pytest
from small import WORDS

import semviz as sv
from semviz.common.errors import SemvizError, TaskError

ROWS = {"text": [f"the {word} was good ." for word in WORDS[:20]], "label": ["yes", "no"] * 10}
QUICK = {"lr": 1e-3, "epochs": 1, "progress": False}


@pytest.fixture
def run(tiny, mood):
    return sv.finetune(tiny, mood, sv.Scope.last(tiny), **QUICK)


def probe(tiny, mood, **options):
    return sv.probe(tiny, mood, **{**QUICK, **options})


def by_profile(tiny, mood, **options):
    return sv.recommend(tiny, mood, evidence="profile", progress=False, **options)


def by_probes(tiny, mood, **options):
    return sv.recommend(tiny, mood, **{**QUICK, **options})


def from_frame(tiny, mood, **options):
    return sv.Task.from_frame(pd.DataFrame(ROWS), **{"label": "label", **options})


def from_dataset(tiny, mood, **options):
    return sv.Task.from_dataset(datasets.Dataset.from_dict(ROWS), **{"label": "label", **options})


WRONG = [
    (probe, "method", "lora", r"method= is not for probes; pass methods= to sweep\(\)"),
    (probe, "methods", ["lora"], r"methods= is not for probes; pass methods= to sweep\(\)"),
    (probe, "seeds", [0, 1], "seeds= is not for probes; pass seed="),
    (probe, "scopes", [], "scopes= is not for probes; pass boundaries="),
    (probe, "clock", 3, "clock= is not for probes; pass one of arguments=, checkpointing=, gain=, keep_weights="),
    (probe, "metrics", "lens", "metrics= is not for probes"),
    (by_profile, "most", 3, 'most= is not for evidence="profile"; pass evidence="probes" with it'),
    (by_profile, "lr", 1e-3, 'lr= is not for evidence="profile"; pass evidence="probes" with it'),
    (by_profile, "arguments", {}, 'arguments= is not for evidence="profile"; pass evidence="probes" with it'),
    (by_profile, "metric", "lens", 'metric= is not for evidence="profile"; pass one of calibration=, .*metrics='),
    (by_profile, "budget", 60, 'budget= is for evidence="probes"'),
    (by_probes, "readout", "raw", 'readout= is not for evidence="probes"; pass evidence="profile" with it'),
    (by_probes, "samples", 3, 'samples= is not for evidence="probes"; pass evidence="profile" with it'),
    (by_probes, "method", "lora", r'method= is not for evidence="probes"; pass methods= to sweep\(\)'),
    (by_probes, "colour", "red", 'colour= is not for evidence="probes"; pass one of .*boundaries='),
    (from_frame, "labels", [], "labels= is not for from_frame; pass label= with the name of the column"),
    (from_frame, "texts", [], "texts= is not for from_frame; pass text= with the name of the column"),
    (from_frame, "promt", "{text}", "promt= is not for from_frame; pass one of max_tokens=, name=, prompt="),
    (from_dataset, "labels", [], "labels= is not for from_dataset; pass label= with the name of the column"),
    (from_dataset, "train", 1, "train= is not for from_dataset; pass one of max_tokens="),
]


@pytest.mark.parametrize(("call", "name", "value", "said"), WRONG, ids=[f"{w[0].__name__} {w[1]}" for w in WRONG])
def test_an_option_that_is_not_known_is_named_with_what_to_pass_instead(call, name, value, said, tiny, mood):
    kind = TaskError if call in (from_frame, from_dataset) else SemvizError
    with pytest.raises(kind, match=said):
        call(tiny, mood, **{name: value})


def test_a_run_traces_with_options_of_a_trace_only(run):
    assert run.trace(metrics=["lens"], samples=3, progress=False).metrics == ("lens",)
    with pytest.raises(SemvizError, match=r"metric= is not for Run.trace; pass one of calibration=, .*metrics="):
        run.trace(metric="lens")


def test_options_that_are_known_arrive(tiny, mood):
    kept = probe(tiny, mood, boundaries=[0, 3], keep_weights=True, arguments={"max_grad_norm": 0.5}).runs
    assert all(run.weights and run.arguments == {"max_grad_norm": "0.5"} for run in kept)
    assert by_profile(tiny, mood, samples=9, readout="raw").evidence == "profile"
    assert by_probes(tiny, mood, boundaries=[0, 3], batch_size=8).evidence == "probes"
    for make in (from_frame, from_dataset):
        task = make(tiny, mood, prompt="{text} mood :", words={"yes": "good", "no": "bad"}, name="mine", seed=2)
        assert (task.name, task.prompt) == ("mine", "{text} mood :")
