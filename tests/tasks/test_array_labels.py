"""Labels in tensors and arrays of any library are the values in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import semviz as sv
from semviz.common.errors import TaskError

TEXTS = [f"text {i}" for i in range(20)]
VALUES = [i % 2 for i in range(20)]


class OfAnotherLibrary:
    """An array as jax and others have it, with one value."""

    shape: tuple[int, ...] = ()

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value

    def __repr__(self):
        return f"Array({self.value})"


class OnlyNumpy:
    """A tensor as tensorflow has it."""

    shape: tuple[int, ...] = ()

    def __init__(self, value):
        self.value = value

    def numpy(self):
        return np.int64(self.value)

    def __repr__(self):
        return f"<tf.Tensor: {self.value}>"


KINDS = {
    "torch": torch.tensor(VALUES),
    "torch int8": torch.tensor(VALUES, dtype=torch.int8),
    "torch uint8": torch.tensor(VALUES, dtype=torch.uint8),
    "list of torch": [torch.tensor(value) for value in VALUES],
    "numpy": np.array(VALUES),
    "list of numpy 0-d": [np.array(value) for value in VALUES],
    "list of numpy scalars": list(np.array(VALUES)),
    "item()": [OfAnotherLibrary(value) for value in VALUES],
    "numpy()": [OnlyNumpy(value) for value in VALUES],
    "series": pd.Series(VALUES),
    "object array": np.array([torch.tensor(value) for value in VALUES], dtype=object),
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_in_arrays_are_the_values_in_them(kind):
    plain = sv.Task.from_texts(TEXTS, VALUES, words={0: "yes", 1: "no"})
    task = sv.Task.from_texts(TEXTS, KINDS[kind], words={0: "yes", 1: "no"})
    assert task.labels == ("0", "1")
    assert task.words == ("yes", "no")
    assert task.hash == plain.hash
    rows = ([f"new {text}" for text in TEXTS[:4]], KINDS[kind][:4])
    assert sv.Task.from_texts(TEXTS, KINDS[kind], test=rows).split("test").labels == (0, 1, 0, 1)
    frame = pd.DataFrame({"text": TEXTS, "label": list(KINDS[kind])})
    assert sv.Task.from_frame(frame, label="label", words={0: "yes", 1: "no"}).hash == plain.hash


@pytest.mark.parametrize("truth", [torch.tensor, np.array, OfAnotherLibrary])
def test_truth_values_and_text_in_arrays(truth):
    labels = [truth(value == 1) for value in VALUES]
    keys = (True, False) if truth is np.array else (truth(True), truth(False))  # an array is no key
    task = sv.Task.from_texts(TEXTS, labels, words=dict(zip(keys, ("yes", "no"), strict=True)))
    assert dict(zip(task.labels, task.words, strict=True)) == {"True": "yes", "False": "no"}
    if truth is not torch.tensor:
        assert sv.Task.from_texts(TEXTS, [truth("ab"[value]) for value in VALUES]).labels == ("a", "b")


@pytest.mark.parametrize(
    "labels",
    [torch.tensor(VALUES)[:, None], np.array(VALUES)[:, None], [torch.tensor([0, 1])] * 20, [pd.Series([0, 1])] * 20],
    ids=["torch column", "numpy column", "several in torch", "several in a series"],
)
def test_labels_with_dimensions_are_refused(labels):
    with pytest.raises(TaskError, match="each text has one label"):
        sv.Task.from_texts(TEXTS, labels)


@pytest.mark.parametrize("labels", [torch.tensor(VALUES) + 0.5, np.array(VALUES) + 0.5])
def test_measurements_in_arrays_are_refused(labels):
    with pytest.raises(TaskError, match=r"labels\[0\] is float\d* 0.5|labels\[0\] is float 0.5"):
        sv.Task.from_texts(TEXTS, labels)
