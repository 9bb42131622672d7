"""Only training touches the process's random numbers, and what a finetune in the background draws is its own."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
import torch
from small import plain_text, tiny_llama, word_tokenizer
from transformers.models.llama.modeling_llama import LlamaMLP

import semviz as sv
from semviz.finetuning.suffix_model import Suffix
from semviz.scopes.methods import METHODS

QUICK = {"lr": 3e-3, "epochs": 1, "batch_size": 8, "progress": False}
LONG = 60  # seconds, which nobody waits for where all is well


def dropping() -> sv.LanguageModel:
    """A model that drops attention weights in training, with a hook that changes numbers."""
    model = sv.load_model((tiny_llama(attention_dropout=0.5), word_tokenizer()), general_text=plain_text())
    model.model.model.layers[1].mlp.register_forward_hook(lambda _module, _args, output: 1.1 * output)
    return model


def prepare_adapters(model, mood, folder):
    Suffix(model, sv.Scope.last(model), cached=False, own_weights=False).prepare(METHODS["lora"], seed=3)


# What trains nothing.
LOOKS = {
    "load a model": lambda model, mood, folder: sv.load_model(folder),
    "hash": lambda model, mood, folder: model.hash,
    "trace answers": lambda model, mood, folder: sv.trace(model, mood, progress=False),
    "trace next tokens": lambda model, mood, folder: sv.trace(
        model, sv.Task.from_texts(plain_text(9)), detail=2, progress=False
    ),
    "calibrate": lambda model, mood, folder: sv.calibrate(model, texts=plain_text(90)),
    "costs": lambda model, mood, folder: sv.estimate_costs(model, mood),
    "baselines": lambda model, mood, folder: sv.baseline_scopes(model, mood, 2),
    "look": lambda model, mood, folder: mood.look(model, 0),
    "untrained copy": lambda model, mood, folder: Suffix(model, sv.Scope.last(model), cached=True),
    "adapters": prepare_adapters,
    "gain": lambda model, mood, folder: sv.trace(model, mood, progress=False).gain().figure(),
}
# What trains, and then gives back what it found.
TRAINS = {
    "finetune": lambda model, mood, folder: sv.finetune(model, mood, **QUICK),
    "finetune adapters": lambda model, mood, folder: sv.finetune(model, mood, method="lora", **QUICK),
    "sweep": lambda model, mood, folder: sv.sweep(model, mood, [sv.Scope.last(model), sv.Scope.half(model)], **QUICK),
    "probe": lambda model, mood, folder: sv.probe(model, mood, **QUICK),
    "plan": lambda model, mood, folder: sv.plan(model, mood, epochs=1),
    "recommend": lambda model, mood, folder: sv.recommend(model, mood, evidence="profile"),
    "study": lambda model, mood, folder: sv.Study(model, mood),
}


def states() -> list:
    """What the process's generators would draw next."""
    return [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]


@pytest.mark.parametrize("name", [*LOOKS, *TRAINS])
def test_the_random_numbers_of_the_caller_go_on_as_if_nothing_had_been_called(name, mood, model_folder):
    model = dropping()
    torch.manual_seed(11)
    np.random.seed(12)
    random.seed(13)
    before = states()
    {**LOOKS, **TRAINS}[name](model, mood, model_folder)
    assert states() == before


@pytest.mark.parametrize("name", LOOKS)
def test_what_does_not_train_never_touches_the_generators_of_the_process(name, mood, model_folder, monkeypatch):
    model = dropping()

    def touched(*_, **__):
        raise AssertionError("a generator of the process was set")

    for owner, function in (
        (torch, "manual_seed"),
        (torch, "set_rng_state"),
        (torch.random, "manual_seed"),
        (torch.random, "set_rng_state"),
        (np.random, "seed"),
        (np.random, "set_state"),
        (random, "seed"),
        (random, "setstate"),
    ):
        monkeypatch.setattr(owner, function, touched)
    LOOKS[name](model, mood, model_folder)


class Meeting:
    """Something of the main thread's that lasts while the training beside makes two steps."""

    def __init__(self) -> None:
        self.inside, self.stepped = threading.Event(), threading.Event()
        self.reached, self.main = threading.Event(), threading.current_thread()

    def on_progress(self, progress: sv.Progress) -> None:
        """Let the training wait after two steps until the main thread is in the middle of it."""
        if progress.lr is not None and progress.done == 2:
            self.reached.set()
            assert self.inside.wait(LONG)
        if progress.lr is not None and progress.done == 4:
            self.stepped.set()

    def held(self, function):
        """Return the function, which waits in the main thread, once, for the training's two steps."""

        def wrapper(*args, **kwargs):
            if self.reached.is_set() and threading.current_thread() is self.main and not self.inside.is_set():
                self.inside.set()
                assert self.stepped.wait(LONG)
            return function(*args, **kwargs)

        return wrapper


@pytest.mark.parametrize("name", [*LOOKS, "plan"])
def test_a_finetune_in_the_background_trains_the_weights_that_it_trains_alone(name, mood, model_folder, monkeypatch):
    model, meeting = dropping(), Meeting()
    # Where a model is made, run, or given adapters.
    for owner, function in ((LlamaMLP, "forward"), (LlamaMLP, "__init__"), (torch.nn.init, "kaiming_uniform_")):
        monkeypatch.setattr(owner, function, meeting.held(getattr(owner, function)))
    scope = sv.Scope.half(model)
    alone = sv.finetune(model, mood, scope, **QUICK)
    runs: list[sv.Run] = []

    def train() -> None:
        runs.append(sv.finetune(model, mood, scope, control=sv.Control(meeting.on_progress), **QUICK))

    thread = threading.Thread(target=train)
    thread.start()
    try:
        assert meeting.reached.wait(LONG)
        {**LOOKS, **TRAINS}[name](model, mood, model_folder)
    finally:
        meeting.inside.set()
        thread.join(LONG)
    assert meeting.stepped.is_set()
    assert alone.weights
    assert all(torch.equal(value, runs[0].weights[key]) for key, value in alone.weights.items())
    assert runs[0].loss == alone.loss
