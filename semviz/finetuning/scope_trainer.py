"""One scope trained at one learning rate, for as many steps as asked, and scored on validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from semviz.common.progress import Control
from semviz.common.scores import Score, score_named
from semviz.finetuning.cache_check import why_not_cacheable
from semviz.finetuning.callback_check import weights_left_alone
from semviz.finetuning.callbacks import Pause
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.evaluation import SplitScores, evaluate
from semviz.finetuning.prefix_cache import SplitWithStates
from semviz.finetuning.recipe import Recipe, run_key
from semviz.finetuning.suffix_model import Suffix
from semviz.finetuning.trainer_state import trainers_turn
from semviz.finetuning.training import Kept, TrainingOutcome, fit, preserved_random_state
from semviz.finetuning.training_arguments import lasting_folder
from semviz.lm.shards import whole
from semviz.scopes.scope import Scope


@dataclass(frozen=True, eq=False)
class Training:
    """One training at one rate.

    Attributes:
        rate: Peak learning rate.
        suffix: What was trained.
        outcome: Steps, seconds, curve.
        dropped: Whether it was ended at its pause.
        scores: On validation rows; None if it diverged or was dropped.
        score: Which of them counts.
    """

    rate: float
    suffix: Suffix
    outcome: TrainingOutcome
    dropped: bool
    scores: SplitScores | None
    score: Score

    @property
    def signed_score(self) -> float:
        """Validation score, with the sign that makes higher better."""
        return -math.inf if self.scores is None else self.score.sign * self.score.of(self.scores)

    @property
    def rank(self) -> tuple[float, float]:
        """Validation score, and the smaller loss between equal ones."""
        return self.signed_score, -self.loss

    @property
    def loss(self) -> float:
        """Validation loss."""
        return math.inf if self.scores is None else self.scores.loss


@dataclass(frozen=True, eq=False)
class ScopeTrainer:
    """What the trainings of one run share."""

    encoded_task: EncodedTask
    scope: Scope
    control: Control
    cache: bool
    progress: bool
    model_hash: str = ""

    def steps(self, recipe: Recipe) -> int:
        """Optimizer steps of a whole training."""
        return recipe.steps(len(self.encoded_task.part("train", 0)))

    def train(
        self,
        recipe: Recipe,
        rate: float,
        *,
        steps: int | None = None,
        pause_at: int = 0,
        goes_on: Callable[[SplitScores], bool] | None = None,
    ) -> Training:
        """Build the suffix, check its cache, train it at a rate, score it on validation rows.

        Args:
            recipe: How to train; its own rate is not read.
            rate: Peak learning rate.
            steps: Optimizer steps over which the rate rises and falls, of a trial; those of the recipe's epochs by
                default.
            pause_at: Steps after which training pauses, if anybody wants to know whether it goes on.
            goes_on: Says so, from the validation scores at that point. It may train meanwhile; what was paused goes on
                as if it had not been.
        """
        is_trial = steps is not None
        recipe = replace(recipe, lr=rate)
        encoded_task, scope, control = self.encoded_task, self.scope, self.control
        with trainers_turn(control):
            part = encoded_task.part("train", scope.boundary if self.cache and not recipe.why_uncached else 0)
            suffix = self._suffix(recipe, cached=part.cache is not None)
            if part.cache is not None:
                why = why_not_cacheable(encoded_task, suffix, part)
                if why:
                    encoded_task.stop_caching(why)
                    part, suffix = encoded_task.part("train", scope.boundary), self._suffix(recipe, cached=False)
            suffix.prepare(recipe.training_method, seed=recipe.seed)

            def validate() -> SplitScores:
                with preserved_random_state():
                    return self._scores(suffix)

            def asked() -> bool:
                assert goes_on is not None
                with preserved_random_state():
                    answer = goes_on(self._scores(suffix))
                suffix.train()
                return answer

            pause = None if goes_on is None else Pause(pause_at, asked)
            kept = self._kept(recipe, is_trial=is_trial)
            with weights_left_alone(encoded_task.model, recipe.callbacks, kept.checkpoints):
                outcome = fit(
                    suffix,
                    encoded_task,
                    part,
                    recipe,
                    steps=steps,
                    pause=pause,
                    validate=validate,
                    kept=kept,
                    label=f"Finetuning {scope.label}",
                    control=control,
                    progress=self.progress,
                )
            is_dropped = pause is not None and pause.ends
            scores = None if outcome.stop_reason or is_dropped else self._scores(suffix)
        return Training(rate, suffix, outcome, is_dropped, scores, score_named(encoded_task.task.score))

    def _kept(self, recipe: Recipe, *, is_trial: bool) -> Kept:
        """What a training leaves: checkpoints of a trial are none that a training goes on from."""
        name = f"{self.scope.label}, lr {recipe.lr:.3g}, seed {recipe.seed}{', trial' if is_trial else ''}"
        given = recipe.arguments.get("run_name")
        folder = lasting_folder(recipe.arguments)
        name = f"{given}, {name}" if given else name
        if folder is None or is_trial:
            return Kept(name, None if folder is None else Path(folder))
        model, task = self.encoded_task.model, self.encoded_task.task
        key = run_key(model, task, self.scope, recipe, model_hash=self.model_hash or None)
        return Kept(name, Path(folder), Path(folder, key))

    def _scores(self, suffix: Suffix) -> SplitScores:
        return evaluate(suffix, self.encoded_task, self.part("validation", suffix), control=self.control)

    def part(self, split: str, suffix: Suffix) -> SplitWithStates:
        """A split as this suffix reads it."""
        return self.encoded_task.part(split, self.scope.boundary if suffix.cached else 0)

    def gathered(self, suffix: Suffix, recipe: Recipe) -> Suffix:
        """Return the suffix with whole adapters where they are sharded, since only whole ones can be merged."""
        method = recipe.training_method
        if method.merged is None or not suffix.is_sharded:
            return suffix
        gathered = self._suffix(recipe, cached=False)
        gathered.prepare(method, seed=recipe.seed)
        parameters = dict(gathered.named_parameters())
        with torch.no_grad():
            for name, p in suffix.named_parameters():
                if p.requires_grad:
                    parameters[name].copy_(whole(p))
        return gathered

    def _suffix(self, recipe: Recipe, *, cached: bool) -> Suffix:
        return Suffix(
            self.encoded_task.model,
            self.scope,
            cached=cached,
            own_weights=recipe.training_method.own_weights,
            parts=recipe.parts,
            reading=self.encoded_task.reading,
            probe=self.encoded_task.probe(),
        )
