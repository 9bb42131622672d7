from __future__ import annotations

import dataclasses

import datasets
import numpy as np
import pandas as pd
import pytest
from small import mood_task, word_tokenizer

import semviz as sv
from semviz.common.errors import TaskError
from semviz.tasks.tokenizing import NO_TARGET, encode

TEXTS = ["the cat was good", "the dog was bad", "the bird was good", "the tree was bad"] * 5
LABELS = ["yes", "no"] * 10


def test_answer_targets_the_label_word_at_the_last_position(tiny):
    task = sv.Task.from_texts(TEXTS, LABELS, prompt="{text} mood :")
    encoded = encode(tiny, task, "train")
    tokenizer = tiny.tokenizer
    for row in range(len(encoded)):
        words = tokenizer.convert_ids_to_tokens(encoded.ids[row].tolist())
        assert words[0] == "<bos>"
        assert words[-2:] == ["mood", ":"]
        expected = "yes" if "good" in words else "no"
        assert tokenizer.convert_ids_to_tokens([encoded.targets[row][-1]]) == [expected]
        assert encoded.counted[row].nonzero()[0].tolist() == [len(words) - 1]
        np.testing.assert_array_equal(encoded.targets[row][:-1], encoded.ids[row][1:])


def test_next_targets_every_next_token(tiny):
    encoded = encode(tiny, sv.Task.from_texts(TEXTS), "train")
    np.testing.assert_array_equal(encoded.targets[0][:-1], encoded.ids[0][1:])
    assert encoded.targets[0][-1] == NO_TARGET
    np.testing.assert_array_equal(encoded.counted[0], [False, True, True, True, False])
    assert (encoded.labels == -1).all()


def test_splits_are_disjoint_and_the_same_twice():
    texts = [f"the cat {i}" for i in range(100)]
    one, two = (sv.Task.from_texts(texts) for _ in range(2))
    assert one.hash == two.hash
    parts = [set(one.split(name).texts) for name in ("train", "validation", "test")]
    assert sum(len(p) for p in parts) == 100
    assert set.union(*parts) == set(texts)


def test_hash_changes_with_any_label():
    other = [*LABELS[:-1], "yes"]
    assert sv.Task.from_texts(TEXTS, LABELS).hash != sv.Task.from_texts(TEXTS, other).hash


def test_braces_in_texts_are_texts(tiny):
    task = sv.Task.from_texts(["{x} {text} cat"] * 8, ["yes", "no"] * 4, prompt="{text} mood :")
    assert len(encode(tiny, task, "train")) > 0


def test_words_stand_for_labels(tiny):
    task = sv.Task.from_texts(TEXTS, ["1", "0"] * 10, prompt="{text} mood :", words={"1": "good", "0": "bad"})
    encoded = encode(tiny, task, "train")
    assert tiny.tokenizer.convert_ids_to_tokens(encoded.label_ids.tolist()) == ["bad", "good"]


def test_long_texts_are_refused_or_cut_on_request(tiny):
    long = [" ".join(["cat"] * 100)] * 8
    with pytest.raises(TaskError, match="max_tokens"):
        encode(tiny, sv.Task.from_texts(long), "train")
    cut = encode(tiny, sv.Task.from_texts(long, max_tokens=20), "train")
    assert {len(ids) for ids in cut.ids} == {20}
    task = sv.Task.from_texts(long, ["yes", "no"] * 4, prompt="{text} mood :", max_tokens=20)
    for ids in encode(tiny, task, "train").ids:
        assert len(ids) <= 20
        assert tiny.tokenizer.convert_ids_to_tokens(ids.tolist())[-2:] == ["mood", ":"]
    with pytest.raises(TaskError, match="no room"):
        encode(tiny, sv.Task.from_texts(long, ["yes", "no"] * 4, prompt="{text} mood :", max_tokens=3), "train")


