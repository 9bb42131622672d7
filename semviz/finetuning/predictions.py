"""What a model says to each row before and after a finetune, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.finetuning.encoded_task import EncodedTask, with_targets
from semviz.finetuning.evaluation import RowScores, score_rows
from semviz.finetuning.run_like import RunLike, model_and_task_of, require_weights
from semviz.finetuning.suffix_model import Suffix
from semviz.finetuning.tuned_model import finetuned
from semviz.finetuning.untrained_suffix import untrained_suffix
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import fitting_threads
from semviz.tasks.splits import SPLITS
from semviz.tasks.tokenizing import Encoded, encode

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task


@default_surroundings()
def predictions(
    run: RunLike, model: LanguageModel | None, task: Task | None, *, split: str, progress: bool
) -> pd.DataFrame:
    """Do what `Run.predictions` says."""
    checks.one_of("split", split, SPLITS)
    checks.flag("progress", progress)
    require_weights(run)
    model, task = model_and_task_of(run, model, task)
    tuned = finetuned(run, model)  # refuses a model that is not the run's
    with fitting_threads(model):
        encoded_task = EncodedTask(model, task, cache=run.cached, progress=progress)
        before = score_rows(untrained_suffix(model, encoded_task), encoded_task, encoded_task.part(split, 0))
        after = _scores_after(run, tuned, encoded_task, split)
    return _of_labels(task, split, before, after) if task.labels else _of_texts(model, task, split, before, after)


def confusion(
    run: RunLike, model: LanguageModel | None, task: Task | None, *, split: str, progress: bool
) -> pd.DataFrame:
    """Do what `Run.confusion` says."""
    model, task = model_and_task_of(run, model, task)
    if not task.labels:
        raise SemvizError("The task has no labels that could be confused; run.predictions() has the loss of each text.")
    table = predictions(run, model, task, split=split, progress=progress)
    labels = list(task.labels)
    counts = pd.crosstab(table["label"], table["prediction"])
    return counts.reindex(index=labels, columns=labels, fill_value=0).rename_axis(index="label", columns="prediction")


def _scores_after(run: RunLike, tuned: LanguageModel, encoded_task: EncodedTask, split: str) -> RowScores:
    """Score rows as the finetune has scored its test rows: from the same states, in the same precision."""
    model, scope = encoded_task.model, run.scope
    if not set(run.weights).issubset(_names(model)):  # adapters beside quantised weights
        encoded_task = EncodedTask(tuned, encoded_task.task, cache=False, progress=encoded_task.progress)
        return score_rows(untrained_suffix(tuned, encoded_task), encoded_task, encoded_task.part(split, 0))
    part = encoded_task.part(split, scope.boundary)
    suffix = Suffix(
        model, scope, cached=part.cache is not None, reading=encoded_task.reading, probe=encoded_task.probe()
    )
    suffix.load(run.weights)
    return score_rows(suffix, encoded_task, part)


def _names(model: LanguageModel) -> set[str]:
    from semviz.lm.merging import without_adapters

    return {without_adapters(name) for name, _ in model.anatomy.model.named_parameters(remove_duplicate=False)}


def _of_labels(task: Task, split: str, before: RowScores, after: RowScores) -> pd.DataFrame:
    labels, texts = np.asarray(task.labels, dtype=object), task.split(split).texts
    rows = np.arange(len(texts))
    guess, guess_before = after.probabilities.argmax(1), before.probabilities.argmax(1)
    return pd.DataFrame(
        {
            "row": rows,
            "text": texts,
            "label": labels[after.labels],
            "prediction": labels[guess],
            "probability": after.probabilities[rows, guess],
            "label_probability": after.probabilities[rows, after.labels],
            "prediction_before": labels[guess_before],
            "label_probability_before": before.probabilities[rows, after.labels],
            "right_before": guess_before == after.labels,
            "right": guess == after.labels,
        }
    )


def _of_texts(model: LanguageModel, task: Task, split: str, before: RowScores, after: RowScores) -> pd.DataFrame:
    encoded: Encoded = encode(model, task, split)
    rows = with_targets(encoded)  # those that were scored
    texts = task.split(split).texts
    targets = [model.tokenizer.decode(encoded.targets[row][encoded.counted[row]].tolist()) for row in rows]
    return pd.DataFrame(
        {
            "row": rows,
            "text": [texts[row] for row in rows],
            "target": targets,
            "loss_before": before.losses,
            "loss": after.losses,
            "improvement": before.losses - after.losses,
        }
    )
