"""A training that was stopped goes on from its checkpoints as if it had not been, and trials leave it alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from architectures import gpt2
from safetensors.torch import load_file
from small import word_tokenizer
from transformers import EarlyStoppingCallback, TrainerCallback

import semviz as sv
from semviz.common.errors import Cancelled, SemvizError
from semviz.finetuning.checkpoints import last_checkpoint

pytestmark = pytest.mark.every_kind

QUICK = {"lr": 3e-3, "epochs": 2, "batch_size": 8, "progress": False}  # 14 steps, 7 an epoch
EACH = {"save_strategy": "steps", "save_steps": 1}


@pytest.fixture(scope="module")
def with_dropout():
    """A model whose blocks draw random numbers while they train."""
    return sv.load_model((gpt2(), word_tokenizer()))


def stop_after(step):
    """A control that stops a training there."""
    control = sv.Control(lambda progress: control.cancel() if progress.done == step else None)
    return control


def same_run(one, two):
    assert one.weights.keys() == two.weights.keys()
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert one.curve.step.tolist() == two.curve.step.tolist()
    assert one.curve.loss.tolist() == pytest.approx(two.curve.loss.tolist(), abs=1e-6)
    assert one.curve.accuracy.tolist() == two.curve.accuracy.tolist()
    assert (one.key, one.steps, one.loss, one.validation_loss) == (two.key, two.steps, two.loss, two.validation_loss)


@pytest.mark.parametrize("stopped", [3, 7, 10, 14], ids=["epoch 1", "between", "epoch 2", "end"])
@pytest.mark.parametrize("method", ["full", "lora", "lisa"])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(method, stopped, with_dropout, mood, tmp_path):
    arguments = {**EACH, "output_dir": str(tmp_path)}
    options = {**QUICK, "method": method, "epochs": 2}
    scope = sv.Scope.half(with_dropout)
    whole = sv.finetune(with_dropout, mood, scope, **options)
    with pytest.raises(Cancelled):
        sv.finetune(with_dropout, mood, scope, arguments=arguments, control=stop_after(stopped), **options)
    steps = []
    control = sv.Control(lambda progress: steps.append(progress.done) if progress.total == 14 else None)
    run = sv.finetune(with_dropout, mood, scope, arguments=arguments, control=control, **options)
    same_run(run, whole)
    assert steps == list(range(stopped + 1, 15))
    assert run.note == f"It went on from checkpoint-{stopped}."


@pytest.mark.parametrize("more", [
    {"train_sampling_strategy": "group_by_length"}, {"gradient_accumulation_steps": 2}, {"lr_scheduler_type": "linear"},
    {"neftune_noise_alpha": 5.0}, {"bf16": True}, {"eval_strategy": "steps", "eval_steps": 2, "lr_scheduler_type":
    "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 0, "threshold": 10.0}}, {"optim": "adafactor"},
    {"logging_steps": 3}, {"save_steps": 4}, {"dataloader_num_workers": 1},
], ids=str)  # fmt: skip
def test_it_goes_on_whatever_else_is_passed(more, with_dropout, mood, tmp_path):
    arguments, scope = {**EACH, "output_dir": str(tmp_path), **more}, sv.Scope.half(with_dropout)
    whole = sv.finetune(with_dropout, mood, scope, arguments={**arguments, "output_dir": str(tmp_path / "w")}, **QUICK)
    with pytest.raises(Cancelled):
        sv.finetune(with_dropout, mood, scope, arguments=arguments, control=stop_after(10), **QUICK)
    run = sv.finetune(with_dropout, mood, scope, arguments=arguments, **QUICK)
    same_run(run, whole)
    last = 8 if "save_steps" in more else 9 if "eval_steps" in more else 10  # a score that was stopped saves nothing
    assert f"checkpoint-{last}" in run.note


KILLED = """
import os, signal, sys, warnings
warnings.filterwarnings("ignore")
sys.path.insert(0, {tests!r})
from small import *
import semviz as sv
model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
control = sv.Control(lambda progress: os.kill(os.getpid(), signal.SIGKILL) if progress.done == 5 else None)
arguments = {{"save_strategy": "steps", "save_steps": 2, "output_dir": {folder!r}}}
sv.finetune(model, mood_task(), sv.Scope.half(model), lr=3e-3, epochs=2, batch_size=8, progress=False,
            arguments=arguments, control=control)
