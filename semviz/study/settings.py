"""`Settings`: how the next finetune is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from semviz.common import checks
from semviz.finetuning.recipe import Recipe


@dataclass(frozen=True)
class Settings:
    """How the next finetune is done: a `Recipe` that says how long in steps, whatever the task.

    Attributes:
        steps: Optimizer steps.
        lr: Learning rate, or `"auto"`: looked for on validation rows.
        method: As in `semviz.finetune`.
        seed: Seed of data order, dropout and adapters.
        batch_size: Rows a step.
    """

    steps: int
    lr: float | Literal["auto"] = "auto"
    method: str = "full"
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SemvizError: If one is out of range.
        """
        # Numpy's numbers as Python's.
        object.__setattr__(self, "steps", checks.whole_number("steps", self.steps, minimum=1))
        checked = Recipe(self.method, self.lr, batch_size=self.batch_size, seed=self.seed)
        for name in ("lr", "batch_size", "seed"):
            object.__setattr__(self, name, getattr(checked, name))

    @classmethod
    def of_recipe(cls, recipe: Recipe, *, rows: int) -> Settings:
        """The settings that train so many rows as a recipe does."""
        steps = math.ceil(recipe.epochs * math.ceil(rows / recipe.batch_size))
        return cls(steps, recipe.lr, recipe.method, recipe.seed, recipe.batch_size)

    @classmethod
    def of_epochs(cls, epochs: float, *, rows: int, batch_size: int = 32) -> Settings:
        """The default settings with the steps of so many passes over the training rows."""
        return cls.of_recipe(Recipe(epochs=epochs, batch_size=batch_size), rows=rows)

    def recipe(self, rows: int) -> Recipe:
        """The recipe that makes exactly these steps with so many training rows."""
        return Recipe(self.method, self.lr, self.epochs(rows), self.batch_size, self.seed)

    def epochs(self, rows: int) -> float:
        """Passes over the training rows that make exactly these steps."""
        an_epoch = math.ceil(rows / self.batch_size)
        found = self.steps / an_epoch
        # Trainer rounds up, and must not round up what only floating-point arithmetic has left over.
        return found if math.ceil(found * an_epoch) == self.steps else (self.steps - 0.5) / an_epoch
