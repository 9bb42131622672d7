"""Bad input is refused in words, and nothing is left behind: no file, no flag, no hook, no random number drawn.

A case is a name, a call and the words that its message must hold; `tests/refusals.py` looks at everything else, which
is the same for all. What looks bad and is legal stands in tests of its own, at the end of each part.
"""

from __future__ import annotations

import math
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from refusals import case, refused
from small import plain_text, tiny_llama, word_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import semviz as sv
from semviz.common.errors import ModelError, ScopeError, SemvizError, TaskError
from semviz.common.token_text import short_label
from semviz.finetuning.encoded_task import EncodedTask
from semviz.study.settings import Settings
from semviz.tasks.streaming import pad_id

NAN = math.nan
LINEAR = torch.nn.Linear(2, 2)
SURROGATE = "a \ud800 b"
TEXTS = [f"the {thing} was {how} ." for thing in ("cat", "dog", "bird", "tree", "house") for how in ("good", "bad")]
LABELS = ["yes", "no"] * 5
FRAME = pd.DataFrame({"text": TEXTS, "label": LABELS})
QUIET = {"progress": False}
QUICK = {"epochs": 1, "batch_size": 16, "lr": 3e-3, **QUIET}


def tiny_model(**options):
    return sv.load_model((tiny_llama(**options), word_tokenizer()), general_text=plain_text())


