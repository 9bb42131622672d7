"""What Trainer and accelerate keep for the whole process reaches no other finetune and no notebook."""

from __future__ import annotations

import os
import threading

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from transformers.utils import logging

import semviz as sv
from semviz.common.errors import Cancelled, SemvizError
from semviz.finetuning.trainer_state import trainers_turn

QUICK = {"lr": 3e-3, "epochs": 1, "batch_size": 8, "progress": False}


@pytest.fixture
def clean_accelerate():
    """No state of accelerate before, and none afterwards."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._shared_state.clear()
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._shared_state.clear()


@pytest.fixture
def loss(tiny, mood) -> float:
    """Test loss of a finetune in clean surroundings."""
    return sv.finetune(tiny, mood, **QUICK).loss


SETTINGS = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_DOWNCAST_BF16": "yes",
    "ACCELERATE_DYNAMO_BACKEND": "EAGER",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "WORLD_SIZE": "",
    "RANK": "",
    "LOCAL_RANK": "0",
    "PMI_SIZE": "2",
    "OMPI_COMM_WORLD_SIZE": "2",
    "MV2_COMM_WORLD_SIZE": "2",
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.brings(
    "Machines",
    "settings of accelerate or MPI in the environment",
    "the run is trained as its options say",
)
def test_the_environment_of_accelerate_changes_no_number(name, tiny, mood, loss, monkeypatch):
    monkeypatch.setenv(name, SETTINGS[name])
    assert sv.finetune(tiny, mood, **QUICK).loss == loss
    assert os.environ[name] == SETTINGS[name]


def test_a_number_of_processes_that_is_none_is_refused(tiny, mood, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(SemvizError, match="WORLD_SIZE"):
        sv.finetune(tiny, mood, **QUICK)


LAUNCH = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in LAUNCH if name != "WORLD_SIZE" for value in (None, "", " ")),
        *((name, "first") for name in ("RANK", "LOCAL_RANK", "MASTER_PORT")),
        ("RANK", "2"),
        ("RANK", "-1"),
    ],
)
@pytest.mark.brings(
    "Machines",
    "`WORLD_SIZE` without the rest of a launch",
    "names the variable",
)
def test_a_launch_that_says_half_is_refused(name, value, tiny, mood, monkeypatch):
    for variable, usual in LAUNCH.items():
        monkeypatch.setenv(variable, usual)
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(SemvizError, match=rf"one of 2 processes, but {name} is .* accelerate launch"):
        sv.finetune(tiny, mood, **QUICK)


def test_an_accelerator_of_the_user_changes_no_number_and_stays_as_it_is(tiny, mood, loss, clean_accelerate):
    own = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=4)
    before = {name: value for name, value in vars(own.state).items() if name != "_shared_state"}
    assert sv.finetune(tiny, mood, **QUICK).loss == loss
    assert (own.mixed_precision, own.gradient_accumulation_steps) == ("bf16", 4)
    assert {name: value for name, value in vars(own.state).items() if name != "_shared_state"} == before
    assert Accelerator().mixed_precision == "bf16"  # further ones share its state, as accelerate says


def test_no_state_of_accelerate_is_left_where_there_was_none(tiny, mood, clean_accelerate):
    sv.finetune(tiny, mood, **QUICK)
    assert [state._shared_state for state in (AcceleratorState, GradientState, PartialState)] == [{}, {}, {}]
    assert Accelerator(mixed_precision="bf16").mixed_precision == "bf16"


@pytest.mark.parametrize(
    "arguments",
    [{"full_determinism": True}, {"bf16": True}, {"log_level": "debug"}, {"torch_empty_cache_steps": 1}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_arguments_of_trainer_do_not_stay_on(arguments, tiny, mood, loss):
    def state() -> list:
        cudnn = torch.backends.cudnn
        flags = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
        return [flags, dict(os.environ), logging.get_verbosity(), torch.get_float32_matmul_precision()]

    before = state()
    sv.finetune(tiny, mood, arguments=arguments, **QUICK)
    assert state() == before
    assert sv.finetune(tiny, mood, **QUICK).loss == loss


def test_finetunes_in_threads_give_what_they_give_alone(tiny, mood):
    expected = {seed: sv.finetune(tiny, mood, seed=seed, **QUICK).loss for seed in range(2)}
    found: dict[int, float] = {}

    def work(i: int) -> None:
        found[i] = sv.finetune(tiny, mood, seed=i % 2, **QUICK).loss

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: expected[i % 2] for i in range(4)}


def test_a_finetune_that_waits_for_its_turn_can_be_cancelled(tiny, mood):
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with trainers_turn(sv.Control()):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert entered.wait(10)
        control = sv.Control()
        threading.Timer(0.3, control.cancel).start()
        with pytest.raises(Cancelled):
            sv.finetune(tiny, mood, control=control, **QUICK)
    finally:
        leave.set()
        thread.join()
