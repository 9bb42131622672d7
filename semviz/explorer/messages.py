"""A study's status in words: the progress of its job, the outcome, or what went wrong and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semviz.common import formats, memory
from semviz.common.errors import SemvizError
from semviz.common.scores import score_named
from semviz.experiments.probes import Probes
from semviz.finetuning.run import Run
from semviz.study.opened_task import OpenedTask
from semviz.traces.difference import TraceDifference

if TYPE_CHECKING:
    from semviz.study.study import Study

READY = "Ready. Move the threshold to choose which blocks train, then press Finetune."


def status(study: Study) -> str:
    """Say what the study is doing, or what it did last, in one or two sentences."""
    return " ".join(part for part in status_parts(study) if part)


def status_parts(study: Study) -> tuple[str, str]:
    """Return the two parts of `status`: what stays the same while a job runs, and its progress."""
    job = study.job
    if job is None:
        return READY, ""
    if job.state == "running":
        return f"{job.label}:", _progress(study)
    if job.state == "cancelled":
        return f"{job.label}: cancelled. The model is unchanged, and finished runs are kept.", ""
    if job.error is not None:
        return f"{job.label}: failed. {explain(job.error, study)}", ""
    return _outcome(study, job.value), ""


def _progress(study: Study) -> str:
    trials = study.trials
    if not trials.stage:
        return "starting …"
    seconds_left = formats.seconds(trials.seconds_left)
    time_left = f", about {seconds_left} left" if seconds_left != formats.MISSING and trials.done < trials.total else ""
    if not trials.trials or trials.stage != trials.trials[-1].label:
        return f"{trials.stage}{time_left}."
    trial, job = trials.trials[-1], study.job
    work = "" if job is not None and job.label == trial.label else f"{trial.label}, "
    rate = f"learning rate {formats.number(trial.rate, digits=2)}"
    rates = [other.rate for other in trials.trials if other.label == trial.label]
    tried = len(set(rates))
    which = f"rate no. {tried}" if rates.count(trial.rate) == 1 else f"{tried} rates were tried"
    return f"{work}step {trials.done:,} of {trials.total:,} at {rate} ({which}){time_left}."


def _outcome(study: Study, value: object) -> str:
    if isinstance(value, Run):
        note = f" {value.note}" if value.note else ""
        if not study.trials.trials:
            note += " This run was already finished, so it was not repeated."
        score = score_named(value.score)
        return (
            f"Done: training {value.scope.label} gives {score.in_words(value.value)} on test rows, compared with "
            f"{score.in_words(study.opening.untrained)} before; {formats.si(value.trainable)} parameters, "
            f"{formats.seconds(value.seconds)} of training at learning rate {formats.number(value.lr, digits=2)}.{note}"
        )
    if isinstance(value, Probes):
        return f"Done: {value.message}"
    if isinstance(value, OpenedTask):
        return f"Done: {value.task.name} is open. {READY}"
    if isinstance(value, TraceDifference):
        return "Done: the difference heatmap shows where the deviation fell (blue) and where it rose (orange)."
    return "Done."


def explain(error: BaseException, study: Study) -> str:
    """Say what an exception means, and what to do about it."""
    if isinstance(error, SemvizError):
        return str(error)
    if memory.is_out_of_memory(error):
        return _how_to_save_memory(study)
    return f"{type(error).__name__}: {error}"


def _how_to_save_memory(study: Study) -> str:
    """Say what would need less memory, and how much."""
    settings, scope = study.settings, study.scope
    needed_bytes = study.opening.costs.of(
        scope, method=settings.method, modules=settings.modules, epochs=study.epochs
    ).bytes
    hints = [f"fewer rows a step (now {settings.batch_size})"] if settings.batch_size > 1 else []
    highest = study.model.n_blocks - 1
    if study.boundary < highest:
        least_bytes = study.opening.costs.of(
            study.opening.costs.scopes[highest], method=settings.method, modules=settings.modules
        ).bytes
        hints.append(
            f"a higher boundary (now {study.boundary}, about {formats.size(needed_bytes)}; "
            f"{highest} takes {formats.size(least_bytes)})"
        )
    if settings.method == "full":
        hints.append("LoRA instead of all weights")
    return f"Out of memory. Try {', or '.join(hints) or 'shorter texts'}."
