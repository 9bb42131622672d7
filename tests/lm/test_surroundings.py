"""Whatever a notebook has switched globally changes no number, and is as it was afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from small import mood_task, plain_text, tiny_llama, word_tokenizer
from torch.utils.flop_counter import FlopCounterMode

import semviz as sv
from semviz.common.errors import ScopeError, SemvizError
from semviz.lm.surroundings import default_surroundings

QUIET = {"progress": False}
QUICK = {"lr": 3e-3, "epochs": 1, "batch_size": 16, **QUIET}


@contextmanager
def switched(switch: Callable, value, default) -> Iterator[None]:
    switch(value)
    try:
        yield
    finally:
        switch(default)


@contextmanager
def all_kernels_off() -> Iterator[None]:
    names = ("flash", "math", "mem_efficient", "cudnn")
    before = [getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in names]
    try:
        for name in names:
            getattr(torch.backends.cuda, f"enable_{name}_sdp")(False)
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            getattr(torch.backends.cuda, f"enable_{name}_sdp")(value)


SWITCHES = {
    "gradients off": lambda: switched(torch.set_grad_enabled, False, True),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "inference_mode off, inside it": lambda: torch.inference_mode(mode=False),
    "autocast bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "default dtype bfloat16": lambda: switched(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "default dtype float16": lambda: switched(torch.set_default_dtype, torch.float16, torch.float32),
    "default dtype float64": lambda: switched(torch.set_default_dtype, torch.float64, torch.float32),
    "default device meta": lambda: switched(torch.set_default_device, "meta", None),
    "default device meta, in a block": lambda: torch.device("meta"),
    "default device cpu": lambda: switched(torch.set_default_device, "cpu", None),
    "low precision of products": lambda: switched(torch.set_float32_matmul_precision, "medium", "highest"),
    "deterministic algorithms": lambda: switched(torch.use_deterministic_algorithms, True, False),
    "anomaly detection": lambda: switched(torch.autograd.set_detect_anomaly, True, False),
    "denormal numbers off": lambda: switched(torch.set_flush_denormal, True, False),
    "all attention kernels off": all_kernels_off,
    "conversions that overwrite": lambda: switched(
        torch.__future__.set_overwrite_module_params_on_conversion, True, False
    ),
    "conversions that swap": lambda: switched(torch.__future__.set_swap_module_params_on_conversion, True, False),
    "counting operations": lambda: FlopCounterMode(display=False),
    "random seed": lambda: switched(torch.manual_seed, 3, 0),
    "numpy raises": lambda: np.errstate(all="raise"),
}


def fresh_model() -> sv.LanguageModel:
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())


@torch.no_grad()
def logits(model: sv.LanguageModel) -> np.ndarray:
    """Logits of one text in default surroundings, however the caller's are."""
    with default_surroundings():
        return model.model(torch.arange(4, 14)[None]).logits.float().detach().numpy()


