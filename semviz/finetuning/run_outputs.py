"""What comes out of a run: its model, saved or in memory, what that model says, and its settings for other trainers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semviz.finetuning.run_like import RunLike

if TYPE_CHECKING:
    import pandas as pd

    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task


class RunOutputs:
    """The methods of a `Run` that hand on what was trained."""

    def model(self, model: LanguageModel | None = None) -> LanguageModel:
        """Return the finetuned model, as `load_run(model, run)` does: a copy, whose frozen weights are shared.

        Args:
            model: The model before finetuning; needed for a run that was read from a file.

        Raises:
            SemvizError: If the run kept no weights, or the model is missing or another one.
        """
        from semviz.finetuning.run_like import model_of
        from semviz.finetuning.tuned_model import finetuned

        return finetuned(_run(self), model_of(_run(self), model))

    def save_model(
        self, folder: str | os.PathLike[str], *, model: LanguageModel | None = None, overwrite: bool = False
    ) -> Path:
        """Save the finetuned model and its tokenizer as transformers does, whole or not at all.

        Adapters are merged in. `AutoModelForCausalLM.from_pretrained(folder)` and `semviz.load_model(folder)` load it;
        generation settings and the chat template go along. `semviz_run.json` says from which run it is.

        Args:
            folder: Where to; it is made if missing. The same run may be saved there again.
            model: The model before finetuning; needed for a run that was read from a file.
            overwrite: Replace another run that was saved there.

        Returns:
            The folder.

        Raises:
            SemvizError: If the run kept no weights, the model has quantised ones (`save_adapter` takes these), the
                folder holds something else, or there is no space. What was there is then unchanged.
        """
        from semviz.finetuning.saving import save_model

        return save_model(_run(self), folder, model, overwrite=overwrite)

    def save_adapter(
        self,
        folder: str | os.PathLike[str],
        *,
        model: LanguageModel | None = None,
        base: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Save the adapters alone, unmerged, as peft does: some megabytes beside the base model.

        `peft.PeftModel.from_pretrained(base_model, folder)` and `semviz.load_model(folder)` load it. It is loaded once
        before it is kept, and refused if it does not compute what was trained.

        Args:
            folder: Where to; it is made if missing. The same run may be saved there again.
            model: The model before finetuning; for a run that was read from a file, without it the adapter is
                neither tried nor has a tokenizer beside it.
            base: The base model's folder or hub id, as the adapter names it; by default where it was loaded from, or
                none for a model that was made in memory: then pass `base=` to `load_model`.
            overwrite: Replace another run that was saved there.

        Returns:
            The folder.

        Raises:
            SemvizError: If the run has no adapters of its own (`save_model` takes these), or as in `save_model`.
        """
        from semviz.finetuning.saving import save_adapter

        return save_adapter(_run(self), folder, model, base=base, overwrite=overwrite)

    def predictions(
        self,
        *,
        model: LanguageModel | None = None,
        task: Task | None = None,
        split: str = "test",
        progress: bool = True,
    ) -> pd.DataFrame:
        """Say for each row what the model predicts, before and after finetuning.

        Args:
            model: The model before finetuning; needed for a run that was read from a file.
            task: The task; needed there too.
            split: `"train"`, `"validation"` or `"test"`.
            progress: Show a progress bar.

        Returns:
            One row for each row of the split. For labels: row, text, label, prediction, probability (of the
            prediction, among the labels), label_probability (of the right label), prediction_before,
            label_probability_before, right_before and right; the mean of right is `accuracy`. For texts: row (those of
            one token have none), text, target (what is predicted of it), loss_before and loss (nats a token; their
            mean is `loss`), and improvement, the difference.

        Raises:
            SemvizError: If the run kept no weights, or model or task are missing or others.
        """
        from semviz.finetuning.predictions import predictions

        return predictions(_run(self), model, task, split=split, progress=progress)

    def confusion(
        self,
        *,
        model: LanguageModel | None = None,
        task: Task | None = None,
        split: str = "test",
        progress: bool = True,
    ) -> pd.DataFrame:
        """Count which label was taken for which: one row for each label, one column for each prediction.

        Args:
            model: The model before finetuning; needed for a run that was read from a file.
            task: The task; needed there too.
            split: `"train"`, `"validation"` or `"test"`.
            progress: Show a progress bar.

        Raises:
            SemvizError: If the task has no labels, or as in `predictions`.
        """
        from semviz.finetuning.predictions import confusion

        return confusion(_run(self), model, task, split=split, progress=progress)

    def samples(
        self,
        n: int = 4,
        *,
        model: LanguageModel | None = None,
        task: Task | None = None,
        prompts: Sequence[str] | None = None,
        max_new_tokens: int = 40,
        temperature: float = 0.0,
        seed: int = 0,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Let the model go on with some texts, before and after finetuning.

        Args:
            n: How many test texts to begin, each with its first tokens (at most eight).
            model: The model before finetuning; needed for a run that was read from a file.
            task: The task; needed there too, but not with `prompts`.
            prompts: Beginnings of your own instead, which may be for any task.
            max_new_tokens: The most tokens that are written.
            temperature: 0 takes the likeliest token each time; above, tokens are drawn.
            seed: Of what is drawn.
            progress: Show a progress bar.

        Returns:
            Columns prompt, before and after.

        Raises:
            SemvizError: If the task asks for labels and no prompts are passed, the run kept no weights, or model or
                task are missing or others.
        """
        from semviz.finetuning.samples import samples

        return samples(
            _run(self),
            n,
            model,
            task,
            prompts=prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            progress=progress,
        )

    def export(self, trainer: str) -> str:
        """Write what trained here for another trainer: blocks, rate, schedule, rank, epochs, batch size and seed.

        Args:
            trainer: As in `Scope.export`.

        Raises:
            ScopeError: If the trainer is unknown, or cannot express this run; the message says what to pass.
        """
        run = _run(self)
        return run.scope.export(trainer, run=run)


def _run(outputs: Any) -> RunLike:
    run: RunLike = outputs
    return run
