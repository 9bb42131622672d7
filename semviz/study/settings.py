"""`Settings`: how the next finetune is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from semviz.common import checks
from semviz.finetuning.recipe import Recipe
from semviz.scopes.methods.peft_configs import as_method

if TYPE_CHECKING:
    from peft import PeftConfig


@dataclass(frozen=True)
class Settings:
    """How the next finetune is done: a `Recipe` whose length is given in steps, whatever the task.

    Attributes:
        steps: Optimizer steps.
        lr: Learning rate, or `"auto"`, which searches for one on validation rows.
        method: As in `semviz.finetune`.
        seed: Seed of the data order, dropout and adapters.
        batch_size: Rows per step.
        modules: Which part of each block trains, as in `semviz.finetune`.
    """

    steps: int
    lr: float | Literal["auto"] = "auto"
    method: str | PeftConfig = "full"
    seed: int = 0
    batch_size: int = 32
    modules: str = "all"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SemvizError: If one is out of range.
        """
        # NumPy's numbers become Python's.
        object.__setattr__(self, "steps", checks.whole_number("steps", self.steps, minimum=1))
        checked = Recipe(
            as_method(self.method), self.lr, batch_size=self.batch_size, seed=self.seed, modules=self.modules
        )
        for name in ("method", "lr", "batch_size", "seed"):
            object.__setattr__(self, name, getattr(checked, name))

    @classmethod
    def of_recipe(cls, recipe: Recipe, *, rows: int) -> Settings:
        """Return the settings that take as many steps as a recipe does with this number of training rows."""
        steps = math.ceil(recipe.epochs * math.ceil(rows / recipe.batch_size))
        return cls(steps, recipe.lr, recipe.method, recipe.seed, recipe.batch_size, recipe.modules)

    @classmethod
    def of_epochs(cls, epochs: float, *, rows: int, batch_size: int = 32) -> Settings:
        """Return the default settings, with the steps of this many passes over the training rows."""
        return cls.of_recipe(Recipe(epochs=epochs, batch_size=batch_size), rows=rows)

    def recipe(self, rows: int) -> Recipe:
        """Return the recipe that takes exactly these steps with this number of training rows."""
        return Recipe(
            as_method(self.method), self.lr, self.epochs(rows), self.batch_size, self.seed, modules=self.modules
        )

    def epochs(self, rows: int) -> float:
        """Return the passes over the training rows that take exactly these steps."""
        steps_per_epoch = math.ceil(rows / self.batch_size)
        epochs = self.steps / steps_per_epoch
        # Trainer rounds up, so a floating-point remainder must not add a step.
        return epochs if math.ceil(epochs * steps_per_epoch) == self.steps else (self.steps - 0.5) / steps_per_epoch
