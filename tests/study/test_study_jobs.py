"""What a study does in the background, one job at a time."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import semviz as sv
from semviz.common.errors import Cancelled, SemvizError
from semviz.study.settings import Settings

LONG = 5000  # steps of a job that is cancelled long before


@pytest.fixture
def study(study):
    """One whose finetunes take a moment."""
    study.set(steps=2, lr=1e-3, batch_size=16)
    return study


@pytest.fixture
def training(study):
    """Start a long finetune and wait until it trains."""

    def start():
        begun = threading.Event()
        stop = study.observe(lambda change: begun.set() if study.trials.trials else None)
        study.set(steps=LONG)
        job = study.finetune()
        assert begun.wait(60)
        stop()
        return job

    return start


@pytest.fixture
def untrainable(monkeypatch):
    """Whatever would train from here on fails the test."""

    def arm():
        monkeypatch.setattr("semviz.finetuning.scope_trainer.fit", lambda *_, **__: pytest.fail("trained again"))

    return arm


def state_of(model):
    """Everything of a model that a job could leave changed."""
    modules = list(model.model.modules())
    hooks = sum(len(h) for m in modules for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks))
    flags = [p.requires_grad for p in model.model.parameters()], [m.training for m in modules]
    grads = [p.grad is None for p in model.model.parameters()]
    return {name: value.clone() for name, value in model.model.state_dict().items()}, (hooks, flags, grads)


def assert_unchanged(model, before):
    weights, rest = state_of(model)
    assert all(torch.equal(value, weights[name]) for name, value in before[0].items())
    assert rest == before[1]


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("semviz")]


# ---- Finetune --------------------------------------------------------------------------------------------------------


def test_a_finetune_is_stored_joins_the_history_and_leaves_the_model_as_it_was(study, tiny, heard):
    before = state_of(tiny)
    study.freeze(2)
    job = study.finetune()
    run = job.result()
    assert (job.state, study.job, study.busy) == ("done", job, False)
    assert (run.scope, run.steps, run.lr, run.batch_size) == (study.scope, 2, 1e-3, 16)
    assert study.store.keys() == [run.key]
    assert study.store.find(run.key).accuracy == run.accuracy
    assert study.history.runs == [run]
    assert [made.key for made in study.history.together.runs] == [run.key]
    assert study.history.together.zero_shot == study.opening.untrained
    assert heard[:2] == ["scope", "job"]
    assert heard[-2:] == ["runs", "job"]
    assert set(heard[2:-2]) == {"progress"}
    assert_unchanged(tiny, before)
    assert repr(study).endswith("1 runs)")


def test_the_trials_of_a_finetune_are_told_while_it_runs(study):
    study.set(steps=4, lr="auto")
    run = study.finetune().result()
    assert sorted(trial.rate for trial in study.trials.trials) == sorted(run.rates)
    assert len(study.trials.trials) == len(run.rates) > 1
    assert {trial.total for trial in study.trials.trials} == {4}
    assert all(trial.losses for trial in study.trials.trials)


def test_a_live_curve_is_the_runs_curve(study):
    study.set(steps=6)
    run = study.finetune().result()
    trial = study.trials.trials[-1]
    assert trial.losses == run.curve["loss"].tolist()
    assert trial.steps == run.curve["step"].tolist()


def test_the_same_finetune_again_is_not_trained_again(study, untrainable):
    first = study.finetune().result()
    untrainable()
    again = study.finetune().result()
    assert again.key == first.key
    assert [run.key for run in study.history.runs] == [first.key]


def test_reopening_a_study_shows_its_runs_and_trains_none_of_them_again(study, tiny, mood, untrainable):
    probed = len(study.probe().result().runs.runs)
    study.freeze(2)
    study.set(seed=1)
    study.finetune().result()
    again = sv.Study(tiny, mood, store=study.store.folder, progress=False)
    assert [run.key for run in again.history.runs] == [run.key for run in study.history.runs]
    assert len(again.history.runs) == probed + 1
    assert again.history.together.frame().equals(study.history.together.frame())
    assert np.array_equal(again.history.probes.benefit, study.history.probes.benefit, equal_nan=True)
    untrainable()
    again.set(steps=2, lr=1e-3, batch_size=16, seed=1)
    again.freeze(2)
    assert again.finetune().result().accuracy == study.history.runs[-1].accuracy
    again.set(seed=0)
    again.probe().result()
    assert len(again.history.runs) == probed + 1
    again.close()


@pytest.mark.parametrize(
    "epochs",
    [
        1.0,
        2.5,
        3,
    ],
)
def test_a_run_of_a_sweep_is_found_and_not_trained_again(tiny, mood, tmp_path, untrainable, epochs):
    runs = sv.sweep(tiny, mood, [sv.Scope.half(tiny)], lr=1e-3, epochs=epochs, store=tmp_path, progress=False)
    study = sv.Study(tiny, mood, store=tmp_path, progress=False)
    study.restore(study.history.runs[0].key)
    assert study.settings == Settings(runs.runs[0].steps, 1e-3)
    assert study.scope == runs.runs[0].scope
    untrainable()
    assert study.finetune().wait().error is None
    assert study.job.value.key == runs.runs[0].key
    study.close()


def test_moving_the_controls_meanwhile_does_not_change_what_trains(study):
    study.freeze(3)
    moved = threading.Event()

    def move(change):
        if change == "progress" and not moved.is_set():
            moved.set()
            study.freeze(0)
            study.set(seed=7, steps=9, lr=0.5, method="lora", batch_size=4)

    study.observe(move)
    run = study.finetune().result()
    assert moved.is_set()
    assert (run.scope.boundary, run.seed, run.steps, run.lr, run.method) == (3, 0, 2, 1e-3, "full")
    assert (study.boundary, study.settings.steps) == (0, 9)
    alone = sv.finetune(
        study.model, study.task, sv.Scope.last(study.model), lr=1e-3, epochs=run.epochs, batch_size=16, progress=False
    )
    assert (alone.key, alone.loss) == (run.key, run.loss)


def test_a_failed_job_is_told_and_the_next_one_runs(study, monkeypatch, heard):
    with monkeypatch.context() as broken:
        broken.setattr("semviz.finetuning.scope_trainer.fit", lambda *_, **__: 1 / 0)
        job = study.finetune().wait()
    assert (job.state, type(job.error), study.busy) == ("failed", ZeroDivisionError, False)
    assert heard[-1] == "job"
    assert "runs" not in heard
    assert study.finetune().wait().state == "done"


# ---- One at a time, and cancel ---------------------------------------------------------------------------------------


def test_only_one_job_runs_and_the_refusal_names_it(study, training, stories):
    key = study.finetune().result().key
    study.freeze(2)
    job = training()
    for act in (
        study.finetune,
        study.probe,
        lambda: study.choose(stories),
        lambda: study.compare_with("labels"),
        lambda: study.inspect(key),
    ):
        with pytest.raises(SemvizError, match="Finetuning blocks 3–4 of 4 is still running"):
            act()
    assert study.job is job
    assert job.state == "running"
    study.cancel()
    assert job.wait(60).state == "cancelled"
    assert study.compare_with("labels").wait().state == "done"


def test_a_cancel_acts_within_a_step_and_leaves_no_trace(study, tiny):
    before = state_of(tiny)
    steps = []

    def stop(change):
        if change == "progress" and study.trials.trials:
            steps.append(study.trials.done)
            study.cancel()

    forget = study.observe(stop)
    study.set(steps=LONG)
    job = study.finetune().wait(60)
    assert (job.state, type(job.error)) == ("cancelled", Cancelled)
    assert steps == [study.trials.done]  # nothing was told after it
    assert study.trials.done < LONG
    assert_unchanged(tiny, before)
    assert list(study.store.folder.iterdir()) == []
    assert study.history.runs == []
    forget()
    study.set(steps=2)
    assert study.finetune().wait().state == "done"


def test_cancelled_probes_keep_those_that_were_finished(study):
    study.observe(lambda change: study.cancel() if study.store.keys() else None)
    job = study.probe().wait(60)
    assert job.state == "cancelled"
    assert len(study.store.keys()) == 1
    assert not [path for path in study.store.folder.iterdir() if path.suffix not in (".json", ".safetensors")]


def test_a_cancel_without_a_job_does_nothing(study):
    study.cancel()
    run = study.finetune().result()
    study.cancel()
    assert study.history.runs == [run]


# ---- The end ---------------------------------------------------------------------------------------------------------


def test_closing_cancels_waits_and_forgets(study, training, tiny, heard):
    before = state_of(tiny)
    run = study.finetune().result()
    job = training()
    study.close()
    assert job.state == "cancelled"
    for thread in threads():
        thread.join(timeout=60)
    assert threads() == []
    assert_unchanged(tiny, before)
    assert study.store.keys() == [run.key]
    study.close()
    heard.clear()
    study.freeze(2)
    assert heard == []


def test_a_temporary_store_goes_with_its_study(tiny, mood):
    study = sv.Study(tiny, mood, progress=False)
    study.set(steps=1, lr=1e-3)
    study.finetune().result()
    folder = study.store.folder
    assert list(folder.glob("*.json"))
    study.close()
    assert not folder.exists()
