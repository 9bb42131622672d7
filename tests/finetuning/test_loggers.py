"""Loggers get a run for each training, named and in the folder that the caller chose, and trials are marked."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
from transformers import TrainerCallback
from transformers.integrations import integration_utils

import semviz as sv
from semviz.common.errors import Cancelled, SemvizError

QUICK = {"lr": 3e-3, "epochs": 2, "batch_size": 8, "progress": False}  # 14 steps
LONG = {"epochs": 12, "batch_size": 8, "progress": False}  # 84 steps, trials of 8


@pytest.fixture
def wandb(monkeypatch):
    """A logger with one open run at a time, as wandb is, that keeps what it is told."""
    library = SimpleNamespace(run=None, runs=[])
    library.finish = lambda: setattr(library, "run", None)

    class Logger(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **_):
            assert library.run is None
            places = {name: os.environ.get(name) for name in ("WANDB_DIR", "WANDB_CACHE_DIR")}
            library.run = SimpleNamespace(name=args.run_name, steps=[], logs=[], ended=False, **places)
            library.runs.append(library.run)

        def on_log(self, args, state, control, model=None, logs=None, **_):
            library.run.steps.append(state.global_step)
            library.run.logs.append(dict(logs))

        def on_train_end(self, args, state, control, **_):
            library.run.ended = True

    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Logger)
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_MODE", "WANDB_LOG_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return library


def same_weights(one, two):
    return all(bool((one.weights[name] == two.weights[name]).all()) for name in two.weights)


@pytest.mark.brings(
    "Arguments",
    '`"report_to": "wandb"`, tensorboard, trackio, mlflow',
    "a run for each training, named by scope, rate and seed",
)
def test_a_training_is_a_run_with_its_scope_rate_and_seed(wandb, tiny, mood, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)
    arguments = {"report_to": "wandb", "logging_steps": 2, "eval_strategy": "epoch"}
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **QUICK)
    (logged,) = wandb.runs
    assert logged.name == "blocks 3–4 of 4, lr 0.003, seed 0"
    assert logged.ended
    assert wandb.run is None
    assert steps_of(logged, "loss") == list(range(2, 15, 2))
    assert steps_of(logged, "eval_accuracy") == [7, 14]
    assert same_weights(run, plain)
    assert run.key == plain.key
    assert "semviz-training" in logged.WANDB_DIR  # a temporary folder, which is gone
    assert not os.path.exists(logged.WANDB_DIR)
    assert not any(tmp_path.iterdir())


def test_logs_lie_in_the_folder_that_is_named_and_the_environment_is_put_back(wandb, tiny, mood, tmp_path):
    before = dict(os.environ)
    arguments = {"report_to": ["wandb"], "output_dir": str(tmp_path), "run_name": "mine"}
    sv.sweep(tiny, mood, [sv.Scope.last(tiny)], seeds=(0, 1), arguments=arguments, **QUICK)
    assert [run.name for run in wandb.runs] == [f"mine, block 4 of 4, lr 0.003, seed {seed}" for seed in (0, 1)]
    assert {run.WANDB_DIR for run in wandb.runs} == {str(tmp_path)}
    assert {name: os.environ.get(name) for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR")} == {
        name: before.get(name) for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR")
    }


def test_what_the_user_has_set_stays(wandb, tiny, mood, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", "elsewhere")
    sv.finetune(tiny, mood, arguments={"report_to": "wandb", "output_dir": str(tmp_path)}, **QUICK)
    assert wandb.runs[0].WANDB_DIR == os.environ["WANDB_DIR"] == "elsewhere"


def test_trials_are_marked_and_the_training_that_is_dropped_is_not_reported(wandb, tiny, mood):
    plain = sv.finetune(tiny, mood, sv.Scope.last(tiny), **LONG)
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments={"report_to": "wandb", "logging_steps": 1}, **LONG)
    assert same_weights(run, plain)
    assert (run.lr, run.key) == (plain.lr, plain.key)
    names = [logged.name for logged in wandb.runs]
    assert names[:-1] == [f"block 4 of 4, lr {rate:.3g}, seed 0, trial" for rate in tried(wandb)]
    assert sorted(tried(wandb)) == pytest.approx(sorted(run.rates), rel=1e-2)
    assert names[-1] == f"block 4 of 4, lr {run.lr:.3g}, seed 0"
    assert steps_of(wandb.runs[-1], "loss") == list(range(1, 85))  # with those before it was chosen
    assert all(logged.ended for logged in wandb.runs)


def steps_of(logged, name):
    return [step for step, logs in zip(logged.steps, logged.logs, strict=True) if name in logs]


def tried(wandb):
    return [float(logged.name.split("lr ")[1].split(",")[0]) for logged in wandb.runs[:-1]]


def test_where_trials_are_whole_trainings_one_run_is_none(wandb, tiny, mood):
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments={"report_to": "wandb"}, **{**LONG, "epochs": 1})
    assert [logged.name.endswith("trial") for logged in wandb.runs] == [True] * len(run.rates) + [False]


def test_a_training_that_is_stopped_leaves_no_run_open(wandb, tiny, mood):
    control = sv.Control(lambda progress: control.cancel() if progress.done == 3 else None)
    with pytest.raises(Cancelled):
        sv.finetune(tiny, mood, arguments={"report_to": "wandb"}, control=control, **QUICK)
    assert wandb.run is None
    sv.finetune(tiny, mood, arguments={"report_to": "wandb"}, **QUICK)


def test_a_logger_that_fails_is_told_in_words(wandb, tiny, mood, monkeypatch):
    class Failing(TrainerCallback):
        def on_train_begin(self, *_, **__):
            raise ConnectionError("api.wandb.ai does not answer")

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Failing)
    with pytest.raises(SemvizError, match=r"api\.wandb\.ai does not answer"):
        sv.finetune(tiny, mood, arguments={"report_to": "wandb"}, **QUICK)


def test_a_run_of_the_users_is_not_taken_over(wandb, tiny, mood):
    wandb.run = SimpleNamespace(name="mine")
    with pytest.raises(SemvizError, match=r"wandb\.finish\(\)"):
        sv.finetune(tiny, mood, arguments={"report_to": "wandb"}, **QUICK)
    assert wandb.run.name == "mine"


def test_plans_and_probes_of_time_report_nothing(wandb, tiny, mood, tmp_path):
    arguments = {"report_to": "wandb", "output_dir": str(tmp_path), "save_strategy": "epoch", "eval_strategy": "epoch"}
    sv.plan(tiny, mood, arguments=arguments)
    assert wandb.runs == []
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "variables", "words"), [
    ({"report_to": "wandb"}, {"WANDB_LOG_MODEL": "end"}, "WANDB_LOG_MODEL"),
    ({"report_to": "wandb"}, {"WANDB_MODE": "offline"}, "output_dir"),
    ({"report_to": "nope"}, {}, "tensorboard"), ({"report_to": ["wandb", "nope"]}, {}, "tensorboard"),
    ({"report_to": 3}, {}, "report_to"), ({"report_to": "no_such_logger"}, {}, "unknown"),
], ids=str)  # fmt: skip
def test_loggers_that_cannot_be_used_are_refused(arguments, variables, words, wandb, tiny, mood, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SemvizError, match=words):
        sv.finetune(tiny, mood, arguments=arguments, **QUICK)
    assert wandb.runs == []


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "trackio", "wandb", "comet_ml", "flyte"])
@pytest.mark.brings(
    "Arguments",
    "a logger that is not installed",
    "says what to install",
)
def test_a_logger_that_is_not_installed_says_what_to_install(name, tiny, mood, monkeypatch, tmp_path):
    monkeypatch.setattr("semviz.finetuning.loggers.importlib.util.find_spec", lambda module: None)
    for module in ("tensorboard", "tensorboardX", "mlflow", "trackio", "wandb"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    pip = {"comet_ml": "comet-ml", "flyte": "flytekit"}.get(name, name)
    with pytest.raises(SemvizError, match=f"`pip install {pip}`"):
        sv.finetune(tiny, mood, arguments={"report_to": name, "output_dir": str(tmp_path)}, **QUICK)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "trackio"])
def test_loggers_that_only_write_files_are_told_where(name, tiny, mood, monkeypatch):
    monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    for variable in ("TENSORBOARD_LOGGING_DIR", "MLFLOW_TRACKING_URI", "TRACKIO_DIR"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SemvizError, match='"output_dir": folder'):
        sv.finetune(tiny, mood, arguments={"report_to": name}, **QUICK)


def test_tensorboard_writes_each_run_into_a_folder_of_its_own(tiny, mood, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = {"report_to": "tensorboard", "output_dir": str(tmp_path), "logging_steps": 1}
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **QUICK)
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert folder.name == "blocks 3–4 of 4, lr 0.003, seed 0"
    events = EventAccumulator(str(folder)).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(run.curve.loss.tolist(), abs=1e-5)
