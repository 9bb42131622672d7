"""`Settings`: how the next finetune is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from semviz.common import checks
from semviz.scopes.cost_units import METHODS

Method = Literal["full", "lora", "ia3", "lisa"]


@dataclass(frozen=True)
class Settings:
    """How the next finetune is done.

    Attributes:
        steps: Optimizer steps.
        lr: Learning rate, or `"auto"`: looked for on validation rows.
        method: As in `semviz.finetune`.
        seed: Seed of data order, dropout and adapters.
        batch_size: Rows a step.
    """

    steps: int
    lr: float | Literal["auto"] = "auto"
    method: Method = "full"
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SemvizError: If one is out of range.
        """
        checks.one_of("method", self.method, METHODS)
        made = {
            "steps": checks.whole_number("steps", self.steps, minimum=1),
            "batch_size": checks.whole_number("batch_size", self.batch_size, minimum=1),
            "seed": checks.whole_number("seed", self.seed, maximum=checks.MAX_SEED),
            "lr": checks.learning_rate(self.lr),
        }
        for name, value in made.items():  # numpy's numbers as Python's
            object.__setattr__(self, name, value)

    @classmethod
    def of_epochs(cls, epochs: float, *, rows: int, batch_size: int = 32) -> Settings:
        """The default settings with the steps of so many passes over the training rows."""
        return cls(steps=math.ceil(epochs * math.ceil(rows / batch_size)), batch_size=batch_size)

    def epochs(self, rows: int) -> float:
        """Passes over the training rows that make exactly these steps."""
        an_epoch = math.ceil(rows / self.batch_size)
        found = self.steps / an_epoch
        # Trainer rounds up, and must not round up what only floating-point arithmetic has left over.
        return found if math.ceil(found * an_epoch) == self.steps else (self.steps - 0.5) / an_epoch
