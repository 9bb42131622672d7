"""How good a model is on a split: accuracy, macro F1, AUROC, loss, and the score of each row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import f1_score, roc_auc_score

from semviz.common.interrupts import interrupts_held, raise_waiting_interrupt
from semviz.common.progress import Progress, progress_bar
from semviz.tasks.streaming import batch_rows
from semviz.tasks.tokenizing import NO_TARGET

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.finetuning.encoded_task import EncodedTask
    from semviz.finetuning.prefix_cache import SplitWithStates
    from semviz.finetuning.suffix_model import Suffix
    from semviz.tasks.tokenizing import Encoded

_BAR_DELAY = 1.0  # seconds


@dataclass(frozen=True)
class SplitScores:
    """Scores of one split.

    Attributes:
        accuracy: Share of rows whose label is ranked first among the labels; for language modelling, of tokens.
        loss: Mean over rows of the rows' cross-entropy over the whole vocabulary, nats; where label words are scored
            whole, that of the row's word: minus the sum (or mean, by `Task.scoring`) of its tokens' log-probabilities.
        f1: Macro F1; None for language modelling.
        auroc: Macro one-vs-rest AUROC; None for language modelling or where a class is missing.
        rows: Accuracy of each row (1 or 0), or loss of each row for language modelling, shape (n,).
    """

    accuracy: float
    loss: float
    f1: float | None
    auroc: float | None
    rows: NDArray[np.float64]


@dataclass(frozen=True)
class RowScores:
    """What a model says to each row of a split.

    Attributes:
        labels: Label index of each row, shape (n,); -1 for language modelling.
        probabilities: Of each label, which sum to 1, shape (n, C); C = 0 for language modelling.
        losses: Cross-entropy of each row as in `SplitScores.loss`, nats, shape (n,).
        hits: Share of each row's tokens that are ranked first, for language modelling; zeros else, shape (n,).
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    losses: NDArray[np.float64]
    hits: NDArray[np.float64]


def evaluate(
    suffix: Suffix, encoded_task: EncodedTask, part: SplitWithStates, *, control: Control | None = None
) -> SplitScores:
    """Score every row of a split. The suffix is left in eval mode.

    Raises:
        Cancelled: If asked to stop.
    """
    scored = score_rows(suffix, encoded_task, part, control=control)
    loss = float(scored.losses.mean())
    if not scored.probabilities.shape[1]:
        return SplitScores(float(scored.hits.mean()), loss, None, None, scored.losses)
    return _scores_of_labels(scored.labels, scored.probabilities, loss)


@interrupts_held()
@torch.no_grad()
def score_rows(
    suffix: Suffix, encoded_task: EncodedTask, part: SplitWithStates, *, control: Control | None = None
) -> RowScores:
    """Read every row of a split. The suffix is left in eval mode.

    Raises:
        Cancelled: If asked to stop.
    """
    if part.encoded.whole_words:
        return _score_words(suffix, encoded_task, part, control=control)
    encoded, collate, device = part.encoded, encoded_task.collator(part), encoded_task.model.device
    suffix.eval()
    losses, hits = np.zeros(len(encoded)), np.zeros(len(encoded))
    first_tokens = torch.as_tensor(encoded.first_tokens, device=device)
    probabilities = np.zeros((len(encoded), len(encoded.label_ids)))
    for rows in _batches(encoded, encoded_task, control):
        batch = {key: value.to(device) for key, value in collate(rows.tolist()).items()}
        logits = suffix(**batch)["logits"]
        has_target = batch["labels"] != NO_TARGET
        targets = batch["labels"][has_target]
        row_of_target = np.repeat(np.arange(len(rows)), has_target.sum(1).cpu().numpy())
        token_losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none").cpu().double().numpy()
        losses[rows] = _row_means(token_losses, row_of_target, len(rows))
        if len(first_tokens):
            labels = first_tokens[torch.as_tensor(encoded.reading[rows], device=device)]
            probabilities[rows] = logits.gather(-1, labels).cpu().double().softmax(-1).numpy()
        else:
            hits[rows] = _row_means((logits.argmax(-1) == targets).cpu().double().numpy(), row_of_target, len(rows))
    return RowScores(encoded.labels, probabilities, losses, hits)


def _score_words(
    suffix: Suffix, encoded_task: EncodedTask, part: SplitWithStates, *, control: Control | None
) -> RowScores:
    """Read every row of a split by whole label words: each word is read behind each prompt."""
    part = encoded_task.spelled(part)
    words, collate, device = part.words, encoded_task.collator(part), encoded_task.model.device
    assert words is not None
    suffix.eval()
    scores = np.zeros(words.lengths.shape)
    for rows in _batches(words.encoded, encoded_task, control):
        batch = {key: value.to(device) for key, value in collate(rows.tolist()).items()}
        words.add_scores(scores, rows, suffix(**batch)["logits"])
    if encoded_task.task.scoring == "mean":
        scores /= words.lengths
    losses = -scores[np.arange(len(scores)), words.labels]
    return RowScores(words.labels, softmax(scores, axis=1), losses, np.zeros(len(scores)))


def _batches(encoded: Encoded, encoded_task: EncodedTask, control: Control | None) -> Iterator[NDArray[np.int64]]:
    """Rows of each batch, while nobody stops it; a bar counts them if this takes more than a second."""
    n_scored, label = 0, "Scoring rows"
    with progress_bar(len(encoded), label, unit="rows", show=encoded_task.progress, delay=_BAR_DELAY) as bar:
        for rows in batch_rows(encoded, device=encoded_task.model.device):
            raise_waiting_interrupt()
            if control is not None:
                control.check()
                control.tell(Progress(label, n_scored, len(encoded)))
            n_scored += len(rows)
            yield rows
            bar.update(len(rows))


def _scores_of_labels(labels: NDArray[np.int64], probabilities: NDArray[np.float64], loss: float) -> SplitScores:
    predicted = probabilities.argmax(1)
    hits = (predicted == labels).astype(np.float64)
    f1 = float(f1_score(labels, predicted, average="macro"))
    return SplitScores(float(hits.mean()), loss, f1, _auroc(labels, probabilities), hits)


def _row_means(values: NDArray[np.float64], row_of_target: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    counts = np.bincount(row_of_target, minlength=rows)
    return np.bincount(row_of_target, weights=values, minlength=rows) / counts


def _auroc(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float | None:
    if len(np.unique(labels)) < probabilities.shape[1] or not np.isfinite(probabilities).all():
        return None
    scores = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    return float(roc_auc_score(labels, scores, multi_class="ovr"))
