"""`trace()`: one forward pass over a task → a `Trace` of every position and space."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from semviz.common import checks, formats, memory
from semviz.common.distributed import gather, shard
from semviz.common.errors import SemvizError
from semviz.common.metric_facts import without_function
from semviz.common.progress import check_control
from semviz.common.token_text import decode
from semviz.common.virtual_arc import PathKind
from semviz.lm.model import check_model
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.tasks.packaged import as_task
from semviz.tasks.streaming import longest_first, stream
from semviz.tasks.task import Task
from semviz.tasks.tokenizing import NO_TARGET, Encoded, encode
from semviz.traces.calibration import Calibration, check_calibration, default_calibration
from semviz.traces.label_choices import label_choices
from semviz.traces.metrics import METRICS, resolve_metrics
from semviz.traces.readouts import Readout
from semviz.traces.reduction import Reducer
from semviz.traces.trace import Trace
from semviz.traces.trace_plan import Plan, PositionTable, position_table
from semviz.version import __version__

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.lm.model import LanguageModel

DETAILED = 16  # samples that keep every position
_ANNOUNCED_BYTES = 2**28  # size of a trace above which it is announced before the trace starts


@on_fitting_threads
@default_surroundings()
def trace(
    model: LanguageModel,
    task: Task | str | Iterable[str],
    *,
    metrics: Sequence[str] | str | None = None,
    split: str = "train",
    samples: int | None = None,
    vocab: Literal["full", "labels"] = "full",
    readout: Readout | None = None,
    path: PathKind = "slerp",
    centre: bool = False,
    detail: int = DETAILED,
    calibration: Calibration | None = None,
    distributed: bool = False,
    control: Control | None = None,
    progress: bool = True,
) -> Trace:
    """Trace how hidden states travel towards their targets, in one forward pass over a task's split.

    SALF-style, our reading: the deviation metrics are those of `semviz.traces.metrics`, the bases those of
    `semviz.traces.semantic_bases`. Each batch is reduced to numbers space by space while the model runs, so memory
    only grows with positions × spaces × metrics. When memory runs out, the batch is halved and the pass continues, with
    a warning.

    Args:
        model: A loaded model; it is not changed.
        task: Source of the texts and targets; or a text, or a list, array or Series of them, to be read as it stands.
        metrics: Keys of `semviz.traces.metrics.METRICS`; all by default. `"target"` alone is by far the fastest.
        split: `"train"` by default: choosing a boundary on test rows would leak them.
        samples: Number of samples to trace, drawn at random with a fixed seed; all by default.
        vocab: Compare with the whole vocabulary, or with the task's label words only.
        readout: How spaces below the last are read: `"translated"`, by an affine map of each to the last (by default,
            where the calibration has them), or `"raw"`, as if the last block had returned them: the logit lens.
        path: Virtual transition along the great circle (`"slerp"`) or the straight line (`"lerp"`).
        centre: Subtract each space's mean state over general text, against anisotropy.
        detail: Number of samples that keep every position, so that `token_heatmap` and `transition_map` can show them.
        calibration: Bases, translators, τ and means from `calibrate`, for general text or a ridge of your choice; by
            default they are fitted once per model, on its general text, and kept on disk. Pass the same calibration to
            compare two traces.
        distributed: Under `accelerate launch`, let each process read its share of the samples; every process must
            call `trace`, and each gets the whole trace.
        control: Watches the pass from another thread, and can cancel it within one batch.
        progress: Show progress bars.

    Returns:
        A `Trace`.

    Raises:
        Cancelled: If `control` asked to stop.
        SemvizError: If an argument is invalid, the task does not fit the model, or the trace would not fit into
            memory; the message says what to pass.
    """
    started = time.perf_counter()
    check_model(model)
    keys = resolve_metrics(metrics)
    task = as_task(task)
    samples, detail = _check_options(task, vocab, path, samples, detail)
    checks.flag("centre", centre)
    if readout is not None:
        checks.one_of("readout", readout, get_args(Readout))
    checks.flag("distributed", distributed)
    check_control(control)
    if calibration is not None:
        check_calibration(calibration, model)
        if readout == "translated" and calibration.translators is None:
            raise SemvizError(
                'calibration has no translators, since it was made with readout="raw"; pass calibrate(model), or '
                'readout="raw".'
            )
    sample_numbers = np.arange(len(task.split(split)))
    if samples is not None and samples < len(sample_numbers):
        sample_numbers = np.asarray(sorted(random.Random(0).sample(range(len(sample_numbers)), samples)))
    encoded = encode(model, task, split, sample_numbers.tolist())
    if vocab == "labels" and encoded.whole_words:
        raise SemvizError(
            f"The label words of task {task.name!r} begin alike and are scored whole, token by token; pass "
            'vocab="full".'
        )
    choices = label_choices(encoded)
    table = position_table(encoded, detail, choices)
    calibration = calibration or default_calibration(model, readout=readout, progress=progress)
    readout = readout or calibration.readout
    are_tokens = not encoded.whole_words
    plan = Plan(model, calibration, keys, encoded.label_ids, are_tokens, vocab == "labels", path, centre, readout)
    _announce(plan, table, progress)
    reducer = Reducer(plan, table, choices)
    rows = shard(longest_first(encoded)) if distributed else None
    label = f"Tracing {task.name}"
    stream(model, encoded, reducer.start, label=label, rows=rows, control=control, progress=progress)
    if distributed:
        reducer.merge(gather(reducer.own_share()))
    positions, vocabulary = _describe(model, task, encoded, reducer, sample_numbers)
    return Trace(
        positions=positions,
        values=reducer.values,
        nearest=reducer.nearest,
        top1=reducer.top1,
        vocabulary=vocabulary,
        facts={key: without_function(METRICS[key]) for key in keys},
        meta={
            "model": model.name,
            "model_hash": model.hash,
            "parts": asdict(model.parts),
            "task": task.name,
            "kind": task.kind,
            "split": split,
            "samples": len(encoded),
            "positions": int(table.counted.sum()),
            "vocab": vocab,
            "candidates": plan.size,
            "label_names": list(task.labels) if plan.keeps_labels else [],
            "rare_words": _rare_words(plan, table, vocabulary) if task.labels else [],
            "readout": readout,
            "calibration": calibration.key,
            "ridge": calibration.bases.ridge,
            "tau": calibration.temperature,
            "fidelity": calibration.fidelity,
            "path": path,
            "centred": centre,
            "detail": min(detail, len(encoded)),
            "semviz": __version__,
            "seconds": time.perf_counter() - started,
            "task_hash": task.lineage,
            "rows_hash": _rows_hash(encoded),
        },
        paths=reducer.paths,
        label_probabilities=reducer.label_probabilities,
    )


def _check_options(task: Task, vocab: str, path: str, samples: int | None, detail: int) -> tuple[int | None, int]:
    """Refuse options that cannot be traced; return `samples` and `detail` as plain numbers."""
    if checks.one_of("vocab", vocab, ("full", "labels")) == "labels" and not task.labels:
        raise SemvizError(f'Task {task.name!r} has no labels; pass vocab="full".')
    checks.one_of("path", path, get_args(PathKind))
    return None if samples is None else checks.whole_number("samples", samples, minimum=1), checks.whole_number(
        "detail", detail
    )


def _announce(plan: Plan, table: PositionTable, progress: bool) -> None:
    """Announce the size of a large trace, and refuse one that does not fit into memory."""
    size, free = plan.nbytes(table), memory.free()
    what = f"{len(table.sample):,} positions × {plan.spaces} spaces × {len(plan.keys)} metrics"
    if size > free:
        raise SemvizError(
            f"This trace would hold {formats.size(size)} ({what}) and {formats.size(free)} of memory are free; pass a "
            "smaller samples=, fewer metrics= or a smaller detail=."
        )
    if size > _ANNOUNCED_BYTES and progress:
        tqdm.write(f"This trace will hold {formats.size(size)}: {what}.", file=sys.stderr)


def _rare_words(plan: Plan, table: PositionTable, vocabulary: dict[int, str]) -> list[str]:
    """Words of labels that the translators hardly know; none where spaces are read as they are."""
    words = np.unique(table.target[table.counted]).astype(np.int64)
    if plan.readout != "translated":
        return []
    return [vocabulary[i] for i in words[plan.calibration.hardly_knows(words)].tolist()]


def _rows_hash(encoded: Encoded) -> str:
    """Twelve hex digits of what was read: traces of equal ones can be subtracted."""
    digest = hashlib.blake2b(digest_size=6)
    for array in (encoded.ids.offsets, encoded.ids.flat, encoded.targets.flat, encoded.label_ids):
        digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    return digest.hexdigest()


def _describe(
    model: LanguageModel, task: Task, encoded: Encoded, reducer: Reducer, sample_numbers: NDArray[np.int64]
) -> tuple[pd.DataFrame, dict[int, str]]:
    """The table of positions with their texts, and the text of every token id in the trace."""
    table = reducer.table
    token = encoded.ids.flat[encoded.ids.offsets[table.sample] + table.position]
    target = np.where(table.target == NO_TARGET, -1, table.target)
    token_arrays = [array for array in (reducer.nearest, reducer.top1) if array is not None]
    used_ids = set(np.unique(np.concatenate([token, target, reducer.predicted])).tolist())
    used_ids.update(*(np.unique(array).tolist() for array in token_arrays))
    token_ids = sorted(used_ids - {-1})
    vocabulary = dict(zip(token_ids, decode(model.tokenizer, token_ids), strict=True))
    special = encoded.special.flat[encoded.ids.offsets[table.sample] + table.position]
    counted_role = "answer" if task.labels else "next"
    text_of = {**vocabulary, -1: ""}
    labels = [task.labels[i] if i >= 0 else None for i in encoded.labels]
    positions = pd.DataFrame(
        {
            "sample": sample_numbers[table.sample],
            "position": table.position,
            "token_id": token,
            "token": [text_of[i] for i in token.tolist()],
            "target_id": target,
            "target": [text_of[i] for i in target.tolist()],
            "label": [labels[i] for i in table.sample.tolist()],
            "role": np.where(table.counted, counted_role, np.where(special, "special", "context")),
            "predicted": [text_of[i] for i in reducer.predicted.tolist()],
            "correct": pd.array(_correct(encoded, reducer), dtype="boolean"),
        }
    )
    return positions, vocabulary


def _correct(encoded: Encoded, reducer: Reducer) -> NDArray[np.object_]:
    """Whether each position's target is the first choice; None where that is not known."""
    table = reducer.table
    unknown = table.target == NO_TARGET
    if encoded.whole_words:
        # Only the sample's own word is read, so that its score cannot be compared with those of the others.
        unknown |= table.counted
    return np.asarray(np.where(unknown, np.asarray(None, dtype=object), reducer.predicted == table.target))
