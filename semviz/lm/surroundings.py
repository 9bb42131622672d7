"""The notebook's global switches, set to their defaults while semviz computes, and given back afterwards.

Automatic mixed precision, gradients that are switched off, another default dtype or device: each changes numbers, most
of them without an error. Results are compared by their key, and none of these is in it, so none may reach them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def default_surroundings() -> Iterator[None]:
    """Compute as in a fresh Python process inside the `with` block, whatever the notebook has switched.

    Autocast is off, gradients can be computed, tensors are float32 on the CPU unless the code says otherwise, matrix
    products have full precision, and NumPy warns. All of it is restored at the end. Settings that only choose between
    equal results, such as deterministic algorithms, stay the user's; threads are chosen in `semviz.lm.threads`.

    Some switches belong to the thread, others to the process; those of the process are restored when the last thread
    leaves.
    """
    with ExitStack() as stack:
        # Each is entered only where the user has switched something: the device context slows all calls of torch.
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(mode=False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(_PROCESS_SWITCHES)
        yield


@dataclass(frozen=True)
class Switch:
    """A switch of the process: how to read and to set it, and the value that semviz computes with."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]
    default: Any


def precision_switches() -> list[Switch]:
    """Precision of float32 matrix products, on GPUs (TF32) and on CPUs (bfloat16)."""
    backends = [getattr(torch.backends, name).matmul for name in ("cuda", "mkldnn") if _has_matmul(name)]
    if not backends:  # before torch 2.9
        return [Switch(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest")]
    # Not by get_float32_matmul_precision, which fails where only one backend was set.
    return [
        Switch(
            lambda backend=backend: backend.fp32_precision,  # type: ignore[misc]
            lambda value, backend=backend: setattr(backend, "fp32_precision", value),  # type: ignore[misc]
            "ieee",
        )
        for backend in backends
    ]


def _has_matmul(name: str) -> bool:
    return hasattr(getattr(getattr(torch.backends, name), "matmul", None), "fp32_precision")


class _ProcessSwitches:
    """Switches of the whole process: the first thread that enters saves them, the last that leaves restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: list[tuple[Switch, Any]] = []
        self._switches = [
            Switch(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
            # An error at the first number that is not finite: a run that diverges says so itself.
            Switch(
                lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
                lambda value: torch.set_anomaly_enabled(*value),
                (False, True),
            ),
            # With all kernels off attention fails; with conversions that overwrite, optimizers train old weights.
            Switch(torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp, True),
            Switch(
                torch.__future__.get_overwrite_module_params_on_conversion,
                torch.__future__.set_overwrite_module_params_on_conversion,
                False,
            ),
            *precision_switches(),
        ]

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._saved = [(switch, switch.read()) for switch in self._switches]
                for switch, value in self._saved:
                    if value != switch.default:
                        switch.write(switch.default)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for switch, value in self._saved:
                    if value != switch.default:
                        switch.write(value)


_PROCESS_SWITCHES = _ProcessSwitches()
