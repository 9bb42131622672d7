"""Hugging Face's Trainer for a `Suffix`: scores on the way, checkpoints of what trains, and rows grouped by length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainerControl, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler

from semviz.finetuning.callbacks import TrainingMonitor
from semviz.finetuning.checkpoints import read_progress, read_weights, write_checkpoint
from semviz.finetuning.evaluation import SplitScores


class SuffixTrainer(Trainer):
    """Trainer, with what semviz knows better: the loss of each batch, the validation rows, and what trains.

    Attributes:
        error: What went wrong while validation rows were scored; raised there, it would leave Trainer in the middle of
            a step.
        evaluations: Steps at which validation rows were scored, with what was found.
    """

    control: TrainerControl

    def __init__(
        self,
        *,
        monitor: TrainingMonitor,
        validate: Callable[[], SplitScores] | None,
        seconds: Callable[[], float],
        **options: Any,
    ) -> None:
        """Prepare a training.

        Args:
            monitor: Told the loss of each batch.
            validate: Scores the validation rows.
            seconds: How long the training has taken so far.
            options: Those of Trainer.
        """
        self.monitor, self.validate, self.seconds = monitor, validate, seconds
        self.error: BaseException | None = None
        self.evaluations: list[tuple[int, dict[str, float]]] = []
        super().__init__(**options)

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        """Train on a batch."""
        loss: torch.Tensor = super().training_step(*args, **options)
        self.monitor.add_loss(loss)
        return loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the validation rows."""
        assert self.validate is not None
        if callable(getattr(self.optimizer, "eval", None)):  # schedule-free ones keep two sets of weights
            self.optimizer.eval()
        metrics: dict[str, float] = {}
        try:
            scores = self.validate()
        except BaseException as error:  # a cancel or an interrupt too
            self.error, self.control.should_training_stop = error, True
            metrics = {f"{metric_key_prefix}_loss": float("nan")}
            if self.args.metric_for_best_model:
                metrics[f"{metric_key_prefix}_{self.args.metric_for_best_model.removeprefix('eval_')}"] = float("nan")
            return metrics
        for name in ("loss", "accuracy", "f1", "auroc"):
            value = getattr(scores, name)
            if value is not None:
                metrics[f"{metric_key_prefix}_{name}"] = value
        self.evaluations.append((self.state.global_step, metrics))
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.model.train()
        return metrics

    def go_on_from(self, checkpoint: Path) -> bool:
        """Take up a training from a checkpoint of it.

        Returns:
            Whether there is something left to train; otherwise its weights are as they were at the end.
        """
        progress = read_progress(checkpoint)
        self.monitor.go_on_from(progress)
        self.evaluations = [(step, dict(metrics)) for step, metrics in progress["evaluations"]]
        if not progress["ended"]:
            return True
        read_weights(checkpoint, self.model)
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        best = checkpoint.parent / f"checkpoint-{self.state.best_global_step}"
        if self.args.load_best_model_at_end and best.is_dir():
            self.state.best_model_checkpoint = str(best)
            self._load_best_model()
        return False

    def _progress(self) -> dict[str, Any]:
        # A training that somebody stopped was not at its end.
        ended = self.control.should_training_stop and not self.monitor.stop_requested and self.error is None
        return {
            **self.monitor.progress_so_far(self.args),
            "evaluations": self.evaluations,
            "seconds": self.seconds(),
            "ended": ended,
        }

    def _save_checkpoint(self, *args: Any, **options: Any) -> None:
        """Write a checkpoint, unless what it would hold is half done."""
        if self.error is None:
            self._saved_progress = self._progress()  # on every process: it gathers
            super()._save_checkpoint(*args, **options)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write what trains, and nothing of the model that is the user's; no pickled arguments either."""
        if self.args.should_save:
            write_checkpoint(output_dir or self.args.output_dir, self.model, self._saved_progress)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        read_weights(resume_from_checkpoint, self.model)

    def _load_best_model(self) -> None:
        read_weights(self.state.best_model_checkpoint, self.model)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Rows in the order that the arguments ask for; the same for the same seed, wherever a training begins."""
        part = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(part)
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return _GroupedByLength(part, part.encoded.ids.lengths.tolist(), rows, self.args.seed)


class _GroupedByLength(Sampler[int]):
    """Rows of about one length together, in an order that the seed and the epoch decide and nothing else."""

    def __init__(self, dataset: Dataset[int], lengths: list[int], batch_size: int, seed: int) -> None:
        self.seed, self.epoch = seed, 0
        self.inner = LengthGroupedSampler(batch_size, dataset=dataset, lengths=lengths)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[int]:
        self.inner.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(self.inner)


def best_of(trainer: SuffixTrainer) -> Mapping[str, Any]:
    """Step, metric and number of scores of the weights that were kept, where those of the best score were."""
    state = trainer.state
    if not (trainer.args.load_best_model_at_end and state.best_model_checkpoint):
        return {}
    metric = trainer.args.metric_for_best_model.removeprefix("eval_")
    return {"step": state.best_global_step, "metric": metric, "scores": len(trainer.evaluations)}


def unscored(trainer: SuffixTrainer) -> str:
    """Why scores on the way that were asked for decided nothing, in words; empty where nothing is odd."""
    last = "so its weights are those of the last step"
    if not any(step for step, _ in trainer.evaluations):
        return f"The validation rows were not scored on the way, {last}: eval_delay is longer than the training."
    if trainer.args.load_best_model_at_end:
        return f"No checkpoint was written where the validation rows were scored, {last}."
    return ""