def test_from_frame_and_from_dataset_agree_with_from_texts():
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS})
    expected = sv.Task.from_texts(TEXTS, LABELS, prompt="{text} mood :")
    assert sv.Task.from_frame(frame, label="label", prompt="{text} mood :").hash == expected.hash
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"]))
    data = datasets.Dataset.from_dict({"text": TEXTS, "label": [1, 0] * 10}, features=features)
    assert sv.Task.from_dataset(data, label="label", prompt="{text} mood :").hash == expected.hash
    both = datasets.DatasetDict(train=data, test=data.select(range(4)))
    assert len(sv.Task.from_dataset(both, label="label").split("test")) == 4


def test_a_validation_split_that_is_given_is_used_and_no_training_row_is_cut_out():
    texts, labels = [f"text {i}" for i in range(40)], ["a", "b"] * 20
    apart = {"test": (["t1", "t2"], ["a", "b"]), "validation": (["v1", "v2", "v3"], ["a", "b", "a"])}
    task = sv.Task.from_texts(texts, labels, **apart)
    assert task.split("train").texts == tuple(texts)
    assert task.split("validation").texts == ("v1", "v2", "v3")
    assert task.split("validation").labels == (0, 1, 0)
    frames = {name: pd.DataFrame({"text": t, "label": y}) for name, (t, y) in apart.items()}
    frame = pd.DataFrame({"text": texts, "label": labels})
    assert sv.Task.from_frame(frame, label="label", **frames).hash == task.hash
    parts = {name: datasets.Dataset.from_pandas(each) for name, each in {"train": frame, **frames}.items()}
    assert sv.Task.from_dataset(datasets.DatasetDict(parts), label="label").hash == task.hash
    del parts["test"]
    only = sv.Task.from_dataset(datasets.DatasetDict(parts), label="label")
    assert only.split("test").texts == ("v1", "v2", "v3")
    assert len(only.split("validation")) == 6
    plain = sv.Task.from_texts(texts, validation=["one", "two"])
    assert plain.split("validation").texts == ("one", "two")
    assert len(plain.split("train")) + len(plain.split("test")) == 40
    for bad in (["v1"], (["v1"], ["c"]), (["v1", "v2"], ["a"])):
        with pytest.raises(TaskError, match="validation"):
            sv.Task.from_texts(texts, labels, validation=bad)


def test_subset_keeps_the_rest():
    task = sv.Task.from_texts([f"the cat {i}" for i in range(100)])
    small = task.subset(train=10, test=5)
    assert (len(small.split("train")), len(small.split("test"))) == (10, 5)
    assert set(small.split("train").texts) <= set(task.split("train").texts)
    assert small.split("validation") == task.split("validation")


@pytest.mark.parametrize(
    ("texts", "labels", "options", "message"),
    [
        ([], None, {}, "empty"),
        ("one text", None, {}, "list of texts"),
        (["a", 3, "b", "c"], None, {}, r"texts\[1\] is int"),
        (["a", None, "b", "c"], None, {}, r"texts\[1\] is NoneType"),
        (["a", "  ", "b", "c"], None, {}, r"texts\[1\] is empty"),
        (["a", "\ud800", "b", "c"], None, {}, "surrogate"),
        (["a", "b"], None, {}, "at least 4"),
        (TEXTS, LABELS[:-1], {}, "20 texts and 19 labels"),
        (TEXTS, ["yes"] * 20, {}, "at least two"),
        (TEXTS, LABELS, {"prompt": "mood"}, r"\{text\}"),
        (TEXTS, LABELS, {"words": {"yes": "good"}}, "one word for each label"),
        (TEXTS, LABELS, {"test": (["a"], ["maybe"])}, "maybe"),
        (TEXTS, LABELS, {"test": ["a", "b", "c"]}, "pair"),
        (TEXTS, None, {"max_tokens": 1}, "max_tokens"),
    ],
)
def test_bad_input_says_what_to_pass(texts, labels, options, message):
    with pytest.raises(TaskError, match=message):
        sv.Task.from_texts(texts, labels, **options)


def test_missing_columns_name_those_there_are():
    with pytest.raises(TaskError, match="'body'"):
        sv.Task.from_frame(pd.DataFrame({"body": TEXTS}))