def numbers(folder, model: sv.LanguageModel, task: sv.Task) -> dict[str, np.ndarray]:
    """What every public function that runs a model says, on a model and a task that were made before."""
    half = sv.Scope.half(model)
    trace = sv.trace(model, task, samples=20, calibration=sv.calibrate(model, **QUIET), **QUIET)
    runs = {
        "cached": sv.finetune(model, task, half, **QUICK),
        "uncached": sv.finetune(model, task, half, cache=False, **QUICK),
        "lora": sv.finetune(model, task, half, method="lora", **QUICK),
        "rate search": sv.finetune(model, task, half, **{**QUICK, "lr": "auto"}),
    }
    sweep = sv.sweep(model, task, [sv.Scope.full(model), half], keep_weights=True, **QUICK)
    probes = sv.probe(model, task, **QUICK)
    costs = sv.estimate_costs(model, task)
    baselines = sv.baseline_scopes(model, task, 2, **QUIET)
    return {
        "load_model": logits(sv.load_model(folder)),
        **{f"trace, {key}": values for key, values in trace.values.items()},
        "default calibration": sv.trace(model, task, samples=5, metrics="semantic", **QUIET).values["semantic"],
        **{f"finetune, {name}": np.asarray([run.loss, run.accuracy, run.lr]) for name, run in runs.items()},
        "sweep": np.asarray([run.loss for run in sweep]),
        "zero-shot": np.asarray([sweep.zero_shot, *sweep.untrained_rows]),
        "probe": probes.benefit,
        "load_run": logits(sv.load_run(model, runs["cached"])),
        "Run.trace": runs["cached"].trace(samples=8, metrics="lens", **QUIET).values["lens"],
        "estimate_costs": np.asarray([*costs.block_flops, *costs.block_bytes]),
        "baseline_scopes": np.asarray([sum(1 << block for block in scope.blocks) for scope in baselines.values()]),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("surroundings") / "tiny"
    tiny_llama().save_pretrained(path)
    word_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def expected(folder) -> dict[str, np.ndarray]:
    return numbers(folder, fresh_model(), mood_task())


def state_of_process() -> list:
    """Everything that could leak out: what the thread and the process are set to."""
    b = torch.backends
    return [
        *(torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()),
        *(torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_autocast_cache_enabled()),
        *(torch.empty(0).device, torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled()),
        *(torch.is_deterministic_algorithms_warn_only_enabled(), torch.get_float32_matmul_precision()),
        *(b.cuda.flash_sdp_enabled(), b.cuda.math_sdp_enabled(), b.cudnn.deterministic, b.cudnn.benchmark),
        *(torch.__future__.get_overwrite_module_params_on_conversion(), torch.get_num_threads(), np.geterr()),
        torch.__future__.get_swap_module_params_on_conversion(),
        torch.get_rng_state().tolist() if torch.empty(0).device.type == "cpu" else None,
    ]


@pytest.mark.parametrize("name", SWITCHES)
def test_no_switch_changes_a_number(name, folder, expected):
    model, task = fresh_model(), mood_task()
    with SWITCHES[name]():
        before = state_of_process()
        found = numbers(folder, model, task)
        assert state_of_process() == before
    other_kernels = name in ("all attention kernels off", "counting operations")
    tolerance = 1e-5 if other_kernels else 0
    for what, values in expected.items():
        if other_kernels and what == "estimate_costs":
            continue  # they keep other tensors for the backward pass
        np.testing.assert_allclose(found[what], values, rtol=tolerance, atol=tolerance, err_msg=f"{what}, {name}")


def test_switches_are_given_back_after_an_error():
    with torch.autocast("cpu", dtype=torch.bfloat16), switched(torch.set_default_dtype, torch.float16, torch.float32):
        before = state_of_process()
        with pytest.raises(SemvizError):
            sv.finetune(fresh_model(), mood_task(), arguments={"optim": "nope"}, **QUICK)
        assert state_of_process() == before


def test_the_last_thread_that_leaves_gives_back_what_belongs_to_the_process():
    inside, leave, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with default_surroundings():
            inside.set()
            leave.wait(10)
            seen.append(torch.get_default_dtype())

    with switched(torch.set_default_dtype, torch.float64, torch.float32):
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        with default_surroundings():
            assert torch.get_default_dtype() == torch.float32
        leave.set()
        thread.join()
        assert seen == [torch.float32]
        assert torch.get_default_dtype() == torch.float64


class TestModelMadeInInferenceMode:
    """Its tensors can never be saved for a backward pass, so what trains and what lies between needs copies."""

    @pytest.fixture
    def model(self):
        with torch.inference_mode():
            return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())

    def test_says_the_same_numbers(self, model, folder, expected):
        assert all(p.is_inference() for p in model.model.parameters())
        found = numbers(folder, model, mood_task())
        for what, values in expected.items():
            np.testing.assert_allclose(found[what], values, atol=1e-6, err_msg=what)

    def test_cannot_be_trained_in_place_and_says_so(self, model):
        with pytest.raises(ScopeError, match="inference_mode"), sv.Scope.half(model).apply(model):
            pass


def test_load_model_makes_ordinary_tensors_in_inference_mode(folder):
    with torch.inference_mode():
        model = sv.load_model(folder)
    assert not any(p.is_inference() for p in model.model.parameters())
