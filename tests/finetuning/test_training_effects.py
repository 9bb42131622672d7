"""Arguments of Trainer that change what a training computes do so as their papers and transformers say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import WORDS
from torch.nn.functional import cross_entropy
from transformers.trainer_pt_utils import LabelSmoother

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.finetuning import suffix_trainer
from semviz.finetuning.compiling import compile_blocks
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.suffix_model import Suffix

QUICK = {"lr": 3e-3, "epochs": 1, "batch_size": 8, "progress": False}


@pytest.fixture
def batch(tiny, mood):
    encoded_task = EncodedTask(tiny, mood, progress=False)
    part = encoded_task.part("train", 0)
    return encoded_task.collator(part)([0, 1, 2])


def test_labels_are_smoothed_as_transformers_smooths_them(tiny, batch):
    suffix = Suffix(tiny, sv.Scope.half(tiny), cached=False).train()
    suffix.label_smoothing = 0.2
    found = suffix(**batch)
    targets = batch["labels"][batch["labels"] != -100]
    expected = LabelSmoother(epsilon=0.2)({"logits": found["logits"]}, targets)
    assert float(found["loss"].detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert float(suffix.eval()(**batch)["loss"]) == pytest.approx(
        float(cross_entropy(found["logits"], targets).detach()), rel=1e-6
    )


def test_noise_on_embeddings_is_uniform_and_within_its_bound(tiny, batch):
    suffix = Suffix(tiny, sv.Scope.half(tiny), cached=False).train()
    suffix.add_noise(3.0)
    seen = []
    suffix.network.get_input_embeddings().register_forward_hook(lambda module, args, output: seen.append(output))
    ids = batch["input_ids"]
    for training in (True, True, False):
        suffix.train(training)
        suffix(**batch)
    clean = tiny.model.get_input_embeddings()(ids)
    bound = 3.0 / (ids.shape[1] * clean.shape[-1]) ** 0.5
    noise = seen[-3] - clean
    assert 0.95 * bound < float(noise.abs().max()) <= bound * 1.001
    assert float(noise.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert not torch.equal(seen[-3], seen[-2])  # drawn anew
    assert torch.equal(seen[-1], clean)  # not where it is scored


@pytest.mark.brings(
    "Arguments",
    "`neftune_noise_alpha`",
    "trains without the cached prefix, and says so",
)
def test_noise_reaches_what_trains_through_the_frozen_blocks(tiny, mood):
    arguments = {"neftune_noise_alpha": 20.0}
    noisy, plain = (sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments=a, **QUICK) for a in (arguments, {}))
    assert plain.cached
    assert not noisy.cached
    assert noisy.note.startswith("The prefix was not cached: neftune_noise_alpha")
    assert noisy.curve["loss"][0] != plain.curve["loss"][0]
    with pytest.raises(SemvizError, match="cache=False"):
        Suffix(tiny, sv.Scope.last(tiny), cached=True).add_noise(1.0)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_grouped_rows_are_of_about_one_length_and_each_is_read_once(tiny, accumulated, monkeypatch):
    texts = [" ".join(WORDS[(i + 7 * j) % 40] for j in range(2 + i % 9)) for i in range(80)]
    task = sv.Task.from_texts(texts, ["yes" if i % 3 else "no" for i in range(80)], prompt="{text} mood :", name="odd")
    samplers = []
    monkeypatch.setattr(
        suffix_trainer, "_GroupedByLength", lambda *args: samplers.append(grouped(*args)) or samplers[-1]
    )
    arguments = {"train_sampling_strategy": "group_by_length", "gradient_accumulation_steps": accumulated}
    sv.finetune(tiny, task, sv.Scope.last(tiny), arguments=arguments, **{**QUICK, "batch_size": 2})
    (sampler,) = samplers
    lengths = EncodedTask(tiny, task, progress=False).part("train", 0).encoded.ids.lengths
    epochs = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert all(sorted(order) == list(range(len(lengths))) for order in epochs)
    assert epochs[0] == epochs[2] != epochs[1]
    spread = np.abs(np.diff(lengths[epochs[0]].reshape(-1, 2)))
    assert spread.mean() < 1 < np.abs(np.diff(lengths.reshape(-1, 2))).mean()


grouped = suffix_trainer._GroupedByLength


def test_blocks_are_compiled_by_the_backend_that_is_named(tiny, mood):
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.register_backend(counting, name="counting")
    plain = sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)
    compiled = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments={"torch_compile_backend": "counting"}, **QUICK)
    assert len(graphs) > 1  # beside the one that tries it
    assert compiled.note == ""
    assert max(float((plain.weights[n] - compiled.weights[n]).abs().max()) for n in plain.weights) < 1e-5


def test_where_no_compiler_works_the_run_says_so_and_trains(tiny, mood):
    def broken(graph, inputs):
        raise RuntimeError("No working C++ compiler found")

    torch._dynamo.register_backend(broken, name="broken")
    plain = sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments={"torch_compile_backend": "broken"}, **QUICK)
    assert run.note.startswith("Its blocks were not compiled: ")
    assert "No working C++ compiler found" in run.note
    assert run.loss == plain.loss


def test_nothing_is_compiled_unless_asked(tiny):
    suffix = Suffix(tiny, sv.Scope.half(tiny), cached=False)
    assert compile_blocks(suffix, {"torch_compile": False}) == ""
    assert all(block._compiled_call_impl is None for block in suffix.trained)
