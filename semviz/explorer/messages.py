"""What a study says of itself in words: how far its job is, what came of it, what went wrong and what to do."""

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
    """Say what the study does now, or what it did last, in one or two sentences."""
    return " ".join(part for part in told(study) if part)


def told(study: Study) -> tuple[str, str]:
    """What `status` says, in two parts: what stays as long as a job runs, and how far it is."""
    job = study.job
    if job is None:
        return READY, ""
    if job.state == "running":
        return f"{job.label}:", _progress(study)
    if job.state == "cancelled":
        return f"{job.label}: cancelled. The model is as before, and finished runs are kept.", ""
    if job.error is not None:
        return f"{job.label}: failed. {explain(job.error, study)}", ""
    return _outcome(study, job.value), ""


def _progress(study: Study) -> str:
    trials = study.trials
    if not trials.stage:
        return "starting …"
    left = formats.seconds(trials.seconds_left)
    rest = f", about {left} left" if left != formats.MISSING and trials.done < trials.total else ""
    if not trials.trials or trials.stage != trials.trials[-1].label:
        return f"{trials.stage}{rest}."
    trial, job = trials.trials[-1], study.job
    what = "" if job is not None and job.label == trial.label else f"{trial.label}, "
    rate = f"learning rate {formats.number(trial.rate, digits=2)}"
    number = sum(other.label == trial.label for other in trials.trials)
    return f"{what}step {trials.done:,} of {trials.total:,} at {rate} (rate no. {number}){rest}."


def _outcome(study: Study, value: object) -> str:
    if isinstance(value, Run):
        note = f" {value.note}" if value.note else ""
        if not study.trials.trials:
            note += " The same run was finished before, so it was not run again."
        score = score_named(value.score)
        return (
            f"Done: training {value.scope.label} gives {score.in_words(value.value)} on test rows, from "
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
    """Say what an error means, and what to do about it."""
    if isinstance(error, SemvizError):
        return str(error)
    if memory.is_out_of_memory(error):
        return _lower(study)
    return f"{type(error).__name__}: {error}"


def _lower(study: Study) -> str:
    """Out of memory: what to lower, and what that would save."""
    settings, scope = study.settings, study.scope
    now = study.opening.costs.of(scope, method=settings.method, epochs=study.epochs).bytes
    hints = [f"fewer rows a step (now {settings.batch_size})"] if settings.batch_size > 1 else []
    above = study.model.n_blocks - 1
    if study.boundary < above:
        least = study.opening.costs.of(study.opening.costs.scopes[above], method=settings.method).bytes
        hints.append(
            f"a higher boundary (now {study.boundary}, about {formats.size(now)}; {above} takes {formats.size(least)})"
        )
    if settings.method == "full":
        hints.append("LoRA instead of all weights")
    return f"Out of memory. Lower what is trained: {', or '.join(hints) or 'shorter texts'}."