def test_unknown_tasks_and_splits_name_those_there_are():
    with pytest.raises(TaskError, match="mood"):
        sv.load_task("moods")
    with pytest.raises(TaskError, match="train"):
        sv.Task.from_texts(TEXTS).split("dev")


def test_label_words_that_share_their_first_token_are_read_whole(tiny):
    task = sv.Task.from_texts(TEXTS, LABELS, prompt="{text} mood :", words={"yes": "good cat", "no": "good dog"})
    encoded = encode(tiny, task, "train")
    assert encoded.whole_words
    for row, label in enumerate(task.split("train").labels):
        words = tiny.tokenizer.convert_ids_to_tokens(encoded.ids[row].tolist())
        assert words[-3:] == ["mood", ":", "good"]
        targets = tiny.tokenizer.convert_ids_to_tokens(encoded.targets[row][-2:].tolist())
        assert targets == ["good", ("dog", "cat")[label]]
        assert encoded.counted[row].nonzero()[0].tolist() == [len(words) - 2, len(words) - 1]


def test_label_words_that_the_tokenizer_does_not_know_are_refused(tiny):
    task = sv.Task.from_texts(TEXTS, LABELS, prompt="{text} mood :", words={"yes": "splendid", "no": "bad"})
    with pytest.raises(TaskError, match="does not know the label word 'splendid'"):
        encode(tiny, task, "train")


def test_a_text_without_anything_to_predict(tiny):
    with pytest.raises(TaskError, match="at least two tokens"):
        encode(tiny, sv.Task.from_texts(["cat", "dog", "bird", "tree"]), "train")


def test_the_tokenizer_has_the_words_of_these_tests():
    assert word_tokenizer()("cat mood :")["input_ids"][0] == 2


_CHANGED = {
    "prompt": "{text} feeling :",
    "labels": ("no", "perhaps"),
    "words": ("no", "three"),
    "max_tokens": 12,
    "scoring": "mean",
    "name": "renamed",
    "whole": "0123456789ab",
    "remarks": ("read as Latin-1",),
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(sv.Task)])
def test_every_field_decides_the_hash_but_names(field):
    task = mood_task()
    changes = [_CHANGED[field]] if field in _CHANGED else []
    if field == "splits":
        parts = task.splits
        test = parts["test"]
        changes = [
            {**parts, "test": dataclasses.replace(test, texts=(*test.texts[:-1], "the cat sat"))},
            {**parts, "test": dataclasses.replace(test, labels=(*test.labels[:-1], 1 - test.labels[-1]))},
            {**parts, "train": parts["test"], "test": parts["train"]},
            {**parts, "validation": parts["validation"].take(range(len(parts["validation"]) - 1))},
        ]
    assert changes, f"{field} is new: does it decide results?"
    for change in changes:
        changed = dataclasses.replace(task, **{field: change})
        assert (changed.hash == task.hash) == (field in ("name", "whole", "remarks"))


def test_a_subset_remembers_the_task_that_it_is_of():
    task = mood_task()
    small = task.subset(train=20)
    smaller = small.subset(train=10)
    assert task.lineage == task.hash
    assert small.lineage == f"{task.hash}/{small.hash}"
    assert smaller.lineage == f"{task.hash}/{smaller.hash}"
    assert task.subset(train=10**6).lineage == task.hash
    assert small == dataclasses.replace(small, whole="")


@pytest.mark.parametrize(
    "pair", [("yes", "yes "), ("yes", " yes"), ("\tyes", "yes\n"), ("yes\u00a0", " yes"), ("5", "5 ")]
)
def test_labels_that_differ_only_by_blanks_are_refused(pair):
    texts, labels = ["a cat", "a dog"] * 6, [*pair] * 6
    with pytest.raises(TaskError, match=r"differ only by the blanks around them; strip the labels .*words="):
        sv.Task.from_texts(texts, labels)
    other = dict(zip(pair, ("no", "yes"), strict=True))
    assert set(sv.Task.from_texts(texts, labels, words=other).words) == {"no", "yes"}
    with pytest.raises(TaskError, match="differ only by blanks"):
        sv.Task.from_texts(texts, ["a", "b"] * 6, words=dict(zip("ab", pair, strict=True)))
