"""`Run`: what one finetune was and what came of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from semviz import formats
from semviz.parts import Parts
from semviz.scopes import Scope

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Run:
    """One finetune.

    Attributes:
        key: Hash of all that decides the result.
        model: Name of the model.
        task: Name of the task.
        score: `"accuracy"` (higher is better) or `"loss"` (nats a token, lower is better).
        scope: The blocks that trained.
        method: `"full"` (the blocks' own weights) or `"lora"`.
        seed: Seed of data order, dropout and adapters.
        lr: Learning rate.
        rates: Validation score of each learning rate that was tried; empty where one was given.
        epochs, steps, batch_size: How long it trained.
        accuracy: Share of test rows whose label (or tokens) the model ranks first, in [0, 1].
        loss: Cross-entropy of the targets on test rows, nats.
        validation: Score on validation rows, by which choices are made.
        f1: Macro F1 on test rows; None for language modelling.
        auroc: Macro one-vs-rest AUROC on test rows; None for language modelling.
        rows: Score of each test row, for intervals and paired comparisons.
        trainable: Unique parameters that trained (for LoRA, those of the adapters).
        seconds: Training time, the one prefix pass included.
        prefix_seconds: Of these, the prefix pass.
        search_seconds: Time spent on the other learning rates.
        tokens_per_second: Training tokens over training time.
        peak_bytes: Peak memory during training: of the GPU, or the process's growth on the CPU.
        cached: Whether the prefix was cached.
        curve: Training loss by step, columns step and loss.
        note: What went otherwise than asked; empty if nothing.
        environment: Versions and device.
        weights: Trained tensors by their name in the model, on the CPU; empty unless kept.
    """

    key: str
    model: str
    task: str
    score: str
    scope: Scope
    method: str
    seed: int
    lr: float
    rates: dict[float, float]
    epochs: float
    steps: int
    batch_size: int
    accuracy: float
    loss: float
    validation: float
    f1: float | None
    auroc: float | None
    rows: tuple[float, ...] = field(repr=False)
    trainable: int
    seconds: float
    prefix_seconds: float
    search_seconds: float
    tokens_per_second: float
    peak_bytes: int
    cached: bool
    curve: pd.DataFrame = field(repr=False)
    note: str
    environment: dict[str, str] = field(repr=False)
    weights: dict[str, Tensor] = field(repr=False, default_factory=dict)

    @property
    def value(self) -> float:
        """The score on test rows, accuracy or loss."""
        return self.accuracy if self.score == "accuracy" else self.loss

    def frame(self) -> pd.DataFrame:
        """The training loss curve: columns step and loss."""
        return self.curve.copy()

    def _repr_html_(self) -> str:
        from semviz.html import facts

        names = ("lr", "accuracy", "loss", "f1", "auroc", "seconds", "search_seconds", "peak_bytes", "note")
        return facts(repr(self), pd.DataFrame([{name: getattr(self, name) for name in names}]))

    def record(self) -> dict[str, Any]:
        """Everything but the weights, as plain JSON."""
        made = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "weights"}
        made["scope"] = dataclasses.asdict(self.scope)
        made["rates"] = {repr(rate): value for rate, value in self.rates.items()}
        made["curve"] = {column: self.curve[column].tolist() for column in ("step", "loss")}
        return made

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Run:
        """The inverse of `record`."""
        made = dict(record)
        scope = made["scope"]
        made["scope"] = Scope(**{**scope, "blocks": tuple(scope["blocks"]), "parts": Parts.from_record(scope["parts"])})
        made["rates"] = {float(rate): value for rate, value in made["rates"].items()}
        made["curve"] = pd.DataFrame(made["curve"])
        made["rows"] = tuple(made["rows"])
        return cls(**made)

    def __repr__(self) -> str:
        """One line: scope, method, score, parameters, rate, seconds."""
        value = (
            f"accuracy {formats.percent(self.accuracy, digits=1)}"
            if self.score == "accuracy"
            else f"loss {self.loss:.3f} nats"
        )
        return (
            f"Run({self.task}: {self.scope.label}, {self.method}, {value}, {formats.si(self.trainable)} parameters, "
            f"lr {self.lr:g}, seed {self.seed}, {self.seconds:.1f} s)"
        )
