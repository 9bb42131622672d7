"""`semviz report`: trace, gain and a measured sweep, as a table and a page."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from semviz.cli.run_folder import run_folder
from semviz.common import checks, formats
from semviz.common.errors import SemvizError
from semviz.common.scores import score_named

if TYPE_CHECKING:
    import pandas as pd

    from semviz.experiments.budget import Deadline
    from semviz.experiments.plan import Plan
    from semviz.experiments.probes import Probes
    from semviz.experiments.runs import Runs
    from semviz.tasks.task import Task


def check_options(options: argparse.Namespace) -> Deadline:
    """Refuse wrong options, which should fail before minutes of training and not after; start the clock.

    Raises:
        SemvizError: If one is wrong.
    """
    out = checks.as_path("--out", options.out)
    if out.is_dir():
        raise SemvizError(f"--out={options.out} is a folder; pass the name of a file in it, such as report.html.")
    folder = out.resolve().parent
    if not folder.is_dir():
        raise SemvizError(f"--out={options.out}: there is no folder {folder}; create it or pass another path.")
    checks.whole_number("--seeds", options.seeds, minimum=1)
    checks.positive("--epochs", options.epochs)
    checks.whole_number("--batch-size", options.batch_size, minimum=1)
    if options.samples is not None:
        checks.whole_number("--samples", options.samples, minimum=1)
    if options.lr != "auto":
        options.lr = checks.positive("--lr", as_number(options.lr), 'a positive number such as 1e-3, or "auto"')
    run_folder(options)
    from semviz.experiments.budget import Deadline, as_seconds
    from semviz.lm.block_parts import MODULES
    from semviz.scopes.methods import METHODS

    checks.one_of("--method", options.method, METHODS)
    checks.one_of("--modules", options.modules, MODULES)
    return Deadline.start(None if options.budget is None else as_seconds(options.budget))


def as_number(text: str) -> str | float:
    """Return the number that a text is; any other text as it is."""
    try:
        return float(text)
    except ValueError:
        return text


def report(options: argparse.Namespace, task: Task, clock: Deadline) -> int:
    """Trace, estimate and sweep; print the results and write the page."""
    from semviz.common import distributed

    # Before the model is loaded: each process gets a device of its own.
    rank, processes = distributed.join()
    if processes > 1 and options.budget is not None:
        raise SemvizError("--budget is for one process; leave it out under accelerate launch.")
    if rank == 0:
        print("Loading …", flush=True)
    from semviz import Scope, load_model, trace, write_report
    from semviz.experiments.asked_sweep import check_sweep
    from semviz.experiments.report_plan import plan_report
    from semviz.experiments.run_store import Store
    from semviz.experiments.sweep import sweep_scopes

    model = load_model(options.model, device=options.device, dtype=options.dtype)
    if rank == 0:
        print(f"{model}\n{task}", flush=True)
    store = run_folder(options)
    if store is not None:
        Store(store)  # made, or refused, before anything takes time
        if rank == 0:
            print(f"Finished runs are kept in {store}: the same command goes on from there.", flush=True)
    scopes = [Scope.full(model), Scope.half(model), Scope.last(model)]
    asked = check_sweep(
        model,
        scopes,
        methods=[options.method],
        seeds=range(options.seeds),
        lr=options.lr,
        epochs=options.epochs,
        batch_size=options.batch_size,
        modules=options.modules,
        arguments=None,
    )
    planned = plan_report(model, task, asked, clock=clock, store=store, samples=options.samples)
    if planned is not None:
        print(planned.plan.message, flush=True)
        print(f"{_steps_of(planned.plan).to_string(index=False)}\n", flush=True)
    samples = options.samples if planned is None else planned.samples
    traced = trace(model, task, samples=samples, distributed=processes > 1, progress=rank == 0)
    # The finetunes that follow are short, and run one after the other in the first process.
    if not distributed.leave():
        return 0
    gain = traced.gain()
    print(f"{traced}\nThe profile says: {gain.message}", flush=True)
    asked = asked.with_scopes([*scopes, gain.scope()])
    runs = sweep_scopes(
        model,
        task,
        asked.scopes,
        asked.recipe,
        seeds=asked.seeds,
        gain=gain,
        store=store,
        clock=clock,
        plan=None if planned is None else planned.of_sweep(asked, clock=clock, store=store),
    )
    probes = _probes(runs)
    path = write_report(options.out, trace=traced, gain=gain, runs=runs, probes=probes)
    print(f"\n{_table_of(runs).to_string(index=False)}\n")
    print(f"Recommended by these runs: {runs.answer()}")
    if probes is not None:
        print(f"The probes among them say: {probes.message}")
    print(f"The pictures are in {path}; it opens without a network.")
    if planned is not None:
        took = formats.seconds(clock.spent)
        print(f"Planned {formats.seconds(planned.plan.promised)} for all of it; it took {took}.")
    return 0


def _steps_of(plan: Plan) -> pd.DataFrame:
    """Return one row per step of a plan, all text."""
    import pandas as pd

    return pd.DataFrame(
        {
            "step": step.what,
            "rows": f"{step.rows:,}",
            "time": "done" if step.done else formats.seconds(step.seconds),
            "memory": formats.size(step.bytes),
        }
        for step in plan.steps
    )


def _table_of(runs: Runs) -> pd.DataFrame:
    """Return one row per scope, all text: size and share, score ± interval, seconds, predicted and measured benefit."""
    import pandas as pd

    score = score_named(runs.score)
    return pd.DataFrame(
        {
            "scope": row["scope"],
            "name": row["name"],
            "trainable": formats.si(row["trainable"]),
            "share": formats.percent(row["share"]),
            score.short_heading: score.with_interval(*(row[column] for column in score.columns)),
            "seconds": f"{row['seconds']:.1f}",
            "speed-up": f"{row['speedup']:.1f} ×" if math.isfinite(row["speedup"]) else formats.MISSING,
            "predicted benefit": formats.percent(row["predicted"]),
            "measured benefit": formats.percent(row["benefit"]),
            "rate": formats.number(row["lr"], digits=2),
        }
        for row in runs.table().to_dict("records")
    )


def _probes(runs: Runs) -> Probes | None:
    """Return the suffix law fitted to the runs; None where a run diverged, which must not prevent the report."""
    try:
        return runs.probes()
    except SemvizError as error:
        print(f"These runs cannot predict other boundaries: {error}")
        return None