"""


@pytest.mark.brings(
    "Arguments",
    "`save_strategy` and `output_dir`; a training that is killed",
    "goes on from its last checkpoint, to the same result",
)
def test_a_killed_training_goes_on_in_another_process(tiny, mood, tmp_path):
    program = KILLED.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    arguments = {"save_strategy": "steps", "save_steps": 2, "output_dir": str(tmp_path)}
    whole, run = (sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=a, **QUICK) for a in ({}, arguments))
    same_run(run, whole)
    assert "checkpoint-4" in run.note


def test_the_result_is_the_same_with_and_without_checkpoints(tiny, mood, tmp_path):
    plain = sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK)
    saved = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments={**EACH, "output_dir": str(tmp_path)}, **QUICK)
    same_run(saved, plain)
    assert saved.note == plain.note == ""


def test_a_checkpoint_holds_what_trains_and_nothing_else(tiny, mood, tmp_path):
    run = sv.finetune(
        tiny, mood, sv.Scope.last(tiny), arguments={"save_strategy": "epoch", "output_dir": str(tmp_path)}, **QUICK
    )
    assert [path.name for path in tmp_path.iterdir()] == [run.key]
    folders = sorted(path.name for path in (tmp_path / run.key).iterdir())
    assert folders == ["checkpoint-14", "checkpoint-7"]
    checkpoint = tmp_path / run.key / "checkpoint-14"
    assert {path.name for path in checkpoint.iterdir()} == {
        "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "semviz.json",
    }  # fmt: skip
    tensors = load_file(checkpoint / "model.safetensors")
    assert sum(t.numel() for t in tensors.values()) == run.trainable
    assert {name.removeprefix("network.") for name in tensors} == run.weights.keys()
    assert all(torch.equal(tensors[f"network.{name}"], run.weights[name]) for name in run.weights)


def test_runs_of_a_sweep_share_a_folder_and_do_not_meet(tiny, mood, tmp_path):
    arguments = {"save_strategy": "epoch", "output_dir": str(tmp_path)}
    scopes = [sv.Scope.last(tiny), sv.Scope.half(tiny)]
    runs = sv.sweep(tiny, mood, scopes, seeds=(0, 1), arguments=arguments, keep_weights=True, **QUICK)
    assert {path.name for path in tmp_path.iterdir()} == {run.key for run in runs.runs}
    again = sv.sweep(tiny, mood, scopes, seeds=(0, 1), arguments=arguments, keep_weights=True, **QUICK)
    for one, two in zip(runs.runs, again.runs, strict=True):
        same_run(one, two)


def test_what_changes_the_result_begins_anew(tiny, mood, tmp_path):
    arguments = {"save_strategy": "epoch", "output_dir": str(tmp_path)}
    sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **QUICK)
    for options in ({"lr": 1e-3}, {"seed": 1}, {"epochs": 3}, {"method": "lora"}):
        assert sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **{**QUICK, **options}).note == ""
    assert sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **QUICK).note != ""


def test_checkpoints_without_an_optimizer_are_not_gone_on_from(tiny, mood, tmp_path):
    arguments = {**EACH, "output_dir": str(tmp_path), "save_only_model": True}
    with pytest.raises(Cancelled):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, control=stop_after(5), **QUICK)
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **QUICK)
    assert run.note == ""
    same_run(run, sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK))


@pytest.mark.parametrize("damage", ["no state", "half a state", "no optimizer", "no weights"])
def test_a_checkpoint_that_was_half_written_is_passed_over(damage, tiny, mood, tmp_path):
    arguments = {**EACH, "output_dir": str(tmp_path)}
    with pytest.raises(Cancelled):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, control=stop_after(5), **QUICK)
    (folder,) = tmp_path.iterdir()
    last = folder / "checkpoint-5"
    if damage == "half a state":
        state = last / "trainer_state.json"
        state.write_text(state.read_text()[:40])
    else:
        names = {"no state": "trainer_state.json", "no optimizer": "optimizer.pt", "no weights": "model.safetensors"}
        (last / names[damage]).unlink()
    assert last_checkpoint(folder).name == "checkpoint-4"
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **QUICK)
    assert run.note == "It went on from checkpoint-4."
    same_run(run, sv.finetune(tiny, mood, sv.Scope.half(tiny), **QUICK))


def test_weights_that_are_damaged_are_told(tiny, mood, tmp_path):
    arguments = {"save_strategy": "epoch", "output_dir": str(tmp_path)}
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **QUICK)
    (tmp_path / run.key / "checkpoint-14" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(SemvizError, match="checkpoint-14 cannot be read"):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **QUICK)


# The search for a rate.

LONG = {"epochs": 12, "batch_size": 8, "progress": False}  # 84 steps


def test_trials_leave_nothing_in_the_folder_of_the_run(tiny, mood, tmp_path):
    arguments = {"save_strategy": "epoch", "output_dir": str(tmp_path)}
    plain = sv.finetune(tiny, mood, sv.Scope.last(tiny), **LONG)
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments=arguments, **LONG)
    given = sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments=arguments, lr=run.lr, **LONG)
    assert run.trial_steps > 0
    assert [path.name for path in tmp_path.iterdir()] == [given.key]  # the rate that lost is gone too
    same_run(run, plain)
    assert all(torch.equal(run.weights[name], given.weights[name]) for name in run.weights)
    assert given.note == "It went on from checkpoint-84."


@pytest.mark.parametrize("stopped", [20, 60])
def test_a_search_that_was_stopped_finds_the_same(stopped, tiny, mood, tmp_path):
    arguments = {**EACH, "save_steps": 5, "output_dir": str(tmp_path)}
    plain = sv.finetune(tiny, mood, sv.Scope.last(tiny), **LONG)
    control = sv.Control(
        lambda progress: control.cancel() if (progress.total, progress.done) == (84, stopped) else None
    )
    with pytest.raises(Cancelled):
        sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments=arguments, control=control, **LONG)
    run = sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments=arguments, **LONG)
    same_run(run, plain)
    assert run.lr == plain.lr
    assert "It went on from" in run.note


def test_where_trials_are_whole_trainings_the_run_is_one_of_its_own(tiny, mood, tmp_path):
    arguments = {"save_strategy": "epoch", "output_dir": str(tmp_path)}
    options = {"epochs": 1, "batch_size": 8, "progress": False}
    plain, run = (sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments=a, **options) for a in ({}, arguments))
    same_run(run, plain)
    assert len(list(tmp_path.iterdir())) == 1


# Scores on the way.


def test_the_best_weights_are_those_of_the_best_score(tiny, mood, tmp_path):
    arguments = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "output_dir": str(tmp_path)}
    options = {**QUICK, "lr": 0.1}  # so large that the last score is not the best
    seen: list[tuple[int, dict]] = []

    class Seen(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics=None, **_):
            seen.append((state.global_step, metrics))

    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, callbacks=[Seen()], **options)
    best, metrics = min(seen, key=lambda item: item[1]["eval_loss"])
    assert best != seen[-1][0]
    assert run.validation_loss == pytest.approx(metrics["eval_loss"], abs=1e-6)
    assert run.validation == pytest.approx(metrics["eval_accuracy"])
    tensors = load_file(tmp_path / run.key / f"checkpoint-{best}" / "model.safetensors")
    assert all(torch.equal(tensors[f"network.{name}"], run.weights[name]) for name in run.weights)
    assert run.note == f"Its weights are those after step {best}, the best loss of {len(seen)} on validation rows."
    state = json.loads((tmp_path / run.key / "checkpoint-14" / "trainer_state.json").read_text())
    assert [row["step"] for row in state["log_history"] if "eval_loss" in row] == [step for step, _ in seen]


def test_only_better_weights_are_saved_where_that_is_asked(tiny, mood, tmp_path):
    arguments = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "best", "output_dir": str(tmp_path)}
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **{**QUICK, "lr": 0.1})
    steps = sorted(int(path.name.split("-")[1]) for path in (tmp_path / run.key).iterdir())
    state = json.loads((tmp_path / run.key / f"checkpoint-{steps[-1]}" / "trainer_state.json").read_text())
    losses = [(row["step"], row["eval_loss"]) for row in state["log_history"] if "eval_loss" in row]
    better = [step for i, (step, loss) in enumerate(losses) if loss < min([9e9, *(other for _, other in losses[:i])])]
    assert steps == better
    assert len(better) < 7


def test_what_is_scored_on_the_way_is_what_is_scored_at_the_end(tiny, mood):
    seen = []

    class Seen(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics=None, **_):
            seen.append(metrics)

    run = sv.finetune(
        tiny, mood, sv.Scope.half(tiny), arguments={"eval_strategy": "epoch"}, callbacks=[Seen()], **QUICK
    )
    assert len(seen) == 2
    assert set(seen[0]) == {"eval_loss", "eval_accuracy", "eval_f1", "eval_auroc"}
    assert seen[-1]["eval_loss"] == pytest.approx(run.validation_loss, abs=1e-9)


@pytest.mark.brings(
    "Arguments",
    "`callbacks=[EarlyStoppingCallback(2)]`",
    "stops early, by validation rows",
)
def test_early_stopping_stops_and_each_training_begins_afresh(tiny, mood, tmp_path):
    stop = EarlyStoppingCallback(1, 10.0)  # nothing improves by so much
    arguments = {"eval_strategy": "steps", "eval_steps": 2}
    one, two = (
        sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, callbacks=[stop], **QUICK) for _ in range(2)
    )
    same_run(one, two)
    assert one.steps == 4
    assert "A callback stopped it after 4 of 14 steps." in one.note
    assert one.key != sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **QUICK).key
    # What was stopped is at its end.
    saved = {**arguments, **EACH, "output_dir": str(tmp_path)}
    runs = [sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=saved, callbacks=[stop], **QUICK) for _ in range(2)]
    same_run(*runs)
    assert runs[1].steps == 4
    assert "checkpoint-4" in runs[1].note


def test_early_stopping_goes_on_with_what_it_has_counted(tiny, mood, tmp_path):
    arguments = {"eval_strategy": "steps", "eval_steps": 1, **EACH}
    options = {"callbacks": [EarlyStoppingCallback(6, 10.0)], **QUICK}
    whole = sv.finetune(
        tiny, mood, sv.Scope.half(tiny), arguments={**arguments, "output_dir": str(tmp_path / "w")}, **options
    )
    arguments["output_dir"] = str(tmp_path / "stopped")
    with pytest.raises(Cancelled):
        sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, control=stop_after(4), **options)
    run = sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=arguments, **options)
    same_run(run, whole)
    assert whole.steps == 7 < 14


@pytest.mark.parametrize(("callbacks", "lr", "words"), [
    ([EarlyStoppingCallback], 1e-3, "instance"), ("stop", 1e-3, "list"), ([3], 1e-3, "instance"),
    ([TrainerCallback()], "auto", "number as lr="), ([EarlyStoppingCallback(2)], 1e-3, "eval_strategy"),
], ids=lambda value: value if isinstance(value, str) else None)  # fmt: skip
def test_callbacks_that_cannot_be_used_are_refused(callbacks, lr, words, tiny, mood):
    with pytest.raises(SemvizError, match=words):
        sv.finetune(tiny, mood, callbacks=callbacks, **{**QUICK, "lr": lr})


def test_an_error_in_a_callback_of_the_users_is_the_users(tiny, mood):
    class Wrong(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sv.finetune(tiny, mood, arguments={"weight_decay": 0.1}, callbacks=[Wrong()], **QUICK)


def test_a_sweep_tells_callbacks_of_all_its_runs_and_compares_them(tiny, mood):
    class Ends(TrainerCallback):
        def __init__(self):
            self.steps = []

        def on_train_end(self, args, state, control, **_):
            self.steps.append(state.global_step)

    ends = Ends()
    runs = sv.sweep(tiny, mood, [sv.Scope.last(tiny), sv.Scope.half(tiny)], callbacks=[ends], **QUICK)
    assert ends.steps == [14, 14]
    assert len({run.arguments["callbacks"] for run in runs.runs}) == 1
    assert len(runs.table()) >= 2


def test_an_error_of_whoever_watches_is_theirs(tiny, mood):
    def wrong(progress):
        if progress.done == 2:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sv.finetune(tiny, mood, arguments={"weight_decay": 0.1}, control=sv.Control(wrong), **QUICK)
