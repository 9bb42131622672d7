"""A model that two threads use at once: a notebook's cell and a background job."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import semviz as sv
from semviz.lm.eval_mode import evaluating


def elsewhere(action):
    """Do something in another thread and wait for it."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()


@torch.no_grad()
def run(model, *ids):
    model.model(input_ids=torch.tensor([ids]), use_cache=False)


def test_a_tap_reports_the_passes_of_its_own_thread_only(tiny):
    seen = []
    with tiny.anatomy.tap(lambda space, states: seen.append((space, states.shape[1]))):
        elsewhere(lambda: run(tiny, 2, 5, 6, 7))
        assert seen == []
        run(tiny, 2, 5)
    assert seen == [(space, 2) for space in range(tiny.n_blocks + 1)]


def test_two_threads_that_tap_hear_their_own_passes(tiny):
    seen = {}

    def listen(name, *ids):
        seen[name] = []
        with tiny.anatomy.tap(lambda space, states: seen[name].append(states.shape[1])):
            if name == "outer":
                elsewhere(lambda: listen("inner", 2, 5, 6))
            run(tiny, *ids)

    listen("outer", 2, 5)
    assert seen == {"outer": [2] * 5, "inner": [3] * 5}


def test_a_trace_is_the_same_while_another_thread_runs_the_model(tiny, mood):
    alone = sv.trace(tiny, mood, progress=False)
    passes = []
    main = threading.current_thread()

    def disturb(*_):
        # In the middle of each of the trace's own passes, so that the outcome hangs on no timing.
        if threading.current_thread() is main:
            elsewhere(lambda: run(tiny, 2, 9, 8, 7, 6, 5))
            passes.append(1)

    hook = tiny.anatomy.blocks[1].register_forward_hook(disturb)
    try:
        disturbed = sv.trace(tiny, mood, progress=False)
    finally:
        hook.remove()
    assert passes
    assert disturbed.positions.equals(alone.positions)
    for key in alone.metrics:
        assert np.array_equal(disturbed.values[key], alone.values[key], equal_nan=True), key
    assert (disturbed.nearest == alone.nearest).all()
    assert (disturbed.top1 == alone.top1).all()


@pytest.mark.parametrize("training", [True, False])
def test_two_threads_that_evaluate_leave_the_model_in_its_mode(tiny, training):
    network = tiny.model.train(training)
    network.model.layers[0].eval()
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    modes = []

    def first():
        with evaluating(network):
            first_in.set()
            # The second comes in now, where nothing keeps it out; else this waits in vain.
            second_in.wait(0.3)
        first_out.set()

    def second():
        first_in.wait(60)
        with evaluating(network):
            second_in.set()
            first_out.wait(60)
            modes.append(network.training)

    threads = [threading.Thread(target=action) for action in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    assert modes == [False]
    assert network.training is training
    assert network.model.layers[1].training is training
    assert not network.model.layers[0].training


def test_evaluating_inside_evaluating_does_not_wait_for_itself(tiny):
    tiny.model.train()
    with evaluating(tiny.model), evaluating(tiny.model):
        assert not tiny.model.training
    assert tiny.model.training


def test_an_exception_gives_the_turn_back(tiny):
    tiny.model.train()
    with pytest.raises(ZeroDivisionError), evaluating(tiny.model):
        1 / 0  # noqa: B018
    assert tiny.model.training
    modes = []

    def look():
        with evaluating(tiny.model):
            modes.append(tiny.model.training)

    elsewhere(look)
    assert modes == [False]
