"""`run.predictions`, `run.confusion` and `run.samples`: what a model says before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small import mood_task, plain_text, tiny_llama, word_tokenizer
from transformers import GenerationConfig

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.experiments.run_store import Store

QUICK = {"epochs": 2, "batch_size": 8, "lr": 1e-2, "progress": False}
COLUMNS = [
    "row", "text", "label", "prediction", "probability", "label_probability", "prediction_before",
    "label_probability_before", "right_before", "right",
]  # fmt: skip


@pytest.fixture
def run(tiny, mood):
    return sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)


def two_words():
    """Label words that begin alike, so that they are scored whole."""
    mood = mood_task()
    parts = {name: mood.split(name) for name in ("train", "validation", "test")}

    def of(name):
        return list(parts[name].texts), [("very good", "very bad")[label] for label in parts[name].labels]

    return sv.Task.from_texts(
        *of("train"), prompt="{text} mood :", validation=of("validation"), test=of("test"), name="whole words"
    )


@pytest.mark.parametrize("split", ["test", "validation", "train"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("task", [mood_task, two_words])
@pytest.mark.brings(
    "What comes out",
    "`run.predictions()`",
    "a table of rows before and after, with exactly the measured hits",
)
def test_predictions_are_those_that_were_measured(tiny, task, method, split):
    task = task()
    run = sv.finetune(tiny, task, sv.Scope.half(tiny), method=method, **QUICK)
    found = run.predictions(split=split, progress=False)
    assert list(found) == COLUMNS
    part = task.split(split)
    assert found["text"].tolist() == list(part.texts)
    assert found["row"].tolist() == list(range(len(part)))
    assert found["label"].tolist() == [task.labels[i] for i in part.labels]
    assert (found["right"] == (found["prediction"] == found["label"])).all()
    assert (found["right_before"] == (found["prediction_before"] == found["label"])).all()
    assert found["probability"].between(1 / len(task.labels), 1).all()
    right = found["right"]
    assert (found["probability"][right] == found["label_probability"][right]).all()
    if split == "test":
        assert found["right"].astype(float).tolist() == list(run.rows)
        assert found["right"].mean() == run.accuracy
    if split == "validation":
        assert found["right"].mean() == run.validation
        before = sv.finetuning.finetune.zero_shot(sv.finetuning.encoded_task.EncodedTask(tiny, task), "validation")
        assert found["right_before"].mean() == before.accuracy


def test_probabilities_are_those_of_the_models_own_logits(tiny, mood, run):
    found = run.predictions(progress=False)
    words = [tiny.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in mood.words]
    for model, column in ((tiny, "label_probability_before"), (run.model(), "label_probability")):
        for row in (0, 5):
            prompt = mood.prompt.replace("{text}", found["text"][row])
            with torch.no_grad():
                logits = model.model(**tiny.tokenizer(prompt, return_tensors="pt")).logits[0, -1]
            probabilities = logits[words].double().softmax(-1)
            assert found[column][row] == pytest.approx(
                float(probabilities[mood.labels.index(found["label"][row])]), rel=1e-4
            )


@pytest.mark.parametrize("cache", [True, False])
def test_half_precision_gives_the_measured_rows(mood, cache, tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    model = sv.load_model(tmp_path, tokenizer=word_tokenizer(), dtype="bf16", general_text=plain_text())
    for scope in (sv.Scope.half(model), sv.Scope.above(model, 3, head=True)):
        run = sv.finetune(model, mood, scope, cache=cache, **QUICK)
        assert run.predictions(progress=False)["right"].astype(float).tolist() == list(run.rows)


def test_texts_have_the_loss_that_was_measured(tiny):
    texts = [" ".join(line.split()[: 1 + i % 8]) for i, line in enumerate(plain_text(40))]  # some of one token
    task = sv.Task.from_texts(texts, test=["cat", *plain_text(9), "the"], name="tiny stories")
    tiny.tokenizer.backend_tokenizer.post_processor = None  # no <bos>: a text of one token has nothing to predict
    run = sv.finetune(tiny, task, sv.Scope.half(tiny), **QUICK)
    found = run.predictions(progress=False)
    assert list(found) == ["row", "text", "target", "loss_before", "loss", "improvement"]
    assert found["row"].tolist() == list(range(1, 10))
    assert found["loss"].mean() == run.loss
    assert found["loss"].tolist() == list(run.rows)
    assert (found["improvement"] == found["loss_before"] - found["loss"]).all()
    assert found["improvement"].mean() > 0
    assert found["target"][0] == " ".join(found["text"][0].split()[1:])


def test_a_stored_run_needs_model_and_task(tmp_path, tiny, mood, run):
    store = Store(tmp_path)
    store.add(run)
    stored = store.find(run.key)
    for call in (stored.predictions, stored.confusion, stored.samples):
        with pytest.raises(SemvizError, match=r"read from a file; pass the model and the task .*model=, task="):
            call(model=tiny)
    pd.testing.assert_frame_equal(
        stored.predictions(model=tiny, task=mood, progress=False), run.predictions(progress=False)
    )
    other = sv.load_model((tiny_llama(seed=1), word_tokenizer()), general_text=plain_text())
    with pytest.raises(SemvizError, match="pass the model that the run was made with"):
        stored.predictions(model=other, task=mood)
    wrong = sv.Task.from_texts(list(mood.split("train").texts), [str(i % 2) for i in range(len(mood.split("train")))])
    with pytest.raises(SemvizError, match=r"The run is of the task .* pass the task that it was made with"):
        stored.predictions(model=tiny, task=wrong)
    few = stored.predictions(model=tiny, task=mood.subset(test=3), progress=False)
    assert len(few) == 3


def test_a_run_that_kept_nothing_and_splits_that_are_none(tiny, mood, run):
    bare = sv.finetune(tiny, mood, sv.Scope.last(tiny), keep_weights=False, **QUICK)
    for call in (bare.predictions, bare.confusion, lambda: bare.samples(prompts=["the"])):
        with pytest.raises(SemvizError, match="kept no weights"):
            call()
    with pytest.raises(SemvizError, match="split='dev' is unknown"):
        run.predictions(split="dev")


def test_confusion_counts_every_pair(run, mood):
    found, counts = run.predictions(progress=False), run.confusion(progress=False)
    assert counts.index.tolist() == counts.columns.tolist() == list(mood.labels)
    assert (counts.index.name, counts.columns.name) == ("label", "prediction")
    for label in mood.labels:
        for guess in mood.labels:
            pairs = (found["label"] == label) & (found["prediction"] == guess)
            assert counts.loc[label, guess] == pairs.sum()
    assert np.trace(counts.to_numpy()) / counts.to_numpy().sum() == run.accuracy


def test_labels_that_no_row_has_are_counted_as_nought(tiny, mood):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), **QUICK)
    rows = [i for i, label in enumerate(mood.split("test").labels) if label == 0]
    task = replace(mood, splits={**mood.splits, "test": mood.split("test").take(rows)}, whole=mood.hash)
    counts = run.confusion(task=task, progress=False)
    assert counts.shape == (2, 2)
    assert counts.iloc[1].tolist() == [0, 0]


def test_confusion_is_for_labels(tiny, stories):
    run = sv.finetune(tiny, stories, sv.Scope.last(tiny), **QUICK)
    with pytest.raises(SemvizError, match=r"no labels that could be confused; run\.predictions\(\)"):
        run.confusion()


# Samples


def greedy(model, text, new):
    inputs = model.tokenizer(text, return_tensors="pt")
    config = GenerationConfig(max_new_tokens=new, do_sample=False, eos_token_id=3, pad_token_id=0)
    written = model.model.generate(**inputs, generation_config=config)
    return model.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_samples_are_what_the_models_write(tiny, stories):
    run = sv.finetune(tiny, stories, sv.Scope.half(tiny), **{**QUICK, "lr": 3e-2})
    tiny.model.train()
    settings, state = tiny.model.generation_config.to_dict(), tiny.hash
    found = run.samples(3, max_new_tokens=6, progress=False)
    assert tiny.model.training
    assert (tiny.model.generation_config.to_dict(), tiny.hash) == (settings, state)
    tiny.model.eval()
    assert list(found) == ["prompt", "before", "after"]
    assert len(found) == 3
    texts = stories.split("test").texts
    for prompt, before, after in found.itertuples(index=False):
        assert any(text.startswith(prompt) and text != prompt for text in texts)
        assert 1 <= len(prompt.split()) <= 8
        assert before == greedy(tiny, prompt, 6)
        assert after == greedy(run.model(), prompt, 6)
    assert (found["before"] != found["after"]).any()


def test_prompts_of_ones_own_work_for_any_task(run, tiny):
    with pytest.raises(SemvizError, match=r"asks for labels .*run\.predictions\(\).*prompts="):
        run.samples()
    found = run.samples(prompts=["the cat was", "the dog"], max_new_tokens=4, progress=False)
    assert found["prompt"].tolist() == ["the cat was", "the dog"]
    bare = replace(run, origin=None)
    again = bare.samples(prompts=["the cat was", "the dog"], max_new_tokens=4, model=tiny, progress=False)
    pd.testing.assert_frame_equal(found, again)


def test_drawn_samples_follow_the_seed_alone(run):
    def drawn(seed):
        return run.samples(prompts=["the cat"], temperature=1.0, seed=seed, max_new_tokens=20, progress=False)

    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = drawn(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    pd.testing.assert_frame_equal(drawn(1), first)
    assert drawn(2)["after"].tolist() != first["after"].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0; pass a whole number of at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"temperature": -1}, "temperature=-1; pass 0 for the likeliest"),
        ({"seed": -1}, "seed=-1"),
        ({"prompts": []}, "prompts is empty"),
        ({"prompts": "the"}, "pass a list of texts"),
        ({"prompts": ["the " * 80]}, "has 81 tokens; pass one of 1 to 63"),
        ({"progress": "no"}, "progress="),
    ],
)
def test_samples_that_cannot_be_made(run, options, message):
    with pytest.raises(SemvizError, match=message):
        run.samples(**{"prompts": ["the"], **options})
