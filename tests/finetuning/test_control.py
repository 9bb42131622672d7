from __future__ import annotations

import threading

import pytest
import torch

import semviz as sv
from semviz.common.errors import Cancelled

QUICK = {"epochs": 40, "batch_size": 4, "lr": 1e-3, "progress": False}


def weights(model):
    return {name: value.clone() for name, value in model.model.state_dict().items()}


class StopAt(sv.Control):
    """Cancels itself at a step of training, and counts the steps that come after."""

    def __init__(self, step):
        super().__init__(self.watch)
        self.step, self.seen = step, []

    def watch(self, progress):
        if "Finetuning" in progress.stage:
            self.seen.append(progress.done)
            if progress.done == self.step:
                self.cancel()


def test_a_cancel_acts_within_a_step(tiny, mood):
    before, control = weights(tiny), StopAt(3)
    with pytest.raises(Cancelled, match="model is as before"):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), control=control, **QUICK)
    assert control.seen == [1, 2, 3]
    after = weights(tiny)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_cancel_from_another_thread(tiny, mood):
    control, raised = sv.Control(), []

    def job():
        try:
            sv.finetune(tiny, mood, control=control, **{**QUICK, "epochs": 2000})
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=job)
    thread.start()
    control.cancel()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert raised


def test_a_cancelled_sweep_keeps_its_finished_runs_and_goes_on(tiny, mood, tmp_path):
    quick = {**QUICK, "epochs": 1}

    class AfterTwo(sv.Control):
        def __init__(self):
            super().__init__(self.watch)

        def watch(self, progress):
            if len(list(tmp_path.glob("*.json"))) == 2:
                self.cancel()

    with pytest.raises(Cancelled):
        sv.sweep(tiny, mood, store=tmp_path, control=AfterTwo(), **quick)
    assert len(list(tmp_path.glob("*.json"))) == 2
    resumed = sv.sweep(tiny, mood, store=tmp_path, **quick)
    undisturbed = sv.sweep(tiny, mood, **quick)
    columns = ["boundary", "accuracy", "loss", "validation", "lr"]
    assert resumed.frame()[columns].equals(undisturbed.frame()[columns])


def test_progress_names_stages_and_losses(tiny, mood):
    seen = []
    sv.finetune(tiny, mood, sv.Scope.half(tiny), control=sv.Control(seen.append), **{**QUICK, "epochs": 2})
    stages = list(dict.fromkeys(p.stage.split(" blocks")[0] for p in seen))
    assert stages[:2] == ["Running", "Finetuning"]
    steps = [p for p in seen if p.stage.startswith("Finetuning")]
    assert [p.done for p in steps] == list(range(1, steps[0].total + 1))
    assert steps[-1].loss < 20


def test_a_watcher_that_fails_ends_the_job_and_leaves_the_model(tiny, mood):
    before = weights(tiny)
    with pytest.raises(ZeroDivisionError):
        sv.finetune(tiny, mood, control=sv.Control(lambda progress: 1 / 0), **QUICK)
    assert all(torch.equal(value, weights(tiny)[key]) for key, value in before.items())