def mood_task():
    texts, labels = [], []
    for i in range(80):
        good = (i // 5) % 2 == 0
        thing = ("cat", "dog", "bird", "tree", "house")[i % 5]
        texts.append(f"the {('red', 'blue', 'green')[i % 3]} {thing} was {'good' if good else 'bad'} .")
        labels.append("yes" if good else "no")
    return sv.Task.from_texts(texts, labels, prompt="{text} mood :", name="tiny mood")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Good things, made once; every case breaks one of them."""
    model, task = tiny_model(), mood_task()
    made = SimpleNamespace(model=model, task=task, folder=tmp_path_factory.mktemp("house"))
    made.stories = sv.Task.from_texts(plain_text(20), name="tiny stories")
    made.trace = sv.trace(model, task, detail=2, **QUIET)
    made.gain = made.trace.gain()
    made.full, made.last = sv.Scope.full(model), sv.Scope.last(model)
    made.runs = sv.sweep(
        model, task, [made.full, sv.Scope.half(model), made.last], gain=made.gain, keep_weights=True, **QUICK
    )
    made.run = made.runs.runs[-1]
    made.probes = made.runs.probes([0, 2, 3])
    made.costs = sv.estimate_costs(model, task)
    made.deeper = tiny_model(blocks=6)
    made.wider = sv.load_model((tiny_llama(hidden_size=64), word_tokenizer()), general_text=plain_text())
    made.study = sv.Study(model, task, trace=made.trace, **QUIET)
    yield made
    made.study.close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Tasks


def texts(*given, **options):
    return lambda h: sv.Task.from_texts(*given, **options)


def frame(table=FRAME, **options):
    return lambda h: sv.Task.from_frame(table, **options)


def labelled(values, names=("no", "yes")):
    feature = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))}
    return datasets.Dataset.from_dict({"text": TEXTS, "label": values}, features=datasets.Features(feature))


TASKS = [
    case("texts are None", texts(None), "texts", "None", "list of texts"),
    case("texts are a number", texts(3), "texts=3", "list of texts"),
    case("texts are a mapping", texts({"a": 1}), "texts", "dict", "list of texts"),
    case("a text is NaN", texts(["a", NAN, "b", "c"]), "texts[1]", "float nan"),
    case("a text is bytes", texts([b"a", "b", "c", "d"]), "texts[0]", "bytes"),
    case("a text is a huge list", texts(["a", list(range(10**5)), "b", "c"]), "texts[1]", "list", "…"),
    case("a test text has a lone surrogate", texts(TEXTS, test=[SURROGATE]), "test[0]", "surrogate"),
    case("labels are a number", texts(TEXTS, 5), "labels=5", "one label for each text"),
    case("labels are one text", texts(TEXTS, "yesnoyesno"), "labels='yesnoyesno'", "one label for each text"),
    case("a label is None", texts(TEXTS, [None, *LABELS[1:]]), "labels[0]", "NoneType"),
    case("a label is NaN", texts(TEXTS, [*LABELS[:9], NAN]), "labels[9]", "float nan"),
    case("a label is empty", texts(TEXTS, ["", *LABELS[1:]]), "labels[0]", "empty"),
    case("a label has a lone surrogate", texts(TEXTS, ["\udfff", *LABELS[1:]]), "labels[0]", "surrogate"),
    case("the prompt is a number", texts(TEXTS, LABELS, prompt=3), "prompt=3", "{text}"),
    case("the prompt has a lone surrogate", texts(TEXTS, LABELS, prompt="{text}\ud800"), "prompt", "surrogate"),
    case("the prompt has a hidden override", texts(TEXTS, LABELS, prompt="\u202ea"), r"\u202e", "{text}"),
    case("words are a list", texts(TEXTS, LABELS, words=["a", "b"]), "words", "list", "each label"),
    case("words have keys of two kinds", texts(TEXTS, LABELS, words={"yes": "a", 3: "b"}), "words", "3", "each label"),
    case("a word is a number", texts(TEXTS, LABELS, words={"yes": 1, "no": "b"}), "words['yes']", "int 1"),
    case("a word is empty", texts(TEXTS, LABELS, words={"yes": " ", "no": "b"}), "words['yes']", "empty"),
    case("test is a number", texts(TEXTS, LABELS, test=3), "test=3", "(texts, labels)"),
    case("test has no labels", texts(TEXTS, LABELS, test=(TEXTS, None)), "test", "labels", "None"),
    case("test texts are empty", texts(TEXTS, LABELS, test=([], [])), "test is empty"),
    case("test is a number, without labels", texts(TEXTS, test=3), "test=3", "list of texts"),
    case("max_tokens is a text", texts(TEXTS, max_tokens="9"), "max_tokens='9'", "whole"),
    case("max_tokens is NaN", texts(TEXTS, max_tokens=NAN), "max_tokens=nan", "whole"),
    case("max_tokens is True", texts(TEXTS, max_tokens=True), "max_tokens=True", "whole"),
    case("the seed of splits is a fraction", texts(TEXTS, seed=0.5), "seed=0.5", "whole"),
    case("the seed of splits is None", texts(TEXTS, seed=None), "seed=None", "whole"),
    case("the name is a number", texts(TEXTS, name=3), "name is int 3", "text"),
    case("no frame", frame([1, 2]), "frame=[1, 2]", "DataFrame"),
    case("a column that is not there", frame(text="body"), "'body'", "'text'"),
    case("a column that is a list", frame(text=["text"]), "['text']", "'label'"),
    case("two columns of one name", frame(FRAME.set_axis(["text", "text"], axis=1)), "'text'", "twice"),
    case("a label is missing in a frame", frame(FRAME.assign(label=[None, *LABELS[1:]]), label="label"), "labels[0]"),
    case("a label is NaN in a frame", frame(FRAME.assign(label=[NAN, *LABELS[1:]]), label="label"), "labels[0]", "nan"),
    case("a test frame is a list", frame(test=[1]), "test=[1]", "DataFrame"),
    case("no dataset", lambda h: sv.Task.from_dataset(TEXTS), "dataset", "list", "Dataset"),
    case(
        "a stream",
        lambda h: sv.Task.from_dataset(labelled([0, 1] * 5).to_iterable_dataset()),
        "IterableDataset",
        "map-style",
    ),
    case("an unlabelled row", lambda h: sv.Task.from_dataset(labelled([-1, 1] * 5), label="label"), "labels[0]", "-1"),
    case("no train split", lambda h: sv.Task.from_dataset(datasets.DatasetDict(test=labelled([0, 1] * 5))), "train"),
    case("a packaged task by number", lambda h: sv.load_task(3), "3", "'mood'"),
    case("a packaged task by list", lambda h: sv.load_task(["mood"]), "['mood']", "'question'"),
    case("a split by number", lambda h: h.task.split(0), "split=0", "'train'"),
    case("a split by list", lambda h: h.task.split(["train"]), "split=['train']", "'train'"),
    case("a subset of no rows", lambda h: h.task.subset(train=0), "train=0", "at least 1"),
    case("a subset of a fraction", lambda h: h.task.subset(test=2.5), "test=2.5", "whole"),
    case("a subset by text", lambda h: h.task.subset(train="9"), "train='9'", "whole"),
    case("the seed of a subset is a text", lambda h: h.task.subset(train=8, seed="x"), "seed='x'", "whole"),
]


@pytest.mark.parametrize("one", TASKS)
def test_tasks_that_are_none(one, house, here):
    refused(replace(one, kind=TaskError if "seed" not in one.name else SemvizError), house.model, here, house)


# Models


class Ints(torch.nn.Module):
    """A quantized linear layer: what 4-bit and 8-bit loaders put in the place of one."""

    def __init__(self, linear, dtype):
        super().__init__()
        self.step = linear.weight.abs().max().item() / 100
        self.weight = torch.nn.Parameter((linear.weight / self.step).round().add(128).to(dtype), requires_grad=False)

    def forward(self, x):
        return torch.nn.functional.linear(x, (self.weight.to(x.dtype) - 128) * self.step)


def quantized(dtype=torch.uint8):
    network = tiny_llama()
    for block in network.model.layers:
        block.mlp.up_proj = Ints(block.mlp.up_proj, dtype)
    return sv.load_model((network, word_tokenizer()), general_text=plain_text())


def load(*given, **options):
    return lambda h: sv.load_model(*given, **options)


def live(**options):
    return lambda h: sv.load_model((h.model.model, word_tokenizer()), **options)


MODELS = [
    case("an empty name", load(""), "source=''"),
    case("a name of spaces", load("  "), "source=' '"),
    case("a name with a null", load("a\0b"), "source='a\\x00b'"),
    case("a name with an override", load("a\u202eb"), r"a\u202eb"),
    case("a lone surrogate", load("a\ud800b"), r"a\ud800b"),
    case("bytes", load(b"gpt2"), "source=b'gpt2'", "bytes"),
    case("a file", load(__file__), "no model folder", "test_bad_input.py"),
    case("an empty folder", load("/proc/self/fd"), "config.json"),
    case("a tokenizer by its name", lambda h: sv.load_model((h.model.model, "gpt2")), "str", "(model, tokenizer)"),
    case("the wrong way round", lambda h: sv.load_model((h.model.tokenizer, h.model.model)), "(model, tokenizer)"),
    case("a network of one's own", lambda h: sv.load_model((LINEAR, h.model.tokenizer)), "Linear"),
    case("a device by number", load(device=3), "device=3", '"cpu"'),
    case("a device that is not there", load(device="cuda:7"), "device='cuda:7'", '"cpu"'),
    case("an integer dtype", load(dtype=torch.int8), "dtype=torch.int8", '"float32"'),
    case("a dtype by number", load(dtype=16), "dtype=16", '"float32"'),
    case("a revision by number", load("a/b", revision=3), "revision=3"),
    case("remote code by a text", load("a/b", trust_remote_code="no"), "trust_remote_code='no'", "True or False"),
    case("layers by number", live(layers=3), "layers=3", "model.layers"),
    case("general text as one text", live(general_text="the cat"), "general_text='the cat'", "list"),
    case("general text of numbers", live(general_text=[1, 2]), "general_text[0]", "int 1"),
    case("general text with a surrogate", live(general_text=["a", SURROGATE]), "general_text[1]", "surrogate"),
]


@pytest.mark.parametrize("one", MODELS)
def test_models_that_are_none(one, house, here):
    refused(one, house.model, here, house)


# What takes a model, a task and options

BAD_CONTROL = {"control": 3}


def traced(**options):
    return lambda h: sv.trace(h.model, h.task, **{**QUIET, **options})


def tuned(scope=None, **options):
    return lambda h: sv.finetune(h.model, h.task, scope(h) if callable(scope) else scope, **{**QUICK, **options})


def swept(scopes=lambda h: [h.last], **options):
    return lambda h: sv.sweep(h.model, h.task, scopes(h), **{**QUICK, **options})


TRACES = [
    case("a model by its name", lambda h: sv.trace("demo", h.task), "model='demo'", "load_model", kind=ModelError),
    case("no model", lambda h: sv.trace(None, h.task), "model=None", "load_model", kind=ModelError),
    case("a bare network", lambda h: sv.trace(h.model.model, h.task), "model=", "load_model", kind=ModelError),
    case("a task by its name", lambda h: sv.trace(h.model, "mood"), "task='mood'", "load_task", kind=TaskError),
    case("metrics by number", traced(metrics=3), "metrics=3", "'lens'"),
    case("metrics of numbers", traced(metrics=[3]), "metrics=[3]", "'lens'"),
    case("metrics of lists", traced(metrics=[["lens"]]), "metrics=[['lens']]", "'lens'"),
    case("no metrics", traced(metrics=()), "metrics=()", "'lens'"),
    case("samples are a fraction", traced(samples=2.5), "samples=2.5", "whole"),
    case("samples are NaN", traced(samples=NAN), "samples=nan", "whole"),
    case("samples are a text", traced(samples="3"), "samples='3'", "whole"),
    case("samples are True", traced(samples=True), "samples=True", "whole"),
    case("detail is None", traced(detail=None), "detail=None", "whole"),
    case("detail is a fraction", traced(detail=1.5), "detail=1.5", "whole"),
    case("a vocabulary by list", traced(vocab=["full"]), "vocab=['full']", "'labels'"),
    case("a path by number", traced(path=1), "path=1", "'slerp'"),
    case("centring by a text", traced(centre="no"), "centre='no'", "True or False"),
    case("no control", traced(**BAD_CONTROL), "control=3", "Control"),
    case("no calibration", traced(calibration=0.5), "calibration=0.5", "calibrate"),
    case(
        "a calibration of a wider model",
        lambda h: sv.trace(h.model, h.task, calibration=sv.calibrate(h.wider, **QUIET), **QUIET),
        "calibration",
        "width 64",
        "calibrate(model)",
    ),
    case(
        "a calibration of a deeper model",
        lambda h: sv.trace(h.model, h.task, calibration=sv.calibrate(h.deeper, **QUIET), **QUIET),
        "calibration",
        "6 blocks",
    ),
    case("a ridge by text", lambda h: sv.calibrate(h.model, ridge="x", **QUIET), "ridge='x'", "at least 0"),
    case("a ridge of NaN", lambda h: sv.calibrate(h.model, ridge=NAN, **QUIET), "ridge=nan", "at least 0"),
    case("a text to calibrate", lambda h: sv.calibrate(h.model, "the cat", **QUIET), "texts='the cat'", "list"),
    case("no text to calibrate", lambda h: sv.calibrate(h.model, [], **QUIET), "texts", "empty"),
    case("numbers to calibrate", lambda h: sv.calibrate(h.model, [1, 2], **QUIET), "texts[0]", "int 1"),
]


@pytest.mark.parametrize("one", TRACES)
def test_traces_that_cannot_be_made(one, house, here):
    refused(one, house.model, here, house)


def registered(key="margin", **options):
    """Register a metric, which a refusal must not leave behind."""
    facts = {"title": "margin", "unit": "", "low": None, "high": None, "loss_like": False, "definition": "none"}
    return lambda h: sv.metric(key, **{**facts, **options})(lambda view: view.states.norm(dim=-1))


METRICS = [
    *(case(f"a key of {key!r}", registered(key), f"key={key!r}", "such as margin") for key in (3, "", "a b", "../x")),
    *(case(f"a key of {key!r}", registered(key), f"key={key!r}", "columns") for key in ("path", "nearest", "top1")),
    case("a key that is taken", registered("lens"), "'lens'", "another key"),
    case("a bound of text", registered(low="0"), "low='0'", "finite number"),
    case("a bound of NaN", registered(high=NAN), "high=nan", "finite number"),
]


@pytest.mark.parametrize("one", METRICS)
def test_metrics_that_are_none(one, house, here):
    refused(one, house.model, here, house)


@pytest.mark.parametrize("value", [None, 3.0, [1.0]], ids=repr)
def test_a_metric_that_returns_no_tensor(house, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sv.METRICS, "margin", replace(sv.METRICS["lens"], key="margin", function=lambda view: value))
        with pytest.raises(SemvizError, match=rf"'margin' returned {type(value).__name__}.*return one value"):
            traced(metrics="margin")(house)


SCOPES = [
    case("blocks are a number", lambda h: sv.Scope.of(h.model, 3), "blocks=3", "[3]"),
    case("blocks are None", lambda h: sv.Scope.of(h.model, None), "blocks=None"),
    case("blocks are a text", lambda h: sv.Scope.of(h.model, "34"), "blocks='34'"),
    case("no blocks", lambda h: sv.Scope.of(h.model, []), "no block"),
    case("blocks of two kinds", lambda h: sv.Scope.of(h.model, [1, "a"]), "'a'", "from 1 to 4"),
    case("blocks of lists", lambda h: sv.Scope.of(h.model, [[1]]), "[1]", "from 1 to 4"),
    case("a block of NaN", lambda h: sv.Scope.of(h.model, [NAN]), "nan", "from 1 to 4"),
    case("block 0", lambda h: sv.Scope.of(h.model, [0, 1]), "[0]", "from 1 to 4"),
    case("a block beyond the last", lambda h: sv.Scope.of(h.model, [5]), "blocks[0]=5", "from 1 to 4"),
    case("a boundary of NaN", lambda h: sv.Scope.above(h.model, NAN), "boundary=nan", "0 to 3"),
    case("the boundary that trains nothing", lambda h: sv.Scope.above(h.model, 4), "boundary=4", "0 to 3"),
    case("a scope of a name", lambda h: sv.Scope.full("demo"), "model='demo'", "load_model"),
    case("a trainer by number", lambda h: h.last.export(3), "3", "'peft'"),
    case("a trainer by list", lambda h: h.last.export(["peft"]), "['peft']", "'transformers'"),
    case("a gain's boundary by text", lambda h: h.gain.scope("3"), "boundary='3'", "0 to 3"),
    case("a gain's boundary of a fraction", lambda h: h.gain.scope(1.5), "boundary=1.5", "0 to 3"),
    case("a gain's boundary of True", lambda h: h.gain.theta_of(True), "boundary=True", "0 to 3"),
]


@pytest.mark.parametrize("one", SCOPES)
def test_scopes_that_are_none(one, house, here):
    kind = SemvizError if "scope of a name" in one.name else ScopeError
    refused(replace(one, kind=kind), house.model, here, house)


GAINS = [
    case("a metric by list", lambda h: h.trace.gain(["lens"]), "metric=['lens']", "'lens'"),
    case("a metric by number", lambda h: h.trace.gain(3), "metric=3", "'lens'"),
    case("a rule by list", lambda h: h.trace.gain(rule=["law"]), "rule=['law']", "'surplus'"),
    case("beta by text", lambda h: h.trace.gain(beta="x"), "beta='x'", "finite"),
    case("beta of NaN", lambda h: h.trace.gain(beta=NAN), "beta=nan", "finite"),
    case("a negative seed", lambda h: h.trace.gain(seed=-1), "seed=-1", "whole"),
    case("a seed by text", lambda h: h.trace.gain(seed="x"), "seed='x'", "whole"),
    case("theta by text", lambda h: h.gain.threshold("x"), "theta='x'", "between 0 and 1"),
    case("theta of None", lambda h: h.gain.threshold(None), "theta=None", "between 0 and 1"),
    case("theta of NaN", lambda h: h.gain.threshold(NAN), "theta=nan", "between 0 and 1"),
    case("epsilon by text", lambda h: h.gain.recommend(epsilon="x"), "epsilon='x'"),
    case("epsilon of NaN", lambda h: h.probes.recommend(epsilon=NAN), "epsilon=nan"),
    case("weight by text", lambda h: h.probes.recommend(weight="x"), "weight='x'"),
    case("epochs of a recommendation", lambda h: h.gain.recommend(epochs=0), "epochs=0", "positive"),
    case("evidence by list", lambda h: sv.recommend(h.model, h.task, evidence=["profile"]), "evidence=['profile']"),
]


@pytest.mark.parametrize("one", GAINS)
def test_gains_that_cannot_be_made(one, house, here):
    refused(one, house.model, here, house)


# Finetuning

SEEDS = [-1, 0.5, "0", None, True, NAN, 2**32]
RUNS = [
    *(case(f"a seed of {seed!r}", tuned(seed=seed), f"seed={seed!r}", "whole") for seed in SEEDS),
    *(
        case(f"epochs of {n!r}", tuned(epochs=n), f"epochs={n!r}", "positive")
        for n in (NAN, math.inf, "3", None, True, -1)
    ),
    *(
        case(f"rows a step of {n!r}", tuned(batch_size=n), f"batch_size={n!r}", "whole")
        for n in (2.5, "8", True, NAN, -3)
    ),
    *(
        case(f"a rate of {rate!r}"[:30], tuned(lr=rate), "lr=", "positive", "auto")
        for rate in (math.inf, True, None, 10**400, 0, [1e-3], NAN)
    ),
    case("a method by list", tuned(method=["lora"]), "method=['lora']", "'lora'"),
    case("a method of None", tuned(method=None), "method=None", "'lora'"),
    case("a scope by its name", tuned("last"), "scope='last'", "Scope"),
    case("a scope of blocks", tuned([3, 4]), "scope=[3, 4]", "Scope"),
    case("a scope of another depth", tuned(lambda h: sv.Scope.last(h.deeper)), "6 blocks", "4", kind=ScopeError),
    case("arguments by list", tuned(arguments=[("bf16", True)]), "arguments=[('bf16', True)]", "mapping"),
    case("arguments with a number for a name", tuned(arguments={3: 1}), "arguments", "3"),
    case("an argument of the wrong type", tuned(arguments={"max_grad_norm": "much"}), "arguments", "max_grad_norm"),
    case("callbacks that are none", tuned(callbacks=[3]), "callbacks[0]", "instance"),
    case("one callback for a list", tuned(callbacks=3), "callbacks=3", "list"),
    case("caching by a text", tuned(cache="no"), "cache='no'", "True or False"),
    case("checkpointing by a number", tuned(checkpointing=1), "checkpointing=1", "True or False"),
    case("no control", tuned(**BAD_CONTROL), "control=3", "Control"),
    case("a bench that is not an EncodedTask", tuned(bench=3), "bench", "EncodedTask"),
    case(
        "a bench of another task",
        lambda h: sv.finetune(h.model, h.task, bench=EncodedTask(h.model, h.stories, **QUIET), **QUICK),
        "bench",
        "EncodedTask",
    ),
    case("a model by its name", lambda h: sv.finetune("demo", h.task), "model='demo'", "load_model"),
    case("a task by its name", lambda h: sv.finetune(h.model, "mood"), "task='mood'", "load_task"),
    case("one scope", swept(lambda h: h.last), "scopes", "Scope", "[scope]"),
    case("scopes by name", swept(lambda h: ["last"]), "scopes[0]='last'", "Scope"),
    case("scopes by number", swept(lambda h: 3), "scopes=3"),
    case("methods as one text", swept(methods="full"), "methods='full'", "['full']"),
    case("an unknown method", swept(methods=["full", "dora"]), "methods[1]='dora'", "'lora'"),
    case("seeds as a number", swept(seeds=3), "seeds=3", "list"),
    case("seeds of fractions", swept(seeds=[0, 1.5]), "seeds[1]=1.5", "whole"),
    case("seeds of texts", swept(seeds=["0"]), "seeds[0]='0'", "whole"),
    case("no seeds, by an array", swept(seeds=np.array([], dtype=int)), "seeds", "empty"),
    case("a gain that is none", swept(gain=3), "gain=3", "Trace.gain"),
    case("a gain of a deeper model", swept(gain=SimpleNamespace(boundary=1, benefit=[0.0] * 7)), "gain", "Trace.gain"),
    case("a store by number", swept(store=3), "store=3", "folder"),
    case("a store with a null", swept(store="a\0b"), r"store='a\x00b'", "folder"),
    case("a store that is a file", swept(store=__file__), "test_bad_input.py", "folder"),
    case("epochs of a sweep", swept(epochs=0), "epochs=0", "positive"),
    case("the rate of a sweep", swept(lr=NAN), "lr=nan", "auto"),
    case("rows a step of a sweep", swept(batch_size=0), "batch_size=0", "whole"),
    case("probes at a number", lambda h: sv.probe(h.model, h.task, boundaries=3, **QUICK), "boundaries=3", "0"),
    case("probes at texts", lambda h: sv.probe(h.model, h.task, boundaries=[0, "2"], **QUICK), "boundaries[1]='2'"),
    case("probes at lists", lambda h: sv.probe(h.model, h.task, boundaries=[[0], 2], **QUICK), "boundaries[0]=[0]"),
    case("a budget of probes", lambda h: sv.probe(h.model, h.task, budget="soon", **QUICK), "budget='soon'", "10 min"),
    case("an executor that is none", swept(executor=3), "executor=3", "concurrent.futures.Executor"),
    case("an executor without a store", swept(executor=ThreadPoolExecutor(1)), "executor=", "store="),
    case("a budget of a sweep", lambda h: sv.sweep(h.model, h.task, budget=-1, **QUICK), "budget=-1", "10 min"),
    case("a budget of an answer", lambda h: sv.recommend(h.model, h.task, budget=[], **QUICK), "budget=[]", "10 min"),
    case("a plan's budget", lambda h: sv.plan(h.model, h.task, budget="5 km"), "'km'", "10 min"),
    case("a plan's scopes", lambda h: sv.plan(h.model, h.task, [3]), "scopes[0]=3", "Scope"),
    case("the seed of probes", lambda h: sv.probe(h.model, h.task, seed="x", **QUICK), "seed", "'x'", "whole"),
    case(
        "rows a step of a price",
        lambda h: sv.estimate_costs(h.model, h.task, batch_size=2.5),
        "batch_size=2.5",
        "whole",
    ),
    case("epochs of a price", lambda h: h.costs.of(h.last, epochs="3"), "epochs='3'", "positive"),
    case("a price of a name", lambda h: h.costs.of("last"), "scope='last'", "Scope"),
    case("sizes by text", lambda h: sv.baseline_scopes(h.model, h.task, "2", **QUIET), "size='2'", "whole"),
    case(
        "the seed of a baseline",
        lambda h: sv.baseline_scopes(h.model, h.task, 2, seed="x", **QUIET),
        "seed='x'",
        "whole",
    ),
    case("settings of NaN steps", lambda h: Settings(steps=NAN), "steps=nan", "whole"),
]


@pytest.mark.parametrize("one", RUNS)
def test_runs_that_cannot_train(one, house, here):
    refused(one, house.model, here, house)


RESULTS = [
    case("weights of another depth", lambda h: sv.load_run(h.deeper, h.run), "4 blocks", "6"),
    case("weights of another width", lambda h: sv.load_run(h.wider, h.run), "(64,", "(32,", "model"),
    case("no run", lambda h: sv.load_run(h.model, 3), "run=3", "finetune"),
    case("no model", lambda h: sv.load_run("demo", h.run), "model='demo'", "load_model"),
    case("runs of nothing", lambda h: sv.Runs((3,), zero_shot=0.5), "runs[0]=3", "finetune"),
    case(
        "runs of two tasks",
        lambda h: replace(h.runs, runs=(h.run, replace(h.run, task="other", task_hash="another"))),
        "'other'",
        "one task",
    ),
    case("a reference by number", lambda h: h.runs.compare(3), "3", "'full'"),
    case("a choice by text", lambda h: h.runs.regret(mine="x"), "mine='x'", "whole number"),
    case("a choice of True", lambda h: h.runs.regret(mine=True), "mine=True", "whole number"),
    case("probes of a text", lambda h: h.runs.probes("02"), "boundaries='02'"),
    case("probes that were not run", lambda h: h.runs.probes([0, 1]), "[1]", "[0, 2, 3]"),
    case("a trace of a run of a name", lambda h: replace(h.run, origin=None).trace("demo", h.task), "model='demo'"),
]


@pytest.mark.parametrize("one", RESULTS)
def test_results_that_do_not_fit(one, house, here):
    refused(one, house.model, here, house)


# Pictures and tables

NOT_NUMBERS = ["x", 1.5, True, -1, 10**30, NAN, [1]]
FIGURES = [
    *(case(f"sample {n!r}", lambda h, n=n: h.trace.token_heatmap(sample=n), f"sample={n!r}") for n in NOT_NUMBERS),
    *(case(f"boundary {n!r}", lambda h, n=n: h.trace.profile(boundary=n), f"boundary={n!r}") for n in NOT_NUMBERS),
    *(case(f"start {n!r}", lambda h, n=n: h.trace.token_heatmap(start=n), f"start={n!r}") for n in NOT_NUMBERS),
    *(case(f"limit {n!r}", lambda h, n=n: h.trace.sample_heatmap(limit=n), f"limit={n!r}") for n in ("x", 1.5, NAN)),
    *(case(f"labels of {n!r}", lambda h, n=n: h.trace.label_profile(sample=n), f"sample={n!r}") for n in NOT_NUMBERS),
    case("spaces by word", lambda h: h.trace.token_heatmap(spaces="most"), "spaces='most'", '"all"'),
    case("a space that is not there", lambda h: h.trace.sample_heatmap(spaces=[99]), "spaces has 99", '"all"'),
    case("words by word", lambda h: h.trace.token_heatmap(words="yes"), "words='yes'", "True"),
    *(case(f"map of {n!r}", lambda h, n=n: h.trace.transition_map(sample=n), f"sample={n!r}") for n in NOT_NUMBERS),
    *(
        case(f"map at {n!r}", lambda h, n=n: h.trace.transition_map(sample=0, position=n), f"osition={n!r}")
        for n in ("x", [1], -1, NAN)
    ),
    *(
        case(f"tokens of {n!r}", lambda h, n=n: h.trace.nearest_tokens(sample=n), f"sample={n!r}")
        for n in ("x", [1], NAN, -1)
    ),
    *(
        case(f"tokens at {n!r}", lambda h, n=n: h.trace.nearest_tokens(sample=0, position=n), f"position={n!r}")
        for n in ("x", [1], NAN)
    ),
    case("a metric by list", lambda h: h.trace.token_heatmap(metric=["lens"]), "metric=['lens']", "'lens'"),
    case("a metric that is a table", lambda h: h.trace.sample_heatmap(metric=FRAME), "metric=", "'lens'"),
    case("an order by list", lambda h: h.trace.sample_heatmap(order=["label"]), "order=['label']", "'cluster'"),
    case("an order by number", lambda h: h.trace.sample_heatmap(order=3), "order=3", "'cluster'"),
    case("metrics by number", lambda h: h.trace.profile(metrics=3), "metrics=3", "list"),
    case("metrics of numbers", lambda h: h.trace.profile(metrics=[3]), "metric=3", "'lens'"),
    case("no metrics", lambda h: h.trace.profile(metrics=[]), "metrics", "empty"),
    case("a profile's seed", lambda h: h.trace.profile_frame("lens", seed="x"), "seed='x'", "whole"),
    case("groups by number", lambda h: h.trace.by(3), "by=3", "'label'"),
    case("groups by list", lambda h: h.trace.by(["label"]), "by=['label']", "'label'"),
    case("a group that is not there", lambda h: h.trace.by("label").frame("x"), "metric='x'", "'lens'"),
    case("a gain's boundary", lambda h: h.gain.figure(boundary="x"), "boundary='x'", "0"),
    case("a mark by text", lambda h: h.runs.pareto(trainable="x"), "trainable='x'"),
    case("ranges by list", lambda h: h.runs.range_heatmap(method=["full"]), "['full']"),
    case("runs that are none", lambda h: h.probes.figure(runs=3), "runs=3", "sweep"),
]


@pytest.mark.parametrize("one", FIGURES)
def test_pictures_that_cannot_be_drawn(one, house, here):
    refused(one, house.model, here, house)


# Study, Explorer, report

STUDIES = [
    case("no model", lambda h: sv.Study("demo", h.task, **QUIET), "model='demo'", "load_model"),
    case("no task", lambda h: sv.Study(h.model, 3, **QUIET), "task=3", "load_task"),
    case("no trace", lambda h: sv.Study(h.model, h.task, trace=3, **QUIET), "trace=3", "sv.trace"),
    case("no samples", lambda h: sv.Study(h.model, h.task, samples=0, **QUIET), "samples=0", "at least 1"),
    case("a trace of another model", lambda h: sv.Study(h.deeper, h.task, trace=h.trace, **QUIET), "is of the model"),
    case("a trace of another task", lambda h: sv.Study(h.model, h.stories, trace=h.trace, **QUIET), "tiny mood"),
    case(
        "a store by number", lambda h: sv.Study(h.model, h.task, trace=h.trace, store=3, **QUIET), "store=3", "folder"
    ),
    case(
        "a store that is a file", lambda h: sv.Study(h.model, h.task, trace=h.trace, store=__file__, **QUIET), "store"
    ),
    case("freeze by text", lambda h: h.study.freeze("3"), "boundary='3'", "0 to 3"),
    case("freeze a fraction", lambda h: h.study.freeze(1.5), "boundary=1.5", "0 to 3"),
    case("freeze all", lambda h: h.study.freeze(4), "boundary=4", "0 to 3"),
    case("a threshold by text", lambda h: h.study.threshold("half"), "theta='half'", "between"),
    case("a setting that is none", lambda h: h.study.set(rate=3), "rate", "'lr'"),
    case("a setting of NaN", lambda h: h.study.set(lr=NAN), "lr=nan", "auto"),
    case("a sample by text", lambda h: h.study.open("3"), "sample='3'", "0 to"),
    case("a sample by fraction", lambda h: h.study.open(0.5), "sample=0.5", "0 to"),
    case("a token by text", lambda h: h.study.begin("x"), "start='x'", "0 to"),
    case("a point by text", lambda h: h.study.point("x", 1), "position='x'"),
    case("a space by text", lambda h: h.study.point(1, "x"), "space='x'"),
    case("a point by list", lambda h: h.study.point([1], 1), "position=[1]"),
    case("a text that is a number", lambda h: h.study.read(3), "text", "int 3", kind=TaskError),
    case("a text with a surrogate", lambda h: h.study.read(SURROGATE), "text", "surrogate", kind=TaskError),
    case("a metric by list", lambda h: h.study.show(metric=["lens"]), "metric=['lens']"),
    case("an order by list", lambda h: h.study.show(order=["label"]), "order=['label']"),
    case("a preset by list", lambda h: h.study.preset(["full"]), "['full']", "'half'"),
    case("a run that is not there", lambda h: h.study.restore(3), "3", "finetune"),
    case("a vocabulary", lambda h: h.study.compare_with("x"), "vocab='x'", "'labels'"),
    case("another task", lambda h: h.study.choose("moods"), "'moods'", "'mood'"),
    case("another task by number", lambda h: h.study.choose(3), "task=3", "load_task"),
    case("an observer that is none", lambda h: h.study.observe(3), "observer=3", "function"),
    case("an Explorer of a number", lambda h: sv.Explorer(study=3), "study=3", "Study"),
    case("an Explorer of a name", lambda h: sv.Explorer("demo", h.task, **QUIET), "model='demo'", "load_model"),
]


@pytest.mark.parametrize("one", STUDIES)
def test_studies_that_cannot_be(one, house, here):
    before = (house.study.boundary, house.study.theta, house.study.settings, house.study.sample, house.study.job)
    refused(one, house.model, here, house)
    assert before == (
        house.study.boundary, house.study.theta, house.study.settings, house.study.sample, house.study.job
    )  # fmt: skip


def reported(**changed):
    def call(h):
        given = {"trace": h.trace, "gain": h.gain, "runs": h.runs, **changed}
        return sv.write_report(given.pop("path", "report.html"), **given)

    return call


REPORTS = [
    case("a path by number", reported(path=3), "path=3", "file"),
    case("an empty path", reported(path=""), "path=''", "file"),
    case("a path with a null", reported(path="a\0.html"), "path=", "file"),
    case("a path in a file", reported(path=f"{__file__}/report.html"), "path=", "folder"),
    case("no trace", reported(trace=3), "trace=3", "sv.trace"),
    case("no gain", reported(gain=None), "gain=None", "Trace.gain"),
    case("no runs", reported(runs=[1]), "runs=[1]", "sweep"),
    case("no probes", reported(probes=3), "probes=3", "probe"),
    case("a title by number", reported(title=3), "title=3", "text"),
]


@pytest.mark.parametrize("one", REPORTS)
def test_reports_that_cannot_be_written(one, house, here):
    refused(one, house.model, here, house)


# Models and tokenizers that do not fit each other


def taught(*words, **options):
    """The word tokenizer with more words, which the tiny model has no embeddings for."""
    tokenizer = word_tokenizer()
    tokenizer.add_tokens(list(words))
    return sv.load_model((tiny_llama(**options), tokenizer), general_text=plain_text())


def worded(animal="zebra", **changed):
    texts = [f"{animal if i % 7 == 3 else 'the cat'} was {('good', 'bad')[i % 2]}" for i in range(40)]
    return sv.Task.from_texts(texts, [("yes", "no")[i % 2] for i in range(40)], prompt="{text} mood :", **changed)


STRANGERS = [
    case("a text's token has no embedding", lambda h: worded(), "'zebra'", "55", "resize_token_embeddings"),
    case(
        "a label's token has no logit",
        lambda h: worded("dog", words={"yes": "quagga", "no": "bad"}),
        "'quagga'",
        "resize",
    ),
]


@pytest.mark.parametrize("one", STRANGERS)
def test_a_tokenizer_that_knows_more_than_the_model(one, here):
    model = taught("zebra", "quagga")
    for use in (sv.trace, sv.finetune, sv.sweep, sv.plan, sv.estimate_costs, sv.Study):
        quiet = {} if use in (sv.plan, sv.estimate_costs) else QUIET
        refused(replace(one, call=lambda _, use=use, quiet=quiet: use(model, one.call(_), **quiet)), model, here)


def test_general_text_that_the_model_has_no_embeddings_for(here):
    tokenizer = word_tokenizer()
    tokenizer.add_tokens(["zebra"])
    model = sv.load_model((tiny_llama(), tokenizer), general_text=["the zebra sat"] * 40)
    calibrating = case("", lambda h: sv.calibrate(model, **QUIET), "'zebra'", "embeddings", kind=TaskError).values[0]
    refused(calibrating, model, here)


def test_a_tokenizer_with_more_words_than_are_used_is_fine(house):
    model = taught("zebra", "<image>")
    found = sv.trace(model, house.task, **QUIET)
    np.testing.assert_array_equal(found.values["lens"], sv.trace(house.model, house.task, **QUIET).values["lens"])


def test_a_padding_token_without_an_embedding_is_never_read(house):
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    model = sv.load_model((tiny_llama(), tokenizer), general_text=plain_text())
    assert tokenizer.pad_token_id >= len(model.model.get_input_embeddings().weight)
    assert pad_id(model) == 0
    ragged = sv.Task.from_texts([line[: 20 + 3 * i] for i, line in enumerate(plain_text(20))])
    assert np.isfinite(sv.finetune(model, ragged, **QUICK).loss)


def test_no_padding_token_and_no_chat_template_are_fine(house):
    tokenizer = word_tokenizer()
    tokenizer.pad_token = None
    assert tokenizer.chat_template is None
    model = sv.load_model((tiny_llama(), tokenizer), general_text=plain_text())
    ragged = sv.Task.from_texts([line[: 20 + 3 * i] for i, line in enumerate(plain_text(20))])
    assert np.isfinite(sv.finetune(model, ragged, **QUICK).loss)


# Quantized models


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32], ids=str)
@pytest.mark.parametrize("method", ["full", "lisa"])
def test_quantized_weights_do_not_train(house, here, dtype, method):
    model = quantized(dtype)
    words = (str(dtype), "quantized", "lora")
    for name, call in (
        ("finetune", lambda h: sv.finetune(model, h.task, method=method, **QUICK)),
        ("apply", lambda h: sv.Scope.last(model).apply(model).__enter__()),
    ):
        refused(case(name, lambda _, call=call: call(house), *words, kind=ScopeError).values[0], model, here)


def test_a_quantized_model_traces_and_trains_where_it_is_whole(house):
    network = tiny_llama()
    network.model.layers[0].mlp.up_proj = Ints(network.model.layers[0].mlp.up_proj, torch.uint8)
    model = sv.load_model((network, word_tokenizer()), general_text=plain_text())
    assert np.isfinite(sv.trace(model, house.task, metrics="lens", **QUIET).values["lens"][:, -1]).all()
    run = sv.finetune(model, house.task, sv.Scope.last(model), **QUICK)
    assert np.isfinite(run.loss)


# What looks bad and is legal


def bytewise(*, blocks=2):
    """A model that reads bytes, so that any text at all has tokens of its own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({c: i for i, c in enumerate(["<pad>", "<eos>", *alphabet])}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
    network = tiny_llama(blocks=blocks, vocab_size=len(tokenizer), max_position_embeddings=256)
    return sv.load_model((network, tokenizer), general_text=plain_text())


ODD = {
    "one token": "a",
    "a control character": "a\x00\x07\x1b[31mred",
    "an override": "a\u202eb\u2066c\u200f",
    "a byte order mark": "\ufeffa",
    "line ends": "a\r\n\u2028\u2029\x85b",
    "joined emoji": "👩🏽‍👩🏽‍👧🏽 🇩🇪",
    "piled accents": "e" + "\u0301" * 40,
    "private use": "\ue000\U0010fffd",
    "tags and formulas": "<b>$x$ & <script>",
    "a field of format": "{0} {text} %s {",
}


@pytest.fixture(scope="module")
def reader():
    return bytewise()


@pytest.mark.parametrize("name", ODD)
def test_odd_texts_are_read_with_finite_numbers_and_visible_tokens(reader, name, tmp_path):
    texts = [ODD[name], *plain_text(5)]
    task = sv.Task.from_texts(texts, ["y", "n"] * 3, prompt="{text}:\n", name=ODD[name], test=(texts, ["y", "n"] * 3))
    trace = sv.trace(reader, task, split="test", detail=6, **QUIET)
    assert all(np.isfinite(values[trace.counted]).all() for values in trace.values.values())
    figure = trace.token_heatmap(sample=0)
    drawn = [text for axis in (figure.layout.xaxis,) for text in axis.ticktext or ()]
    assert drawn
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and ord(c) != 0x200D for t in drawn for c in t), drawn
    for text in (repr(trace), repr(task), trace._repr_html_(), task._repr_html_()):
        assert text
    back = sv.Trace.load(trace.save(tmp_path / "odd.parquet"))
    assert back.vocabulary == trace.vocabulary
    assert back.positions.equals(trace.positions)


def test_a_text_of_one_token_among_others_trains(reader):
    task = sv.Task.from_texts(["a", "b", *plain_text(10)], name="short")
    assert np.isfinite(sv.finetune(reader, task, **QUICK).loss)


def test_a_text_of_a_hundred_thousand_tokens(reader, here):
    huge = "ab c" * 25_000
    task = sv.Task.from_texts([huge, *plain_text(5)], ["y", "n"] * 3, prompt="{text}:\n")
    one = case("", lambda _: sv.trace(reader, task, **QUIET), "100,00", "max_tokens=", kind=TaskError).values[0]
    for split in ("train", "validation", "test"):
        if huge in task.split(split).texts:
            refused(
                replace(one, call=lambda _, split=split: sv.trace(reader, task, split=split, **QUIET)), reader, here
            )
    cut = sv.Task.from_texts([huge, *plain_text(5)], ["y", "n"] * 3, prompt="{text}:\n", max_tokens=32)
    for split in ("train", "validation", "test"):
        trace = sv.trace(reader, cut, split=split, **QUIET)
        assert np.isfinite(trace.values["lens"][trace.counted]).all()
    assert len(short_label(huge)) <= 12


def test_numbers_of_numpy_are_numbers(house):
    runs = [
        sv.finetune(house.model, house.task, house.last, **{**QUICK, **options})
        for options in (
            {"seed": 1, "batch_size": 16, "lr": 0.5, "epochs": 1},
            {"seed": np.int64(1), "batch_size": np.int32(16), "lr": np.float32(0.5), "epochs": np.float64(1)},
        )
    ]
    assert runs[0].key == runs[1].key
    assert Settings(steps=np.int64(3), lr=np.float32(0.5), seed=np.uint8(1)) == Settings(steps=3, lr=0.5, seed=1)
    assert sv.Scope.of(house.model, np.array([3, 4])) == sv.Scope.half(house.model)
    assert len(sv.trace(house.model, house.task, samples=np.int64(5), **QUIET).positions["sample"].unique()) == 5


def test_iterators_are_lists_that_are_read_once(house):
    task = sv.Task.from_texts(iter(TEXTS), iter(LABELS), test=(iter(TEXTS), iter(LABELS)))
    assert task.hash == sv.Task.from_texts(TEXTS, LABELS, test=(TEXTS, LABELS)).hash
    scopes = (scope for scope in (house.full, house.last))
    runs = sv.sweep(house.model, house.task, scopes, methods=iter(["full"]), seeds=(s for s in (0, 1)), **QUICK)
    assert len(runs) == 4
