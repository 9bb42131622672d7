"""What accompanies a training run: live progress, a stop within one step, guards, and blocks that take turns."""

from __future__ import annotations

import math
from collections import deque
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

_RECENT = 10  # logged losses whose mean tells a divergence from one bad batch
_FACTOR = 2.0  # how much worse than guessing, and than the start, a diverged run is


class Watch(TrainerCallback):
    """Keeps the loss curve, moves the bar, measures memory, and ends a run that is cancelled or has diverged."""

    def __init__(
        self, suffix: Suffix, label: str, lr: float, device: torch.device, *, control: Control, progress: bool
    ) -> None:
        self.suffix, self.label, self.lr, self.device, self.control = suffix, label, lr, device, control
        self.progress = progress
        self.curve: list[tuple[int, float, float]] = []
        self.stopped = ""
        self.process = psutil.Process()
        self.before = self.process.memory_info().rss
        self.peak = 0
        self._bar: Any = None
        self._recent: deque[float] = deque(maxlen=_RECENT)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Check what would be trained, and open the bar."""
        self._check_optimizer(given.get("optimizer"))
        said = f"{self.label}, lr {self.lr:.2g}, seed {args.seed}"
        self._bar = progress_bar(state.max_steps, said, unit="steps", show=self.progress)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop between accumulated batches."""
        control.should_training_stop = control.should_training_stop or self._is_stopped

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move on, or stop."""
        self._bar.update()
        self.peak = max(self.peak, self.process.memory_info().rss - self.before)
        # Raised here, a cancel or an interrupt would leave Trainer in the middle of a step; so it ends its loop first.
        if self._is_stopped:
            control.should_training_stop = True
        elif not control.should_log:  # else it is told with the loss that is logged next
            self._tell(state)

    @property
    def _is_stopped(self) -> bool:
        return self.control.cancelled or interrupt_is_waiting()

    def _tell(self, state: Any) -> None:
        loss, accuracy = self.curve[-1][1:] if self.curve else (None, None)
        self.control.tell(Progress(self.label, state.global_step, state.max_steps, loss, accuracy, self.lr))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep the loss, and stop a run that has diverged."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        self.curve.append((state.global_step, float(loss), self.suffix.take_accuracy()))
        if not self._is_stopped:
            self._tell(state)
        self._recent.append(float(loss))
        self._bar.set_postfix_str(f"loss {float(loss):.3f}")
        if not math.isfinite(float(loss)):
            self.stopped = "The loss was not finite"
        elif self._worse_than_nothing():
            self.stopped = f"The loss rose to {np.mean(self._recent):.1f} nats, far above guessing,"
        control.should_training_stop = control.should_training_stop or bool(self.stopped)

    def close(self) -> None:
        """Take the bar away, and read the GPU's peak."""
        if self._bar is not None:
            self._bar.close()
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self.device)

    def _worse_than_nothing(self) -> bool:
        """Whether the last losses are far above the first and above a guess over the whole vocabulary."""
        vocabulary = len(self.suffix.network.get_input_embeddings().weight)
        bound = _FACTOR * max(self.curve[0][1], math.log(vocabulary))
        return len(self._recent) == _RECENT and float(np.mean(self._recent)) > bound

    def _check_optimizer(self, optimizer: Any) -> None:
        """Refuse to train anything but the scope: a stray parameter costs a walk through the whole prefix."""
        if optimizer is None:
            return
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        wanted = {id(p) for p in self.suffix.trainable_parameters}
        free = {id(p) for p in self.suffix.parameters() if p.requires_grad}
        if held != wanted or free != wanted:
            names = [n for n, p in self.suffix.named_parameters() if (id(p) in held | free) != (id(p) in wanted)]
            raise SemvizError(
                f"The optimizer would not train exactly the scope: {names[:5]} differ. Leave requires_grad of the "
                "suffix as it is."
            )


class BlockSchedule(TrainerCallback):
    """Lets blocks of the scope take turns, for training methods that say which of them train at a step."""

    def __init__(self, suffix: Suffix, schedule: Schedule) -> None:
        self.blocks, self.schedule = list(suffix.trained), schedule
        self.own = {id(p) for p in suffix.trainable_parameters}

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Change the blocks that train, where the step begins a new turn."""
        chosen = self.schedule(state.global_step)
        if chosen is None:
            return
        for i, block in enumerate(self.blocks):
            for p in block.parameters():
                if id(p) in self.own:
                    p.requires_grad_(i in chosen)
            block.zero_grad(set_to_none=True)
