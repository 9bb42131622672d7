"""A callback that writes to the user's own weights is told, however it writes; it may write to what trains."""

from __future__ import annotations

import pytest
import torch
from small import plain_text, tiny_llama, word_tokenizer
from transformers import TrainerCallback

import semviz as sv
from semviz.common.errors import SemvizError

QUICK = {"lr": 1e-3, "epochs": 1, "batch_size": 16, "progress": False}


def of_data(p):
    p.data[:1] += 1


def through_numpy(p):
    p.detach().numpy()[:1] += 1


WRITES = {
    "zero_": lambda p: p.zero_(),
    "mul_": lambda p: p.mul_(2),
    "copy_": lambda p: p.copy_(torch.ones_like(p)),
    "data": of_data,
    "numpy": through_numpy,
}


class Writes(TrainerCallback):
    """Write at an event to the parameters that train, or to the others."""

    def __init__(self, event, kind, *, training, fails=False):
        self.event, self.kind, self.training, self.fails = event, kind, training, fails
        setattr(self, event, self._write)

    def _write(self, args, state, control, *, model=None, **_):
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad is self.training:
                    WRITES[self.kind](p)
        if self.fails:
            raise RuntimeError("of its own")


def fresh():
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("event", ["on_train_begin", "on_step_end", "on_train_end"])
@pytest.mark.parametrize("cache", [True, False])
def test_a_callback_that_writes_to_frozen_weights_is_told(kind, event, cache, mood):
    model = fresh()
    before = model.weights_hash
    callback = Writes(event, kind, training=False)
    with pytest.raises(SemvizError, match=r"callbacks \(Writes\), weights of the model itself.*Load the model again"):
        sv.finetune(model, mood, sv.Scope.last(model), cache=cache, callbacks=[callback], **QUICK)
    assert model.weights_hash != before


@pytest.mark.parametrize("fails", [True, False])
def test_it_is_told_with_adapters_and_where_the_callback_fails_too(fails, mood, tmp_path):
    model = fresh()
    callback = Writes("on_train_end", "mul_", training=False, fails=fails)
    saved = {"output_dir": str(tmp_path), "save_strategy": "epoch"}
    with pytest.raises(SemvizError, match="weights of the model itself"):
        sv.finetune(model, mood, sv.Scope.last(model), method="lora", callbacks=[callback], arguments=saved, **QUICK)
    assert not list(tmp_path.rglob("checkpoint-*"))


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("cache", [True, False])
def test_a_callback_may_write_to_what_trains(kind, cache, mood):
    model = fresh()
    before = model.weights_hash
    callback = Writes("on_train_end", kind, training=True)
    run = sv.finetune(model, mood, sv.Scope.last(model), cache=cache, callbacks=[callback], **QUICK)
    assert model.weights_hash == before
    plain = sv.finetune(model, mood, sv.Scope.last(model), cache=cache, **QUICK)
    assert run.loss != plain.loss
