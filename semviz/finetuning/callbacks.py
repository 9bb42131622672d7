"""Trainer callbacks: live progress, stopping within one step, guards, and blocks that take turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from transformers import TrainerCallback
from transformers.trainer_pt_utils import nested_gather

from semviz.common.errors import SemvizError
from semviz.common.interrupts import interrupt_is_waiting
from semviz.common.progress import Progress, progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from semviz.common.progress import Control
    from semviz.common.training_methods import Schedule
    from semviz.finetuning.suffix_model import Suffix

_RECENT = 10  # logged losses whose mean tells divergence from one bad batch
_FROZEN = 1e-5  # nats between a loss and that of guessing
_DIVERGENCE_FACTOR = 2.0  # how many times the loss of guessing, and of the start, counts as diverged


@dataclass
class _Window:
    """Training losses and hits since a point of a curve was taken."""

    loss: float = 0.0
    steps: int = 0
    correct: float = 0.0
    targets: int = 0

    def add(self, loss: float, steps: int, correct: float, targets: int) -> None:
        self.loss, self.steps = self.loss + loss, self.steps + steps
        self.correct, self.targets = self.correct + correct, self.targets + targets

    def take(self) -> tuple[float, float]:
        """Mean loss and share of hits, which begin anew."""
        point = self.loss / max(1, self.steps), self.correct / self.targets if self.targets else math.nan
        self.loss, self.steps, self.correct, self.targets = 0.0, 0, 0.0, 0
        return point


class TrainingMonitor(TrainerCallback):
    """Records the loss curve, advances the progress bar, measures memory, and ends a cancelled or diverged run.

    It is told the loss of each batch, so that it sees divergence whatever is logged, and how often.
    """

    def __init__(
        self,
        suffix: Suffix,
        label: str,
        lr: float,
        device: torch.device,
        *,
        every: int = 1,
        as_logged: bool = False,
        control: Control,
        progress: bool,
    ) -> None:
        """Begin to watch.

        Args:
            suffix: What trains.
            label: That in words.
            lr: The peak rate.
            device: Where it trains.
            every: Steps between the points at which divergence is looked for.
            as_logged: Whether the curve has its points where Trainer logs; otherwise it has those.
            control: To tell, and to stop.
            progress: Show a progress bar.
        """
        self.suffix, self.label, self.lr, self.device, self.control = suffix, label, lr, device, control
        self.progress, self.every, self.as_logged = progress, every, as_logged
        self.curve: list[tuple[int, float, float]] = []
        self.losses: list[float] = []
        self.stop_reason = ""
        self.process = psutil.Process()
        self.start_bytes = self.process.memory_info().rss
        self.peak_bytes = 0
        self._bar: Any = None
        self._loss: Any = 0.0
        self._steps = 0
        self._watched, self._logged = _Window(), _Window()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def add_loss(self, loss: Tensor) -> None:
        """Add the loss of one batch; kept on the device, since reading it would synchronize the GPU at every step."""
        self._loss = self._loss + loss

    def on_train_begin(self, args: Any, state: Any, control: Any, **trainer_objects: Any) -> None:
        """Check what will be trained, and open the progress bar."""
        self._check_optimizer(trainer_objects.get("optimizer"))
        label = f"{self.label}, lr {self.lr:.2g}, seed {args.seed}"
        self._bar = progress_bar(state.max_steps, label, unit="steps", show=self.progress)
        self._bar.update(state.global_step)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop between accumulated batches."""
        control.should_training_stop = control.should_training_stop or self.stop_requested

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance the progress bar, record the loss, and stop a run that was cancelled or has diverged."""
        self._bar.update()
        self._steps += 1
        self.peak_bytes = max(self.peak_bytes, self.process.memory_info().rss - self.start_bytes)
        if state.global_step % self.every == 0:
            self._gather(args)
            loss, accuracy = self._watched.take()
            if not self.as_logged:
                self._record(state.global_step, loss, accuracy)
            self.losses.append(loss)
            if not math.isfinite(loss):
                self.stop_reason = "The loss was not finite"
            elif self._has_diverged():
                self.stop_reason = f"The loss rose to {np.mean(self.losses[-_RECENT:]):.1f} nats, far above guessing,"
            elif self._is_dead():
                self.stop_reason = f"The loss froze at that of guessing over the vocabulary, {loss:.1f} nats,"
        if not self.stop_requested:
            self._report_progress(state)
        # Raised here, a cancel or an interrupt would leave Trainer in the middle of a step, so its loop ends first.
        if self.stop_requested or self.stop_reason:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Record a point of the curve, where it has those that are logged."""
        if self.as_logged and "loss" in (logs or {}):
            self._gather(args)
            self._record(state.global_step, *self._logged.take())

    def _record(self, step: int, loss: float, accuracy: float) -> None:
        self.curve.append((step, loss, accuracy))
        self._bar.set_postfix_str(f"loss {loss:.3f}")

    def _gather(self, args: Any) -> None:
        """Read the loss and the hits of the batches since the last time, over all processes."""
        mean = nested_gather(torch.as_tensor(self._loss, device=self.device), args.parallel_mode).mean().item()
        added = mean, self._steps, *self.suffix.take_hits()
        self._loss, self._steps = 0.0, 0
        for window in (self._watched, self._logged):
            window.add(*added)

    @property
    def stop_requested(self) -> bool:
        """Whether somebody wants this training to stop, of whatever stage it is."""
        return self.control.cancelled or interrupt_is_waiting()

    def _report_progress(self, state: Any) -> None:
        loss, accuracy = self.curve[-1][1:] if self.curve else (None, None)
        self.control.tell(Progress(self.label, state.global_step, state.max_steps, loss, accuracy, self.lr))

    def progress_so_far(self, args: Any) -> dict[str, Any]:
        """What a training that goes on later has to know, as JSON."""
        self._gather(args)
        return {
            "curve": self.curve,
            "losses": self.losses,
            "watched": vars(self._watched),
            "logged": vars(self._logged),
            "peak_bytes": self.peak_bytes,
            "stop_reason": self.stop_reason,
        }

    def go_on_from(self, progress: Mapping[str, Any]) -> None:
        """Take up what `progress_so_far` has returned."""
        self.curve = [(step, loss, accuracy) for step, loss, accuracy in progress["curve"]]
        self.losses, self.stop_reason = list(progress["losses"]), progress["stop_reason"]
        self._watched, self._logged = _Window(**progress["watched"]), _Window(**progress["logged"])
        self.peak_bytes = progress["peak_bytes"]

    def close(self) -> None:
        """Close the progress bar, and read the GPU's peak memory."""
        if self._bar is not None:
            self._bar.close()
        if self.device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(self.device)

    def _has_diverged(self) -> bool:
        """Whether the last losses are far above the first one and above uniform guessing over the vocabulary."""
        vocabulary = len(self.suffix.network.get_input_embeddings().weight)
        bound = _DIVERGENCE_FACTOR * max(self.losses[0], math.log(vocabulary))
        return len(self.losses) >= _RECENT and float(np.mean(self.losses[-_RECENT:])) > bound

    def _is_dead(self) -> bool:
        """Whether the blocks have stopped to depend on what they read: the same loss for ten batches, that of guessing.

        A model whose head is still empty begins there, and is not meant.
        """
        vocabulary = len(self.suffix.network.get_input_embeddings().weight)
        distances = np.abs(np.asarray([self.losses[0], *self.losses[-_RECENT:]]) - math.log(vocabulary))
        return len(self.losses) > _RECENT and bool(distances[0] > _FROZEN and (distances[1:] < _FROZEN).all())

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
        then: Called where training goes on.
        ends: Whether training was ended here.
        seconds: How long it took.
        error: What went wrong meanwhile; raised here, it would leave Trainer in the middle of a step.
    """

    def __init__(self, step: int, goes_on: Callable[[], bool]) -> None:
        self.step, self.goes_on = step, goes_on
        self.then: Callable[[], None] | None = None
        self.ends, self.seconds = False, 0.0
        self.error: BaseException | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Do it, unless training ends anyway."""
        if state.global_step != self.step or control.should_training_stop:
            return
        started = time.perf_counter()
        try:
            self.ends = not self.goes_on()
            if not self.ends and self.then is not None:
                self.then()
        except BaseException as error:  # an interrupt too
            self.ends, self.error = True, error
        self.seconds = time.perf_counter() - started
        control.should_training_stop = self.ends


class BlockSchedule(TrainerCallback):
    """Lets blocks of the scope take turns, for training methods that choose which of them train at a step."""

    def __init__(self, suffix: Suffix, schedule: Schedule) -> None:
        self.blocks, self.schedule = list(suffix.trained), schedule
        self.scope_ids = {id(p) for p in suffix.trainable_parameters}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Draw the turns again that a training has had before it was stopped, and take the last."""
        turns = [turn for turn in map(self.schedule, range(state.global_step)) if turn is not None]
        if turns:
            self._take_turn(turns[-1])

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Change which blocks train, where the step begins a new turn."""
        active = self.schedule(state.global_step)
        if active is not None:
            self._take_turn(active)

    def _take_turn(self, active: Collection[int]) -> None:
        for i, block in enumerate(self.blocks):
            for p in block.parameters():
                if id(p) in self.scope_ids:
                    p.requires_grad_(i in active)
            block.zero_grad(set_to_none=True)
