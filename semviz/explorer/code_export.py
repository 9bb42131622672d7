"""Python code that reproduces a study's current view without the Explorer."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

from semviz.demo.tasks import SPECS
from semviz.lm.sources import DEMO
from semviz.scopes.methods.peft_configs import code_of_config
from semviz.tasks.packaged import load_task

if TYPE_CHECKING:
    from semviz.study.study import Study


def code_of(study: Study) -> str:
    """Write the code of the current view: the trace, its figures, the scope and the finetune.

    It runs as it is for the packaged model and tasks; for others, the two lines that load them must be completed.
    """
    settings, sample = study.settings, study.sample
    trace_meta = study.opening.traces["full"].meta
    options = "" if study.vocab == "full" else f", vocab={_quoted(study.vocab)}"
    if trace_meta["samples"] < len(study.task.split(trace_meta["split"])):
        options += f", samples={trace_meta['samples']}"
    order = f", order={_quoted(study.order)}" if study.order else ""
    config = code_of_config(settings.method)
    modules = "" if settings.modules == "all" else f" modules={_quoted(settings.modules)},"
    lines = [
        "import semviz as sv",
        *(["import peft"] if config else []),
        "",
        *_loading(study),
        f"trace = sv.trace(model, task{options})",
        f"trace.sample_heatmap(metric={_quoted(study.metric)}{order}, boundary={study.boundary}).show()",
    ]
    if not sample.own and sample.number in study.trace.detailed:
        sample_option = f"sample={sample.number}"
        cell = f", position={study.cell[0]}" if study.cell else ""
        lines += [
            f"trace.token_heatmap({sample_option}, metric={_quoted(study.metric)}, boundary={study.boundary}).show()",
            f"trace.transition_map({sample_option}{cell}, boundary={study.boundary}).show()",
        ]
    rate = _quoted(settings.lr) if isinstance(settings.lr, str) else repr(settings.lr)
    lines += [
        "",
        f"scope = sv.Scope.above(model, {study.boundary})  # trains {study.scope.label}",
        "run = sv.finetune(",
        f"    model, task, scope, method={config or _quoted(settings.method)}, lr={rate}, epochs={study.epochs!r},",
        f"    batch_size={settings.batch_size}, seed={settings.seed},{modules}",
        f")  # {settings.steps} steps",
        "print(run)",
    ]
    return "\n".join(lines) + "\n"


def _loading(study: Study) -> list[str]:
    """Lines that load the model and the task, as far as the study knows how."""
    name, task = study.model.name, study.task
    model = "sv.load_model()" if name == DEMO else f"sv.load_model({_quoted(name)})  # as you loaded it"
    is_packaged = task.name in SPECS and task.hash == _packaged_hash(task.name)
    task_code = f"sv.load_task({_quoted(task.name)})" if is_packaged else f"…  # your own task, {_quoted(task.name)}"
    return [f"model = {model}", f"task = {task_code}"]


@cache
def _packaged_hash(name: str) -> str:
    return load_task(name).hash


def _quoted(text: str) -> str:
    return json.dumps(text)
