"""Trainer callbacks: live progress, stopping within one step, guards, and blocks that take turns."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from transformers import TrainerCallback

from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupt_is_waiting
from semviz.common.progress import Progress, progress_bar

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.common.training_methods import Schedule
    from semviz.finetuning.suffix_model import Suffix

_RECENT = 10  # logged losses whose mean tells divergence from one bad batch
_DIVERGENCE_FACTOR = 2.0  # how many times the loss of guessing, and of the start, counts as diverged


class TrainingMonitor(TrainerCallback):
    """Records the loss curve, advances the progress bar, measures memory, and ends a cancelled or diverged run."""

    def __init__(
        self, suffix: Suffix, label: str, lr: float, device: torch.device, *, control: Control, progress: bool
    ) -> None:
        self.suffix, self.label, self.lr, self.device, self.control = suffix, label, lr, device, control
        self.progress = progress
        self.curve: list[tuple[int, float, float]] = []
        self.stop_reason = ""
        self.process = psutil.Process()
        self.start_bytes = self.process.memory_info().rss
        self.peak_bytes = 0
        self._bar: Any = None
        self._recent: deque[float] = deque(maxlen=_RECENT)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def on_train_begin(self, args: Any, state: Any, control: Any, **trainer_objects: Any) -> None:
        """Check what will be trained, and open the progress bar."""
        self._check_optimizer(trainer_objects.get("optimizer"))
        label = f"{self.label}, lr {self.lr:.2g}, seed {args.seed}"
        self._bar = progress_bar(state.max_steps, label, unit="steps", show=self.progress)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop between accumulated batches."""
        control.should_training_stop = control.should_training_stop or self._stop_requested

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance the progress bar, or stop."""
        self._bar.update()
        self.peak_bytes = max(self.peak_bytes, self.process.memory_info().rss - self.start_bytes)
        # Raised here, a cancel or an interrupt would leave Trainer in the middle of a step, so its loop ends first.
        if self._stop_requested:
            control.should_training_stop = True
        elif not control.should_log:  # otherwise it is reported with the loss that is logged next
            self._report_progress(state)

    @property
    def _stop_requested(self) -> bool:
        return self.control.cancelled or interrupt_is_waiting()

    def _report_progress(self, state: Any) -> None:
        loss, accuracy = self.curve[-1][1:] if self.curve else (None, None)
        self.control.tell(Progress(self.label, state.global_step, state.max_steps, loss, accuracy, self.lr))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Record the loss, and stop a run that has diverged."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        self.curve.append((state.global_step, float(loss), self.suffix.take_accuracy()))
        # One that was dropped at its pause was done with before the training that took its place began.
        is_dropped = control.should_training_stop and state.global_step < state.max_steps
        if not self._stop_requested and not is_dropped:
            self._report_progress(state)
        self._recent.append(float(loss))
        self._bar.set_postfix_str(f"loss {float(loss):.3f}")
        if not math.isfinite(float(loss)):
            self.stop_reason = "The loss was not finite"
        elif self._has_diverged():
            self.stop_reason = f"The loss rose to {np.mean(self._recent):.1f} nats, far above guessing,"
        control.should_training_stop = control.should_training_stop or bool(self.stop_reason)

    def close(self) -> None:
        """Close the progress bar, and read the GPU's peak memory."""
        if self._bar is not None:
            self._bar.close()
        if self.device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(self.device)

    def _has_diverged(self) -> bool:
        """Whether the last losses are far above the first one and above uniform guessing over the vocabulary."""
        vocabulary = len(self.suffix.network.get_input_embeddings().weight)
        bound = _DIVERGENCE_FACTOR * max(self.curve[0][1], math.log(vocabulary))
        return len(self._recent) == _RECENT and float(np.mean(self._recent)) > bound

    def _check_optimizer(self, optimizer: Any) -> None:
        """Refuse to train parameters outside the scope: one alone costs a backward pass through the prefix."""
        if optimizer is None:
            return
        optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
        scope_ids = {id(p) for p in self.suffix.trainable_parameters}
        unfrozen = {id(p) for p in self.suffix.parameters() if p.requires_grad}
        if optimized != scope_ids or unfrozen != scope_ids:
            names = [
                name
                for name, p in self.suffix.named_parameters()
                if (id(p) in optimized | unfrozen) != (id(p) in scope_ids)
            ]
            raise SemvizError(
                f"The optimizer would not train exactly the scope: {names[:5]} differ. Leave the "
                "suffix's requires_grad flags as they are."
            )


class Pause(TrainerCallback):
    """Lets something else be done after a number of steps, such as another training; then training goes on, or ends.

    Attributes:
        ends: Whether training was ended here.
        seconds: How long it took.
        error: What went wrong meanwhile; raised here, it would leave Trainer in the middle of a step.
    """

    def __init__(self, step: int, goes_on: Callable[[], bool]) -> None:
        self.step, self.goes_on = step, goes_on
        self.ends, self.seconds = False, 0.0
        self.error: BaseException | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Do it, unless training ends anyway."""
        if state.global_step != self.step or control.should_training_stop:
            return
        started = time.perf_counter()
        try:
            self.ends = not self.goes_on()
        except BaseException as error:  # an interrupt too
            self.ends, self.error = True, error
        self.seconds = time.perf_counter() - started
        control.should_training_stop = self.ends


class BlockSchedule(TrainerCallback):
    """Lets blocks of the scope take turns, for training methods that choose which of them train at a step."""

    def __init__(self, suffix: Suffix, schedule: Schedule) -> None:
        self.blocks, self.schedule = list(suffix.trained), schedule
        self.scope_ids = {id(p) for p in suffix.trainable_parameters}

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Change which blocks train, where the step begins a new turn."""
        active = self.schedule(state.global_step)
        if active is None:
            return
        for i, block in enumerate(self.blocks):
            for p in block.parameters():
                if id(p) in self.scope_ids:
                    p.requires_grad_(i in active)
            block.zero_grad(set_to_none=True)
